"""Layer and root-mean-square normalization that a model writes out, in forms that float16 holds."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from converter.graph.rewrite import (
    Builder,
    array_of,
    input_of,
    int_attribute,
    ints_attribute,
    static_shape,
)
from converter.graph.rules.normalization import over_root_mean_square
from targets.rvc4.htp_rules.normalization import over_last_axis


def written_out(node: ir.Node, b: Builder) -> Sequence[ir.Value] | None:
    """(x - mean) / √(mean((x - mean)²) + ε) as LayerNormalization, between Transposes where need be.

    Written out, the squares leave float16 where |x - mean| > 256, and 8 bits tell little of them.
    """
    quotient = _quotient(node)
    if quotient is None:
        return None
    centred, variance, epsilon = quotient
    x = _centred(centred)
    shape = static_shape(x)
    if x is None or not shape:
        return None
    squares = _input_of_made(variance, "ReduceMean")
    axes = _axes(variance, len(shape))
    mean = centred.producer().inputs[1]  # type: ignore[union-attr]  # `_centred` found it
    if squares is None or not _is_square(squares, centred) or axes != _axes(mean, len(shape)):
        return None
    rest = [axis for axis in range(len(shape)) if axis not in axes]
    perm = [*rest, *axes]
    moved = x if perm == sorted(perm) else b.op("Transpose", x, perm=perm)
    sizes = [shape[axis] for axis in perm]
    ones = b.constant(np.ones(math.prod(sizes[len(rest) :])))
    y = over_last_axis(b, moved, sizes, len(rest), [ones], epsilon)
    return [y if moved is x else b.op("Transpose", y, perm=[int(place) for place in np.argsort(perm)])]


def root_mean_square(node: ir.Node, b: Builder) -> Sequence[ir.Value] | None:
    """X / √(mean(x²) + ε) with squares that float16 holds: of x over its largest magnitude."""
    quotient = _quotient(node)
    if quotient is None:
        return None
    x, mean, epsilon = quotient
    shape = static_shape(x)
    if not shape or epsilon <= 0:
        return None
    squares, axes = _input_of_made(mean, "ReduceMean"), _axes(mean, len(shape))
    if squares is None or not axes or not _is_square(squares, x):
        return None
    return [over_root_mean_square(b, x, axes, epsilon)]


def _quotient(node: ir.Node) -> tuple[ir.Value, ir.Value, float] | None:
    """The a, v and ε of a / √(v + ε), or of a · (1 / √(v + ε)) in either order."""
    first, second = node.inputs[0], node.inputs[1]
    if first is None or second is None:
        return None
    if node.op_type == "Div":
        under = _under_root(second, 0.5)
        return None if under is None else (first, *under)
    for one, other in ((first, second), (second, first)):
        under = _under_root(other, -0.5) or _under_root(_inverted(other), 0.5)
        if under is not None:
            return one, *under
    return None


def _inverted(value: ir.Value) -> ir.Value | None:
    """The a of 1 / a."""
    made = value.producer()
    if made is not None and made.op_type == "Div" and _number(made.inputs[0]) == 1:
        return made.inputs[1]
    return _input_of_made(value, "Reciprocal")


def _centred(value: ir.Value) -> ir.Value | None:
    """The x of x - mean(x)."""
    made = value.producer()
    if made is None or made.op_type != "Sub" or made.inputs[0] is None:
        return None
    return made.inputs[0] if _input_of_made(made.inputs[1], "ReduceMean") is made.inputs[0] else None


def _under_root(value: ir.Value | None, power: float) -> tuple[ir.Value, float] | None:
    """The v and ε of (v + ε) ^ power; for the power 0.5 of √(v + ε), too."""
    made = value.producer() if value is not None else None
    if made is None:
        return None
    is_root = made.op_type == "Sqrt" and power == 0.5
    if not is_root and not (made.op_type == "Pow" and _number(made.inputs[1]) == power):
        return None
    add = made.inputs[0].producer() if made.inputs[0] is not None else None
    if add is None or add.op_type != "Add":
        return None
    for one, other in (add.inputs, add.inputs[::-1]):
        epsilon = _number(other)
        if epsilon is not None and one is not None:
            return one, epsilon
    return None


def _is_square(value: ir.Value, of: ir.Value) -> bool:
    made = value.producer()
    if made is None or made.inputs[0] is not of:
        return False
    if made.op_type == "Pow":
        return _number(made.inputs[1]) == 2
    return made.op_type == "Mul" and made.inputs[1] is of


def _axes(mean: ir.Value | None, rank: int) -> list[int]:
    """The axes of a ReduceMean that keeps them, sorted; none of any other."""
    made = mean.producer() if mean is not None else None
    if made is None or made.op_type != "ReduceMean" or not int_attribute(made, "keepdims", 1):
        return []
    given = array_of(input_of(made, 1))
    axes = ints_attribute(made, "axes") if given is None else given.ravel()
    return sorted({int(axis) % rank for axis in axes}) if axes is not None else []


def _input_of_made(value: ir.Value | None, op_type: str) -> ir.Value | None:
    """The first input of the node that makes a value, if it is of that operator."""
    made = value.producer() if value is not None else None
    return made.inputs[0] if made is not None and made.op_type == op_type else None


def _number(value: ir.Value | None) -> float | None:
    array = array_of(value)
    return float(array.item()) if array is not None and array.size == 1 else None
