"""Accuracy on labelled frames: of the source, and of what was compiled, on this machine."""
