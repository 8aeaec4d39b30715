"""Tensors without axes, for which the Myriad compiler has no constant shape, and a tensor's maximum.

`(x - x.min()) / (x.max() - x.min())` has both. A scalar becomes a vector of one element, if everything
that is computed from it broadcasts to the same.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final

import onnx_ir as ir

from converter.errors import ModelError, from_findings
from converter.findings import Finding
from converter.graph.rewrite import Builder, Rule, static_shape

_REDUCTIONS: Final = (
    *("ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax", "ReduceMean"),
    *("ReduceMin", "ReduceProd", "ReduceSum", "ReduceSumSquare"),
)
# Element by element: one axis of one element more changes no number, only a scalar's own shape.
_ELEMENTWISE: Final = frozenset(
    {
        *("Abs", "Add", "And", "Cast", "Ceil", "Cos", "Div", "Elu", "Equal", "Erf", "Exp", "Floor"),
        *("Greater", "GreaterOrEqual", "HardSigmoid", "Identity", "LeakyRelu", "Less", "LessOrEqual"),
        *("Log", "Max", "Mean", "Min", "Mul", "Neg", "Not", "Or", "Pow", "Reciprocal", "Relu"),
        *("Round", "Sigmoid", "Sign", "Sin", "Softplus", "Sqrt", "Sub", "Sum", "Tanh", "Where"),
    }
)
_RESHAPES: Final = frozenset({"Expand", "Reshape"})


def as_reshape(node: ir.Node, b: Builder) -> Sequence[ir.Value] | None:
    """A reshape instead of an unsqueeze of a scalar: it does not need the scalar's axes."""
    shape = static_shape(node.outputs[0])
    if static_shape(node.inputs[0]) != () or not shape:
        return None
    return [b.op("Reshape", node.inputs[0], b.ints(*shape))]


def largest_of_all(node: ir.Node, b: Builder) -> Sequence[ir.Value] | None:
    """max(x) = -min(-x): the compiler finds no memory for the first one over a whole frame."""
    x, result = static_shape(node.inputs[0]), static_shape(node.outputs[0])
    if x is None or result is None or math.prod(x) == 1 or math.prod(result) != 1:
        return None
    negative = b.op("Neg", node.inputs[0])
    (smallest,) = b.again(node, negative, *node.inputs[1:], op_type="ReduceMin")
    smallest.shape = ir.Shape(result)
    return [b.op("Neg", smallest)]


def reduce_all(node: ir.Node, b: Builder) -> Sequence[ir.Value] | None:
    """Keep the axes, then reshape them to one."""
    x, result = node.inputs[0], node.outputs[0]
    if x is None or static_shape(result) != () or static_shape(x) == ():
        return None
    changed = _scalars_of(result)
    if changed is None:
        return None
    for value in changed:
        value.shape = ir.Shape((1,))
    vector = b.op("Reshape", b.op(node.op_type, x, keepdims=1), b.ints(1))
    vector.shape = ir.Shape((1,))
    return [vector]


def _scalars_of(value: ir.Value) -> list[ir.Value] | None:
    """The values that are scalars because this one is; None if one of them must stay a scalar."""
    found = {value.name: value}
    waiting = [value]
    while waiting:
        value = waiting.pop()
        if value.is_graph_output():
            return None
        for reader, index in value.uses():
            given, op_type = reader.outputs[0], reader.op_type
            if op_type in _RESHAPES and index == 0:
                continue
            takes_it = op_type in _ELEMENTWISE or (op_type == "Clip" and index == 0)
            if not takes_it or static_shape(given) is None:
                return None
            if static_shape(given) == () and given.name not in found:
                found[given.name] = given
                waiting.append(given)
    return list(found.values())


def refuse_scalars(model: ir.Model) -> None:
    """Refuse scalars on which the compiler would fail.

    Raises:
        ModelError: It has a finding for each output and reduction that is a scalar.
    """
    found = [
        _scalar(value.name or "", "is a scalar; Myriad X has no scalar outputs.")
        for value in model.graph.outputs
        if static_shape(value) == ()
    ]
    for node in model.graph:
        value = node.outputs[0]
        if node.op_type in _REDUCTIONS and static_shape(value) == () and not value.is_graph_output():
            readers = ", ".join(sorted({reader.op_type for reader, _ in value.uses()}))
            message = f"{node.op_type} gives a scalar to {readers}, which Myriad X cannot compute."
            found.append(_scalar(node.name or value.name or node.op_type, message))
    if found:
        raise from_findings(ModelError, "The model", found)


def _scalar(where: str, message: str) -> Finding:
    return Finding(
        code="rvc2.scalar", where=where, message=message, remedy="Keep an axis (keepdims=1)."
    )


FIRST_RULES: Final[Mapping[str, Rule]] = {"ReduceMax": largest_of_all, "Unsqueeze": as_reshape}
RULES: Final[Mapping[str, Rule]] = dict.fromkeys(_REDUCTIONS, reduce_all)
