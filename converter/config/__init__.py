"""The source's `config.json`, read into a `SourceModel`."""
