"""Matrix products with constant weights as 1×1 convolutions."""

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
    static_shape,
)
from converter.graph.rules.common import x_of

# With fewer rows a MatMul has no more stages than the convolution that would take its place.
_MIN_ROWS: Final = 4


def matmul(node: ir.Node, b: Builder) -> Sequence[ir.Value] | None:
    """X·W with constant W as a 1×1 convolution; see `_pointwise`."""
    return _pointwise(b, x_of(node), array_of(input_of(node, 1)), None)


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
    return _pointwise(b, x_of(node), weights * alpha, bias)


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


RULES: Final[Mapping[str, Rule]] = {
    "Gemm": gemm,
    "MatMul": matmul,
}
