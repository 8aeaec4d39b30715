"""Normalization layers, written out with means, differences and quotients."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import onnx_ir as ir

from converter.graph.rewrite import (
    Builder,
    Rule,
    array_of,
    float_attribute,
    input_of,
    int_attribute,
    static_shape,
)
from converter.graph.rules.common import more_than_one_output, x_of
from converter.graph.rules.forms import reduced


def layer_normalization(node: ir.Node, b: Builder) -> Sequence[ir.Value] | None:
    """(x - mean) / sqrt(var + epsilon) * scale + bias over the axes from `axis` on."""
    x, scale, bias = x_of(node), input_of(node, 1), input_of(node, 2)
    shape = static_shape(x)
    if shape is None or more_than_one_output(node):
        return None
    first = int_attribute(node, "axis", -1) % len(shape)
    axes = [axis - len(shape) for axis in range(first, len(shape))]
    centred = b.op("Sub", x, reduced(b, "ReduceMean", x, axes, keepdims=True))
    y = over_root_mean_square(b, centred, axes, float_attribute(node, "epsilon", 1e-5))
    if scale is not None:
        y = b.op("Mul", y, scale)
    return [y if bias is None else b.op("Add", y, bias)]


def rms_normalization(node: ir.Node, b: Builder) -> Sequence[ir.Value] | None:
    """X / sqrt(mean(x²) + epsilon) * scale over the axes from `axis` on."""
    x, scale = x_of(node), input_of(node, 1)
    shape = static_shape(x)
    if shape is None:
        return None
    first = int_attribute(node, "axis", -1) % len(shape)
    axes = [axis - len(shape) for axis in range(first, len(shape))]
    y = over_root_mean_square(b, x, axes, float_attribute(node, "epsilon", 1e-5))
    return [y if scale is None else b.op("Mul", y, scale)]


def over_root_mean_square(b: Builder, x: ir.Value, axes: Sequence[int], epsilon: float) -> ir.Value:
    """X / sqrt(mean(x²) + epsilon), which float16 holds: (x / s) / sqrt(mean((x / s)²) + epsilon / s²).

    With s = max |x| no square is above 1, and one s in both places may be rounded. It is not below
    sqrt(epsilon) / 64, so that epsilon / s² is not above 4096, nor below 2^-14, float16's last normal
    number.
    """
    root = math.sqrt(epsilon)
    largest = reduced(b, "ReduceMax", b.op("Abs", x), axes, keepdims=True)
    inverse = b.op("Reciprocal", b.op("Max", largest, b.constant(max(root / 64, 2.0**-14))))
    scaled, small = b.op("Mul", x, inverse), b.op("Mul", inverse, b.constant(root))
    mean = reduced(b, "ReduceMean", b.op("Mul", scaled, scaled), axes, keepdims=True)
    return b.op("Div", scaled, b.op("Sqrt", b.op("Add", mean, b.op("Mul", small, small))))


def instance_normalization(node: ir.Node, b: Builder) -> Sequence[ir.Value] | None:
    """(x - mean) / sqrt(var + epsilon) * scale + bias over the axes behind the channels.

    The Myriad compiler's own stage adds epsilon outside of the root: with a variance of 1.6e-5 and an
    epsilon of 1e-5 its result is 25 % off, and nobody knows a variance before the network runs.
    """
    x, scale, bias = x_of(node), input_of(node, 1), input_of(node, 2)
    shape = static_shape(x)
    if shape is None or len(shape) < 3:
        return None
    channel = b.ints(1, shape[1], *[1] * (len(shape) - 2))
    y = _instances(b, x, len(shape), float_attribute(node, "epsilon", 1e-5))
    y = b.op("Mul", y, b.op("Reshape", scale, channel))
    return [b.op("Add", y, b.op("Reshape", bias, channel))]


def _instances(b: Builder, x: ir.Value, rank: int, epsilon: float) -> ir.Value:
    axes = list(range(2 - rank, 0))
    centred = b.op("Sub", x, reduced(b, "ReduceMean", x, axes, keepdims=True))
    return over_root_mean_square(b, centred, axes, epsilon)


def group_normalization(node: ir.Node, b: Builder) -> Sequence[ir.Value] | None:
    """The groups normalized as instances; scale and bias per channel (opset 21) or group (18)."""
    x, scale, bias = x_of(node), array_of(input_of(node, 1)), array_of(input_of(node, 2))
    shape = static_shape(x)
    if shape is None or scale is None or bias is None:
        return None
    groups, channels = int_attribute(node, "num_groups", 1), shape[1]
    grouped = b.op("Reshape", x, b.ints(shape[0], groups, -1))
    y = _instances(b, grouped, 3, float_attribute(node, "epsilon", 1e-5))
    y = b.op("Reshape", y, b.ints(*shape))
    wide = [1, channels] + [1] * (len(shape) - 2)
    per_channel = [
        values if values.size == channels else np.repeat(values, channels // groups)
        for values in (scale, bias)
    ]
    y = b.op("Mul", y, b.constant(per_channel[0].reshape(wide)))
    return [b.op("Add", y, b.constant(per_channel[1].reshape(wide)))]


def mean_variance_normalization(node: ir.Node, b: Builder) -> Sequence[ir.Value]:
    """(x - mean) / std over the given axes, as in the specification's function."""
    axes = node.attributes.get("axes")
    over = tuple(axes.as_ints()) if axes is not None else (0, 2, 3)
    x = x_of(node)
    centred = b.op("Sub", x, reduced(b, "ReduceMean", x, over, keepdims=True))
    return [over_root_mean_square(b, centred, over, 1e-9)]


def local_response_normalization(node: ir.Node, b: Builder) -> Sequence[ir.Value] | None:
    """X / (bias + a)^beta = bias^-beta · x / (1 + a / bias)^beta, a being alpha's sum of squares.

    The Myriad compiler's stage takes a whole number as bias.
    """
    bias, beta = float_attribute(node, "bias", 1.0), float_attribute(node, "beta", 0.75)
    if bias <= 0 or bias == int(bias):
        return None
    alpha = float_attribute(node, "alpha", 1e-4) / bias
    y = b.op("LRN", x_of(node), size=int_attribute(node, "size", 1), alpha=alpha, beta=beta, bias=1.0)
    return [b.op("Mul", y, b.constant(bias**-beta))]


RULES: Final[Mapping[str, Rule]] = {
    "GroupNormalization": group_normalization,
    "InstanceNormalization": instance_normalization,
    "LRN": local_response_normalization,
    "LayerNormalization": layer_normalization,
    "MeanVarianceNormalization": mean_variance_normalization,
    "RMSNormalization": rms_normalization,
}
