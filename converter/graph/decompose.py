"""Operators that a compiler does not know, written with those it does.

Formulas: the ONNX operator specification (https://onnx.ai/onnx/operators). Every rule is compared
with ONNX Runtime on the original by the property tests.
"""

from __future__ import annotations

import math
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

# With fewer rows a MatMul has no more stages than the convolution that would take its place.
_MIN_ROWS: Final = 4
# The most negative number of float16.
_LOWEST: Final = -65504.0


def _x(node: ir.Node) -> ir.Value:
    value = node.inputs[0]
    assert value is not None
    return value


def _more_than_one_output(node: ir.Node) -> bool:
    """Whether a node reads the mean, mask or indices that come with the first output."""
    return any(output.uses() or output.is_graph_output() for output in node.outputs[1:])


def _clip(b: Builder, x: ir.Value, low: float, high: float) -> ir.Value:
    return b.op("Clip", x, b.constant(low), b.constant(high))


def hard_sigmoid(node: ir.Node, b: Builder) -> Sequence[ir.Value]:
    """max(0, min(1, alpha * x + beta))."""
    alpha, beta = float_attribute(node, "alpha", 0.2), float_attribute(node, "beta", 0.5)
    scaled = b.op("Mul", _x(node), b.constant(alpha))
    return [_clip(b, b.op("Add", scaled, b.constant(beta)), 0.0, 1.0)]


def hard_swish(node: ir.Node, b: Builder) -> Sequence[ir.Value]:
    """X * max(0, min(6, x + 3)) / 6."""
    clipped = _clip(b, b.op("Add", _x(node), b.constant(3.0)), 0.0, 6.0)
    return [b.op("Mul", b.op("Mul", _x(node), clipped), b.constant(1 / 6))]


def gelu(node: ir.Node, b: Builder) -> Sequence[ir.Value]:
    """0.5 * x * (1 + erf(x / sqrt 2)), or the tanh approximation if the node asks for it."""
    x = _x(node)
    if text_attribute(node, "approximate", "none") == "tanh":
        cube = b.op("Mul", b.op("Mul", x, x), x)
        inner = b.op("Add", x, b.op("Mul", cube, b.constant(0.044715)))
        gate = b.op("Tanh", b.op("Mul", inner, b.constant(math.sqrt(2 / math.pi))))
    else:
        gate = b.op("Erf", b.op("Mul", x, b.constant(math.sqrt(0.5))))
    return [b.op("Mul", b.op("Mul", x, b.op("Add", gate, b.constant(1.0))), b.constant(0.5))]


def mish(node: ir.Node, b: Builder) -> Sequence[ir.Value]:
    """X * tanh(softplus(x))."""
    return [b.op("Mul", _x(node), b.op("Tanh", b.op("Softplus", _x(node))))]


def swish(node: ir.Node, b: Builder) -> Sequence[ir.Value]:
    """X * sigmoid(alpha * x)."""
    alpha = float_attribute(node, "alpha", 1.0)
    scaled = _x(node) if alpha == 1.0 else b.op("Mul", _x(node), b.constant(alpha))
    return [b.op("Mul", _x(node), b.op("Sigmoid", scaled))]


def selu(node: ir.Node, b: Builder) -> Sequence[ir.Value]:
    """Gamma * elu(x, alpha)."""
    alpha = float_attribute(node, "alpha", 1.67326319217681884765625)
    gamma = float_attribute(node, "gamma", 1.05070102214813232421875)
    return [b.op("Mul", b.op("Elu", _x(node), alpha=alpha), b.constant(gamma))]


def celu(node: ir.Node, b: Builder) -> Sequence[ir.Value]:
    """Alpha * elu(x / alpha)."""
    alpha = float_attribute(node, "alpha", 1.0)
    inner = b.op("Elu", b.op("Mul", _x(node), b.constant(1 / alpha)), alpha=1.0)
    return [b.op("Mul", inner, b.constant(alpha))]


def thresholded_relu(node: ir.Node, b: Builder) -> Sequence[ir.Value]:
    """X where x > alpha, else 0."""
    above = b.op("Greater", _x(node), b.constant(float_attribute(node, "alpha", 1.0)))
    return [b.op("Mul", _x(node), b.op("Cast", above, to=int(ir.DataType.FLOAT)))]


def shrink(node: ir.Node, b: Builder) -> Sequence[ir.Value]:
    """X + bias below -lambd, x - bias above lambd, 0 between; as a difference of two ramps."""
    lambd, bias = float_attribute(node, "lambd", 0.5), float_attribute(node, "bias", 0.0)
    x = _x(node)
    parts = []
    for compare, limit, shift in (("Greater", lambd, -bias), ("Less", -lambd, bias)):
        gate = b.op("Cast", b.op(compare, x, b.constant(limit)), to=int(ir.DataType.FLOAT))
        parts.append(b.op("Mul", b.op("Add", x, b.constant(shift)), gate))
    return [b.op("Add", *parts)]


def softsign(node: ir.Node, b: Builder) -> Sequence[ir.Value]:
    """X / (1 + |x|)."""
    return [b.op("Div", _x(node), b.op("Add", b.op("Abs", _x(node)), b.constant(1.0)))]


def layer_normalization(node: ir.Node, b: Builder) -> Sequence[ir.Value] | None:
    """(x - mean) / sqrt(var + epsilon) * scale + bias over the axes from `axis` on."""
    x, scale, bias = _x(node), input_of(node, 1), input_of(node, 2)
    shape = static_shape(x)
    if shape is None or _more_than_one_output(node):
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
    x, scale = _x(node), input_of(node, 1)
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
    x, scale, bias = _x(node), array_of(input_of(node, 1)), array_of(input_of(node, 2))
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
    x = _x(node)
    centred = b.op("Sub", x, b.op("ReduceMean", x, axes=over, keepdims=1))
    return [_normalize(b, centred, over, 1e-9)]


def lp_normalization(node: ir.Node, b: Builder) -> Sequence[ir.Value]:
    """X / its L1 or L2 norm along `axis`."""
    axis, p = int_attribute(node, "axis", -1), int_attribute(node, "p", 2)
    norm = "ReduceL1" if p == 1 else "ReduceL2"
    return [b.op("Div", _x(node), b.op(norm, _x(node), axes=[axis], keepdims=1))]


def cast_like(node: ir.Node, b: Builder) -> Sequence[ir.Value] | None:
    """A cast to the type that the second input has."""
    like = input_of(node, 1)
    if like is None or like.dtype is None:
        return None
    return [b.op("Cast", _x(node), to=int(like.dtype))]


def dropout(node: ir.Node, b: Builder) -> Sequence[ir.Value] | None:
    """Dropout does nothing at inference."""
    if _more_than_one_output(node):
        return None
    return [b.op("Identity", _x(node))]


def matmul(node: ir.Node, b: Builder) -> Sequence[ir.Value] | None:
    """X·W with constant W as a 1×1 convolution; see `_pointwise`."""
    return _pointwise(b, _x(node), array_of(input_of(node, 1)), None)


def gemm(node: ir.Node, b: Builder) -> Sequence[ir.Value] | None:
    """alpha·X·W + beta·C with constant W and C as a 1×1 convolution; see `_pointwise`."""
    weights, given = array_of(input_of(node, 1)), input_of(node, 2)
    bias = array_of(given)
    if weights is None or int_attribute(node, "transA", 0) or (given is not None and bias is None):
        return None
    if int_attribute(node, "transB", 0):
        weights = weights.T
    if bias is not None:
        one_row = all(size == 1 for size in bias.shape[:-1])
        if not one_row or bias.size not in (1, weights.shape[-1]):
            return None
        bias = np.broadcast_to(bias.ravel(), weights.shape[-1:])
        bias = bias * np.asarray(float_attribute(node, "beta", 1.0), bias.dtype)
    alpha = np.asarray(float_attribute(node, "alpha", 1.0), weights.dtype)
    return _pointwise(b, _x(node), weights * alpha, bias)


def _pointwise(
    b: Builder, x: ir.Value, weights: NDArray[Any] | None, bias: NDArray[Any] | None
) -> Sequence[ir.Value] | None:
    """(..., K)·(K, N) with the rows as the pixels of an image of K channels.

    The Myriad compiler unrolls a MatMul into 1.5 stages per row: 386 for 256 rows, 4 this way.
    """
    shape = static_shape(x)
    if weights is None or weights.ndim != 2 or shape is None or weights.dtype.kind != "f":
        return None
    rows = math.prod(shape[:-1])
    if rows < _MIN_ROWS:
        return None
    height = max(size for size in range(1, math.isqrt(rows) + 1) if rows % size == 0)
    image = b.op("Reshape", x, b.ints(1, height, rows // height, shape[-1]))
    planes = b.op("Transpose", image, perm=[0, 3, 1, 2])
    kernel = b.constant(weights.T[:, :, None, None], weights.dtype)
    given = [] if bias is None else [b.constant(bias, bias.dtype)]
    y = b.op("Conv", planes, kernel, *given, kernel_shape=[1, 1])
    y = b.op("Transpose", y, perm=[0, 2, 3, 1])
    return [b.op("Reshape", y, b.ints(*shape[:-1], weights.shape[1]))]


def conv(node: ir.Node, b: Builder) -> Sequence[ir.Value] | None:
    """Three-dimensional convolutions as the compiler has them: one group, and a bias.

    It drops a bias of zeros, and then takes a one-element bias for the missing one and fails: so the
    bias is float16's smallest number, 6e-8.
    """
    weights, given = array_of(input_of(node, 1)), input_of(node, 2)
    groups = int_attribute(node, "group", 1)
    if weights is None or weights.ndim != 5 or (groups == 1 and given is not None):
        return None
    missing = np.full(len(weights), 2.0**-24, weights.dtype)
    bias = missing if given is None else array_of(given)
    if bias is None:
        return None
    attributes = {name: value.value for name, value in node.attributes.items() if name != "group"}
    parts = b.ops("Split", groups, _x(node), axis=1) if groups > 1 else [_x(node)]
    kernels, biases = np.split(weights, groups), np.split(bias, groups)
    made = [
        b.op("Conv", part, b.constant(w, w.dtype), b.constant(c, c.dtype), **attributes)
        for part, w, c in zip(parts, kernels, biases, strict=True)
    ]
    return [b.op("Concat", *made, axis=1) if groups > 1 else made[0]]


def max_pool(node: ir.Node, b: Builder) -> Sequence[ir.Value] | None:
    """Dilated pooling: axis after axis the largest of shifted slices, of a frame of -65504.

    The compiler takes an undilated MaxPool only.
    """
    shape, dilations = static_shape(_x(node)), ints_attribute(node, "dilations")
    kernel = ints_attribute(node, "kernel_shape")
    if shape is None or kernel is None or dilations is None or set(dilations) == {1}:
        return None
    plain = text_attribute(node, "auto_pad", "NOTSET") == "NOTSET"
    if not plain or int_attribute(node, "ceil_mode", 0) or _more_than_one_output(node):
        return None
    axes = len(kernel)
    strides = ints_attribute(node, "strides") or (1,) * axes
    pads = ints_attribute(node, "pads") or (0,) * (2 * axes)
    frame = b.ints(0, 0, *pads[:axes], 0, 0, *pads[axes:])
    y = b.op("Pad", _x(node), frame, b.constant(_LOWEST)) if any(pads) else _x(node)
    for axis in range(axes):
        stride, dilation = strides[axis], dilations[axis]
        length = shape[axis + 2] + pads[axis] + pads[axis + axes]
        last = (length - dilation * (kernel[axis] - 1) - 1) // stride * stride
        shifted = [
            b.op("Slice", y, b.ints(start), b.ints(start + last + 1), b.ints(axis + 2), b.ints(stride))
            for start in range(0, kernel[axis] * dilation, dilation)
        ]
        y = b.op("Max", *shifted) if len(shifted) > 1 else shifted[0]
    return [y]


RULES: Final[Mapping[str, Rule]] = {
    "CastLike": cast_like,
    "Celu": celu,
    "Conv": conv,
    "Dropout": dropout,
    "Gelu": gelu,
    "Gemm": gemm,
    "GroupNormalization": group_normalization,
    "HardSigmoid": hard_sigmoid,
    "HardSwish": hard_swish,
    "LayerNormalization": layer_normalization,
    "LpNormalization": lp_normalization,
    "MatMul": matmul,
    "MaxPool": max_pool,
    "MeanVarianceNormalization": mean_variance_normalization,
    "Mish": mish,
    "RMSNormalization": rms_normalization,
    "Selu": selu,
    "Shrink": shrink,
    "Softsign": softsign,
    "Swish": swish,
    "ThresholdedRelu": thresholded_relu,
}
