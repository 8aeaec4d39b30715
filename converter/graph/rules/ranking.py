"""Places: the last of the largest, one-hot, in order; and the first elements of each row backwards."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import onnx_ir as ir

from converter.graph.rewrite import Builder, Rule, array_of, input_of, int_attribute, static_shape
from converter.graph.rules.common import x_of
from converter.graph.rules.forms import as_float, joined, opset_of, reshaped, split

HARDMAX_ALONG_AN_AXIS: Final = 13


def arg_last(node: ir.Node, b: Builder) -> Sequence[ir.Value] | None:
    """With `select_last_index` n - 1 - the first place in the tensor turned around."""
    shape = static_shape(node.inputs[0])
    if not int_attribute(node, "select_last_index", 0) or shape is None:
        return None
    axis = int_attribute(node, "axis", 0) % len(shape)
    lowest = b.ints(-shape[axis] - 1)
    turned = b.op("Slice", x_of(node), b.ints(shape[axis] - 1), lowest, b.ints(axis), b.ints(-1))
    keepdims = int_attribute(node, "keepdims", 1)
    first = b.op(node.op_type, turned, axis=axis, keepdims=keepdims)
    return [b.op("Sub", b.constant(shape[axis] - 1, np.int64), first)]


def hardmax(node: ir.Node, b: Builder) -> Sequence[ir.Value] | None:
    """One at the place of the first largest, else zero; before opset 13 of flattened rows."""
    shape = static_shape(node.inputs[0])
    if shape is None:
        return None
    x, along = x_of(node), opset_of(b) >= HARDMAX_ALONG_AN_AXIS
    axis = int_attribute(node, "axis", -1 if along else 1) % len(shape)
    if not along:
        x = reshaped(b, x, [math.prod(shape[:axis]), math.prod(shape[axis:])])
    sizes = shape if along else (math.prod(shape[:axis]), math.prod(shape[axis:]))
    axis = axis if along else 1
    first = b.op("ArgMax", x, axis=axis, keepdims=1)
    places = np.arange(sizes[axis]).reshape([-1, *[1] * (len(sizes) - axis - 1)])
    y = as_float(b, b.op("Equal", first, b.constant(places, np.int64)))
    return [y if along else reshaped(b, y, shape)]


def top_k(node: ir.Node, b: Builder) -> Sequence[ir.Value] | None:
    """In order, where any order will do (`sorted` 0)."""
    if int_attribute(node, "sorted", 1):
        return None
    attributes = {name: int_attribute(node, name, 0) for name in node.attributes}
    return b.ops("TopK", 2, *node.inputs, **{**attributes, "sorted": 1})


def reverse_sequence(node: ir.Node, b: Builder) -> Sequence[ir.Value] | None:
    """A Gather for each row of the batch, of constant lengths: its first elements backwards."""
    shape, lengths = static_shape(node.inputs[0]), array_of(input_of(node, 1))
    if shape is None or lengths is None:
        return None
    rows, time = int_attribute(node, "batch_axis", 1), int_attribute(node, "time_axis", 0)
    made = []
    for row, length in zip(split(b, x_of(node), rows, [1] * shape[rows]), lengths, strict=True):
        places = np.arange(shape[time])
        places[:length] = places[:length][::-1].copy()
        made.append(b.op("Gather", row, b.ints(*places.tolist()), axis=time))
    return [joined(b, made, rows)]


IN_ORDER: Final[Mapping[str, Rule]] = {"TopK": top_k}
RULES: Final[Mapping[str, Rule]] = {
    **IN_ORDER,
    "ArgMax": arg_last,
    "ArgMin": arg_last,
    "Hardmax": hardmax,
    "ReverseSequence": reverse_sequence,
}
