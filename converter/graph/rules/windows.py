"""Where the windows of a pooling or convolution lie: pads by number, whichever attribute gives them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from converter.graph.rewrite import (
    Builder,
    input_of,
    int_attribute,
    ints_attribute,
    static_shape,
    text_attribute,
)


@dataclass(frozen=True, kw_only=True)
class Windows:
    """Windows along one axis.

    Attributes:
        size, new: Lengths of the axis before and after.
        kernel, stride, dilation: Of the operator.
        begin, end: Pads, or how much is left out if negative; `beyond` is how far the last window
            reaches over them (`ceil_mode`).
    """

    size: int
    new: int
    kernel: int
    stride: int
    dilation: int
    begin: int
    end: int

    @property
    def beyond(self) -> int:
        """How many elements the last window lies behind the padded axis."""
        reach = (self.new - 1) * self.stride + (self.kernel - 1) * self.dilation + 1
        return max(reach - self.size - self.begin - self.end, 0)

    def counts(self, *, pads: bool) -> NDArray[np.int64]:
        """How many elements each window has, with or without those in the pads."""
        first = np.arange(self.new)[:, None] * self.stride - self.begin
        taps = first + np.arange(self.kernel) * self.dilation
        low, high = (-self.begin, self.size + self.end) if pads else (0, self.size)
        found: NDArray[np.int64] = ((taps >= low) & (taps < high)).sum(axis=1)
        return found


def windows_of(node: ir.Node) -> list[Windows] | None:
    """The windows of a pooling or Conv along each axis behind the channels; None for unknown shapes."""
    shape, kernel = static_shape(node.inputs[0]), ints_attribute(node, "kernel_shape")
    if kernel is None and node.op_type == "Conv":
        kernel = (static_shape(input_of(node, 1)) or ())[2:] or None
    if shape is None or kernel is None:
        return None
    rank = len(kernel)
    strides = ints_attribute(node, "strides") or (1,) * rank
    dilations = ints_attribute(node, "dilations") or (1,) * rank
    mode = text_attribute(node, "auto_pad", "NOTSET")
    given = ints_attribute(node, "pads") or (0,) * (2 * rank)
    up = bool(int_attribute(node, "ceil_mode", 0))
    found = []
    for axis in range(rank):
        size, wide = shape[axis + 2], (kernel[axis] - 1) * dilations[axis] + 1
        begin, end = (given[axis], given[axis + rank]) if mode == "NOTSET" else (0, 0)
        if mode.startswith("SAME"):
            # ONNX Runtime leaves out the dilation here, which the specification has.
            missing = (-(-size // strides[axis]) - 1) * strides[axis] + kernel[axis] - size
            if node.op_type != "AveragePool":
                missing = max(missing, 0)
            begin = int((missing + (mode == "SAME_LOWER")) / 2)
            end = missing - begin
        new = _length(size, wide, strides[axis], begin, end, up=up)
        found.append(
            Windows(
                size=size,
                new=new,
                kernel=kernel[axis],
                stride=strides[axis],
                dilation=dilations[axis],
                begin=begin,
                end=end,
            )
        )
    return found


def framed(
    b: Builder, x: ir.Value, windows: Sequence[Windows]
) -> tuple[ir.Value, list[int], list[int]]:
    """X without what no window reaches, and the pads that are left in front of it and behind it."""
    begin = [item.begin for item in windows]
    end = [item.end + item.beyond for item in windows]
    if min(*begin, *end) < 0:
        starts = [max(-left, 0) for left in begin]
        ends = [item.size - max(-left, 0) for item, left in zip(windows, end, strict=True)]
        x = b.op("Slice", x, b.ints(*starts), b.ints(*ends), b.ints(*range(2, len(windows) + 2)))
    return x, [max(pad, 0) for pad in begin], [max(pad, 0) for pad in end]


def _length(size: int, wide: int, stride: int, begin: int, end: int, *, up: bool) -> int:
    room = size + begin + end - wide
    if not up:
        return room // stride + 1
    new = -(-room // stride) + 1
    # A window has to begin inside the tensor or the pads in front of it.
    return new - 1 if (new - 1) * stride >= size + begin else new


def product(arrays: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
    """The outer product, an axis for each array, behind two axes of one."""
    rank = len(arrays)
    result: NDArray[np.int64] = np.ones([1] * (rank + 2), np.int64)
    for axis, values in enumerate(arrays):
        result = result * values.reshape([-1 if index == axis + 2 else 1 for index in range(rank + 2)])
    return result
