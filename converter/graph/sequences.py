"""Sequences of tensors, as scripted models append to them: each use becomes the tensors themselves.

Compilers for cameras have no sequences. When loops are written out, the length of each is known.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
import onnx_ir as ir
from onnx_ir.passes import common

from converter.graph.rewrite import (
    Builder,
    array_of,
    input_of,
    int_attribute,
    replace,
    static_shape,
)

_Sequences = dict[ir.Value, list[ir.Value]]


def settle_sequences(model: ir.Model) -> ir.Model:
    """Replace sequences whose length and positions are known; others stay as they are.

    Shapes must have been inferred where a tensor is split into a sequence.
    """
    graph = model.graph
    if not any("Sequence" in node.op_type for node in graph):
        return model
    opset = model.graph.opset_imports.get("", 1)
    known: _Sequences = {}
    for node in list(graph):
        if (rule := _MADE.get(node.op_type)) is not None:
            builder = Builder(graph, node.name or str(node.outputs[0].name))
            made = rule(node, builder, known)
            graph.insert_before(node, builder.nodes)
            if made is not None:
                known[node.outputs[0]] = made
        elif node.op_type in ("SequenceAt", "SequenceLength", "ConcatFromSequence"):
            items = known.get(node.inputs[0]) if node.inputs[0] is not None else None
            builder = Builder(graph, node.name or str(node.outputs[0].name))
            value = None if items is None else _used(node, builder, items, opset)
            if value is not None:
                replace(graph, node, builder, [value])
    return common.RemoveUnusedNodesPass()(model).model


def _empty(_node: ir.Node, _b: Builder, _known: _Sequences) -> list[ir.Value]:
    return []


def _constructed(node: ir.Node, _b: Builder, _known: _Sequences) -> list[ir.Value]:
    return [value for value in node.inputs if value is not None]


def _copied(node: ir.Node, _b: Builder, known: _Sequences) -> list[ir.Value] | None:
    return known.get(node.inputs[0]) if node.inputs[0] is not None else None


def _inserted(node: ir.Node, _b: Builder, known: _Sequences) -> list[ir.Value] | None:
    """SequenceInsert(sequence, tensor, position or at the end)."""
    items, tensor = _copied(node, _b, known), node.inputs[1]
    place = _position(node, 2, len(items or []))
    if items is None or tensor is None or place is None:
        return None
    return [*items[:place], tensor, *items[place:]]


def _erased(node: ir.Node, _b: Builder, known: _Sequences) -> list[ir.Value] | None:
    """SequenceErase(sequence, position or the last)."""
    items = _copied(node, _b, known)
    place = _position(node, 1, len(items or []) - 1)
    if items is None or place is None:
        return None
    return [value for index, value in enumerate(items) if index != place % len(items)]


def _split(node: ir.Node, b: Builder, _known: _Sequences) -> list[ir.Value] | None:
    """SplitToSequence(x, lengths or one length; axis, keepdims)."""
    x, lengths = node.inputs[0], input_of(node, 1)
    shape = static_shape(x)
    if x is None or shape is None:
        return None
    axis = int_attribute(node, "axis", 0) % len(shape)
    if lengths is None:
        keeps = int_attribute(node, "keepdims", 1)
        places = range(shape[axis])
        return [b.op("Gather", x, b.constant([k] if keeps else k, np.int64), axis=axis) for k in places]
    given = array_of(lengths)
    if given is None:
        return None
    if given.ndim == 0:
        ends = [*range(int(given), shape[axis], int(given)), shape[axis]]
    else:
        ends = [int(end) for end in np.cumsum(given)]
    begins = [0, *ends[:-1]]
    return [
        b.op("Slice", x, b.ints(begin), b.ints(end), b.ints(axis))
        for begin, end in zip(begins, ends, strict=True)
    ]


def _position(node: ir.Node, index: int, default: int) -> int | None:
    value = input_of(node, index)
    if value is None:
        return default
    given = array_of(value)
    return None if given is None else int(given.reshape(()))


def _used(node: ir.Node, b: Builder, items: list[ir.Value], opset: int) -> ir.Value | None:
    if node.op_type == "SequenceLength":
        return b.constant(len(items), np.int64)
    if not items:
        return None
    if node.op_type == "SequenceAt":
        place = _position(node, 1, 0)
        return items[place] if place is not None and -len(items) <= place < len(items) else None
    axis = int_attribute(node, "axis", 0)
    if int_attribute(node, "new_axis", 0):
        new = b.ints(axis)
        items = [
            b.op("Unsqueeze", item, axes=[axis]) if opset < 13 else b.op("Unsqueeze", item, new)
            for item in items
        ]
    return b.op("Concat", *items, axis=axis)


_MADE: Final[dict[str, Callable[[ir.Node, Builder, _Sequences], list[ir.Value] | None]]] = {
    "Identity": _copied,
    "SequenceConstruct": _constructed,
    "SequenceEmpty": _empty,
    "SequenceErase": _erased,
    "SequenceInsert": _inserted,
    "SplitToSequence": _split,
}
