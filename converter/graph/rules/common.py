"""What the rules of every family need."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import onnx_ir as ir

from converter.graph.rewrite import Builder

# The most negative number of float16.
LOWEST: Final = -65504.0


def x_of(node: ir.Node) -> ir.Value:
    """The first input, which the operator must have."""
    value = node.inputs[0]
    assert value is not None
    return value


def more_than_one_output(node: ir.Node) -> bool:
    """Whether anything reads the mean, mask or indices that come with the first output."""
    return any(output.uses() or output.is_graph_output() for output in node.outputs[1:])


def clip(b: Builder, x: ir.Value, low: float, high: float) -> ir.Value:
    """Min(max(x, low), high)."""
    return b.op("Clip", x, b.constant(low), b.constant(high))


def move_axis(
    b: Builder, x: ir.Value, shape: Sequence[int], axis: int, to: int, *, back: bool = False
) -> ir.Value:
    """X with one axis exchanged with another.

    Args:
        shape: The shape with the axis at `axis`: of x, or with `back` of the result.
        back: Whether the axis is at `to` and goes back to `axis`.
    """
    rank = len(shape)
    order = list(range(rank))
    order[axis], order[to] = order[to], order[axis]
    moved = x if order == sorted(order) else b.op("Transpose", x, perm=order)
    sizes = list(shape)
    if not back:
        sizes[axis], sizes[to] = sizes[to], sizes[axis]
    if moved is not x or back:
        moved.shape, moved.type = ir.Shape(sizes), x.type or ir.TensorType(ir.DataType.FLOAT)
    return moved
