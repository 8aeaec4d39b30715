"""Reductions to a tensor without axes, which the Myriad compiler has no constant shape for.

`(x - x.min()) / (x.max() - x.min())` has them. They become vectors of one element, wherever all that
is computed of them broadcasts to the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import onnx_ir as ir

from converter.graph.rewrite import Builder, Rule, int_attribute, static_shape

_REDUCTIONS: Final = (
    *("ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax", "ReduceMean"),
    *("ReduceMin", "ReduceProd", "ReduceSum", "ReduceSumSquare"),
)
# Element by element: one axis of one element more changes no number, only a scalar's own shape.
_ELEMENTWISE: Final = frozenset(
    {
        *("Abs", "Add", "Cast", "Ceil", "Div", "Equal", "Erf", "Exp", "Floor", "Greater", "Identity"),
        *("Less", "Log", "Max", "Mean", "Min", "Mul", "Neg", "Pow", "Reciprocal", "Relu", "Round"),
        *("Sigmoid", "Sqrt", "Sub", "Sum", "Tanh", "Where"),
    }
)
_RESHAPES: Final = frozenset({"Reshape", "Expand"})


def reduce_all(node: ir.Node, b: Builder) -> Sequence[ir.Value] | None:
    """Keep the axes, then make one of them."""
    x, result = node.inputs[0], node.outputs[0]
    if x is None or int_attribute(node, "keepdims", 1) or static_shape(result) != ():
        return None
    changed = list(_scalars_of(result))
    if static_shape(x) == () or None in changed:
        return None
    for value in changed:
        if value is not None:
            value.shape = ir.Shape((1,))
    vector = b.op("Reshape", b.op(node.op_type, x, keepdims=1), b.ints(1))
    vector.shape = ir.Shape((1,))
    return [vector]


def _scalars_of(value: ir.Value) -> Iterator[ir.Value | None]:
    """What is a scalar because a value is one; with a None if one has to stay so."""
    if value.is_graph_output():
        yield None
    for reader, index in value.uses():
        if reader.op_type in _RESHAPES and index == 0:
            continue
        if reader.op_type not in _ELEMENTWISE:
            yield None
        elif static_shape(reader.outputs[0]) == ():
            yield reader.outputs[0]
            yield from _scalars_of(reader.outputs[0])
        elif static_shape(reader.outputs[0]) is None:
            yield None


RULES: Final[Mapping[str, Rule]] = dict.fromkeys(_REDUCTIONS, reduce_all)
