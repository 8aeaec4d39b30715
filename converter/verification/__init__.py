"""A result compared with its source."""
