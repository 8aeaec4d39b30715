"""DLC files: reading, checking, comparing."""
