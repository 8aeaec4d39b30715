"""Outputs of whole numbers, in a form that the Myriad compiler can write."""

from __future__ import annotations

from typing import Final

import onnx_ir as ir

from converter.graph.rewrite import Builder

_WHOLE: Final = (ir.DataType.INT32, ir.DataType.INT64, ir.DataType.BOOL)


def whole_numbers_as_floats(model: ir.Model) -> None:
    """Make outputs of whole numbers and of booleans float32, under the output's name.

    The compiler has them in float16 there, but requires S32; it converts a tensor that is cast.
    """
    graph = model.graph
    for index, value in enumerate(graph.outputs):
        node = value.producer()
        if node is None or value.dtype not in _WHOLE:
            continue
        builder = Builder(graph, node.name or node.op_type)
        number = builder.op("Cast", value, to=int(ir.DataType.FLOAT))
        number.dtype, number.shape = ir.DataType.FLOAT, value.shape
        number.name, value.name = value.name, f"{value.name}/whole"
        graph.extend(builder.nodes)
        graph.outputs[index] = number
