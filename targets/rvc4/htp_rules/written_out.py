"""Activation functions that exporters write out, as operators: fewer tensors to quantize."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final

import onnx_ir as ir

from converter.graph.rewrite import Builder, Rule, array_of, input_of, static_shape

# HardSwish is of this opset.
_OPSET: Final = 14
_SIXTH: Final = 1 / 6


def hard_swish(node: ir.Node, b: Builder) -> Sequence[ir.Value] | None:
    """X · min(max(x + 3, 0), 6) / 6, the factors in any order, is HardSwish(x)."""
    if b.graph.opset_imports.get("", 0) < _OPSET:
        return None
    computed, number = _factors(node.outputs[0], node)
    if len(computed) != 2 or not math.isclose(number, _SIXTH, rel_tol=1e-4):
        return None
    for x, gate in (computed, computed[::-1]):
        if _gated(gate) is x and static_shape(x) == static_shape(node.outputs[0]):
            return [b.op("HardSwish", x)]
    return None


def sigmoid(node: ir.Node, b: Builder) -> Sequence[ir.Value] | None:
    """A / (1 + exp(-x)) as a · Sigmoid(x), 1 / (1 + exp(-x)) as Sigmoid(x)."""
    divisor = node.inputs[-1]
    add = _made(divisor, "Add")
    if add is None:
        return None
    for one, other in (add.inputs, add.inputs[::-1]):
        power = _made(other, "Exp")
        negated = _made(power.inputs[0], "Neg") if power is not None else None
        if negated is None or _number(one) != 1:
            continue
        if static_shape(negated.inputs[0]) != static_shape(divisor):
            return None
        gate = b.op("Sigmoid", negated.inputs[0])
        if node.op_type == "Reciprocal" or _is_one(node):
            return [gate]
        return [b.op("Mul", node.inputs[0], gate)]
    return None


def _is_one(node: ir.Node) -> bool:
    """Whether what is divided is the number 1, which gives the quotient no more axes."""
    return _number(node.inputs[0]) == 1 and static_shape(node.inputs[1]) == static_shape(
        node.outputs[0]
    )


def quotient(node: ir.Node, b: Builder) -> Sequence[ir.Value] | None:
    """A quotient that is the end of an activation function."""
    return hard_swish(node, b) or sigmoid(node, b)


def _factors(value: ir.Value | None, last: ir.Node) -> tuple[list[ir.Value], float]:
    """The computed factors of a product and its numbers, multiplied.

    Args:
        last: The node that ends the product; others are part of it where nothing else reads them.
    """
    number = _number(value)
    if value is None or number is not None:
        return [], 1.0 if number is None else number
    made = value.producer()
    read_once = len(list(value.uses())) == 1 and not value.is_graph_output()
    if made is None or made.op_type not in ("Mul", "Div") or not (made is last or read_once):
        return [value], 1.0
    if made.op_type == "Div":
        divisor = _number(made.inputs[1])
        if not divisor:
            return [value], 1.0
        computed, number = _factors(made.inputs[0], last)
        return computed, number / divisor
    (first, one), (second, other) = (_factors(item, last) for item in made.inputs)
    return [*first, *second], one * other


def _gated(value: ir.Value) -> ir.Value | None:
    """The x of min(max(x + 3, 0), 6); None of anything else."""
    clip = _made(value, "Clip")
    if clip is None or (_number(input_of(clip, 1)), _number(input_of(clip, 2))) != (0, 6):
        return None
    add = _made(clip.inputs[0], "Add")
    if add is None:
        return None
    for one, other in (add.inputs, add.inputs[::-1]):
        if _number(one) == 3:
            return other
    return None


def _made(value: ir.Value | None, operator: str) -> ir.Node | None:
    """The node that makes a value, if it is of that operator."""
    node = value.producer() if value is not None else None
    return node if node is not None and node.op_type == operator else None


def _number(value: ir.Value | None) -> float | None:
    """A constant of one number that gives nothing more axes; None for anything else."""
    array = array_of(value)
    if array is None or array.size != 1 or array.dtype.kind != "f":
        return None
    return float(array.item())


RULES: Final[Mapping[str, Rule]] = {"Div": quotient, "Mul": hard_swish, "Reciprocal": sigmoid}
