"""Normalization layers, written out with means, differences and quotients."""

from __future__ import annotations

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


def layer_normalization(node: ir.Node, b: Builder) -> Sequence[ir.Value] | None:
    """(x - mean) / sqrt(var + epsilon) * scale + bias over the axes from `axis` on."""
    x, scale, bias = x_of(node), input_of(node, 1), input_of(node, 2)
    shape = static_shape(x)
    if shape is None or more_than_one_output(node):
        return None
    first = int_attribute(node, "axis", -1) % len(shape)
    axes = [axis - len(shape) for axis in range(first, len(shape))]
    centred = b.op("Sub", x, b.op("ReduceMean", x, axes=axes, keepdims=1))
    y = _normalize(b, centred, axes, float_attribute(node, "epsilon", 1e-5))
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
    y = _normalize(b, x, axes, float_attribute(node, "epsilon", 1e-5))
    return [y if scale is None else b.op("Mul", y, scale)]


def _normalize(b: Builder, x: ir.Value, axes: Sequence[int], epsilon: float) -> ir.Value:
    variance = b.op("ReduceMean", b.op("Mul", x, x), axes=axes, keepdims=1)
    return b.op("Div", x, b.op("Sqrt", b.op("Add", variance, b.constant(epsilon))))


def group_normalization(node: ir.Node, b: Builder) -> Sequence[ir.Value] | None:
    """Instance normalization of the groups; scale and bias per channel (opset 21) or group (18)."""
    x, scale, bias = x_of(node), array_of(input_of(node, 1)), array_of(input_of(node, 2))
    shape = static_shape(x)
    if shape is None or scale is None or bias is None:
        return None
    groups, channels = int_attribute(node, "num_groups", 1), shape[1]
    grouped = b.op("Reshape", x, b.ints(shape[0], groups, -1))
    ones, zeros = b.constant(np.ones(groups)), b.constant(np.zeros(groups))
    epsilon = float_attribute(node, "epsilon", 1e-5)
    y = b.op("InstanceNormalization", grouped, ones, zeros, epsilon=epsilon)
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
    centred = b.op("Sub", x, b.op("ReduceMean", x, axes=over, keepdims=1))
    return [_normalize(b, centred, over, 1e-9)]


RULES: Final[Mapping[str, Rule]] = {
    "GroupNormalization": group_normalization,
    "LayerNormalization": layer_normalization,
    "MeanVarianceNormalization": mean_variance_normalization,
    "RMSNormalization": rms_normalization,
}
