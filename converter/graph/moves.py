"""Operators that only move values."""

from __future__ import annotations

from typing import Final

# Their results are values of their first input, unchanged.
MOVES: Final = (
    *("DepthToSpace", "Expand", "Flatten", "Gather", "GatherElements", "GatherND", "Identity"),
    *("Reshape", "Slice", "SpaceToDepth", "Split", "Squeeze", "Tile", "Transpose", "Unsqueeze"),
)
