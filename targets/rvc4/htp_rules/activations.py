"""Activation functions in the forms that the HTP computes rightly."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import onnx_ir as ir

from converter.graph.moves import MOVES
from converter.graph.rewrite import Builder, array_of, float_attribute, int_attribute, static_shape
from converter.graph.rules.activations import hard_sigmoid
from converter.graph.rules.common import x_of
from converter.graph.rules.forms import reduced

_SIXTH: Final = 1 / 6
_LEAST: Final = -17.0  # e to this is below float16's smallest number
_FLAT: Final = 3.5
GELU_OPSET: Final = 20


def hard_swish(node: ir.Node, b: Builder) -> Sequence[ir.Value] | None:
    """X · HardSigmoid(x) with alpha 1/6 and beta 1/2 is HardSwish(x).

    In float16 the HTP takes the pair for x · HardSwish(x).
    """
    for gate, x in ((node.inputs[0], node.inputs[1]), (node.inputs[1], node.inputs[0])):
        made = gate.producer() if gate is not None else None
        if made is None or made.op_type != "HardSigmoid" or made.inputs[0] is not x:
            continue
        alpha, beta = float_attribute(made, "alpha", 0.2), float_attribute(made, "beta", 0.5)
        if math.isclose(alpha, _SIXTH, rel_tol=1e-3) and math.isclose(beta, 0.5, rel_tol=1e-6):
            return [b.op("HardSwish", x)]
    return None


def exponential(node: ir.Node, b: Builder) -> Sequence[ir.Value] | None:
    """Exp(max(x, -17)), which is 0 in float16; the HTP's own is wrong for x far below that."""
    x = node.inputs[0]
    made = x.producer() if x is not None else None
    if made is not None and made.op_type == "Max" and any(_is_close(v, _LEAST) for v in made.inputs):
        return None
    return [b.op("Exp", b.op("Max", x, b.constant(_LEAST)))]


def soft_plus(node: ir.Node, b: Builder) -> Sequence[ir.Value]:
    """Max(x, 0) + log(1 + exp(-|x|)); the HTP's own overflows in float16 where x is above 11."""
    x = node.inputs[0]
    small = b.op("Exp", b.op("Neg", b.op("Abs", x)))
    return [b.op("Add", b.op("Relu", x), b.op("Log", b.op("Add", small, b.constant(1.0))))]


def soft_plus_by_sigmoid(node: ir.Node, b: Builder) -> Sequence[ir.Value]:
    """Max(x, 0) + 2 artanh u with u = sigmoid(-|x| - ln 2), at most 1/3; at most 1.2e-5 off.

    It is log(1 + exp(-|x|)) = 2 artanh(e / (2 + e)) of e = exp(-|x|), and the series of the inverse
    hyperbolic tangent, u + u³/3 + u⁵/5 + u⁷/7. In 16 bits the HTP's own Softplus was off by 0.42 of
    what a detector's sides were, and `soft_plus` by 0.45 (QAIRT 2.51.0, its emulator).
    """
    x = x_of(node)
    u = b.op("Sigmoid", b.op("Sub", b.constant(-math.log(2.0)), b.op("Abs", x)))
    square = b.op("Mul", u, u)
    series = b.op("Mul", square, b.constant(2.0 / 7.0))
    for divisor in (5.0, 3.0):
        series = b.op("Mul", square, b.op("Add", series, b.constant(2.0 / divisor)))
    return [b.op("Add", b.op("Relu", x), b.op("Mul", u, b.op("Add", series, b.constant(2.0))))]


def output_sigmoid(node: ir.Node, b: Builder) -> Sequence[ir.Value] | None:
    """E^min(x, 0) / (1 + e^-|x|) is Sigmoid(x), here where the network gives it out.

    The HTP's own has steps of 1/2048 in float16: a score of 0.0003 comes out as 0.0005 or 0. Gates
    inside a network lose nothing by that, and keep the faster operator.
    """
    if not _is_given_out(node.outputs[0]):
        return None
    x, one = node.inputs[0], b.constant(1.0)
    above = b.op("Exp", b.op("Min", x, b.constant(0.0)))
    return [b.op("Div", above, b.op("Add", b.op("Exp", b.op("Neg", b.op("Abs", x))), one))]


def _is_given_out(value: ir.Value) -> bool:
    """Whether a value is an output of the graph, or moves there."""
    if value.is_graph_output():
        return True
    return any(
        _is_given_out(output)
        for user, place in value.uses()
        if user.op_type == "Concat" or (user.op_type in MOVES and place == 0)
        for output in user.outputs
    )


def log_softmax(node: ir.Node, b: Builder) -> Sequence[ir.Value] | None:
    """X - max(x) - log(sum(exp(x - max(x)))) along the axis; before opset 13, from it on.

    The HTP takes the logarithm of a softmax that is 0 in float16 where x is 17 below the maximum.
    """
    shape = static_shape(node.inputs[0])
    if shape is None:
        return None
    old = b.graph.opset_imports.get("", 0) < 13
    axis = int_attribute(node, "axis", 1 if old else -1) % len(shape)
    axes = list(range(axis, len(shape))) if old else [axis]
    x = x_of(node)
    moved = b.op("Sub", x, reduced(b, "ReduceMax", x, axes, keepdims=True))
    total = reduced(b, "ReduceSum", b.op("Exp", moved), axes, keepdims=True)
    return [b.op("Sub", moved, b.op("Log", total))]


def erf(node: ir.Node, b: Builder) -> Sequence[ir.Value]:
    """Erf x ≈ tanh(2/√π · (x + 11/123 x³)), at most 3.6e-4 off; the HTP has no error function.

    Beyond ±3.5 both are ±1: the cube of what is far beyond would stretch the range of integer codes.
    """
    x = b.op("Clip", node.inputs[0], b.constant(-_FLAT), b.constant(_FLAT))
    cube = b.op("Mul", b.op("Mul", x, x), x)
    inner = b.op("Add", x, b.op("Mul", cube, b.constant(11 / 123)))
    return [b.op("Tanh", b.op("Mul", inner, b.constant(2 / math.sqrt(math.pi))))]


def gelu(node: ir.Node, b: Builder) -> Sequence[ir.Value] | None:
    """0.5 · x · (1 + erf(x / √2)), with the factors in any order, is Gelu(x)."""
    x = _gelu_of(node) if b.graph.opset_imports.get("", 0) >= GELU_OPSET else None
    return None if x is None else [b.op("Gelu", x)]


def has_gelu_pattern(model: ir.Model) -> bool:
    """Whether a graph writes a GELU out; the operator for it needs opset 20."""
    return any(node.op_type == "Mul" and _gelu_of(node) is not None for node in model.graph)


def _gelu_of(node: ir.Node) -> ir.Value | None:
    factors = _factors(node.inputs[0]) + _factors(node.inputs[1])
    if len(factors) != 3:
        return None
    halves = [value for value in factors if _is_close(value, 0.5)]
    gates = [value for value in factors if _erf_input(value) is not None]
    if len(halves) != 1 or len(gates) != 1:
        return None
    rest = next(value for value in factors if value not in (halves[0], gates[0]))
    return rest if _erf_input(gates[0]) is rest else None


def _factors(value: ir.Value | None) -> list[ir.Value]:
    """The factors of a product that is used once; any other value is its only factor."""
    made = value.producer() if value is not None else None
    if value is None:
        return []
    if made is None or made.op_type != "Mul" or len(list(value.uses())) != 1:
        return [value]
    return [factor for factor in made.inputs if factor is not None]


def _erf_input(value: ir.Value) -> ir.Value | None:
    """The x of 1 + erf(x / √2), None for anything else."""
    add = value.producer()
    if add is None or add.op_type != "Add" or not any(_is_close(item, 1.0) for item in add.inputs):
        return None
    for item in add.inputs:
        made = item.producer() if item is not None else None
        if made is None or made.op_type != "Erf" or made.inputs[0] is None:
            continue
        scaled = made.inputs[0].producer()
        if scaled is None:
            continue
        if scaled.op_type == "Div" and _is_close(scaled.inputs[1], math.sqrt(2)):
            return scaled.inputs[0]
        if scaled.op_type == "Mul":
            for one, other in (scaled.inputs, scaled.inputs[::-1]):
                if _is_close(one, math.sqrt(0.5)):
                    return other
    return None


def _is_close(value: ir.Value | None, number: float) -> bool:
    array = array_of(value)
    return array is not None and array.size == 1 and math.isclose(array.item(), number, rel_tol=1e-4)


def silu(node: ir.Node, b: Builder) -> Sequence[ir.Value] | None:
    """X · sigmoid(x) as x · max(sigmoid(x), 0), which is the same.

    With 16-bit activations the HTP fuses a convolution, the sigmoid and the product into something
    else (relative RMSE up to 1 on the emulator); a node in between keeps it from that.
    """
    for gate, x in ((node.inputs[0], node.inputs[1]), (node.inputs[1], node.inputs[0])):
        made = gate.producer() if gate is not None else None
        if made is not None and made.op_type == "Sigmoid" and made.inputs[0] is x:
            return [b.op("Mul", x, b.op("Max", gate, b.constant(0.0)))]
    return None


def product(node: ir.Node, b: Builder) -> Sequence[ir.Value] | None:
    """A product that is an activation function written out, as that function."""
    return hard_swish(node, b) or gelu(node, b)


def gating_hard_sigmoid(node: ir.Node, b: Builder) -> Sequence[ir.Value] | None:
    """Max(0, min(1, alpha · x + beta)) where it is multiplied by its input and is no HardSwish."""
    x = node.inputs[0]
    users = [user for user, _ in node.outputs[0].uses()]
    if any(user.op_type == "Mul" and x in user.inputs for user in users):
        return hard_sigmoid(node, b)
    return None


def reciprocal(node: ir.Node, b: Builder) -> Sequence[ir.Value] | None:
    """1 / x: of codes QNN's execution provider makes a Reciprocal whose result has no scale."""
    return [b.op("Div", b.constant(1.0), node.inputs[0])]


def p_relu(node: ir.Node, b: Builder) -> Sequence[ir.Value] | None:
    """Max(x, 0) + slope · min(x, 0): QNN cannot load its own with 16-bit activations."""
    x, zero = node.inputs[0], b.constant(0.0)
    below = b.op("Mul", b.op("Min", x, zero), node.inputs[1])
    return [b.op("Add", b.op("Max", x, zero), below)]
