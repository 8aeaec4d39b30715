"""The targets that come with the converter, one folder each."""
