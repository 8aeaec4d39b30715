"""What the rules of every family need."""

from __future__ import annotations

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
