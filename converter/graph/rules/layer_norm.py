"""Layer normalization that a model writes out: found, and as the operator."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

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


@dataclass(frozen=True, kw_only=True)
class WrittenOut:
    """(x - mean) / √(mean((x - mean)²) + ε), written with means, differences and quotients.

    Attributes:
        centred: The difference; axes: over which the means are, sorted, not negative.
    """

    x: ir.Value
    centred: ir.Value
    axes: tuple[int, ...]
    epsilon: float


def written_out(node: ir.Node) -> WrittenOut | None:
    """The layer normalization whose last node this is; None for anything else."""
    quotient = _quotient(node)
    if quotient is None:
        return None
    centred, deviation = quotient
    x = _centred(centred)
    variance, epsilon = _under_root(deviation)
    shape = static_shape(x)
    if x is None or variance is None or shape is None:
        return None
    squares = _input_of_made(variance, "ReduceMean")
    axes = _axes(variance, len(shape))
    mean = centred.producer().inputs[1]  # type: ignore[union-attr]  # `_centred` found it
    if squares is None or not _is_square(squares, centred) or axes != _axes(mean, len(shape)):
        return None
    return WrittenOut(x=x, centred=centred, axes=tuple(axes), epsilon=epsilon)


def as_operator(node: ir.Node, b: Builder) -> Sequence[ir.Value] | None:
    """LayerNormalization, between Transposes where need be.

    Written out, the squares leave float16 where |x - mean| > 256, and 8 bits tell little of them.
    """
    found = written_out(node)
    shape = static_shape(found.x) if found else None
    if found is None or shape is None:
        return None
    rest = [axis for axis in range(len(shape)) if axis not in found.axes]
    perm = [*rest, *found.axes]
    moved = found.x if perm == sorted(perm) else b.op("Transpose", found.x, perm=perm)
    ones = b.constant(np.ones([shape[axis] for axis in found.axes]))
    y = b.op("LayerNormalization", moved, ones, axis=len(rest), epsilon=found.epsilon)
    if moved is found.x:
        return [y]
    return [b.op("Transpose", y, perm=[int(place) for place in np.argsort(perm)])]


def _quotient(node: ir.Node) -> tuple[ir.Value, ir.Value] | None:
    """A and b of a / b, or of a · (1 / b) in either order."""
    first, second = node.inputs[0], node.inputs[1]
    if first is None or second is None:
        return None
    if node.op_type == "Div":
        return first, second
    for one, other in ((first, second), (second, first)):
        divisor = _input_of_made(other, "Reciprocal")
        if divisor is not None:
            return one, divisor
    return None


def _centred(value: ir.Value) -> ir.Value | None:
    """The x of x - mean(x)."""
    made = value.producer()
    if made is None or made.op_type != "Sub" or made.inputs[0] is None:
        return None
    return made.inputs[0] if _input_of_made(made.inputs[1], "ReduceMean") is made.inputs[0] else None


def _under_root(value: ir.Value) -> tuple[ir.Value | None, float]:
    """The v and ε of √(v + ε), or of (v + ε) ^ 0.5."""
    made = value.producer()
    if made is None:
        return None, 0.0
    is_power = made.op_type == "Pow" and _number(made.inputs[1]) == 0.5
    if made.op_type != "Sqrt" and not is_power:
        return None, 0.0
    add = made.inputs[0].producer() if made.inputs[0] is not None else None
    if add is None or add.op_type != "Add":
        return None, 0.0
    for one, other in (add.inputs, add.inputs[::-1]):
        epsilon = _number(other)
        if epsilon is not None:
            return one, epsilon
    return None, 0.0


def _is_square(value: ir.Value, of: ir.Value) -> bool:
    made = value.producer()
    if made is None or not _is_same(made.inputs[0], of):
        return False
    if made.op_type == "Pow":
        return _number(made.inputs[1]) == 2
    return made.op_type == "Mul" and _is_same(made.inputs[1], of)


def _is_same(value: ir.Value | None, difference: ir.Value) -> bool:
    """Whether it is the difference, or that of the same two once more."""
    made, other = value.producer() if value is not None else None, difference.producer()
    if value is difference or made is None or other is None:
        return value is difference
    return made.op_type == "Sub" and made.inputs == other.inputs


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
