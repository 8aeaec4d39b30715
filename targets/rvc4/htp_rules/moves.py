"""Operators that only move numbers, in the forms that the HTP moves rightly."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from converter.graph.rewrite import (
    Builder,
    array_of,
    input_of,
    int_attribute,
    static_shape,
    text_attribute,
)


def edge_pad(node: ir.Node, b: Builder) -> Sequence[ir.Value] | None:
    """Padding by the border's own values, as slices that are put beside: the HTP pads with others."""
    shape, pads = static_shape(node.inputs[0]), array_of(input_of(node, 1))
    if text_attribute(node, "mode", "constant") != "edge" or shape is None or pads is None:
        return None
    given = array_of(input_of(node, 3))
    axes = range(len(shape)) if given is None else [int(axis) % len(shape) for axis in given.ravel()]
    before, after = np.split(pads.astype(int).ravel(), 2)
    if (pads < 0).any():
        return None
    x = node.inputs[0]
    assert x is not None
    for axis, first, last in zip(axes, before, after, strict=True):
        if not (first or last):
            continue
        start = b.op("Slice", x, b.ints(0), b.ints(1), b.ints(axis))
        end = b.op("Slice", x, b.ints(shape[axis] - 1), b.ints(shape[axis]), b.ints(axis))
        x = b.op("Concat", *[start] * int(first), x, *[end] * int(last), axis=axis)
    return [x]


def split_of_five_axes(node: ir.Node, b: Builder) -> Sequence[ir.Value] | None:
    """Slices instead of a Split of five axes: the HTP joins its parts without rescaling their codes."""
    shape, sizes = static_shape(node.inputs[0]), array_of(input_of(node, 1))
    if shape is None or len(shape) < 5:
        return None
    axis = int_attribute(node, "axis", 0) % len(shape)
    if sizes is None:
        size = -(-shape[axis] // len(node.outputs))
        ends = np.minimum(np.arange(1, len(node.outputs) + 1) * size, shape[axis])
    else:
        ends = np.cumsum(sizes.astype(int))
    starts = [0, *ends[:-1]]
    return [
        b.op("Slice", node.inputs[0], b.ints(start), b.ints(end), b.ints(axis))
        for start, end in zip(starts, ends, strict=True)
    ]
