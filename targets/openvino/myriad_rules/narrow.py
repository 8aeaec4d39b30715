"""Whole numbers of few bits as those of 32: the Myriad compiler has no constants of the former."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

import numpy as np
import onnx_ir as ir

from converter.graph.bounds import exact_bounds, range_of
from converter.graph.rewrite import Builder, array_of, replace

_NARROW: Final = (
    *(ir.DataType.INT8, ir.DataType.INT16),
    *(ir.DataType.UINT8, ir.DataType.UINT16, ir.DataType.UINT32, ir.DataType.UINT64),
)
# What only moves bytes, or turns them into other numbers, the compiler has for uint8.
_MOVES: Final = frozenset(
    {"Cast", "Concat", "Flatten", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze"}
)
# They are about the bits themselves.
_OF_BITS: Final = ("BitShift", "BitwiseAnd", "BitwiseNot", "BitwiseOr", "BitwiseXor")
# Their results may be beyond their type, and wrap around.
_WRAPS: Final = frozenset(
    {
        *("Add", "Cast", "CumSum", "Gemm", "MatMul", "Mul", "Neg", "Pow", "ReduceL1", "ReduceProd"),
        *("ReduceSum", "ReduceSumSquare", "Sub", "Sum"),
    }
)
# Of more there is nothing left in int32 to compute a remainder with.
_MOST_BITS: Final = 16


def widen(model: ir.Model, frames: Collection[str] = ()) -> None:
    """Let narrow whole numbers be int32, in place; a graph that only moves uint8 stays as it is.

    Inputs are int32, too, but those of uint8. What leaves its type wraps around as it did: x becomes
    ((x - low) mod 2^bits) + low, unless the nodes in front of it tell that it stays within.

    Args:
        frames: The inputs that a preprocessing is put in front of: it makes floats of them.
    """
    graph = model.graph
    read = {
        value.dtype
        for node in graph
        if node.op_type not in _MOVES
        for value in (*node.inputs, *node.outputs)
        if value is not None
    }
    # The compiler leaves a Cast to uint8 out, and with it the cutting off behind the point.
    casts = {node.outputs[0].dtype for node in graph if node.op_type == "Cast" and _cuts(node)}
    given = {
        value.dtype
        for value in graph.inputs
        if value.dtype != ir.DataType.UINT8 or value.name in frames
    }
    narrow = {kind for kind in _NARROW if kind in read | casts | given}
    if not narrow or any(node.op_type in _OF_BITS for node in graph):
        return
    wrapping = [
        (node, kind)
        for node in graph
        if (kind := node.outputs[0].dtype) in narrow and kind is not None and _leaves(node, kind)
    ]
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
    for node, kind in wrapping:
        _wrap(graph, node, kind)


def _cuts(node: ir.Node) -> bool:
    """Whether a Cast makes uint8 of other numbers, or whole numbers of another type."""
    given = node.inputs[0]
    kept = given is not None and given.dtype in (ir.DataType.UINT8, ir.DataType.BOOL)
    return node.outputs[0].dtype != ir.DataType.UINT8 or not kept


def _leaves(node: ir.Node, kind: ir.DataType) -> bool:
    """Whether a node may give what is beyond its type."""
    if node.op_type not in _WRAPS or kind.bitwidth > _MOST_BITS:
        return False
    low, high = range_of(kind)
    found = exact_bounds(node.outputs[0])
    return found[0] < low or found[1] > high


def _wrap(graph: ir.Graph, node: ir.Node, kind: ir.DataType) -> None:
    """Put the remainder behind a node that is int32 now."""
    b = Builder(graph, node.name or node.op_type)
    (y,) = b.again(node, *node.inputs)
    low, high = (int(end) for end in range_of(kind))
    size = b.constant(high - low + 1, np.int32)
    steps = [("Mod", size)]
    if low:
        shift = b.constant(low, np.int32)
        steps = [("Sub", shift), ("Mod", size), ("Add", shift)]
    for operator, constant in steps:
        y.dtype, y.shape = ir.DataType.INT32, node.outputs[0].shape
        y = b.op(operator, y, constant)
    y.dtype, y.shape = ir.DataType.INT32, node.outputs[0].shape
    replace(graph, node, b, [y])


def _cast_input(graph: ir.Graph, value: ir.Value) -> None:
    """An input of int32; one of uint8 stays it, and all that computes gets an int32 copy."""
    if value.dtype != ir.DataType.UINT8:
        value.dtype = ir.DataType.INT32
        return
    readers = [(node, index) for node, index in value.uses() if node.op_type != "Cast"]
    if not readers:
        return
    builder = Builder(graph, value.name or "input")
    wide = builder.op("Cast", value, to=int(ir.DataType.INT32))
    wide.dtype, wide.shape = ir.DataType.INT32, value.shape
    for node, index in readers:
        node.replace_input_with(index, wide)
    graph.insert_before(graph[0], builder.nodes)
