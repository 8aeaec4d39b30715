"""Blobs and superblobs: reading, checking, patching."""
