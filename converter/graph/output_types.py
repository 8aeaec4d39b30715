"""Outputs in an element type that a compiler can write."""

from __future__ import annotations

from collections.abc import Collection

import onnx_ir as ir

from converter.graph.rewrite import Builder, array_of


def cast_outputs(model: ir.Model, kinds: Collection[str], to: ir.DataType) -> None:
    """Cast the outputs of some element types; the result has the output's name.

    A Cast at the end that nothing else reads casts to int32 instead, where that is asked for.

    Args:
        kinds: By ONNX's names.
    """
    graph = model.graph
    for index, value in enumerate(graph.outputs):
        node = value.producer()
        if value.dtype is None or value.dtype.name not in kinds:
            continue
        if node is None:
            graph.outputs[index] = _constant(graph, value, to)
            continue
        if node.op_type == "Cast" and not value.uses() and to == ir.DataType.INT32:
            node.attributes["to"] = ir.AttrInt64("to", int(to))
            value.dtype = to
            continue
        builder = Builder(graph, node.name or node.op_type)
        cast = builder.op("Cast", value, to=int(to))
        cast.dtype, cast.shape = to, value.shape
        cast.name, value.name = value.name, f"{value.name}/whole"
        graph.extend(builder.nodes)
        graph.outputs[index] = cast


def _constant(graph: ir.Graph, value: ir.Value, to: ir.DataType) -> ir.Value:
    """The constant in another type, and under its name; who computes with it keeps the old one."""
    array = array_of(value)
    if array is None:
        return value
    name = str(value.name)
    graph.initializers.pop(name)
    if value.uses():
        value.name = f"{name}/whole"
        graph.register_initializer(value)
    cast = ir.Value(name=name, type=ir.TensorType(to), shape=value.shape)
    cast.const_value = ir.Tensor(array.astype(to.numpy()), name=name)
    graph.register_initializer(cast)
    return cast
