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
)


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
