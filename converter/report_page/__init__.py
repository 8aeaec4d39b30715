"""A comparison as one HTML page, with nothing to load beside it."""
