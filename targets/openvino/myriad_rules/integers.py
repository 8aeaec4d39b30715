"""Operators on whole numbers, for which the Myriad compiler has no stage."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final

import onnx_ir as ir

from converter.graph.rewrite import (
    Builder,
    Rule,
    array_of,
    input_of,
    int_attribute,
    ints_attribute,
    static_shape,
)
from converter.graph.rules.common import x_of
from converter.graph.rules.forms import as_float, reduced

_WHOLE: Final = (ir.DataType.INT32, ir.DataType.INT64)


def of_difference(node: ir.Node, b: Builder) -> Sequence[ir.Value] | None:
    """The sign of a - b, which float16 keeps however large the numbers are."""
    if any(value is None or value.dtype not in _WHOLE for value in node.inputs):
        return None
    difference = as_float(b, b.op("Sub", *node.inputs))
    return [b.op(node.op_type, difference, b.constant(0.0))]


def clip(node: ir.Node, b: Builder) -> Sequence[ir.Value] | None:
    """-max(-max(x, low), -high): the compiler makes a Clamp of a Max and a Min, for floats only."""
    x, (low, high) = x_of(node), (input_of(node, 1), input_of(node, 2))
    if x.dtype not in _WHOLE:
        return None
    y, zero = x, b.constant(0, x.dtype.numpy())
    if low is not None:
        y = b.op("Max", y, low)
    if high is not None:
        y = b.op("Sub", zero, b.op("Max", b.op("Sub", zero, y), b.op("Sub", zero, high)))
    return [y]


def by_floats(node: ir.Node, b: Builder) -> Sequence[ir.Value] | None:
    """Cast, computed, and cast back: exact up to 2,048, as float16 is."""
    x = x_of(node)
    if x.dtype not in _WHOLE:
        return None
    given = [
        as_float(b, value) if index in _DATA.get(node.op_type, (0,)) and value is not None else value
        for index, value in enumerate(node.inputs)
    ]
    made = b.again(node, *given)
    return [
        b.op("Cast", y, to=int(old.dtype)) if old.dtype == x.dtype else y
        for y, old in zip(made, node.outputs, strict=True)
    ]


def mean(node: ir.Node, b: Builder) -> Sequence[ir.Value] | None:
    """The sum, divided by how many there are; a mean of whole numbers is cut off, as a division is."""
    x, shape = x_of(node), static_shape(x_of(node))
    given = array_of(input_of(node, 1))
    axes = ints_attribute(node, "axes") if given is None else tuple(int(axis) for axis in given)
    if x.dtype not in _WHOLE or shape is None or (given is None and input_of(node, 1) is not None):
        return None
    if not axes and int_attribute(node, "noop_with_empty_axes", 0):
        return None
    over = sorted({axis % len(shape) for axis in axes or range(len(shape))})
    total = reduced(b, "ReduceSum", x, over, keepdims=bool(int_attribute(node, "keepdims", 1)))
    count = math.prod(shape[axis] for axis in over)
    return [b.op("Div", total, b.constant(count, x.dtype.numpy()))]


# Which inputs are numbers, where more than the first are; the others are places, counts and sizes.
_DATA: Final[Mapping[str, tuple[int, ...]]] = {
    "Gemm": (0, 1, 2),
    "MatMul": (0, 1),
    "Pad": (0, 2),
    "Pow": (0, 1),
}
_BY_FLOATS: Final = (
    *(
        "ArgMax",
        "ArgMin",
        "Expand",
        "Gemm",
        "MatMul",
        "MaxPool",
        "Pad",
        "Pow",
        "ReduceMax",
        "Relu",
        "Resize",
        "Tile",
        "TopK",
    ),
)

RULES: Final[Mapping[str, Rule]] = {
    **dict.fromkeys(_BY_FLOATS, by_floats),
    "Clip": clip,
    "Greater": of_difference,
    "Less": of_difference,
    "ReduceMean": mean,
}
