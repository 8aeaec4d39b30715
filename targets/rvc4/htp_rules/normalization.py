"""Normalization layers in the forms that the HTP computes rightly."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

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

_FRAME: Final = 4


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
    """That of several last axes, or of a volume, in the form that the HTP has."""
    shape = static_shape(node.inputs[0])
    if shape is None or any(value.uses() or value.is_graph_output() for value in node.outputs[1:]):
        return None
    first = int_attribute(node, "axis", -1) % len(shape)
    given = [value for value in (input_of(node, index) for index in (1, 2)) if value is not None]
    if first == len(shape) - 1:
        if len(shape) <= _FRAME:
            return None
        wide = given
    else:
        arrays = [array for value in given if (array := array_of(value)) is not None]
        if len(arrays) < len(given):
            return None
        wide = [b.constant(np.broadcast_to(array, shape[first:]).ravel()) for array in arrays]
    epsilon = float_attribute(node, "epsilon", 1e-5)
    return [over_last_axis(b, x_of(node), shape, first, wide, epsilon)]


def over_last_axis(
    b: Builder,
    x: ir.Value,
    shape: Sequence[int],
    first: int,
    constants: Sequence[ir.Value],
    epsilon: float,
) -> ir.Value:
    """LayerNormalization over the axes from `first` on, of an x of that shape.

    The HTP has it over the last axis of at most four: the others are merged, with a Reshape around it.

    Args:
        constants: The scale and, if there is one, the bias; as long as those axes together.
    """
    before, inner = list(shape[:first]), math.prod(shape[first:])
    merged = [*(before if len(before) < _FRAME else [math.prod(before)]), inner]
    if merged == list(shape):
        return b.op("LayerNormalization", x, *constants, axis=-1, epsilon=epsilon)
    y = b.op("LayerNormalization", reshaped(b, x, merged), *constants, axis=-1, epsilon=epsilon)
    return reshaped(b, y, shape)
