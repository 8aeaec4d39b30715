"""ModelConverter's configuration files and keys: reading, translating into options, and writing.

`keys` is the table of what each key becomes, `document` reads a file, `converter.open_source` makes an
archive of the model that it names, `export` writes a plan as such a file.
"""
