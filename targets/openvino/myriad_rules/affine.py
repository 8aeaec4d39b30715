"""Layers of constant weights as y = W x + b, with the factors around them that OpenVINO folds in."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from converter.graph.rewrite import (
    Builder,
    array_of,
    float_attribute,
    input_of,
    int_attribute,
)

Floats = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Layer:
    """A node with constant weights.

    Attributes:
        rows: The weights (output channels, inputs of each).
        bias: By output channel.
        inputs: By row and column, which input channel it is for; None where factors are not folded.
        channel: The shape of a constant with a value for each output channel.
        x: The input that is not constant.
        build: From a builder, the input, other rows and another bias to the layer's output.
        rest: What is added behind the output; None where there is nothing else.
    """

    rows: Floats
    bias: Floats
    inputs: NDArray[np.int64] | None
    channel: tuple[int, ...]
    x: ir.Value
    build: Callable[[Builder, ir.Value, Floats, Floats], ir.Value]
    rest: Callable[[Builder, ir.Value], ir.Value] | None = None


def layer_of(node: ir.Node) -> Layer | None:
    """The layer that a node is; None for another operator, or one of computed weights."""
    match node.op_type:
        case "Conv" | "ConvTranspose":
            return _convolution(node)
        case "MatMul":
            return _matmul(node)
        case "Gemm":
            return _gemm(node)
    return None


def _float(value: ir.Value | None) -> Floats | None:
    array = array_of(value)
    return array if array is not None and array.dtype == np.float32 else None


def _convolution(node: ir.Node) -> Layer | None:
    weights, given, x = _float(input_of(node, 1)), input_of(node, 2), node.inputs[0]
    bias = _float(given)
    if weights is None or x is None or (given is not None and bias is None):
        return None
    transposed, groups = node.op_type == "ConvTranspose", int_attribute(node, "group", 1)
    # ConvTranspose has (in, out / groups, …), Conv (out, in / groups, …).
    grouped = weights.reshape(groups, weights.shape[0] // groups, *weights.shape[1:])
    if transposed:
        grouped = grouped.swapaxes(1, 2)
    count, into, taps = grouped.shape[0] * grouped.shape[1], grouped.shape[2], grouped.shape[3:]
    of_group = np.arange(count) // grouped.shape[1] * into
    inputs = np.repeat(of_group[:, None] + np.arange(into), math.prod(taps), axis=1)

    def build(b: Builder, x: ir.Value, rows: Floats, bias: Floats) -> ir.Value:
        kernel = rows.reshape(grouped.shape)
        if transposed:
            kernel = kernel.swapaxes(1, 2)
        more = [b.constant(bias)] if bias.any() or given is not None else []
        return b.again(node, x, b.constant(kernel.reshape(weights.shape)), *more)[0]

    return Layer(
        rows=grouped.reshape(count, -1),
        bias=np.zeros(count, np.float32) if bias is None else bias.ravel(),
        inputs=inputs,
        channel=(1, count, *[1] * len(taps)),
        x=x,
        build=build,
    )


def _matmul(node: ir.Node) -> Layer | None:
    """X·W has an output channel for each column of W, W·X for each row; a stack of matrices has one."""
    left, right = _float(node.inputs[0]), _float(node.inputs[1])
    weights = left if right is None else right
    x = node.inputs[1] if right is None else node.inputs[0]
    if weights is None or x is None or (left is not None and right is not None):
        return None
    flat = weights.ndim == 2
    turned = flat and right is not None

    def build(b: Builder, x: ir.Value, rows: Floats, bias: Floats) -> ir.Value:
        made = b.constant((rows.T if turned else rows).reshape(weights.shape))
        y = b.op("MatMul", x, made) if right is not None else b.op("MatMul", made, x)
        return b.op("Add", y, b.constant(bias.reshape(channel))) if bias.any() else y

    rows = weights.T if turned else weights if flat else weights.reshape(1, -1)
    channel = (1,) if not flat else (len(rows),) if turned else (len(rows), 1)
    zeros = np.zeros(len(rows), np.float32)
    return Layer(rows=rows, bias=zeros, inputs=None, channel=channel, x=x, build=build)


def _gemm(node: ir.Node) -> Layer | None:
    """alpha·X·W + beta·C; a C without a value for each column is left out, for `rest`."""
    weights, given, x = _float(node.inputs[1]), input_of(node, 2), node.inputs[0]
    if weights is None or x is None:
        return None
    rows = weights if int_attribute(node, "transB", 0) else weights.T
    rows = rows * np.float32(float_attribute(node, "alpha", 1.0))
    bias, beta = _float(given), float_attribute(node, "beta", 1.0)
    by_column = bias is not None and all(size == 1 for size in bias.shape[:-1])
    zeros = np.zeros(len(rows), np.float32)

    def build(b: Builder, x: ir.Value, rows: Floats, bias: Floats) -> ir.Value:
        more = [b.constant(bias)] if bias.any() else []
        return b.op(
            "Gemm", x, b.constant(rows), *more, transA=int_attribute(node, "transA", 0), transB=1
        )

    def rest(b: Builder, y: ir.Value) -> ir.Value:
        added = given if beta == 1 else b.op("Mul", given, b.constant(beta))
        return b.op("Add", y, added)

    return Layer(
        rows=rows,
        bias=zeros + bias.ravel() * np.float32(beta) if bias is not None and by_column else zeros,
        inputs=None,
        channel=(len(rows),),
        x=x,
        build=build,
        rest=None if given is None or by_column else rest,
    )


def factors_before(layer: Layer) -> tuple[Floats, ir.Value]:
    """What a convolution's input is multiplied by, for each weight, and the input before that."""
    factor, x = np.ones(1, np.float32), layer.x
    while layer.inputs is not None:
        node = x.producer()
        taken = _factor(node, layer.inputs.max() + 1, len(layer.channel)) if node is not None else None
        if node is None or taken is None:
            break
        constant, x = taken
        factor = factor * np.asarray(
            constant if constant.size == 1 else constant[layer.inputs], np.float32
        )
    return factor, x


def factors_behind(node: ir.Node, layer: Layer) -> tuple[Floats, Floats, ir.Node]:
    """Factor and shift for each output channel that follow a layer, and the last node of them."""
    count, rank, last = len(layer.rows), len(layer.channel), node
    factor, shift = np.ones(count, np.float32), np.zeros(count, np.float32)
    while layer.rest is None:
        value = last.outputs[0]
        uses = list(value.uses())
        if len(uses) != 1 or value.is_graph_output():
            break
        reader = uses[0][0]
        step = _step(reader, value, count, rank, convolution=layer.inputs is not None)
        if step is None:
            break
        factor, shift, last = factor * step[0], shift * step[0] + step[1], reader
    return factor, shift, last


def _step(
    node: ir.Node, value: ir.Value, count: int, rank: int, *, convolution: bool
) -> tuple[Floats, Floats] | None:
    """Factor and shift of a node that reads a layer's output, each of one or `count` values."""
    one, none = np.ones(1, np.float32), np.zeros(1, np.float32)
    if node.op_type == "BatchNormalization" and convolution:
        arrays = [_float(input_of(node, index)) for index in range(1, 5)]
        scale, bias, mean, variance = arrays
        if scale is None or bias is None or mean is None or variance is None:
            return None
        factor = scale / np.sqrt(variance + np.float32(float_attribute(node, "epsilon", 1e-5)))
        return factor, bias - mean * factor
    if node.op_type not in ("Add", "Div", "Mul", "Sub"):
        return None
    first = node.inputs[0] is value
    constant = _by_channel(node.inputs[1 if first else 0], count, rank, 1 if convolution else -1)
    if constant is None:
        return None
    match node.op_type:
        case "Add":
            return one, constant
        case "Sub":
            return (one, -constant) if first else (-one, constant)
        case "Mul":
            return constant, none
        case _:
            return (np.float32(1) / constant, none) if first and constant.all() else None


def _factor(node: ir.Node, count: int, rank: int) -> tuple[Floats, ir.Value] | None:
    """The constant of a Mul or Div by channel, and what it is applied to."""
    if node.op_type not in ("Div", "Mul"):
        return None
    for index in (1, 0) if node.op_type == "Mul" else (1,):
        constant, x = _by_channel(node.inputs[index], count, rank, 1), node.inputs[1 - index]
        if constant is not None and x is not None and (node.op_type == "Mul" or constant.all()):
            return (constant if node.op_type == "Mul" else np.float32(1) / constant), x
    return None


def _by_channel(value: ir.Value | None, count: int, rank: int, axis: int) -> Floats | None:
    """A constant that has one value, or `count` along the channels' axis and nowhere else.

    Args:
        rank: Of the tensor that it is applied to.
        axis: 1, or -1 for any shape in which the last axis has them all.
    """
    array = _float(value)
    if array is None or array.ndim > max(rank, 1):
        return None
    if array.size == 1:
        return array.reshape(1)
    shape = (1,) * (rank - array.ndim) + array.shape
    wide = [index for index, size in enumerate(shape) if size > 1]
    return array.ravel() if wide == [axis % rank] and array.size == count else None
