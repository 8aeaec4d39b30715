"""Rewrites around what the QNN tools refuse or compute wrongly.

Each was seen on QAIRT 2.51 (`onnxruntime-qnn` 2.7.0) and has a test that fails without it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import onnx_ir as ir

from converter.graph.decompose import hard_sigmoid
from converter.graph.rewrite import (
    Builder,
    Rule,
    array_of,
    float_attribute,
    input_of,
    static_shape,
    text_attribute,
)

_SIXTH: Final = 1 / 6


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


def erf(node: ir.Node, b: Builder) -> Sequence[ir.Value] | None:
    """Erf x ≈ tanh(2/√π · (x + 11/123 x³)), at most 3.6e-4 off; not inside a GELU, which QNN knows."""
    if _gelu_around(node):
        return None
    x = node.inputs[0]
    cube = b.op("Mul", b.op("Mul", x, x), x)
    inner = b.op("Add", x, b.op("Mul", cube, b.constant(11 / 123)))
    return [b.op("Tanh", b.op("Mul", inner, b.constant(2 / math.sqrt(math.pi))))]


def _gelu_around(node: ir.Node) -> bool:
    """Whether the Erf is that of 0.5 · x · (1 + erf(x / √2)), as exporters write it."""
    users = [user for user, _ in node.outputs[0].uses()]
    if len(users) != 1 or users[0].op_type != "Add":
        return False
    return any(user.op_type == "Mul" for user, _ in users[0].outputs[0].uses())


def edge_pad(node: ir.Node, b: Builder) -> Sequence[ir.Value] | None:
    """Padding by the border's own values, as slices that are put beside: the HTP pads with others."""
    shape, pads = static_shape(node.inputs[0]), array_of(input_of(node, 1))
    if text_attribute(node, "mode", "constant") != "edge" or shape is None or pads is None:
        return None
    given = array_of(input_of(node, 3))
    axes = range(len(shape)) if given is None else [int(axis) % len(shape) for axis in given.ravel()]
    before, after = np.split(pads.astype(int).ravel(), 2)
    if (pads < 0).any():
        return None
    x = node.inputs[0]
    assert x is not None
    for axis, first, last in zip(axes, before, after, strict=True):
        if not (first or last):
            continue
        start = b.op("Slice", x, b.ints(0), b.ints(1), b.ints(axis))
        end = b.op("Slice", x, b.ints(shape[axis] - 1), b.ints(shape[axis]), b.ints(axis))
        x = b.op("Concat", *[start] * int(first), x, *[end] * int(last), axis=axis)
    return [x]


# A HardSigmoid by itself is left as it is; with an alpha that no HardSwish has it is written out.
def lone_hard_sigmoid(node: ir.Node, b: Builder) -> Sequence[ir.Value] | None:
    """Max(0, min(1, alpha · x + beta)) where it gates its own input: no pair that could be mistaken."""
    x = node.inputs[0]
    users = [user for user, _ in node.outputs[0].uses()]
    if any(user.op_type == "Mul" and x in user.inputs for user in users):
        return hard_sigmoid(node, b)
    return None


RULES: Final[Mapping[str, Rule]] = {"Erf": erf, "Mul": hard_swish, "Pad": edge_pad}
LATER_RULES: Final[Mapping[str, Rule]] = {"HardSigmoid": lone_hard_sigmoid}


class UnshareWeights(ir.passes.InPlacePass):
    """Give every node weights of its own: a shared one is a standalone node to the quantizer."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Copy initializers of floats that several nodes read; the content stays one in memory."""
        graph, modified = model.graph, False
        for value in list(graph.initializers.values()):
            if value.dtype != ir.DataType.FLOAT or value.const_value is None:
                continue
            for index, (node, place) in enumerate(list(value.uses())[1:], 1):
                copy = ir.Value(
                    name=f"{value.name}/use.{index}",
                    shape=value.shape,
                    type=value.type,
                    const_value=value.const_value,
                )
                graph.register_initializer(copy)
                node.replace_input_with(place, copy)
                modified = True
        return ir.passes.PassResult(model, modified)
