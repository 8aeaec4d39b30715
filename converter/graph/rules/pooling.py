"""Pooling in the forms that compilers take."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import onnx_ir as ir

from converter.graph.rewrite import (
    Builder,
    Rule,
    int_attribute,
    ints_attribute,
    static_shape,
    text_attribute,
)
from converter.graph.rules.common import LOWEST, more_than_one_output, x_of


def max_pool(node: ir.Node, b: Builder) -> Sequence[ir.Value] | None:
    """Dilated pooling: axis after axis the largest of shifted slices, of a frame of -65504.

    The compiler takes an undilated MaxPool only.
    """
    shape, dilations = static_shape(x_of(node)), ints_attribute(node, "dilations")
    kernel = ints_attribute(node, "kernel_shape")
    if shape is None or kernel is None or dilations is None or set(dilations) == {1}:
        return None
    plain = text_attribute(node, "auto_pad", "NOTSET") == "NOTSET"
    if not plain or int_attribute(node, "ceil_mode", 0) or more_than_one_output(node):
        return None
    axes = len(kernel)
    strides = ints_attribute(node, "strides") or (1,) * axes
    pads = ints_attribute(node, "pads") or (0,) * (2 * axes)
    frame = b.ints(0, 0, *pads[:axes], 0, 0, *pads[axes:])
    y = b.op("Pad", x_of(node), frame, b.constant(LOWEST)) if any(pads) else x_of(node)
    for axis in range(axes):
        stride, dilation = strides[axis], dilations[axis]
        length = shape[axis + 2] + pads[axis] + pads[axis + axes]
        last = (length - dilation * (kernel[axis] - 1) - 1) // stride * stride
        shifted = [
            b.op("Slice", y, b.ints(start), b.ints(start + last + 1), b.ints(axis + 2), b.ints(stride))
            for start in range(0, kernel[axis] * dilation, dilation)
        ]
        y = b.op("Max", *shifted) if len(shifted) > 1 else shifted[0]
    return [y]


RULES: Final[Mapping[str, Rule]] = {
    "MaxPool": max_pool,
}
