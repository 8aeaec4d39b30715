"""Constants beside a convolution, folded into its weights: fewer tensors to round or to quantize.

A Mul, Div, Add or Sub behind a Conv, ConvTranspose or Gemm by a constant for all or for each channel,
and a single number in front of a Conv. The sums are the same but for float32's rounding.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from converter.graph.rewrite import (
    Builder,
    Rule,
    array_of,
    float_attribute,
    input_of,
    int_attribute,
    ints_attribute,
    static_shape,
    text_attribute,
)

_ARITHMETIC: Final = ("Add", "Div", "Mul", "Sub")


def behind(node: ir.Node, b: Builder) -> Sequence[ir.Value] | None:
    """(W·x + c) ∘ k as W'·x + c': k is a number, or one for each output channel."""
    found = _operand(node)
    if found is None:
        return None
    value, constant = found
    layer = value.producer()
    if layer is None or value.is_graph_output() or len(list(value.uses())) != 1:
        return None
    weights, bias = array_of(input_of(layer, 1)), array_of(input_of(layer, 2))
    if (
        weights is None
        or weights.dtype.kind != "f"
        or (input_of(layer, 2) is not None and bias is None)
    ):
        return None
    axis = _output_axis(layer)
    if axis is None:
        return None
    channels = weights.shape[axis]
    k = _by_channel(constant, channels, static_shape(value), layer.op_type)
    # A Gemm's C may be a column, with a number for each row.
    if k is None or (bias is not None and bias.size > 1 and bias.shape != (*bias.shape[:-1], channels)):
        return None
    if bias is not None and bias.size not in (1, channels):
        return None
    factor, shift = _linear(node.op_type, k)
    if factor is None or not np.isfinite(factor).all():
        return None
    scaled = weights * factor.reshape([-1 if i == axis else 1 for i in range(weights.ndim)])
    # A Gemm's bias is taken beta times.
    beta = float_attribute(layer, "beta", 1.0) if layer.op_type == "Gemm" else 1.0
    if layer.op_type == "Gemm" and beta == 0:
        return None
    old = np.zeros(channels) if bias is None else np.broadcast_to(bias.ravel(), (channels,))
    new = (old.astype(np.float64) * factor + shift / beta).astype(weights.dtype)
    inputs = [layer.inputs[0], b.constant(scaled, weights.dtype)]
    if bias is not None or new.any():
        inputs.append(b.constant(new, weights.dtype))
    return b.again(layer, *inputs)


def _operand(node: ir.Node) -> tuple[ir.Value, NDArray[Any]] | None:
    """The computed operand and the constant one; None where there are not these two."""
    if len(node.inputs) != 2:
        return None
    for place in (0, 1):
        value, other = node.inputs[place], node.inputs[1 - place]
        constant = array_of(other)
        if constant is None or value is None or array_of(value) is not None:
            continue
        if place == 1 and node.op_type in ("Div", "Sub"):
            return None  # the constant is divided, or subtracted from
        if constant.dtype.kind != "f" or not constant.size:
            return None
        return value, constant.astype(np.float64)
    return None


def _output_axis(layer: ir.Node) -> int | None:
    """The axis of the weights that is the output's channels."""
    if layer.op_type == "Conv":
        return 0
    if layer.op_type == "ConvTranspose" and int_attribute(layer, "group", 1) == 1:
        return 1
    if layer.op_type == "Gemm":
        return 0 if int_attribute(layer, "transB", 0) else 1
    return None


def _by_channel(
    constant: NDArray[np.float64], channels: int, shape: tuple[int, ...] | None, operator: str
) -> NDArray[np.float64] | None:
    """A constant as one number for each channel; None if it varies along another axis."""
    if shape is None or constant.ndim > len(shape):
        return None
    if constant.size == 1:
        return np.full(channels, constant.item())
    axis = 1 if operator != "Gemm" else len(shape) - 1
    wide = constant.reshape((1,) * (len(shape) - constant.ndim) + constant.shape)
    if wide.size != channels or wide.shape[axis] != channels:
        return None
    return wide.ravel()


def _linear(
    operator: str, k: NDArray[np.float64]
) -> tuple[NDArray[np.float64] | None, NDArray[np.float64]]:
    """The factor and the shift that an operator stands for."""
    zero, one = np.zeros_like(k), np.ones_like(k)
    match operator:
        case "Mul":
            return k, zero
        case "Div":
            return (1 / k, zero) if k.all() else (None, zero)
        case "Add":
            return one, k
        case _:
            return one, -k


def in_front(node: ir.Node, b: Builder) -> Sequence[ir.Value] | None:
    """W·(x ∘ k) + c as W'·x + c', where k is one number; added numbers only where nothing is padded."""
    value = node.inputs[0]
    maker = value.producer() if value is not None else None
    if value is None or maker is None or maker.op_type not in _ARITHMETIC:
        return None
    if value.is_graph_output() or any(user.op_type != "Conv" for user, _ in value.uses()):
        return None
    found = _operand(maker)
    weights, bias = array_of(input_of(node, 1)), array_of(input_of(node, 2))
    if found is None or found[1].size != 1 or weights is None or weights.dtype.kind != "f":
        return None
    if input_of(node, 2) is not None and bias is None:
        return None
    # The constant must not give the value more axes than it has.
    if static_shape(found[0]) is None or static_shape(found[0]) != static_shape(value):
        return None
    factor, shift = _linear(maker.op_type, found[1].ravel())
    if factor is None or not np.isfinite(factor).all():
        return None
    if shift.any() and _is_padded(node):
        return _factor_behind_sum(node, found[0], shift, weights, b)
    old = np.zeros(len(weights)) if bias is None else bias.astype(np.float64)
    sums = weights.astype(np.float64).reshape(len(weights), -1).sum(axis=1)
    new = (old + sums * shift).astype(weights.dtype)
    inputs = [found[0], b.constant(weights * factor, weights.dtype)]
    if bias is not None or new.any():
        inputs.append(b.constant(new, weights.dtype))
    return b.again(node, *inputs)


def _factor_behind_sum(
    node: ir.Node, scaled: ir.Value, shift: NDArray[np.float64], weights: NDArray[Any], b: Builder
) -> Sequence[ir.Value] | None:
    """W·(k · x + s) as k · W·(x + s / k): the sum stays in front of what is padded, the factor goes."""
    maker, value = scaled.producer(), node.inputs[0]
    assert value is not None
    if maker is None or maker.op_type not in ("Mul", "Div") or scaled.is_graph_output():
        return None
    if len(list(scaled.uses())) != 1 or len(list(value.uses())) != 1:
        return None
    found = _operand(maker)
    if found is None or found[1].size != 1 or static_shape(found[0]) != static_shape(scaled):
        return None
    factor, _ = _linear(maker.op_type, found[1].ravel())
    if factor is None or not np.isfinite(factor).all() or not factor.all():
        return None
    moved = b.op("Add", found[0], b.constant((shift / factor).item(), weights.dtype))
    moved.type, moved.shape = value.type, value.shape
    return b.again(node, moved, b.constant(weights * factor, weights.dtype), *node.inputs[2:])


def _is_padded(node: ir.Node) -> bool:
    if text_attribute(node, "auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
        return True
    return any(ints_attribute(node, "pads") or ())


RULES: Final[Mapping[str, Rule]] = {**dict.fromkeys(_ARITHMETIC, behind), "Conv": in_front}
