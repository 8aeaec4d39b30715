"""Nodes that only copy: removed, or replaced by a computation where two outputs would become one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import onnx_ir as ir
from onnx_ir.passes import common

from converter.errors import ModelError
from converter.graph.moves import source_behind
from converter.graph.rewrite import (
    Builder,
    Rewrite,
    Rule,
    array_of,
    float_attribute,
    input_of,
    int_attribute,
    replace,
)

# With one input these operators only copy it.
_VARIADIC: Final = ("Max", "Mean", "Min", "Sum")
_REDUCTIONS: Final = (
    *("L1", "L2", "LogSum", "LogSumExp", "Max", "Mean", "Min", "Prod", "Sum", "SumSquare"),
)
# Factors that float16 does not tell from 1.
_COPIES: Final = ("Identity",)
_SAME: Final = 2.0**-12


def settle_copies(model: ir.Model) -> ir.Model:
    """Remove nodes that copy; an output that copies an input or an output is computed instead.

    A compiler keeps one name of a tensor that has two, and the other output is gone.
    """
    model = Rewrite(_RULES)(model).model
    _part_equal_outputs(model)
    return common.IdentityEliminationPass()(model).model


def _of_one_input(node: ir.Node, b: Builder) -> Sequence[ir.Value] | None:
    return [b.op("Identity", node.inputs[0])] if len(node.inputs) == 1 else None


def _dropout(node: ir.Node, b: Builder) -> Sequence[ir.Value] | None:
    """At inference it keeps all values, and its mask says so."""
    x = node.inputs[0]
    training = input_of(node, 2)
    if x is None or (training is not None and (array_of(training) is None or array_of(training))):
        return None
    kept = [b.op("Identity", x)]
    if any(out.uses() or out.is_graph_output() for out in node.outputs[1:]):
        zero = b.op("Sub", x, x)
        kept.append(b.op("Equal", zero, zero))
    return kept


def _cast(node: ir.Node, b: Builder) -> Sequence[ir.Value] | None:
    value = node.inputs[0]
    if value is None or value.dtype is None or value.dtype != int_attribute(node, "to", 0):
        return None
    return [b.op("Identity", value)]


def _batch_normalization(node: ir.Node, b: Builder) -> Sequence[ir.Value] | None:
    """Of mean 0 and variance 1, scaled by 1: the Myriad compiler removes it, and its output's name."""
    x, parameters = node.inputs[0], [array_of(input_of(node, index)) for index in range(1, 5)]
    scale, bias, mean, variance = parameters
    if scale is None or bias is None or mean is None or variance is None or len(node.outputs) > 1:
        return None
    factor = scale / np.sqrt(variance + np.float32(float_attribute(node, "epsilon", 1e-5)))
    same = (np.abs(factor - 1) < _SAME).all() and not (bias - mean * factor).any()
    return [b.op("Identity", x)] if same else None


def _reduction(node: ir.Node, b: Builder) -> Sequence[ir.Value] | None:
    """Over no axes, with `noop_with_empty_axes`: what is left of it for each element."""
    x, axes = node.inputs[0], array_of(input_of(node, 1))
    empty = axes.size == 0 if axes is not None else input_of(node, 1) is None
    if not empty or not int_attribute(node, "noop_with_empty_axes", 0):
        return None
    match node.op_type:
        case "ReduceL1" | "ReduceL2":
            return [b.op("Abs", x)]
        case "ReduceLogSum":
            return [b.op("Log", x)]
        case "ReduceSumSquare":
            return [b.op("Mul", x, x)]
    return [b.op("Identity", x)]


_RULES: Final[dict[str, Rule]] = {
    **{f"Reduce{kind}": _reduction for kind in _REDUCTIONS},
    "BatchNormalization": _batch_normalization,
    **dict.fromkeys(_VARIADIC, _of_one_input),
    "Cast": _cast,
    "Dropout": _dropout,
    "Optional": _of_one_input,
    "OptionalGetElement": _of_one_input,
}


def _part_equal_outputs(model: ir.Model) -> None:
    """Let one output of each tensor keep its name, and compute the others.

    They are multiplied by one, for compilers remove a reshape that changes nothing. Compilers do not
    multiply integers and booleans: the node that made those is repeated.
    """
    graph = model.graph
    taken = {
        id(value) for value in (*graph.inputs, *graph.outputs) if source_behind(value, _COPIES) is value
    }
    copies = [
        (node, source_behind(node.outputs[0], _COPIES))
        for node in graph
        if node.op_type == "Identity" and node.outputs[0].is_graph_output()
    ]
    for node, origin in copies:
        if id(origin) in taken:
            builder = Builder(graph, node.name or "output")
            replace(graph, node, builder, [_again(origin, node.outputs[0], builder)])
        taken.add(id(origin))


def _again(origin: ir.Value, output: ir.Value, b: Builder) -> ir.Value:
    dtype = output.dtype or origin.dtype or ir.DataType.FLOAT
    if dtype.is_floating_point():
        return b.op("Mul", origin, b.constant(1, dtype.numpy()))
    maker = origin.producer()
    if maker is None:
        raise ModelError(
            f"output {output.name!r} is a copy of {origin.name!r}, of type {dtype.numpy().name}: "
            "no compiler keeps both.",
            remedy="Leave it out of the model.",
        )
    return b.again(maker, *maker.inputs)[maker.outputs.index(origin)]
