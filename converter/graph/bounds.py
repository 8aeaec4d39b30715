"""Numbers that a tensor never leaves, as far as the nodes that made it tell."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Final

import onnx_ir as ir

from converter.graph.moves import MOVES
from converter.graph.rewrite import array_of, float_attribute, int_attribute, static_shape

Bounds = tuple[float, float]
ANY: Final[Bounds] = (-math.inf, math.inf)
LIMITS: Final[Mapping[str, Bounds]] = {
    "HardSigmoid": (0.0, 1.0),
    "Relu": (0.0, math.inf),
    "Sigmoid": (0.0, 1.0),
    "Sign": (-1.0, 1.0),
    "Softmax": (0.0, 1.0),
    "Tanh": (-1.0, 1.0),
}
# The operators whose results are among the values of their inputs, or between them. What they pad or
# fill with is an input of its own, or is zero.
_KEEPS_LIMITS: Final[Mapping[str, int | None]] = {
    **dict.fromkeys((*MOVES, "GlobalAveragePool", "GlobalMaxPool", "MaxPool", "ReduceMax"), 1),
    "ReduceMin": 1,
    "Concat": None,
}
_WHOLE: Final[Mapping[str, Callable[[float], float]]] = {
    "Ceil": math.ceil,
    "Floor": math.floor,
    "Round": round,
}
_COMPUTED: Final[Mapping[str, Callable[[float, float], float]]] = {
    "Add": lambda a, b: a + b,
    "Max": max,
    "Min": min,
    "Mul": lambda a, b: a * b,
    "Sub": lambda a, b: a - b,
}


def range_of(kind: ir.DataType) -> Bounds:
    """The numbers that a type of whole numbers has."""
    if kind == ir.DataType.BOOL:
        return 0.0, 1.0
    half = 2.0 ** (kind.bitwidth - 1)
    return (-half, half - 1) if kind.is_signed() else (0.0, 2 * half - 1)


def bounds(x: ir.Value, depth: int = 8) -> Bounds:
    """Numbers that a tensor never leaves, as far as its producers tell.

    Whole numbers that leave their type wrap around, to anywhere in it.
    """
    array = array_of(x)
    if array is not None and array.size and array.dtype.kind in "fiu":
        return float(array.min()), float(array.max())
    kind = x.dtype
    ends = (
        range_of(kind) if kind is not None and (kind.is_integer() or kind == ir.DataType.BOOL) else ANY
    )
    low, high = exact_bounds(x, depth)
    return (low, high) if low >= ends[0] and high <= ends[1] else ends


def exact_bounds(x: ir.Value, depth: int = 8) -> Bounds:
    """The same of what its node computes, before anything wraps around."""
    node = x.producer()
    if node is None or not depth or node.domain not in ("", "ai.onnx"):
        return ANY
    kind = node.op_type
    if kind in LIMITS:
        return LIMITS[kind]
    if kind == "Clip":
        return _clip(node)
    if kind in ("ArgMax", "ArgMin"):
        size = _size(node)
        return (0.0, size - 1.0) if size else ANY
    given = [value for value in node.inputs[: _KEEPS_LIMITS.get(kind)] if value is not None]
    if kind in _KEEPS_LIMITS:
        found = [bounds(value, depth - 1) for value in given]
        return min(low for low, _ in found), max(high for _, high in found)
    if kind == "Cast":
        to = node.outputs[0].dtype
        whole = to is not None and to.is_integer()
        return _mapped(math.trunc if whole else float, bounds(given[0], depth - 1))
    if kind in _WHOLE:
        return _mapped(_WHOLE[kind], bounds(given[0], depth - 1))
    if kind == "Where":
        first, second = (bounds(value, depth - 1) for value in given[1:])
        return min(first[0], second[0]), max(first[1], second[1])
    if kind in _COMPUTED and len(given) == 2:
        first, second = (bounds(value, depth - 1) for value in given)
        ends = [_COMPUTED[kind](a, b) for a in first for b in second]
        return ANY if any(map(math.isnan, ends)) else (min(ends), max(ends))
    return ANY


def _clip(node: ir.Node) -> Bounds:
    ends = []
    for index, (name, default) in enumerate((("min", -math.inf), ("max", math.inf)), 1):
        given = array_of(node.inputs[index]) if index < len(node.inputs) else None
        ends.append(float_attribute(node, name, default) if given is None else float(given))
    return ends[0], ends[1]


def _size(node: ir.Node) -> int | None:
    shape = static_shape(node.inputs[0])
    return shape[int_attribute(node, "axis", 0)] if shape else None


def _mapped(function: Callable[[float], float], ends: Bounds) -> Bounds:
    low, high = (function(end) if math.isfinite(end) else end for end in ends)
    return low, high
