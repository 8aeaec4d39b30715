"""Layer and root-mean-square normalizations that a model writes out, found by their nodes."""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from converter.graph.rewrite import array_of, input_of, int_attribute, ints_attribute, static_shape


@dataclass(frozen=True, kw_only=True)
class WrittenOut:
    """Y / √(mean(y²) + ε), where y is x - mean(x) or x itself.

    Attributes:
        axes: Over which the means are, sorted, not negative.
    """

    x: ir.Value
    y: ir.Value
    axes: tuple[int, ...]
    epsilon: float


def layer_norm(node: ir.Node) -> WrittenOut | None:
    """The layer normalization whose last node this is; None for anything else."""
    found = root_mean_square(node)
    if found is None:
        return None
    x = _centred(found.y)
    shape = static_shape(x)
    if x is None or not shape:
        return None
    mean = found.y.producer().inputs[1]  # type: ignore[union-attr]  # `_centred` found it
    if tuple(_axes(mean, len(shape))) != found.axes:
        return None
    return WrittenOut(x=x, y=found.y, axes=found.axes, epsilon=found.epsilon)


def root_mean_square(node: ir.Node) -> WrittenOut | None:
    """The normalization by a root of mean squares whose last node this is; None for anything else."""
    quotient = _quotient(node)
    if quotient is None:
        return None
    y, mean, epsilon = quotient
    shape = static_shape(y)
    if not shape:
        return None
    squares, axes = _input_of_made(mean, "ReduceMean"), _axes(mean, len(shape))
    if squares is None or not axes or not _is_square(squares, y):
        return None
    return WrittenOut(x=y, y=y, axes=tuple(axes), epsilon=epsilon)


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
