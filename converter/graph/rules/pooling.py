"""Pooling in the forms that compilers take."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import onnx_ir as ir

from converter.graph.rewrite import (
    Builder,
    Rule,
    int_attribute,
    ints_attribute,
    static_shape,
    text_attribute,
)
from converter.graph.rules.common import LOWEST, clip, more_than_one_output, x_of
from converter.graph.rules.forms import reshaped, sliced
from converter.graph.rules.windows import Windows, framed, product, windows_of

# Axes of a window.
_VOLUME: Final = 3


def max_pool(node: ir.Node, b: Builder) -> Sequence[ir.Value] | None:
    """Dilated pooling: axis after axis the largest of shifted slices, of a frame of -65504.

    Compilers take an undilated MaxPool only.
    """
    windows, dilations = windows_of(node), ints_attribute(node, "dilations")
    if windows is None or dilations is None or set(dilations) == {1} or more_than_one_output(node):
        return None
    if len(windows) == _VOLUME:
        return [_largest_of_lines(node, b, windows)]
    begin, end = [item.begin for item in windows], [item.end + item.beyond for item in windows]
    frame = b.ints(0, 0, *begin, 0, 0, *end)
    y = b.op("Pad", x_of(node), frame, b.constant(LOWEST)) if any(begin + end) else x_of(node)
    for axis, item in enumerate(windows, 2):
        y = _largest(b, y, axis, item)
    return [y]


def _largest(b: Builder, x: ir.Value, axis: int, window: Windows) -> ir.Value:
    """The largest of each window along an axis that has its pads already."""
    last = (window.new - 1) * window.stride
    shifted = [
        sliced(b, x, axis, start, start + last + 1, window.stride)
        for start in range(0, window.kernel * window.dilation, window.dilation)
    ]
    return b.op("Max", *shifted) if len(shifted) > 1 else shifted[0]


def _largest_of_lines(node: ir.Node, b: Builder, windows: Sequence[Windows]) -> ir.Value:
    """The same of a volume, axis by axis as (in front, axis, behind): QNN has no Max of five axes."""
    sizes, y = list(static_shape(x_of(node)) or ()), x_of(node)
    for axis, item in enumerate(windows, 2):
        y = reshaped(b, y, [math.prod(sizes[:axis]), sizes[axis], math.prod(sizes[axis + 1 :])])
        if item.begin or item.end + item.beyond:
            frame = b.ints(0, item.begin, 0, 0, item.end + item.beyond, 0)
            y = b.op("Pad", y, frame, b.constant(LOWEST))
        y, sizes[axis] = _largest(b, y, 1, item), item.new
    return reshaped(b, y, sizes)


def average_pool(node: ir.Node, b: Builder) -> Sequence[ir.Value] | None:
    """The mean over all of a window's places, times their number over that of the counted ones.

    The Myriad's convolution unit divides by the whole window, whatever `count_include_pad` says, and
    does not know pads on one side or a last window that reaches further than the pads. With pads that
    are the same on all sides it pads by itself; others are written out, and a Clip that changes
    nothing keeps OpenVINO from folding them back. A dilated pooling is a convolution by channel with
    equal weights.
    """
    windows, shape = windows_of(node), static_shape(x_of(node))
    if windows is None or shape is None:
        return None
    dilated = any(item.dilation != 1 for item in windows)
    padded = any(item.begin or item.end or item.beyond for item in windows)
    if not dilated and not padded:
        return None
    same = len({pad for item in windows for pad in (item.begin, item.end + item.beyond)}) == 1
    include = bool(int_attribute(node, "count_include_pad", 0))
    if include and same and not dilated and not any(item.beyond for item in windows):
        plain = text_attribute(node, "auto_pad", "NOTSET") == "NOTSET"
        if plain and not int_attribute(node, "ceil_mode", 0):
            return None
    x, begin, end = framed(b, x_of(node), windows)
    same = len({*begin, *end}) == 1
    kernel, strides = [item.kernel for item in windows], [item.stride for item in windows]
    whole = math.prod(kernel)
    if dilated:
        weights = np.full((shape[1], 1, *kernel), 1 / whole)
        y = b.op(
            "Conv", x, b.constant(weights), group=shape[1], kernel_shape=kernel,
            strides=strides, pads=[*begin, *end], dilations=[item.dilation for item in windows],
        )  # fmt: skip
    else:
        if not same:
            x = b.op("Pad", x, b.ints(0, 0, *begin, 0, 0, *end), b.constant(0.0))
            x = clip(b, x, LOWEST, -LOWEST)
        pads = [*begin, *end] if same else [0] * (2 * len(kernel))
        y = b.op("AveragePool", x, kernel_shape=kernel, strides=strides, pads=pads, count_include_pad=1)
    counts = product([item.counts(pads=include) for item in windows])
    return [y if (counts == whole).all() else b.op("Mul", y, b.constant(whole / counts))]


RULES: Final[Mapping[str, Rule]] = {
    "AveragePool": average_pool,
    "MaxPool": max_pool,
}
