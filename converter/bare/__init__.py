"""Bare models: a config inferred for one, and the source archive that it becomes."""
