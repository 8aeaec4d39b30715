"""Outputs in an element type that a compiler can write."""

from __future__ import annotations

from collections.abc import Collection

import onnx_ir as ir

from converter.graph.rewrite import Builder


def cast_outputs(model: ir.Model, kinds: Collection[str], to: ir.DataType) -> None:
    """Cast the outputs of some element types; the result has the output's name.

    A Cast at the end that nothing else reads casts to int32 instead, where that is asked for.

    Args:
        kinds: By ONNX's names.
    """
    graph = model.graph
    for index, value in enumerate(graph.outputs):
        node = value.producer()
        if node is None or value.dtype is None or value.dtype.name not in kinds:
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
