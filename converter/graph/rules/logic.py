"""Comparisons, logic, signs and remainders, written with Greater, Less, Equal, And and Not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import onnx_ir as ir

from converter.graph.rewrite import Builder, Rule, input_of, int_attribute
from converter.graph.rules.common import x_of
from converter.graph.rules.forms import as_float, is_float, numpy_type


def negated(opposite: str) -> Rule:
    """`a >= b` is Not(a < b) and `a <= b` is Not(a > b), for numbers that are no NaN."""

    def rule(node: ir.Node, b: Builder) -> Sequence[ir.Value]:
        return [b.op("Not", b.op(opposite, *node.inputs))]

    return rule


def logical_or(node: ir.Node, b: Builder) -> Sequence[ir.Value]:
    """Not(Not a And Not b)."""
    return [_either(b, *node.inputs[:2])]


def logical_xor(node: ir.Node, b: Builder) -> Sequence[ir.Value]:
    """(a Or b) And Not(a And b)."""
    both = b.op("Not", b.op("And", *node.inputs))
    return [b.op("And", _either(b, *node.inputs[:2]), both)]


def _either(b: Builder, one: ir.Value | None, other: ir.Value | None) -> ir.Value:
    return b.op("Not", b.op("And", b.op("Not", one), b.op("Not", other)))


def is_nan(node: ir.Node, b: Builder) -> Sequence[ir.Value]:
    """NaN is not equal to itself."""
    return [b.op("Not", b.op("Equal", x_of(node), x_of(node)))]


def is_inf(node: ir.Node, b: Builder) -> Sequence[ir.Value] | None:
    """Equal to infinity, with the signs that `detect_negative` and `detect_positive` leave."""
    negative, positive = (int_attribute(node, f"detect_{sign}", 1) for sign in ("negative", "positive"))
    x = x_of(node)
    if negative and positive:
        return [b.op("Equal", b.op("Abs", x), b.constant(np.inf))]
    if negative or positive:
        return [b.op("Equal", x, b.constant(np.inf if positive else -np.inf))]
    return [b.op("Less", b.op("Abs", x), b.constant(0.0))]


def sign(node: ir.Node, b: Builder) -> Sequence[ir.Value]:
    """(x > 0) - (x < 0); whole numbers by way of floats, which keep their sign."""
    x = x_of(node)
    known = is_float(x) or x.dtype is None
    return [_sign(b, x)] if known else [_like(b, _sign(b, as_float(b, x)), x)]


def _sign(b: Builder, x: ir.Value) -> ir.Value:
    zero = b.constant(0.0)
    return b.op("Sub", *[as_float(b, b.op(op, x, zero)) for op in ("Greater", "Less")])


def _like(b: Builder, y: ir.Value, x: ir.Value) -> ir.Value:
    return b.op("Cast", y, to=int(x.dtype or ir.DataType.FLOAT))


def mod(node: ir.Node, b: Builder) -> Sequence[ir.Value] | None:
    """The remainder: with the divisor's sign, or with `fmod` the dividend's.

    Of whole numbers r = x - trunc(x / y) · y has the dividend's sign, and the remainder of r + y the
    divisor's. Of floats |x| - floor(|x| / |y|) · |y|, corrected by |y| where the quotient was rounded.
    """
    x, y = x_of(node), input_of(node, 1)
    if y is None or x.dtype is None:
        return None
    if not is_float(x):
        rest = _rest(b, x, y)
        signed = np.dtype(numpy_type(x)).kind == "i"
        if int_attribute(node, "fmod", 0) or not signed:
            return [rest]
        return [_rest(b, b.op("Add", rest, y), y)]
    size, step = b.op("Abs", x), b.op("Abs", y)
    whole = b.op("Floor", b.op("Div", size, step))
    rest = b.op("Sub", size, b.op("Mul", whole, step))
    below = as_float(b, b.op("Less", rest, b.constant(0.0)))
    above = as_float(b, b.op("Not", b.op("Less", rest, step)))
    rest = b.op("Add", rest, b.op("Mul", b.op("Sub", below, above), step))
    return [b.op("Mul", rest, _sign(b, x))]


def _rest(b: Builder, x: ir.Value, y: ir.Value) -> ir.Value:
    return b.op("Sub", x, b.op("Mul", b.op("Div", x, y), y))


RULES: Final[Mapping[str, Rule]] = {
    "GreaterOrEqual": negated("Less"),
    "IsInf": is_inf,
    "IsNaN": is_nan,
    "LessOrEqual": negated("Greater"),
    "Mod": mod,
    "Or": logical_or,
    "Sign": sign,
    "Xor": logical_xor,
}
