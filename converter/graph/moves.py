"""Operators that only move values."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import onnx_ir as ir

# Their results are values of their first input, unchanged.
MOVES: Final = (
    *("DepthToSpace", "Expand", "Flatten", "Gather", "GatherElements", "GatherND", "Identity"),
    *("Reshape", "Slice", "SpaceToDepth", "Split", "Squeeze", "Tile", "Transpose", "Unsqueeze"),
)


def source_behind(value: ir.Value, operators: Collection[str]) -> ir.Value:
    """The tensor that the first of some nodes in a row took, whose last one gave a value.

    Args:
        operators: Of these nodes; each takes what the one before it gave as its first input.
    """
    while (node := value.producer()) is not None and node.op_type in operators:
        source = node.inputs[0] if node.inputs else None
        if source is None:
            break
        value = source
    return value
