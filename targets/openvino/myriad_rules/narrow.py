"""Whole numbers of few bits as those of 32: the Myriad compiler has no constants of the former."""

from __future__ import annotations

from typing import Final

import numpy as np
import onnx_ir as ir

from converter.graph.rewrite import Builder, array_of

_NARROW: Final = (
    *(ir.DataType.INT8, ir.DataType.INT16),
    *(ir.DataType.UINT8, ir.DataType.UINT16, ir.DataType.UINT32),
)
# What only moves bytes, or turns them into other numbers, the compiler has for uint8.
_MOVES: Final = frozenset(
    {"Cast", "Concat", "Flatten", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze"}
)
# They are about the bits themselves.
_OF_BITS: Final = ("BitShift", "BitwiseAnd", "BitwiseNot", "BitwiseOr", "BitwiseXor")


def widen(model: ir.Model) -> None:
    """Let narrow whole numbers be int32, in place; a graph that only moves uint8 stays as it is.

    Numbers that the narrow type has are the same; what would wrap around does not.
    """
    graph = model.graph
    read = {
        value.dtype
        for node in graph
        if node.op_type not in _MOVES
        for value in (*node.inputs, *node.outputs)
        if value is not None
    }
    casts = {ir.DataType(node.attributes["to"].as_int()) for node in graph if node.op_type == "Cast"}
    narrow = {kind for kind in _NARROW if kind in read or (kind in casts and kind != ir.DataType.UINT8)}
    if not narrow or any(node.op_type in _OF_BITS for node in graph):
        return
    for value in list(graph.inputs):
        if value.dtype in narrow:
            _cast_input(graph, value)
    for value in list(graph.initializers.values()):
        values = array_of(value) if value.dtype in narrow else None
        if values is not None:
            value.const_value = ir.Tensor(values.astype(np.int32), name=value.name)
            value.dtype = ir.DataType.INT32
    for node in graph:
        if node.op_type == "Cast" and ir.DataType(node.attributes["to"].as_int()) in narrow:
            node.attributes["to"] = ir.AttrInt64("to", int(ir.DataType.INT32))
        for value in node.outputs:
            if value.dtype in narrow:
                value.dtype = ir.DataType.INT32


def _cast_input(graph: ir.Graph, value: ir.Value) -> None:
    """An int32 copy of an input, for all that computes with it; a Cast takes the input itself."""
    readers = [(node, index) for node, index in value.uses() if node.op_type != "Cast"]
    if not readers:
        return
    builder = Builder(graph, value.name or "input")
    wide = builder.op("Cast", value, to=int(ir.DataType.INT32))
    wide.dtype, wide.shape = ir.DataType.INT32, value.shape
    for node, index in readers:
        node.replace_input_with(index, wide)
    graph.insert_before(graph[0], builder.nodes)
