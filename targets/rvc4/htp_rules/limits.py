"""Limits that no number of the chip is beyond."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from converter.graph.rewrite import Builder, array_of, input_of, static_shape
from converter.graph.rules.common import LOWEST


def beyond(node: ir.Node, b: Builder) -> Sequence[ir.Value] | None:
    """Max(x, c) with c at or below float16's lowest number is x, Min likewise; of several in pairs."""
    sign = 1 if node.op_type == "Max" else -1
    kept = []
    for value in node.inputs:
        array = array_of(value)
        if array is None or not array.size or (sign * array > LOWEST).any():
            kept.append(value)
    if len(kept) == len(node.inputs) or not kept:
        return _in_pairs(node, b)
    shapes = [static_shape(value) for value in (*kept, node.outputs[0])]
    if None in shapes or shapes[-1] not in shapes[:-1]:
        return _in_pairs(node, b)
    return [b.op(node.op_type, *kept) if len(kept) > 1 else b.op("Identity", kept[0])]


def _in_pairs(node: ir.Node, b: Builder) -> Sequence[ir.Value] | None:
    """Of more than two inputs QNN computes a quantized Max in floating point."""
    if len(node.inputs) < 3:
        return None
    y = node.inputs[0]
    for value in node.inputs[1:]:
        y = b.op(node.op_type, y, value)
    assert y is not None
    return [y]


def clip(node: ir.Node, b: Builder) -> Sequence[ir.Value] | None:
    """Clip without those of its limits that no number of float16 is beyond."""
    kept = []
    for index, sign in ((1, 1), (2, -1)):
        value = input_of(node, index)
        array = array_of(value)
        kept.append(None if array is not None and (sign * array <= LOWEST).all() else value)
    if kept == [input_of(node, 1), input_of(node, 2)]:
        return None
    return [b.op("Clip" if any(kept) else "Identity", node.inputs[0], *(kept if any(kept) else ()))]
