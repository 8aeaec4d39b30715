"""Conversions by a server that `nnconvert serve` runs: the same, elsewhere."""
