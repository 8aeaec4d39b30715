"""Operators that the HTP has for frames only, of tensors with five axes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numpy as np
import onnx_ir as ir

from converter.graph.rewrite import (
    Builder,
    array_of,
    float_attribute,
    input_of,
    int_attribute,
    static_shape,
)
from converter.graph.rules.common import x_of
from converter.graph.rules.forms import reduced, reshaped

_FRAME: Final = 4


def global_max_pool(node: ir.Node, b: Builder) -> Sequence[ir.Value] | None:
    """The maximum over (N, C, elements)."""
    shape = static_shape(x_of(node))
    if shape is None or len(shape) <= _FRAME:
        return None
    flat = reshaped(b, x_of(node), [*shape[:2], math.prod(shape[2:])])
    largest = reduced(b, "ReduceMax", flat, [2], keepdims=True)
    return [reshaped(b, largest, [*shape[:2], *[1] * (len(shape) - 2)])]


def instance_normalization(node: ir.Node, b: Builder) -> Sequence[ir.Value] | None:
    """The same over (N, C, elements)."""
    shape = static_shape(x_of(node))
    if shape is None or len(shape) <= _FRAME:
        return None
    flat = reshaped(b, x_of(node), [*shape[:2], math.prod(shape[2:])])
    (made,) = b.again(node, flat, *node.inputs[1:])
    return [reshaped(b, made, shape)]


def instance_by_layer(node: ir.Node, b: Builder) -> Sequence[ir.Value] | None:
    """InstanceNormalization as LayerNormalization of each channel's elements, times scale, plus bias.

    With 16-bit weights the HTP has the latter only.
    """
    shape = static_shape(x_of(node))
    if shape is None or len(shape) < 3:
        return None
    flat = reshaped(b, x_of(node), [*shape[:2], math.prod(shape[2:])])
    ones, epsilon = b.constant(np.ones(math.prod(shape[2:]))), float_attribute(node, "epsilon", 1e-5)
    y = b.op("LayerNormalization", flat, ones, axis=-1, epsilon=epsilon)
    y.dtype = ir.DataType.FLOAT
    scale, bias = (reshaped(b, value, [shape[1], 1]) for value in node.inputs[1:] if value is not None)
    return [reshaped(b, b.op("Add", b.op("Mul", y, scale), bias), shape)]


def _around(
    node: ir.Node, b: Builder, axis: int
) -> tuple[ir.Value, tuple[int, ...], tuple[int, ...]] | None:
    """A volume as (elements before, axis, elements behind), and the sizes that were before and behind.

    Args:
        axis: The operator's axis if it names none.
    """
    shape = static_shape(x_of(node))
    if shape is None or len(shape) <= _FRAME:
        return None
    axis = int_attribute(node, "axis", axis) % len(shape)
    before, behind = shape[:axis], shape[axis + 1 :]
    flat = reshaped(b, x_of(node), [math.prod(before), shape[axis], math.prod(behind)])
    return flat, before, behind


def place_of_extreme(node: ir.Node, b: Builder) -> Sequence[ir.Value] | None:
    """ArgMax or ArgMin over the middle one of (elements before, axis, elements behind)."""
    found = _around(node, b, 0)
    if found is None:
        return None
    flat, before, behind = found
    places = b.op(
        node.op_type,
        flat,
        axis=1,
        keepdims=0,
        select_last_index=int_attribute(node, "select_last_index", 0),
    )
    kept = [1] * int_attribute(node, "keepdims", 1)
    return [reshaped(b, places, [*before, *kept, *behind])]


def largest_of_axis(node: ir.Node, b: Builder) -> Sequence[ir.Value] | None:
    """TopK over the middle one of (elements before, axis, elements behind)."""
    found, count = _around(node, b, -1), array_of(input_of(node, 1))
    if found is None or count is None:
        return None
    flat, before, behind = found
    kept = {name: int_attribute(node, name, 1) for name in ("largest", "sorted")}
    made = b.ops("TopK", 2, flat, node.inputs[1], axis=1, **kept)
    return [reshaped(b, value, [*before, int(count.item()), *behind]) for value in made]


def log_softmax(node: ir.Node, b: Builder) -> Sequence[ir.Value] | None:
    """LogSoftmax over the middle one of (elements before, axis, elements behind)."""
    found, shape = _around(node, b, -1), static_shape(x_of(node))
    if found is None or shape is None:
        return None
    flat, before, behind = found
    y = b.op("LogSoftmax", flat, axis=1)
    y.shape = ir.Shape([math.prod(before), shape[len(before)], math.prod(behind)])
    return [reshaped(b, y, shape)]
