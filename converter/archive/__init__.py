"""Archives on disk: opened, read and written."""
