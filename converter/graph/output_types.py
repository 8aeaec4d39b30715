"""Outputs in an element type that a compiler can write."""

from __future__ import annotations

from collections.abc import Collection

import onnx_ir as ir

from converter.graph.rewrite import Builder


def cast_outputs(model: ir.Model, kinds: Collection[ir.DataType], to: ir.DataType) -> None:
    """Cast the outputs of some element types; the result has the output's name."""
    graph = model.graph
    for index, value in enumerate(graph.outputs):
        node = value.producer()
        if node is None or value.dtype not in kinds:
            continue
        builder = Builder(graph, node.name or node.op_type)
        cast = builder.op("Cast", value, to=int(to))
        cast.dtype, cast.shape = to, value.shape
        cast.name, value.name = value.name, f"{value.name}/whole"
        graph.extend(builder.nodes)
        graph.outputs[index] = cast
