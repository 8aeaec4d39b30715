"""Convolutions in the forms that QNN quantizes and the HTP computes rightly."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from converter.graph.rewrite import (
    Builder,
    array_of,
    input_of,
    int_attribute,
    ints_attribute,
    static_shape,
    text_attribute,
)
from converter.graph.rules.transposed_convolution import axes_of, dense
from converter.graph.rules.windows import windows_of

# Channels whose largest weights differ by less than this lose little with one scale for all.
_ALIKE: Final = 2.0
# Above this many weights (a byte each), the zeros of the dense kernel cost more than they give.
_MAX_DENSE: Final = 1 << 20
# Input channels from which `not_nine` matters.
_MISREAD: Final = 32
# Channels above which `not_point` matters.
_CRASHES: Final = 256


def dense_volume(node: ir.Node, b: Builder) -> Sequence[ir.Value] | None:
    """A dilated Conv of volumes, which the HTP does not take: zeros between the taps of its kernel."""
    weights, dilations = array_of(input_of(node, 1)), ints_attribute(node, "dilations")
    if weights is None or weights.ndim != 5 or dilations is None or set(dilations) == {1}:
        return None
    return _dense(node, b, weights, dilations)


def dense_depthwise(node: ir.Node, b: Builder) -> Sequence[ir.Value] | None:
    """A dilated depthwise Conv with strides, likewise: the HTP takes hardly any."""
    weights, dilations = array_of(input_of(node, 1)), ints_attribute(node, "dilations")
    if weights is None or weights.ndim > 4 or dilations is None or set(dilations) == {1}:
        return None
    is_depthwise = weights.shape[1] == 1 and int_attribute(node, "group", 1) == len(weights)
    if not is_depthwise or set(ints_attribute(node, "strides") or (1,)) == {1}:
        return None
    return _dense(node, b, weights, dilations)


def _dense(
    node: ir.Node, b: Builder, weights: NDArray[Any], dilations: Sequence[int]
) -> Sequence[ir.Value]:
    """The same convolution without dilations."""
    reaches = [(size - 1) * step + 1 for size, step in zip(weights.shape[2:], dilations, strict=True)]
    dense = b.constant(_spread(weights, dilations, reaches), weights.dtype)
    kept = {name: value.value for name, value in node.attributes.items() if name != "dilations"}
    return [b.op("Conv", node.inputs[0], dense, input_of(node, 2), **kept | {"kernel_shape": reaches})]


def not_nine(node: ir.Node, b: Builder) -> Sequence[ir.Value] | None:
    """A kernel of 9 x 9 with strides of 2 as one of 9 x 10, whose last column is zero.

    From 32 input channels on the HTP computes something else (relative RMSE 1 and more in float16,
    dense ones with 16-bit activations too; other kernels and strides are right; QAIRT 2.51.0, its
    emulator). The pad behind each row grows by one, and no window is added.
    """
    weights, windows = array_of(input_of(node, 1)), windows_of(node)
    if weights is None or weights.shape[2:] != (9, 9) or windows is None:
        return None
    channels = weights.shape[1] * int_attribute(node, "group", 1)
    if channels < _MISREAD or {(item.stride, item.dilation) for item in windows} != {(2, 1)}:
        return None
    kernel = np.pad(weights, ((0, 0), (0, 0), (0, 0), (0, 1)))
    (top, bottom), (left, right) = ((item.begin, item.end) for item in windows)
    kept = {name: value.value for name, value in node.attributes.items() if name != "auto_pad"}
    pads = {"kernel_shape": [9, 10], "pads": [top, left, bottom, right + 1]}
    return [
        b.op("Conv", node.inputs[0], b.constant(kernel, kernel.dtype), input_of(node, 2), **kept | pads)
    ]


def not_point(node: ir.Node, b: Builder) -> Sequence[ir.Value] | None:
    """One factor for each channel, of more than 256, as a kernel of 1 x 2 whose last column is zero.

    With 16-bit activations and a scale for each channel the emulator crashes on the kernel of 1 x 1,
    as which `normalization.batch_normalization` writes a normalization (QAIRT 2.51.0).
    """
    weights, groups = array_of(input_of(node, 1)), int_attribute(node, "group", 1)
    if weights is None or weights.ndim > 4 or set(weights.shape[1:]) != {1}:
        return None
    if (
        groups != len(weights)
        or groups <= _CRASHES
        or set(ints_attribute(node, "strides") or (1,)) != {1}
    ):
        return None
    rank = weights.ndim - 2
    kernel = np.concatenate([weights, np.zeros_like(weights)], axis=-1)
    is_given = text_attribute(node, "auto_pad", "NOTSET") == "NOTSET"
    pads = list((ints_attribute(node, "pads") if is_given else None) or [0] * (2 * rank))
    pads[-1] += 1
    kept = {name: value.value for name, value in node.attributes.items() if name != "auto_pad"}
    shape = {"kernel_shape": [*weights.shape[2:-1], 2], "pads": pads, "dilations": [1] * rank}
    return [
        b.op(
            "Conv", node.inputs[0], b.constant(kernel, kernel.dtype), input_of(node, 2), **kept | shape
        )
    ]


def _spread(weights: NDArray[Any], dilations: Sequence[int], sizes: Sequence[int]) -> NDArray[Any]:
    """A kernel of those sizes, zero between the taps of a dilated one and behind them."""
    kernel = np.zeros((*weights.shape[:2], *sizes), weights.dtype)
    taps = [
        slice(0, (size - 1) * step + 1, step)
        for size, step in zip(weights.shape[2:], dilations, strict=True)
    ]
    kernel[(slice(None), slice(None), *taps)] = weights
    return kernel


def whole_kernel(node: ir.Node, b: Builder) -> Sequence[ir.Value] | None:
    """ConvTranspose without dilations and `output_padding`: as zeros in the kernel and behind it.

    QNN refuses the first, and what only the padding adds has no bias on the HTP.
    """
    weights, shape = array_of(input_of(node, 1)), static_shape(node.inputs[0])
    if weights is None or shape is None:
        return None
    axes = axes_of(node, shape, weights.shape[2:])
    if all(axis.dilation == 1 and axis.end >= 0 for axis in axes):
        return None
    reaches = [(axis.kernel - 1) * axis.dilation + 1 for axis in axes]
    sizes = [reach + max(-axis.end, 0) for reach, axis in zip(reaches, axes, strict=True)]
    kernel = _spread(weights, [axis.dilation for axis in axes], sizes)
    return [
        b.op(
            "ConvTranspose",
            node.inputs[0],
            b.constant(kernel, kernel.dtype),
            input_of(node, 2),
            group=int_attribute(node, "group", 1),
            kernel_shape=sizes,
            strides=[axis.stride for axis in axes],
            pads=[*[axis.begin for axis in axes], *[max(axis.end, 0) for axis in axes]],
        )
    ]


def grouped_transpose(node: ir.Node, b: Builder) -> Sequence[ir.Value] | None:
    """ConvTranspose of g groups as one of a kernel that is zero between the groups.

    QNN has no scale for each output channel of a grouped one. Where the channels' weights are of
    like size, or the kernel would be large, it stays as it is, with one scale for all weights.
    """
    groups, weights = int_attribute(node, "group", 1), array_of(input_of(node, 1))
    if groups == 1 or weights is None or weights.size * groups > _MAX_DENSE:
        return None
    grouped = weights.reshape(groups, len(weights) // groups, weights.shape[1], -1)
    largest = np.abs(grouped).max(axis=(1, 3))
    if largest.max() < _ALIKE * largest.min():
        return None
    return [_ungrouped(node, weights, groups, b)]


def grouped_volume_transpose(node: ir.Node, b: Builder) -> Sequence[ir.Value] | None:
    """ConvTranspose of volumes in g groups, which the HTP computes wrongly in every format.

    As one of a kernel that is zero between the groups; where that would be large, group by group.
    """
    groups, weights = int_attribute(node, "group", 1), array_of(input_of(node, 1))
    if groups == 1 or weights is None or weights.ndim != 5:
        return None
    if weights.size * groups <= _MAX_DENSE:
        return [_ungrouped(node, weights, groups, b)]
    bias = input_of(node, 2)
    biases = [None] * groups if bias is None else b.ops("Split", groups, bias, axis=0)
    parts = [
        b.op("ConvTranspose", part, b.constant(kernel, kernel.dtype), own, **_without_group(node))
        for part, kernel, own in zip(
            b.ops("Split", groups, node.inputs[0], axis=1),
            np.split(weights, groups),
            biases,
            strict=True,
        )
    ]
    return [b.op("Concat", *parts, axis=1)]


def _ungrouped(node: ir.Node, weights: NDArray[Any], groups: int, b: Builder) -> ir.Value:
    kernel = b.constant(dense(weights, groups), weights.dtype)
    return b.op("ConvTranspose", node.inputs[0], kernel, input_of(node, 2), **_without_group(node))


def _without_group(node: ir.Node) -> dict[str, Any]:
    return {name: value.value for name, value in node.attributes.items() if name != "group"}
