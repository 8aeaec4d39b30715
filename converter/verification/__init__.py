"""Comparing a result with its source."""
