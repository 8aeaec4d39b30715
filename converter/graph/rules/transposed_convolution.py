"""Transposed convolutions of two axes, with pads by number and a kernel without holes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from converter.graph.rewrite import (
    Builder,
    Rule,
    array_of,
    input_of,
    int_attribute,
    ints_attribute,
    static_shape,
    text_attribute,
)
from converter.graph.rules.common import x_of

# Up to so many groups each is a convolution; more are one convolution with zeros between the groups.
_SPLIT: Final = 4


@dataclass(frozen=True, kw_only=True)
class Axis:
    """One axis of a transposed convolution.

    The element i of the input is added, with the kernel's taps, from i · stride - begin on.

    Attributes:
        size, new: Lengths of the axis before and after.
        kernel, stride, dilation: Of the operator.
        begin: How many elements are cut off in front.
    """

    size: int
    new: int
    kernel: int
    stride: int
    dilation: int
    begin: int

    @property
    def end(self) -> int:
        """How many elements are cut off behind; if negative, how many are only the bias."""
        reach = (self.size - 1) * self.stride + (self.kernel - 1) * self.dilation + 1
        return reach - self.begin - self.new


def axes_of(node: ir.Node, shape: Sequence[int], kernel: Sequence[int]) -> list[Axis]:
    """The axes behind the channels, as ONNX Runtime reads the attributes.

    Args:
        shape: Of the input.
        kernel: Of the weights, behind their channels.
    """
    rank = len(kernel)
    strides = ints_attribute(node, "strides") or (1,) * rank
    dilations = ints_attribute(node, "dilations") or (1,) * rank
    more = ints_attribute(node, "output_padding") or (0,) * rank
    wanted = ints_attribute(node, "output_shape")
    pads = ints_attribute(node, "pads") or (0,) * (2 * rank)
    mode = text_attribute(node, "auto_pad", "NOTSET")
    found = []
    for axis in range(rank):
        size, stride = shape[axis + 2], strides[axis]
        reach = (size - 1) * stride + more[axis] + (kernel[axis] - 1) * dilations[axis] + 1
        begin, end = (pads[axis], pads[axis + rank]) if mode == "NOTSET" else (0, 0)
        new = reach - begin - end
        if wanted or mode.startswith("SAME"):
            target = wanted[axis - rank] if wanted else size * stride
            total = max(reach - target, 0)
            begin = total // 2 if mode == "SAME_UPPER" else total - total // 2
            new = target if wanted else reach - total
        found.append(
            Axis(
                size=size,
                new=new,
                kernel=kernel[axis],
                stride=stride,
                dilation=dilations[axis],
                begin=begin,
            )
        )
    return found


def conv_transpose(node: ir.Node, b: Builder) -> Sequence[ir.Value] | None:
    """Whatever the Myriad compiler drops of a transposed convolution: see the functions below.

    It ignores dilations, `output_shape` and SAME pads, pairs the channels of groups with the wrong
    kernels, and takes two axes only.
    """
    weights, shape = array_of(input_of(node, 1)), static_shape(x_of(node))
    if weights is None or shape is None or weights.dtype.kind != "f":
        return None
    axes, groups = axes_of(node, shape, weights.shape[2:]), int_attribute(node, "group", 1)
    by_channel = weights.shape[0] == groups
    plain = ints_attribute(node, "output_shape") is None
    plain &= not text_attribute(node, "auto_pad", "NOTSET").startswith("SAME")
    plain &= all(axis.dilation == 1 for axis in axes) and len(axes) == 2
    if plain and (groups == 1 or by_channel):
        return None
    bias = input_of(node, 2)
    if groups > 1 and not by_channel and groups <= _SPLIT:
        parts = b.ops("Split", groups, x_of(node), axis=1)
        pieces = [
            _any_rank(b, part, kernel, axes, 1, [shape[0], shape[1] // groups, *shape[2:]])
            for part, kernel in zip(parts, np.split(weights, groups), strict=True)
        ]
        y = b.op("Concat", *pieces, axis=1)
    elif groups > 1 and not (by_channel and len(axes) < 3):
        y = _any_rank(b, x_of(node), dense(weights, groups), axes, 1, shape)
    else:
        y = _any_rank(b, x_of(node), weights, axes, groups, shape)
    if bias is None:
        return [y]
    wide = [1, weights.shape[1] * groups, *[1] * len(axes)]
    return [b.op("Add", y, b.op("Reshape", bias, b.ints(*wide)))]


def dense(weights: NDArray[Any], groups: int) -> NDArray[Any]:
    """Kernels (in, out / groups, …) of groups as those of one group, with zeros elsewhere."""
    into, out = weights.shape[0] // groups, weights.shape[1]
    whole = np.zeros((weights.shape[0], out * groups, *weights.shape[2:]), weights.dtype)
    for group in range(groups):
        inputs = slice(group * into, (group + 1) * into)
        whole[inputs, group * out : (group + 1) * out] = weights[inputs]
    return whole


def _any_rank(
    b: Builder,
    x: ir.Value,
    weights: NDArray[Any],
    axes: Sequence[Axis],
    groups: int,
    shape: Sequence[int],
) -> ir.Value:
    """A transposed convolution without a bias, of one to three axes.

    Args:
        weights: (in, out / groups, …), with the kernel's holes left out.
    """
    if len(axes) == 1:
        line = Axis(size=1, new=1, kernel=1, stride=1, dilation=1, begin=0)
        x = b.op("Reshape", x, b.ints(*shape[:2], 1, shape[2]))
        y = _plane(b, x, weights[:, :, None], [line, axes[0]], groups)
        return b.op("Reshape", y, b.ints(shape[0], weights.shape[1] * groups, axes[0].new))
    if len(axes) == 3:
        return _volume(b, x, weights, axes, shape)
    return _plane(b, x, weights, axes, groups)


def _plane(
    b: Builder, x: ir.Value, weights: NDArray[Any], axes: Sequence[Axis], groups: int
) -> ir.Value:
    """Two axes: zeros between the kernel's taps for a dilation, and behind them for a longer result."""
    sizes = [(axis.kernel - 1) * axis.dilation + 1 + max(-axis.end, 0) for axis in axes]
    kernel = np.zeros((*weights.shape[:2], *sizes), weights.dtype)
    taps = [slice(0, (axis.kernel - 1) * axis.dilation + 1, axis.dilation) for axis in axes]
    kernel[:, :, taps[0], taps[1]] = weights
    return b.op(
        "ConvTranspose",
        x,
        b.constant(kernel, kernel.dtype),
        group=groups,
        kernel_shape=sizes,
        strides=[axis.stride for axis in axes],
        pads=[*[axis.begin for axis in axes], *[max(axis.end, 0) for axis in axes]],
    )


def _volume(
    b: Builder, x: ir.Value, weights: NDArray[Any], axes: Sequence[Axis], shape: Sequence[int]
) -> ir.Value:
    """Three axes: the last two for each layer and each of the kernel's layers, then their sums.

    A constant matrix of ones and zeros adds up what falls on the same layer of the result.
    """
    depth, (count, channels, *_), out = axes[0], shape, weights.shape[1]
    layers = b.op("Transpose", x, perm=[0, 2, 1, 3, 4])
    layers = b.op("Reshape", layers, b.ints(count * depth.size, channels, *shape[3:]))
    kernel = weights.reshape(channels, out * depth.kernel, *weights.shape[3:])
    y = _plane(b, layers, kernel, axes[1:], 1)
    pixels = math.prod(axis.new for axis in axes[1:])
    y = b.op("Reshape", y, b.ints(count, depth.size, out, depth.kernel, pixels))
    y = b.op("Transpose", y, perm=[0, 2, 4, 1, 3])
    parts = depth.size * depth.kernel
    y = b.op("Reshape", y, b.ints(count, out * pixels, parts))
    y.shape, y.dtype = ir.Shape((count, out * pixels, parts)), ir.DataType.FLOAT
    place = (
        np.arange(depth.size)[:, None] * depth.stride
        + np.arange(depth.kernel) * depth.dilation
        - depth.begin
    )
    sums = place.reshape(-1, 1) == np.arange(depth.new)
    y = b.op("MatMul", y, b.constant(sums))
    y = b.op("Reshape", y, b.ints(count, out, *[axis.new for axis in axes[1:]], depth.new))
    return b.op("Transpose", y, perm=[0, 1, 4, 2, 3])


RULES: Final[Mapping[str, Rule]] = {
    "ConvTranspose": conv_transpose,
}
