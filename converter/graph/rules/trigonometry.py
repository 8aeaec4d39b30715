"""Trigonometric and hyperbolic functions, approximated with what every compiler has.

The errors are those of float32. In float16, on the inputs that float16 has, each is within 3e-3 of the
function's value or of one, whichever is larger; Sin and Cos up to 25, and Tan up to 12: an angle of
float16 is itself a hundredth off there, and more above.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final

import onnx_ir as ir

from converter.graph.rewrite import Builder, Rule
from converter.graph.rules.common import clip, x_of
from converter.graph.rules.forms import as_float

# π in two parts, the first of eight bits: k times it is exact in float16 up to k = 8.
_PI: Final = (3.140625, math.pi - 3.140625)
# Of sin(r) / r in r², near the least maximal error: 6e-7 on 0 to π/2, 1.5e-6 on 0 to π/4.
_SIN: Final = (0.9999966, -0.16664824, 0.00830629, -0.00018363)
_SIN_SHORT: Final = (0.99999856, -0.16662472, 0.00815151)
# Of atan(t) / t on 0 to 1 in t²: Abramowitz and Stegun 4.4.49, at most 1e-5.
_ATAN: Final = (0.9998660, -0.3302995, 0.1801410, -0.0851330, 0.0208351)
# Series of asinh(x) / x and atanh(x) / x in x², at most 5e-5 and 1e-4 on 0 to 1/2.
_ASINH: Final = (1.0, -1 / 6, 3 / 40, -5 / 112, 35 / 1152)
_ATANH: Final = (1.0, 1 / 3, 1 / 5, 1 / 7, 1 / 9)
_SMALL: Final = 0.5


def _odd(b: Builder, x: ir.Value, coefficients: Sequence[float]) -> ir.Value:
    """X · p(x²)."""
    square = b.op("Mul", x, x)
    total = b.constant(coefficients[-1])
    for coefficient in coefficients[-2::-1]:
        total = b.op("Add", b.op("Mul", total, square), b.constant(coefficient))
    return b.op("Mul", x, total)


def _reduced(b: Builder, x: ir.Value) -> tuple[ir.Value, ir.Value]:
    """K and r of x = k · π + r, r from -π/2 to π/2."""
    k = b.op("Round", b.op("Mul", x, b.constant(1 / math.pi)))
    r = x
    for part in _PI:
        r = b.op("Sub", r, b.op("Mul", k, b.constant(part)))
    return k, r


def _alternating(b: Builder, k: ir.Value) -> ir.Value:
    """(-1)^k = 1 - 2 · (k - 2 · floor(k / 2))."""
    half = b.op("Floor", b.op("Mul", k, b.constant(0.5)))
    odd = b.op("Sub", k, b.op("Mul", half, b.constant(2.0)))
    return b.op("Sub", b.constant(1.0), b.op("Mul", odd, b.constant(2.0)))


def _cosine(b: Builder, r: ir.Value) -> ir.Value:
    """1 - 2 · sin²(r / 2)."""
    s = _odd(b, b.op("Mul", r, b.constant(0.5)), _SIN_SHORT)
    return b.op("Sub", b.constant(1.0), b.op("Mul", b.op("Mul", s, s), b.constant(2.0)))


def sin(node: ir.Node, b: Builder) -> Sequence[ir.Value]:
    """Of x = k · π + r, (-1)^k times a polynomial in r of degree 7; 2e-6 off, and half a place of x."""
    k, r = _reduced(b, x_of(node))
    return [b.op("Mul", _odd(b, r, _SIN), _alternating(b, k))]


def cos(node: ir.Node, b: Builder) -> Sequence[ir.Value]:
    """Of x = k · π + r, (-1)^k times 1 - 2 · sin²(r / 2); 4e-6 off, and half a place of x."""
    k, r = _reduced(b, x_of(node))
    return [b.op("Mul", _cosine(b, r), _alternating(b, k))]


def tan(node: ir.Node, b: Builder) -> Sequence[ir.Value]:
    """sin(r) / cos(r) of x = k · π/2 + r, or -cos(r) / sin(r) where k is odd; relatively 1e-5 off."""
    x = x_of(node)
    k = b.op("Round", b.op("Mul", x, b.constant(2 / math.pi)))
    r = x
    for part in _PI:
        r = b.op("Sub", r, b.op("Mul", k, b.constant(part / 2)))
    sine, cosine = _odd(b, r, _SIN), _cosine(b, r)
    even = b.op("Mul", b.op("Add", _alternating(b, k), b.constant(1.0)), b.constant(0.5))
    odd = b.op("Sub", b.constant(1.0), even)
    above = b.op("Sub", b.op("Mul", sine, even), b.op("Mul", cosine, odd))
    below = b.op("Add", b.op("Mul", cosine, even), b.op("Mul", sine, odd))
    return [b.op("Div", above, below)]


def _angle(b: Builder, rise: ir.Value, run: ir.Value) -> ir.Value:
    """atan(rise / run) of two that are not negative: above one π/2 - atan(run / rise)."""
    t = b.op("Div", b.op("Min", rise, run), b.op("Max", rise, run))
    below = _odd(b, t, _ATAN)
    steep = as_float(b, b.op("Greater", rise, run))
    other = b.op("Sub", b.constant(math.pi / 2), b.op("Mul", below, b.constant(2.0)))
    return b.op("Add", below, b.op("Mul", steep, other))


def atan(node: ir.Node, b: Builder) -> Sequence[ir.Value]:
    """Of |x|, with the sign of x; 2e-5 off."""
    x = x_of(node)
    return [b.op("Mul", _angle(b, b.op("Abs", x), b.constant(1.0)), b.op("Sign", x))]


def asin(node: ir.Node, b: Builder) -> Sequence[ir.Value]:
    """2 · atan(x / (1 + √((1 - x)(1 + x)))); 3e-5 off."""
    x, one = x_of(node), b.constant(1.0)
    root = b.op("Sqrt", b.op("Mul", b.op("Sub", one, x), b.op("Add", one, x)))
    half = _odd(b, b.op("Div", x, b.op("Add", one, root)), _ATAN)
    return [b.op("Mul", half, b.constant(2.0))]


def acos(node: ir.Node, b: Builder) -> Sequence[ir.Value]:
    """2 · atan(√(1 - x) / √(1 + x)); 3e-5 off."""
    x, one = x_of(node), b.constant(1.0)
    half = _angle(b, b.op("Sqrt", b.op("Sub", one, x)), b.op("Sqrt", b.op("Add", one, x)))
    return [b.op("Mul", half, b.constant(2.0))]


def cosh(node: ir.Node, b: Builder) -> Sequence[ir.Value]:
    """e^(x - ln 2) + e^(-x - ln 2); as exact as Exp."""
    return [_cosh(b, x_of(node))]


def _cosh(b: Builder, x: ir.Value) -> ir.Value:
    half = b.constant(math.log(2))
    falling = b.op("Exp", b.op("Sub", b.op("Neg", x), half))
    return b.op("Add", b.op("Exp", b.op("Sub", x, half)), falling)


def sinh(node: ir.Node, b: Builder) -> Sequence[ir.Value]:
    """tanh(x) · cosh(x), which is right near zero, too; as exact as Exp."""
    x = x_of(node)
    return [b.op("Mul", b.op("Tanh", x), _cosh(b, x))]


def _joined(b: Builder, size: ir.Value, small: ir.Value, large: ir.Value) -> ir.Value:
    """Small up to 1/2, then large."""
    is_large = as_float(b, b.op("Greater", size, b.constant(_SMALL)))
    return b.op("Add", small, b.op("Mul", is_large, b.op("Sub", large, small)))


def _asinh(b: Builder, size: ir.Value) -> ir.Value:
    """Of what is not negative: log(a) + log(1 + √(1 + 1/a²)), and a series up to 1/2."""
    one = b.constant(1.0)
    large = b.op("Max", size, b.constant(_SMALL))
    inverse = b.op("Reciprocal", large)
    root = b.op("Sqrt", b.op("Add", b.op("Mul", inverse, inverse), one))
    logs = b.op("Add", b.op("Log", large), b.op("Log", b.op("Add", root, one)))
    small = _odd(b, clip(b, size, 0.0, _SMALL), _ASINH)
    return _joined(b, size, small, logs)


def asinh(node: ir.Node, b: Builder) -> Sequence[ir.Value]:
    """Of |x|, with the sign of x; 1e-5 off."""
    x = x_of(node)
    return [b.op("Mul", _asinh(b, b.op("Abs", x)), b.op("Sign", x))]


def acosh(node: ir.Node, b: Builder) -> Sequence[ir.Value]:
    """asinh(√(x - 1) · √(x + 1)); 1e-5 off."""
    x, one = x_of(node), b.constant(1.0)
    roots = [b.op("Sqrt", b.op(op, x, one)) for op in ("Sub", "Add")]
    return [_asinh(b, b.op("Mul", *roots))]


def atanh(node: ir.Node, b: Builder) -> Sequence[ir.Value]:
    """sign(x) · ½ · (log(1 + |x|) - log(1 - |x|)), and a series up to 1/2; 6e-5 off."""
    x, one = x_of(node), b.constant(1.0)
    size = b.op("Abs", x)
    large = b.op("Max", size, b.constant(_SMALL))
    logs = [b.op("Log", b.op(op, one, large)) for op in ("Add", "Sub")]
    half = b.op("Mul", b.op("Sub", *logs), b.constant(0.5))
    small = _odd(b, clip(b, size, 0.0, _SMALL), _ATANH)
    return [b.op("Mul", _joined(b, size, small, half), b.op("Sign", x))]


RULES: Final[Mapping[str, Rule]] = {
    "Acos": acos,
    "Acosh": acosh,
    "Asin": asin,
    "Asinh": asinh,
    "Atan": atan,
    "Atanh": atanh,
    "Cos": cos,
    "Cosh": cosh,
    "Sin": sin,
    "Sinh": sinh,
    "Tan": tan,
}
