"""Padding: cropping, wrapping around, and the middle of a tensor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import onnx_ir as ir

from converter.graph.rewrite import (
    Builder,
    Rule,
    array_of,
    input_of,
    ints_attribute,
    static_shape,
    text_attribute,
)
from converter.graph.rules.common import x_of
from converter.graph.rules.forms import joined, numpy_type, sliced

Pads = Sequence[tuple[int, int]]


def pads_of(node: ir.Node) -> Pads | None:
    """What a Pad adds before and behind each axis, negative where it cuts off; None if computed."""
    shape, given = static_shape(node.inputs[0]), array_of(input_of(node, 1))
    axes = input_of(node, 3)
    known = array_of(axes)
    if shape is None or given is None or (axes is not None and known is None):
        return None
    chosen = list(range(len(shape))) if known is None else [int(axis) for axis in known.ravel()]
    found = [(0, 0)] * len(shape)
    for index, axis in enumerate(chosen):
        found[axis] = int(given[index]), int(given[index + len(chosen)])
    return found


def pad(node: ir.Node, b: Builder) -> Sequence[ir.Value] | None:
    """Negative pads as a Slice in front, wrapping around as a Concat of slices.

    ONNX Runtime also takes a value with an axis of one element; compilers want it without axes.
    """
    pads, shape, value = pads_of(node), static_shape(node.inputs[0]), input_of(node, 2)
    mode = text_attribute(node, "mode", "constant")
    if pads is None or shape is None:
        return None
    known = array_of(value)
    loose = known is not None and known.ndim > 0 and known.size == 1
    if mode != "wrap" and not loose and all(count >= 0 for pair in pads for count in pair):
        return None
    if known is not None and loose:
        value = b.constant(known.reshape(()))
    y = cropped(b, x_of(node), shape, pads)
    added = [(max(before, 0), max(behind, 0)) for before, behind in pads]
    if mode == "wrap":
        sizes = [size + sum(min(count, 0) for count in pads[i]) for i, size in enumerate(shape)]
        return [_wrapped(b, y, sizes, added)]
    return [padded(b, y, added, mode, value)]


def cropped(b: Builder, x: ir.Value, shape: Sequence[int], pads: Pads) -> ir.Value:
    """What is left of a tensor after its negative pads."""
    axes = [axis for axis, pair in enumerate(pads) if min(pair) < 0]
    if not axes:
        return x
    starts = [max(-pads[axis][0], 0) for axis in axes]
    stops = [shape[axis] + min(pads[axis][1], 0) for axis in axes]
    return b.op("Slice", x, b.ints(*starts), b.ints(*stops), b.ints(*axes))


def padded(b: Builder, x: ir.Value, pads: Pads, mode: str, value: ir.Value | None) -> ir.Value:
    """A tensor with more around it."""
    if not any(count for pair in pads for count in pair):
        return x
    frame = b.ints(*[before for before, _ in pads], *[behind for _, behind in pads])
    given = [] if value is None or mode != "constant" else [value]
    return b.op("Pad", x, frame, *given, mode=mode)


def _wrapped(b: Builder, x: ir.Value, shape: Sequence[int], pads: Pads) -> ir.Value:
    for axis, (before, behind) in enumerate(pads):
        size, pieces = shape[axis], [x]
        if max(before, behind) > size:
            places = np.pad(np.arange(size), (before, behind), "wrap")
            x = b.op("Gather", x, b.ints(*places), axis=axis)
            continue
        if before:
            pieces.insert(0, sliced(b, x, axis, size - before, size))
        if behind:
            pieces.append(sliced(b, x, axis, 0, behind))
        x = joined(b, pieces, axis)
    return x


def center_crop_pad(node: ir.Node, b: Builder) -> Sequence[ir.Value] | None:
    """The middle of each axis, or zeros around it; of an odd rest one more is behind."""
    shape, given = static_shape(node.inputs[0]), array_of(input_of(node, 1))
    if shape is None or given is None:
        return None
    pads = [(0, 0)] * len(shape)
    axes = ints_attribute(node, "axes") or range(len(shape))
    for axis, wanted in zip(axes, given.ravel().tolist(), strict=True):
        rest = abs(wanted - shape[axis])
        before, behind = rest // 2, rest - rest // 2
        pads[axis] = (before, behind) if wanted > shape[axis] else (-before, -behind)
    y = cropped(b, x_of(node), shape, pads)
    added = [(max(before, 0), max(behind, 0)) for before, behind in pads]
    zero = b.constant(0, numpy_type(node.inputs[0]))
    return [padded(b, y, added, "constant", zero)]


RULES: Final[Mapping[str, Rule]] = {"CenterCropPad": center_crop_pad, "Pad": pad}
