"""Convolutions, matrix products, normalizations and quantization.

Formulas: OpenVINO's operation specifications (opset1 to opset16).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import onnx_ir as ir

from converter.sources.ops.elementwise import Rule
from converter.sources.ops.emitter import Emitter, Inexpressible, sizes_of


def convolution(e: Emitter) -> Sequence[ir.Value]:
    """Convolution-1."""
    return [e.op("Conv", e.x(), e.x(1), **_window(e, e.shape(1)[2:]))]


def group_convolution(e: Emitter) -> Sequence[ir.Value]:
    """GroupConvolution-1: the weights' first axis is the group's."""
    groups, out, *rest = e.shape(1)
    shape = [groups * out, *rest]
    weights = e.weight(1, shape) or e.reshape(e.x(1), shape)
    return [e.op("Conv", e.x(), weights, group=groups, **_window(e, rest[1:]))]


def _window(e: Emitter, kernel: Sequence[int]) -> dict[str, Any]:
    a = e.attributes
    more: dict[str, Any] = {"kernel_shape": list(kernel)}
    more |= {"strides": list(a["strides"]), "dilations": list(a["dilations"])}
    auto = str(a["auto_pad"]).lower()
    if auto.startswith("same") and None in e.sizes()[2:]:
        return more | {"auto_pad": auto.upper()}
    if auto == "valid":
        return more | {"pads": [0] * (2 * len(kernel))}
    return more | {"pads": [*a["pads_begin"], *a["pads_end"]]}


def convolution_backprop(e: Emitter) -> Sequence[ir.Value]:
    """ConvolutionBackpropData-1."""
    return [e.op("ConvTranspose", e.x(), e.x(1), **_transposed_window(e, e.shape(1)[2:]))]


def group_convolution_backprop(e: Emitter) -> Sequence[ir.Value]:
    """GroupConvolutionBackpropData-1: the weights' first axis is the group's."""
    groups, into, *rest = e.shape(1)
    shape = [groups * into, *rest]
    weights = e.weight(1, shape) or e.reshape(e.x(1), shape)
    more = _transposed_window(e, rest[1:])
    return [e.op("ConvTranspose", e.x(), weights, group=groups, **more)]


def _transposed_window(e: Emitter, kernel: Sequence[int]) -> dict[str, Any]:
    """The attributes, with pads that give the node's output shape; missing rows are added behind."""
    a = e.attributes
    strides, dilations = list(a["strides"]), list(a["dilations"])
    more = {"kernel_shape": list(kernel), "strides": strides, "dilations": dilations}
    begin, end = list(a["pads_begin"]), list(a["pads_end"])
    added = list(a["output_padding"]) or [0] * len(kernel)
    sizes, new_sizes = e.sizes()[2:], sizes_of(e.node.output(0))[2:]
    if e.has(2) or str(a["auto_pad"]).lower() != "explicit":
        for axis, (size, new_size) in enumerate(zip(sizes, new_sizes, strict=True)):
            if size is None or new_size is None:
                raise Inexpressible(" of a dynamic shape")
            full = strides[axis] * (size - 1) + dilations[axis] * (kernel[axis] - 1) + 1
            behind = full - begin[axis] - new_size
            end[axis], added[axis] = max(behind, 0), max(-behind, 0)
    if any(added):
        more["output_padding"] = added
    return more | {"pads": [*begin, *end]}


def matmul(e: Emitter) -> Sequence[ir.Value]:
    """MatMul-1: either matrix may be transposed."""
    factors = []
    for index, key in enumerate(("transpose_a", "transpose_b")):
        rank = e.rank(index)
        if not e.attributes[key] or rank == 1:
            factors.append(e.x(index))
            continue
        order = [*range(rank - 2), rank - 1, rank - 2]
        turned = None
        if e.values.constants.find(e.node.input_value(index)) is not None:
            shape = [e.shape(index)[axis] for axis in order]
            turned = e.weight(index, shape, lambda array: array.swapaxes(-1, -2))
        factors.append(turned or e.transpose(e.x(index), order))
    return [e.op("MatMul", *factors)]


def einsum(e: Emitter) -> Sequence[ir.Value]:
    """Einsum-7."""
    return [e.op("Einsum", *e.inputs(), equation=str(e.attributes["equation"]))]


def attention(e: Emitter) -> Sequence[ir.Value]:
    """ScaledDotProductAttention-13: softmax(scale · q kᵀ + mask) v."""
    count = e.node.get_input_size()
    if count > 5:
        raise Inexpressible(" with a sink")
    rank = e.rank(1)
    keys = e.transpose(e.x(1), [*range(rank - 2), rank - 1, rank - 2])
    scale = e.x(4) if count > 4 else e.like(1 / math.sqrt(e.shape()[-1]))
    scores = e.op("Mul", e.op("MatMul", e.x(), keys), scale)
    if e.attributes["causal"]:
        seen = np.tri(e.shape(0)[-2], e.shape(1)[-2], dtype=bool)
        scores = e.op("Add", scores, e.like(np.where(seen, 0, -np.inf)))
    elif count > 3 and e.dtype(3) == ir.DataType.BOOL:
        scores = e.op("Where", e.x(3), scores, e.like(-np.inf))
    elif count > 3 and ((mask := e.known(3)) is None or mask.any()):
        scores = e.op("Add", scores, e.x(3))
    return [e.op("MatMul", e.op("Softmax", scores, axis=-1), e.x(2))]


# ------------------------------------------------------------- normalizations


def batch_norm(e: Emitter) -> Sequence[ir.Value]:
    """BatchNormInference-1, whose data come third, and BatchNormInference-5."""
    order = (2, 0, 1, 3, 4) if e.version == "opset1" else range(5)
    inputs = [e.x(index) for index in order]
    return [e.op("BatchNormalization", *inputs, epsilon=float(e.attributes["epsilon"]))]


def mvn(e: Emitter) -> Sequence[ir.Value]:
    """MVN-2 (its axes are an attribute) and MVN-6: (x − mean) / √(variance + epsilon)."""
    a, rank = e.attributes, e.rank()
    if e.has(1):
        axes = sorted(e.axes(1))
    else:
        axes = sorted(int(axis) % rank for axis in a.get("reduction_axes") or [])
        axes = axes or list(range(1 if a["across_channels"] else 2, rank))
    epsilon = float(a["eps"])
    inside = str(a.get("eps_mode", "inside_sqrt")).lower() == "inside_sqrt"
    x, variance = e.x(), bool(a["normalize_variance"])
    sizes = e.sizes()
    if variance and inside and axes == list(range(2, rank)) and sizes[1] is not None:
        one, zero = e.like(np.ones(sizes[1])), e.like(np.zeros(sizes[1]))
        return [e.op("InstanceNormalization", x, one, zero, epsilon=epsilon)]
    width = [sizes[axis] for axis in axes]
    if variance and inside and axes == list(range(rank - len(axes), rank)) and None not in width:
        return [e.op("LayerNormalization", x, e.like(np.ones(width)), axis=axes[0], epsilon=epsilon)]
    centred = e.op("Sub", x, e.reduce("ReduceMean", x, axes, True))
    if not variance:
        return [centred]
    mean = e.reduce("ReduceMean", e.op("Mul", centred, centred), axes, True)
    if inside:
        deviation = e.op("Sqrt", e.op("Add", mean, e.like(epsilon)))
    else:
        deviation = e.op("Add", e.op("Sqrt", mean), e.like(epsilon))
    return [e.op("Div", centred, deviation)]


def group_norm(e: Emitter) -> Sequence[ir.Value]:
    """GroupNormalization-12: each group as a channel; then scale and shift the channels."""
    shape, groups = e.shape(), int(e.attributes["num_groups"])
    rows = e.reshape(e.x(), [shape[0], groups, -1])
    one, zero = e.like(np.ones(groups)), e.like(np.zeros(groups))
    y = e.op("InstanceNormalization", rows, one, zero, epsilon=float(e.attributes["epsilon"]))
    y = e.reshape(y, shape)
    channels = [shape[1], *[1] * (len(shape) - 2)]
    scale, shift = (e.weight(i, channels) or e.reshape(e.x(i), channels) for i in (1, 2))
    return [e.op("Add", e.op("Mul", y, scale), shift)]


def normalize_l2(e: Emitter) -> Sequence[ir.Value]:
    """NormalizeL2-1: x / √(Σx² + eps), or the greater of the two under the root."""
    if not e.axes(1):
        raise Inexpressible(" over no axes")
    x, epsilon = e.x(), e.like(float(e.attributes["eps"]))
    total = e.reduce("ReduceSum", e.op("Mul", x, x), e.axes(1), True)
    combine = "Add" if str(e.attributes["eps_mode"]).lower() == "add" else "Max"
    return [e.op("Div", x, e.op("Sqrt", e.op(combine, total, epsilon)))]


def lrn(e: Emitter) -> Sequence[ir.Value]:
    """LRN-1: x / (bias + alpha / size^n · Σx²)^beta over a window of n axes."""
    a, x, axes = e.attributes, e.x(), e.axes(1)
    size, alpha, beta, bias = int(a["size"]), float(a["alpha"]), float(a["beta"]), float(a["bias"])
    if axes == [1]:
        return [e.op("LRN", x, size=size, alpha=alpha, beta=beta, bias=bias)]
    if axes != list(range(2, e.rank())) or size % 2 == 0:
        raise Inexpressible(f" over the axes {axes}")
    spread = {"kernel_shape": [size] * len(axes), "pads": [size // 2] * (2 * len(axes))}
    mean = e.op("AveragePool", e.op("Mul", x, x), count_include_pad=1, **spread)
    below = e.op("Add", e.op("Mul", mean, e.like(alpha)), e.like(bias))
    return [e.op("Div", x, e.op("Pow", below, e.like(beta)))]


# --------------------------------------------------------------- quantization


def fake_quantize(e: Emitter) -> Sequence[ir.Value]:
    """FakeQuantize-1 over activations: its saturation, without its steps.

    The target quantizes anew; of two levels the step is the function, and stays.
    """
    low, high, out_low, out_high = (e.array(index) for index in range(1, 5))
    x = e.x()
    if int(e.attributes["levels"]) == 2:
        above = e.op("Greater", x, e.like(low))
        return [e.op("Where", above, e.like(out_high), e.like(out_low))]
    least, most = np.minimum(low, high), np.maximum(low, high)
    if least.size == most.size == 1:
        y = e.op("Clip", x, e.like(least.reshape(())), e.like(most.reshape(())))
    else:
        y = e.op("Min", e.op("Max", x, e.like(least)), e.like(most))
    span = np.maximum(np.abs(most - least), np.finfo(np.float32).tiny)
    if (np.abs(low - out_low) <= 1e-6 * span).all() and (np.abs(high - out_high) <= 1e-6 * span).all():
        return [y]
    with np.errstate(divide="ignore", invalid="ignore"):
        scale = np.where(high == low, 0, (out_high - out_low) / (high - low))
    y = e.op("Mul", y, e.like(scale))
    return [e.op("Add", y, e.like(out_low - low * scale))]


RULES: Final[Mapping[str, Rule]] = {
    "BatchNormInference": batch_norm,
    "Convolution": convolution,
    "ConvolutionBackpropData": convolution_backprop,
    "Einsum": einsum,
    "FakeQuantize": fake_quantize,
    "GroupConvolution": group_convolution,
    "GroupConvolutionBackpropData": group_convolution_backprop,
    "GroupNormalization": group_norm,
    "LRN": lrn,
    "MVN": mvn,
    "MatMul": matmul,
    "NormalizeL2": normalize_l2,
    "ScaledDotProductAttention": attention,
}
