"""Normalization layers in the forms that the HTP computes rightly."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from converter.graph.rewrite import (
    Builder,
    array_of,
    float_attribute,
    input_of,
    int_attribute,
    static_shape,
)
from converter.graph.rules.common import x_of
from converter.graph.rules.forms import reshaped


def batch_normalization(node: ir.Node, b: Builder) -> Sequence[ir.Value] | None:
    """(x - mean) / √(variance + ε) · scale + bias as a depthwise convolution, or as Mul and Add.

    By itself it is far off on the emulator with integers (relative RMSE up to 0.9).
    """
    shape = static_shape(node.inputs[0])
    arrays = [array_of(input_of(node, index)) for index in range(1, 5)]
    if shape is None or len(shape) < 2 or len(node.outputs) > 1:
        return None
    if any(array is None for array in arrays):
        return None
    scale, bias, mean, variance = (np.asarray(array, np.float64) for array in arrays)
    factor = scale / np.sqrt(variance + float_attribute(node, "epsilon", 1e-5))
    shift, spatial = bias - mean * factor, [1] * (len(shape) - 2)
    if len(shape) in (3, 4):
        kernel = b.constant(factor.reshape(-1, 1, *spatial))
        return [b.op("Conv", node.inputs[0], kernel, b.constant(shift), group=shape[1])]
    scaled = b.op("Mul", node.inputs[0], b.constant(factor.reshape(-1, *spatial)))
    return [b.op("Add", scaled, b.constant(shift.reshape(-1, *spatial)))]


def layer_normalization(node: ir.Node, b: Builder) -> Sequence[ir.Value] | None:
    """That of several last axes as that of one: the HTP has it for the last axis only."""
    shape = static_shape(node.inputs[0])
    if shape is None or any(value.uses() or value.is_graph_output() for value in node.outputs[1:]):
        return None
    first = int_attribute(node, "axis", -1) % len(shape)
    given = [input_of(node, index) for index in (1, 2)]
    arrays = [array_of(value) for value in given]
    if first == len(shape) - 1 or arrays[0] is None or (given[1] is not None and arrays[1] is None):
        return None
    inner = shape[first:]
    wide = [np.broadcast_to(array, inner).ravel() for array in arrays if array is not None]
    x = reshaped(b, x_of(node), [*shape[:first], math.prod(inner)])
    epsilon = float_attribute(node, "epsilon", 1e-5)
    constants = [b.constant(array) for array in wide]
    y = b.op("LayerNormalization", x, *constants, axis=-1, epsilon=epsilon)
    return [reshaped(b, y, shape)]
