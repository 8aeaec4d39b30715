"""Poolings. With a known shape their padding is written as the numbers that the windows touch.

Formulas: OpenVINO's operation specifications (opset1 to opset16).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import onnx_ir as ir

from converter.sources.ops.elementwise import Rule
from converter.sources.ops.emitter import Emitter, Inexpressible


def max_pool(e: Emitter) -> Sequence[ir.Value]:
    """MaxPool-1, MaxPool-8 (with indices and dilations) and MaxPool-14 (rounds up as PyTorch does)."""
    a = e.attributes
    begin, end = _pads(e)
    more = {"kernel_shape": list(a["kernel"]), "strides": list(a["strides"]), "pads": [*begin, *end]}
    if any(dilation != 1 for dilation in a.get("dilations") or []):
        more["dilations"] = list(a["dilations"])
    if e.node.get_output_size() < 2 or not e.is_read(1):
        return [e.op("MaxPool", e.x(), **more)]
    if int(a["axis"]) % e.rank():
        raise Inexpressible(" with indices that are not the whole tensor's")
    y, indices = e.ops("MaxPool", 2, e.x(), **more)
    return [y, e.cast(indices, e.out_dtype(1), ir.DataType.INT64)]


def avg_pool(e: Emitter) -> Sequence[ir.Value]:
    """AvgPool-1, AvgPool-14 and AvgPool-16 (with dilations).

    A window that reaches beyond the padding, because of rounding up, is cut at the tensor's edge.
    """
    a, x = e.attributes, e.x()
    begin, end = _pads(e)
    if any(dilation != 1 for dilation in a.get("dilations") or []):
        return [_dilated_avg_pool(e, begin, end)]
    counts = not a["exclude-pad"]
    counted = _counted_end(e, end)
    if counts and counted != end:
        zeros = e.ints(0, 0, *begin, 0, 0, *counted)
        x = e.op("Pad", x, zeros, e.like(0), mode="constant")
        begin, end = [0] * len(begin), np.subtract(end, counted).tolist()
        counts = False
    return [
        e.op(
            "AveragePool",
            x,
            kernel_shape=list(a["kernel"]),
            strides=list(a["strides"]),
            pads=[*begin, *end],
            count_include_pad=int(counts),
        )
    ]


def _dilated_avg_pool(e: Emitter, begin: list[int], end: list[int]) -> ir.Value:
    """A convolution that sums each window, over the number of its places that count."""
    a = e.attributes
    _, channels, *size = e.shape()
    window = {"strides": list(a["strides"]), "dilations": list(a["dilations"])}
    kernel = e.like(np.ones([channels, 1, *a["kernel"]]))
    summed = e.op("Conv", e.x(), kernel, group=channels, pads=[*begin, *end], **window)
    low, high = begin, _counted_end(e, end)
    if a["exclude-pad"]:
        low = high = [0] * len(size)
    count = np.ones([1, 1])
    for axis, new_size in enumerate(e.out_shape()[2:]):
        first = np.arange(new_size)[:, None] * a["strides"][axis] - begin[axis]
        places = first + np.arange(a["kernel"][axis]) * a["dilations"][axis]
        inside = (places >= -low[axis]) & (places < size[axis] + high[axis])
        count = count[..., None] * inside.sum(axis=1)
    return e.op("Div", summed, e.like(count))


def _counted_end(e: Emitter, end: list[int]) -> list[int]:
    """How much padding behind the input belongs to the mean; rounding up adds some that does not."""
    a = e.attributes
    declared = end if str(a["auto_pad"]).startswith("same") else a["pads_end"]
    return [min(pair) for pair in zip(end, declared, strict=True)]


def _pads(e: Emitter) -> tuple[list[int], list[int]]:
    """The padding that the windows touch, as explicit numbers."""
    a = e.attributes
    dilations = a.get("dilations") or [1] * len(a["kernel"])
    window = (np.array(a["kernel"]) - 1) * dilations + 1
    if None in e.sizes()[2:]:
        if str(a["auto_pad"]) not in ("explicit", "valid") or str(a["rounding_type"]) != "floor":
            raise Inexpressible(" of a dynamic shape")
        ends = a["pads_begin"], a["pads_end"]
        begin, end = ([0] * len(window), [0] * len(window)) if a["auto_pad"] == "valid" else ends
        return list(begin), list(end)
    size, new_size = e.sizes()[2:], e.node.get_output_partial_shape(0)
    outs = [int(new_size[axis + 2].get_length()) for axis in range(len(window))]
    total = (np.array(outs) - 1) * a["strides"] + window - np.array(size)
    begin = np.array(a["pads_begin"])
    if str(a["auto_pad"]).startswith("same"):
        begin = (total.clip(0) + (a["auto_pad"] == "same_lower")) // 2
    elif a["auto_pad"] == "valid":
        begin = 0 * begin
    return begin.tolist(), (total - begin).clip(0).tolist()


def adaptive_avg_pool(e: Emitter) -> Sequence[ir.Value]:
    """AdaptiveAvgPool-8: the mean of each of the parts of an axis, which may overlap.

    Parts of one size are a pooling, others a product with a matrix for each axis.
    """
    sizes, new_sizes = e.shape()[2:], e.out_shape()[2:]
    if not any(size % new for size, new in zip(sizes, new_sizes, strict=True)):
        if max(new_sizes) == 1:
            return [e.op("GlobalAveragePool", e.x())]
        kernel = [size // new for size, new in zip(sizes, new_sizes, strict=True)]
        return [e.op("AveragePool", e.x(), kernel_shape=kernel, strides=kernel)]
    y, rank = e.x(), e.rank()
    for axis, (size, new) in enumerate(zip(sizes, new_sizes, strict=True)):
        mean = np.zeros([size, new])
        for part in range(new):
            first, last = part * size // new, -(-(part + 1) * size // new)
            mean[first:last, part] = 1 / (last - first)
        order = list(range(rank))
        order[axis + 2], order[-1] = rank - 1, axis + 2
        y = e.transpose(e.op("MatMul", e.transpose(y, order), e.like(mean)), order)
    return [y]


def adaptive_max_pool(e: Emitter) -> Sequence[ir.Value]:
    """AdaptiveMaxPool-8 of parts of one size."""
    sizes, new_sizes = e.shape()[2:], e.out_shape()[2:]
    if any(size % new for size, new in zip(sizes, new_sizes, strict=True)) or e.is_read(1):
        raise Inexpressible(" with parts of different sizes, or with indices")
    kernel = [size // new for size, new in zip(sizes, new_sizes, strict=True)]
    return [e.op("MaxPool", e.x(), kernel_shape=kernel, strides=kernel)]


RULES: Final[Mapping[str, Rule]] = {
    "AdaptiveAvgPool": adaptive_avg_pool,
    "AdaptiveMaxPool": adaptive_max_pool,
    "AvgPool": avg_pool,
    "MaxPool": max_pool,
}
