"""Padding in the forms that the HTP pads rightly."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import onnx_ir as ir

from converter.graph.moves import MOVES, source_behind
from converter.graph.rewrite import Builder, array_of, input_of, static_shape, text_attribute
from converter.graph.rules.common import x_of

# What makes parts of a tensor, and what else only moves values.
_PARTS: Final = ("Slice", "Split")
_MOVES: Final = tuple(operator for operator in MOVES if operator not in _PARTS)

Pads = dict[int, tuple[int, int]]


def mirrored(node: ir.Node, b: Builder) -> Sequence[ir.Value] | None:
    """Padding with the input's own values, as what is put beside it, or as a Gather of each axis.

    In the mode edge the HTP pads with other values; it has no wrap, and reflect neither for five axes
    nor for an axis that is cropped at its other end.
    """
    mode, shape, pads = (
        text_attribute(node, "mode", "constant"),
        static_shape(node.inputs[0]),
        _pads(node),
    )
    if mode == "constant" or shape is None or pads is None:
        return None
    crops = any(size < 0 for sizes in pads.values() for size in sizes)
    if mode == "reflect" and len(shape) < 5 and not crops:
        return None
    x = node.inputs[0]
    for axis, (before, after) in pads.items():
        if mode == "edge" and not crops:
            start = b.op("Slice", x, b.ints(0), b.ints(1), b.ints(axis))
            end = b.op("Slice", x, b.ints(shape[axis] - 1), b.ints(shape[axis]), b.ints(axis))
            x = b.op("Concat", *[start] * before, x, *[end] * after, axis=axis)
        else:
            x = b.op("Gather", x, b.ints(*_places(shape[axis], before, after, mode)), axis=axis)
    assert x is not None
    return [x]


def of_all_axes(node: ir.Node, b: Builder) -> Sequence[ir.Value] | None:
    """Pads for every axis where only some are named (opset 18); QNN does not take the names."""
    shape, pads = static_shape(node.inputs[0]), _pads(node)
    if input_of(node, 3) is None or shape is None or pads is None:
        return None
    pairs = [pads.get(axis, (0, 0)) for axis in range(len(shape))]
    frame = b.ints(*[first for first, _ in pairs], *[last for _, last in pairs])
    value, mode = input_of(node, 2), text_attribute(node, "mode", "constant")
    return [b.op("Pad", node.inputs[0], frame, *([] if value is None else [value]), mode=mode)]


def _places(size: int, before: int, after: int, mode: str) -> list[int]:
    """Which of the places of an axis is at each place of the padded axis; crops come first."""
    kept = np.arange(size)[max(-before, 0) : size - max(-after, 0)]
    widths = max(before, 0), max(after, 0)
    padded = np.pad(kept, widths, mode=mode)  # type: ignore[call-overload]
    return [int(place) for place in padded]


def beyond_the_range(node: ir.Node, b: Builder) -> Sequence[ir.Value] | None:
    """Padding with a constant that is not zero, as constants that are put beside.

    With integers QNN writes the number in the input's codes, which may not reach it.
    """
    shape, pads, number = static_shape(node.inputs[0]), _pads(node), array_of(input_of(node, 2))
    if text_attribute(node, "mode", "constant") != "constant" or shape is None or pads is None:
        return None
    if number is None or number.dtype != np.float32 or number.item() == 0:
        return None
    x, sizes = node.inputs[0], list(shape)
    for axis, (before, after) in pads.items():
        if before < 0 or after < 0:
            ends = max(-before, 0), sizes[axis] - max(-after, 0)
            x = b.op("Slice", x, b.ints(ends[0]), b.ints(ends[1]), b.ints(axis))
            sizes[axis] = ends[1] - ends[0]
        parts = []
        for width in (before, after):
            beside = [*sizes[:axis], width, *sizes[axis + 1 :]]
            parts.append([b.constant(np.full(beside, number.item()))] if width > 0 else [])
        if any(parts):
            x = b.op("Concat", *parts[0], x, *parts[1], axis=axis)
        sizes[axis] += max(before, 0) + max(after, 0)
    assert x is not None
    return [x]


def behind_a_part(node: ir.Node, b: Builder) -> Sequence[ir.Value] | None:
    """Constant padding behind the last axis of a part (Split, Slice) as constants that are put there.

    In float16 the HTP may read on in the tensor that the part is of (QAIRT 2.51.0, its emulator).
    """
    shape, pads, given = static_shape(node.inputs[0]), _pads(node), input_of(node, 2)
    number = np.zeros((), np.float32) if given is None else array_of(given)
    if text_attribute(node, "mode", "constant") != "constant" or shape is None or not pads:
        return None
    before, after = pads.pop(len(shape) - 1, (0, 0))
    if number is None or number.dtype != np.float32 or before or after <= 0 or not _is_part(node):
        return None
    beside = b.constant(np.full([*shape[:-1], after], number.item()))
    x = b.op("Concat", node.inputs[0], beside, axis=len(shape) - 1)
    if not pads:
        return [x]
    pairs = [pads.get(axis, (0, 0)) for axis in range(len(shape))]
    frame = b.ints(*[first for first, _ in pairs], *[last for _, last in pairs])
    return [b.op("Pad", x, frame, b.constant(number.item()))]


def _is_part(node: ir.Node) -> bool:
    """Whether a node reads a part of a tensor, moved perhaps."""
    made = source_behind(x_of(node), _MOVES).producer()
    return made is not None and made.op_type in _PARTS


def _pads(node: ir.Node) -> Pads | None:
    """How many values are put in front and behind (or cropped, if negative), by axis; none of zero."""
    shape, pads = static_shape(node.inputs[0]), array_of(input_of(node, 1))
    if shape is None or pads is None:
        return None
    given = input_of(node, 3)
    chosen = array_of(given)
    if given is not None and chosen is None:
        return None
    axes = range(len(shape)) if chosen is None else [int(axis) % len(shape) for axis in chosen.ravel()]
    before, after = np.split(pads.astype(int).ravel(), 2)
    return {
        axis: (int(first), int(last))
        for axis, first, last in zip(axes, before, after, strict=True)
        if first or last
    }
