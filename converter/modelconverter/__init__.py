"""ModelConverter's configuration files and keys: read, translated into options of ours, and written.

`keys` is the table of what becomes of each key, `document` reads a file, `source` makes an archive of
the model that it names, `export` writes a plan as such a file.
"""
