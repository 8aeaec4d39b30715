"""Activation functions, written with simpler ones."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final

import onnx_ir as ir

from converter.graph.rewrite import Builder, Rule, float_attribute, text_attribute
from converter.graph.rules.common import clip, x_of


def hard_sigmoid(node: ir.Node, b: Builder) -> Sequence[ir.Value]:
    """max(0, min(1, alpha * x + beta))."""
    alpha, beta = float_attribute(node, "alpha", 0.2), float_attribute(node, "beta", 0.5)
    scaled = b.op("Mul", x_of(node), b.constant(alpha))
    return [clip(b, b.op("Add", scaled, b.constant(beta)), 0.0, 1.0)]


def hard_swish(node: ir.Node, b: Builder) -> Sequence[ir.Value]:
    """X * max(0, min(6, x + 3)) / 6."""
    clipped = clip(b, b.op("Add", x_of(node), b.constant(3.0)), 0.0, 6.0)
    return [b.op("Mul", b.op("Mul", x_of(node), clipped), b.constant(1 / 6))]


def gelu(node: ir.Node, b: Builder) -> Sequence[ir.Value]:
    """0.5 * x * (1 + erf(x / sqrt 2)), or the tanh approximation if the node asks for it."""
    x = x_of(node)
    if text_attribute(node, "approximate", "none") == "tanh":
        cube = b.op("Mul", b.op("Mul", x, x), x)
        inner = b.op("Add", x, b.op("Mul", cube, b.constant(0.044715)))
        gate = b.op("Tanh", b.op("Mul", inner, b.constant(math.sqrt(2 / math.pi))))
    else:
        gate = b.op("Erf", b.op("Mul", x, b.constant(math.sqrt(0.5))))
    return [b.op("Mul", b.op("Mul", x, b.op("Add", gate, b.constant(1.0))), b.constant(0.5))]


def mish(node: ir.Node, b: Builder) -> Sequence[ir.Value]:
    """X * tanh(softplus(x))."""
    return [b.op("Mul", x_of(node), b.op("Tanh", b.op("Softplus", x_of(node))))]


def swish(node: ir.Node, b: Builder) -> Sequence[ir.Value]:
    """X * sigmoid(alpha * x)."""
    alpha = float_attribute(node, "alpha", 1.0)
    scaled = x_of(node) if alpha == 1.0 else b.op("Mul", x_of(node), b.constant(alpha))
    return [b.op("Mul", x_of(node), b.op("Sigmoid", scaled))]


def selu(node: ir.Node, b: Builder) -> Sequence[ir.Value]:
    """Gamma * elu(x, alpha)."""
    alpha = float_attribute(node, "alpha", 1.67326319217681884765625)
    gamma = float_attribute(node, "gamma", 1.05070102214813232421875)
    return [b.op("Mul", b.op("Elu", x_of(node), alpha=alpha), b.constant(gamma))]


def celu(node: ir.Node, b: Builder) -> Sequence[ir.Value]:
    """Alpha * elu(x / alpha)."""
    alpha = float_attribute(node, "alpha", 1.0)
    inner = b.op("Elu", b.op("Mul", x_of(node), b.constant(1 / alpha)), alpha=1.0)
    return [b.op("Mul", inner, b.constant(alpha))]


def thresholded_relu(node: ir.Node, b: Builder) -> Sequence[ir.Value]:
    """X where x > alpha, else 0."""
    above = b.op("Greater", x_of(node), b.constant(float_attribute(node, "alpha", 1.0)))
    return [b.op("Mul", x_of(node), b.op("Cast", above, to=int(ir.DataType.FLOAT)))]


def shrink(node: ir.Node, b: Builder) -> Sequence[ir.Value]:
    """X + bias below -lambd, x - bias above lambd, 0 between; as a difference of two ramps."""
    lambd, bias = float_attribute(node, "lambd", 0.5), float_attribute(node, "bias", 0.0)
    x = x_of(node)
    parts = []
    for compare, limit, shift in (("Greater", lambd, -bias), ("Less", -lambd, bias)):
        gate = b.op("Cast", b.op(compare, x, b.constant(limit)), to=int(ir.DataType.FLOAT))
        parts.append(b.op("Mul", b.op("Add", x, b.constant(shift)), gate))
    return [b.op("Add", *parts)]


def softsign(node: ir.Node, b: Builder) -> Sequence[ir.Value]:
    """X / (1 + |x|)."""
    return [b.op("Div", x_of(node), b.op("Add", b.op("Abs", x_of(node)), b.constant(1.0)))]


RULES: Final[Mapping[str, Rule]] = {
    "Celu": celu,
    "Gelu": gelu,
    "HardSigmoid": hard_sigmoid,
    "HardSwish": hard_swish,
    "Mish": mish,
    "Selu": selu,
    "Shrink": shrink,
    "Softsign": softsign,
    "Swish": swish,
    "ThresholdedRelu": thresholded_relu,
}
