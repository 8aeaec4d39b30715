"""Pooling and normalization by an Lp norm: (Σ |x|^p)^(1/p)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

import numpy as np
import onnx_ir as ir

from converter.graph.rewrite import Builder, Rule, int_attribute, static_shape
from converter.graph.rules.common import x_of
from converter.graph.rules.forms import reduced
from converter.graph.rules.windows import windows_of

# Float16's smallest number; the norm of zeros is taken for it, so that zeros stay zeros.
_SMALLEST: Final = 2.0**-24


def _norm(b: Builder, x: ir.Value, p: int, total: Callable[[ir.Value], ir.Value]) -> ir.Value:
    if p == 1:
        return total(b.op("Abs", x))
    if p == 2:
        return b.op("Sqrt", total(b.op("Mul", x, x)))
    powers = b.op("Pow", b.op("Abs", x), b.constant(float(p)))
    return b.op("Pow", total(powers), b.constant(1 / p))


def pool(node: ir.Node, b: Builder) -> Sequence[ir.Value] | None:
    """The sum over a window is a convolution by channel with ones."""
    shape = static_shape(node.inputs[0])
    windows = windows_of(node)
    if shape is None or windows is None:
        return None
    begin, end = [item.begin for item in windows], [item.end + item.beyond for item in windows]
    kernel = [item.kernel for item in windows]
    ones = b.constant(np.ones((shape[1], 1, *kernel)))

    def total(x: ir.Value) -> ir.Value:
        return b.op(
            "Conv",
            x,
            ones,
            group=shape[1],
            kernel_shape=kernel,
            strides=[item.stride for item in windows],
            dilations=[item.dilation for item in windows],
            pads=[*begin, *end],
        )

    return [_norm(b, x_of(node), int_attribute(node, "p", 2), total)]


def global_pool(node: ir.Node, b: Builder) -> Sequence[ir.Value] | None:
    """The norm over all axes behind the channels."""
    shape = static_shape(node.inputs[0])
    if shape is None:
        return None
    axes = list(range(2, len(shape)))
    p = int_attribute(node, "p", 2)
    return [_norm(b, x_of(node), p, lambda x: reduced(b, "ReduceSum", x, axes, keepdims=True))]


def normalization(node: ir.Node, b: Builder) -> Sequence[ir.Value] | None:
    """X over its norm along `axis`; zeros stay zeros."""
    shape = static_shape(node.inputs[0])
    if shape is None:
        return None
    axis = int_attribute(node, "axis", -1) % len(shape)
    p = int_attribute(node, "p", 2)
    x = x_of(node)
    norm = _norm(b, x, p, lambda y: reduced(b, "ReduceSum", y, [axis], keepdims=True))
    return [b.op("Div", x, b.op("Max", norm, b.constant(_SMALLEST)))]


RULES: Final[Mapping[str, Rule]] = {
    "GlobalLpPool": global_pool,
    "LpNormalization": normalization,
    "LpPool": pool,
}
