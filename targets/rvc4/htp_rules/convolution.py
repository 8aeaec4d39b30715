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
)
from converter.graph.rules.transposed_convolution import axes_of, dense

# Channels whose largest weights differ by less than this lose little with one scale for all.
_ALIKE: Final = 2.0
# Above this many weights (a byte each), the zeros of the dense kernel cost more than they give.
_MAX_DENSE: Final = 1 << 20


def dense_volume(node: ir.Node, b: Builder) -> Sequence[ir.Value] | None:
    """A dilated Conv of volumes, which the HTP does not take: zeros between the taps of its kernel."""
    weights, dilations = array_of(input_of(node, 1)), ints_attribute(node, "dilations")
    if weights is None or weights.ndim != 5 or dilations is None or set(dilations) == {1}:
        return None
    reaches = [(size - 1) * step + 1 for size, step in zip(weights.shape[2:], dilations, strict=True)]
    dense = b.constant(_spread(weights, dilations, reaches), weights.dtype)
    kept = {name: value.value for name, value in node.attributes.items() if name != "dilations"}
    return [b.op("Conv", node.inputs[0], dense, input_of(node, 2), **kept | {"kernel_shape": reaches})]


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
