"""Constants that float16 does not hold, multiplied by a power of two, and the result divided by it.

The Myriad compiler rounds constants to float16 without subnormal numbers: below 2^-15 they become 0, up
to 2^-14 they become 2^-14; above 65504 they are infinite. Before that, OpenVINO folds factors in front
of and behind a layer into its weights. So

    y = W x + b   becomes   Mul(Clip(2^k W x + 2^k b, -65504, 65504), 2^-k)

with a k for each output channel and those factors in W and b. The Clip changes nothing: it keeps
OpenVINO from folding 2^-k back. Measured by executing blobs: an error of 1.0 before, 3e-4 after. A
factor of one value is no weight: the compiler has it in float32.

The compiler itself multiplies a layer's weights and bias by a power of two, and cuts the bias off at
65504 (seen: 1000 beside weights of 0.03 became 512). Measured on 27 layers with weights of several
distributions: the power brings the geometric mean of the weights that are not 0 to between 0.6 and 1.2,
and is at most 256. So a bias that is large beside its weights is added behind the Clip.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray
from onnx_ir.passes import common

from converter.graph.rewrite import Builder, array_of, replace
from converter.graph.rules.common import LOWEST, clip
from targets.openvino.myriad_rules.affine import Floats, factors_before, factors_behind, layer_of

_SMALLEST: Final = 2.0**-14  # of float16's normal numbers
_LARGEST: Final = -LOWEST
# A channel of weights below this gives 0 in float16 for inputs of about 1, however they are rounded.
_NOTHING: Final = 2.0**-24
# From which relative loss of a channel on it is worth two stages, and what is reached.
_TOO_MUCH: Final = 1e-3
_ENOUGH: Final = 1e-4
# 2^-14 is a normal number too, so the factor behind keeps its value.
_MOST: Final = 14
# Frames go up to this: what they and the bias can add up to stays below 65504.
_BRIGHTEST: Final = 255.0
# The largest weight of a channel that is lowered.
_ROOM: Final = 2.0**12
# The compiler's own power of two is at most this, and the mean of the weights becomes at most that.
_COMPILERS_MOST: Final = 256.0
_COMPILERS_MEAN: Final = 2.0
_LAYERS: Final = ("Conv", "ConvTranspose", "Gemm", "MatMul")
# What OpenVINO merges a factor with that is in front of it.
_MERGED: Final = ("Add", "BatchNormalization", "Div", "Mul", "Sub")


def keep_weights_in_float16(model: ir.Model) -> None:
    """Rewrite, in place, the layers and products whose constants the compiler would destroy.

    It must see the graph as it goes to the compiler: preprocessing makes weights small, too.
    """
    for node in list(model.graph):
        if node.op_type in _LAYERS:
            _keep_layer(model.graph, node)
    common.RemoveUnusedNodesPass()(model)
    for node in list(model.graph):
        if node.op_type in ("Div", "Mul"):
            _keep_factors(model.graph, node)


def loss(rows: Floats) -> Floats:
    """Relative RMS change of each row (channels, weights) by the compiler, without plain rounding."""
    size = np.abs(rows)
    kept = np.where(size < _SMALLEST / 2, np.float32(0), np.float32(_SMALLEST))
    change = np.where(size < _SMALLEST, kept - size, np.where(size > _LARGEST, size, 0))
    # Squares of small numbers are no float32.
    unit = np.maximum(size.max(axis=1, keepdims=True, initial=0), np.finfo(np.float32).tiny)
    norms = [np.sqrt(np.square(values / unit).sum(axis=1)) for values in (change, size)]
    return np.asarray(norms[0] / np.maximum(norms[1], 1e-30), np.float32)


def exponents(rows: Floats, bias: Floats) -> NDArray[np.int64]:
    """By which power of two each row and its bias are multiplied; 0 where nothing is lost.

    It is the smallest that helps: what is lifted higher comes nearer to 65504.
    """
    size = np.abs(rows)
    most, total, offset = size.max(axis=1, initial=0), size.sum(axis=1), np.abs(bias)
    found = np.zeros(len(rows), np.int64)
    large = (most > _LARGEST) | (offset > _LARGEST)
    over = np.maximum(most / _ROOM, offset / (_LARGEST / 2))
    found[large] = -np.ceil(np.log2(over[large])).astype(np.int64)
    room = _LARGEST / np.maximum(_BRIGHTEST * total + offset, _NOTHING)
    limit = np.floor(np.log2(np.maximum(room, 1))).astype(np.int64)
    for row in np.flatnonzero((_lost(rows, bias) > _TOO_MUCH) & (most >= _NOTHING) & ~large):
        for k in range(1, min(limit[row], _MOST) + 1):
            found[row] = k
            one, power = slice(row, row + 1), np.float32(2.0**k)
            if _lost(rows[one] * power, bias[one] * power)[0] <= _ENOUGH:
                break
    return found.clip(-_MOST, _MOST)


def needs_its_own_addition(rows: Floats, bias: Floats) -> bool:
    """Whether the compiler would cut a bias off while it scales the weights."""
    largest, size = float(np.abs(bias).max(initial=0)), np.abs(rows[rows != 0])
    mean = float(np.exp(np.log(size).mean())) if size.size else 0.0
    factor = min(_COMPILERS_MOST, _COMPILERS_MEAN / max(mean, _NOTHING))
    return largest <= _LARGEST < largest * factor


def _lost(rows: Floats, bias: Floats) -> Floats:
    """The loss of weights alone, or with the bias as the weight of an input of 1."""
    return np.maximum(loss(rows), loss(np.concatenate([rows, bias[:, None]], axis=1)))


def _keep_layer(graph: ir.Graph, node: ir.Node) -> None:
    layer = layer_of(node)
    if layer is None:
        return
    before, x = factors_before(layer)
    factor, shift, last = factors_behind(node, layer)
    rows = layer.rows * before * factor[:, None]
    bias = layer.bias * factor + shift
    inside, k = bias, exponents(rows, bias)
    power = np.float32(2.0) ** k.astype(np.float32)
    apart = needs_its_own_addition(rows * power[:, None], bias * power)
    if apart:
        inside = np.zeros_like(bias)
        k = exponents(rows, inside)
    if not (k.any() or apart):
        return
    b = Builder(graph, node.name or node.op_type)
    power = np.float32(2.0) ** k.astype(np.float32)
    y = layer.build(b, x, rows * power[:, None], inside * power)
    y = _divided(b, y, power.reshape(layer.channel), last.outputs[0])
    if apart:
        y = b.op("Add", y, b.constant(bias.reshape(layer.channel)))
    replace(graph, last, b, [y if layer.rest is None else layer.rest(b, y)])


def _keep_factors(graph: ir.Graph, node: ir.Node) -> None:
    """The same for x·c and x / c with a constant of several values."""
    for index in (0, 1) if node.op_type == "Mul" else (1,):
        constant, x = array_of(node.inputs[index]), node.inputs[1 - index]
        if constant is None or x is None or constant.dtype != np.float32 or constant.size < 2:
            continue
        if node.op_type == "Div":
            if not constant.all():
                continue
            constant = np.float32(1) / constant
        wide = [size for size in constant.shape if size > 1]
        # A factor for each channel, or a whole map of them.
        rows = np.asarray(constant.reshape((-1, 1) if len(wide) == 1 else (1, -1)), np.float32)
        k = exponents(rows, np.zeros(len(rows), np.float32))
        if not k.any():
            continue
        b = Builder(graph, node.name or node.op_type)
        power = np.float32(2.0) ** k.astype(np.float32)
        power = power.reshape(constant.shape if len(wide) == 1 else (1,))
        y = b.op("Mul", x, b.constant(constant * power))
        replace(graph, node, b, [_divided(b, y, power, node.outputs[0])])
        return


def _divided(b: Builder, y: ir.Value, power: Floats, result: ir.Value) -> ir.Value:
    """Y / power, which nothing behind `result` is merged with."""
    y = b.op("Mul", clip(b, y, LOWEST, _LARGEST), b.constant(1 / power))
    merged = any(reader.op_type in _MERGED for reader, _ in result.uses())
    return clip(b, y, LOWEST, _LARGEST) if merged else y
