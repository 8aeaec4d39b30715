"""The windows of a pooling: what its attributes mean for a frame of known size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import onnx_ir as ir

from converter.graph.rewrite import int_attribute, ints_attribute, text_attribute


@dataclass(frozen=True)
class Window:
    """The windows along one axis.

    Attributes:
        begin: Padding in front, in elements.
        end: Padding behind, up to the last window's end: negative where that is before the axis's end.
        count: How many windows there are.
    """

    size: int
    kernel: int
    stride: int
    dilation: int
    begin: int
    end: int
    count: int


def windows_of(node: ir.Node, shape: Sequence[int]) -> list[Window] | None:
    """The windows of each axis of a frame (N, C, ...); with `ceil_mode` those that begin in it."""
    kernel = ints_attribute(node, "kernel_shape")
    if kernel is None:
        return None
    count = len(kernel)
    strides = ints_attribute(node, "strides") or (1,) * count
    dilations = ints_attribute(node, "dilations") or (1,) * count
    pads = ints_attribute(node, "pads") or (0,) * (2 * count)
    auto = text_attribute(node, "auto_pad", "NOTSET")
    found = []
    for axis, size in enumerate(shape[2:]):
        stride, dilation = strides[axis], dilations[axis]
        reach = dilation * (kernel[axis] - 1) + 1
        begin, end = (pads[axis], pads[axis + count]) if auto in ("NOTSET", "") else (0, 0)
        if auto.startswith("SAME"):
            # ONNX Runtime leaves out the dilation here, which the specification has.
            missing = max((-(-size // stride) - 1) * stride + kernel[axis] - size, 0)
            begin = (missing + (auto == "SAME_LOWER")) // 2
            end = missing - begin
        room = size + begin + end - reach
        windows = (-(-room // stride) if int_attribute(node, "ceil_mode", 0) else room // stride) + 1
        if (windows - 1) * stride >= size + begin:
            windows -= 1
        last = (windows - 1) * stride + reach
        found.append(Window(size, kernel[axis], stride, dilation, begin, last - size - begin, windows))
    return found
