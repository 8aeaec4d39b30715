"""Activation functions, written with simpler ones."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final

import onnx_ir as ir

from converter.graph.rewrite import (
    Builder,
    Rule,
    array_of,
    float_attribute,
    int_attribute,
    static_shape,
    text_attribute,
)
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


def p_relu(node: ir.Node, b: Builder) -> Sequence[ir.Value] | None:
    """max(x, 0) + slope · min(x, 0).

    The Myriad compiler takes a constant slope of one value, or one for each channel of an image or of
    a matrix; it takes the values of any other shape for that. Relu, Neg and Sub it fuses back.
    """
    x, slope = x_of(node), node.inputs[1]
    shape, values = static_shape(x), array_of(slope)
    if values is not None and values.size == 1:
        return None
    if shape is not None and values is not None and len(shape) in (2, 4):
        wide = (1,) * (len(shape) - values.ndim) + values.shape
        if wide == (1, shape[1], *[1] * (len(shape) - 2)):
            return None
    above, below = b.op("Max", x, b.constant(0.0)), b.op("Min", x, b.constant(0.0))
    return [b.op("Add", above, b.op("Mul", below, slope))]


def softmax(node: ir.Node, b: Builder) -> Sequence[ir.Value] | None:
    """Before opset 13, of all axes from `axis` on at once: of the last axis of a matrix.

    OpenVINO reads it as that of one axis.
    """
    shape = static_shape(x_of(node))
    if shape is None or b.graph.opset_imports.get("", 0) >= 13:
        return None
    axis = int_attribute(node, "axis", 1) % max(len(shape), 1)
    if axis == len(shape) - 1:
        return None
    rows = b.op("Reshape", x_of(node), b.ints(math.prod(shape[:axis]), math.prod(shape[axis:])))
    return [b.op("Reshape", b.op(node.op_type, rows, axis=1), b.ints(*shape))]


RULES: Final[Mapping[str, Rule]] = {
    "Celu": celu,
    "Gelu": gelu,
    "HardSigmoid": hard_sigmoid,
    "HardSwish": hard_swish,
    "Hardmax": softmax,
    "LogSoftmax": softmax,
    "Mish": mish,
    "PRelu": p_relu,
    "Selu": selu,
    "Shrink": shrink,
    "Softmax": softmax,
    "Softsign": softsign,
    "Swish": swish,
    "ThresholdedRelu": thresholded_relu,
}
