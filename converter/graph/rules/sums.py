"""Reductions and running sums, written with ReduceSum, ReduceMax and products of matrices."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import numpy as np
import onnx_ir as ir

from converter.graph.rewrite import (
    Builder,
    Rule,
    array_of,
    input_of,
    int_attribute,
    ints_attribute,
    static_shape,
)
from converter.graph.rules.common import x_of
from converter.graph.rules.forms import (
    as_float,
    is_float,
    numpy_type,
    reduced,
    reshaped,
    sliced,
    transposed,
)

# A longer running sum is one of blocks, so that the matrices stay small.
_LONGEST: Final = 512


def axes_of(node: ir.Node) -> list[int] | None:
    """The axes that a reduction goes over, from 0 on; None if they or the shape are computed."""
    shape, given = static_shape(node.inputs[0]), input_of(node, 1)
    known = array_of(given)
    if shape is None or (given is not None and known is None):
        return None
    axes = known.ravel().tolist() if known is not None else ints_attribute(node, "axes")
    if not axes and int_attribute(node, "noop_with_empty_axes", 0):
        return None
    return sorted(axis % len(shape) for axis in axes) if axes else list(range(len(shape)))


def of_sum(before: Callable[[Builder, ir.Value], ir.Value], after: str = "") -> Rule:
    """A ReduceSum with something of each element in front, and an operator behind."""

    def rule(node: ir.Node, b: Builder) -> Sequence[ir.Value] | None:
        axes = axes_of(node)
        if axes is None:
            return None
        keepdims = bool(int_attribute(node, "keepdims", 1))
        x = x_of(node)
        # A root or logarithm of whole numbers is computed in floats and cut off.
        whole = bool(after) and x.dtype is not None and not is_float(x)
        y = before(b, as_float(b, x) if whole else x)
        y = reduced(b, "ReduceSum", y, axes, keepdims=keepdims)
        y = b.op(after, y) if after else y
        return [b.op("Cast", y, to=int(x.dtype or ir.DataType.FLOAT)) if whole else y]

    return rule


def log_sum_exp(node: ir.Node, b: Builder) -> Sequence[ir.Value] | None:
    """max(x) + log(sum(exp(x - max(x)))): no exponential is larger than one."""
    axes, shape = axes_of(node), static_shape(node.outputs[0])
    if axes is None or shape is None:
        return None
    given = x_of(node)
    whole = given.dtype is not None and not is_float(given)
    x = as_float(b, given) if whole else given
    largest = reduced(b, "ReduceMax", x, axes, keepdims=True)
    total = reduced(b, "ReduceSum", b.op("Exp", b.op("Sub", x, largest)), axes, keepdims=True)
    y = b.op("Add", b.op("Log", total), largest)
    y = y if int_attribute(node, "keepdims", 1) else _without(b, y, axes, shape)
    return [b.op("Cast", y, to=int(given.dtype or ir.DataType.FLOAT)) if whole else y]


def euclidean_norm(node: ir.Node, b: Builder) -> Sequence[ir.Value] | None:
    """ReduceL2 as s · √(Σ (x / s)²) with s = max |x|: no square is above one, so float16 holds them.

    S is not below 2^-14, float16's last normal number.
    """
    axes, shape, x = axes_of(node), static_shape(node.outputs[0]), x_of(node)
    if axes is None or shape is None or x.dtype != ir.DataType.FLOAT:
        return None
    largest = reduced(b, "ReduceMax", b.op("Abs", x), axes, keepdims=True)
    largest = b.op("Max", largest, b.constant(2.0**-14))
    scaled = b.op("Div", x, largest)
    total = reduced(b, "ReduceSum", b.op("Mul", scaled, scaled), axes, keepdims=True)
    y = b.op("Mul", b.op("Sqrt", total), largest)
    return [y if int_attribute(node, "keepdims", 1) else _without(b, y, axes, shape)]


def product(node: ir.Node, b: Builder) -> Sequence[ir.Value] | None:
    """Axis after axis one half times the other, until one element is left."""
    axes, shape, result = axes_of(node), static_shape(node.inputs[0]), static_shape(node.outputs[0])
    if axes is None or shape is None or result is None or math.prod(shape) == 0:
        return None
    y = x_of(node)
    for axis in axes:
        size, odd = shape[axis], []
        while size > 1:
            if size % 2:
                odd.append(sliced(b, y, axis, size - 1, size))
            size //= 2
            halves = sliced(b, y, axis, 0, size), sliced(b, y, axis, size, 2 * size)
            y = b.op("Mul", *halves)
        for rest in odd:
            y = b.op("Mul", y, rest)
    return [y if int_attribute(node, "keepdims", 1) else _without(b, y, axes, result)]


def _without(b: Builder, x: ir.Value, axes: Sequence[int], shape: Sequence[int]) -> ir.Value:
    """Without axes of one element; a scalar by a reduction, as a compiler may want it changed."""
    if not shape:
        return reduced(b, "ReduceSum", x, axes, keepdims=False)
    return reshaped(b, x, shape)


def cumulative_sum(node: ir.Node, b: Builder) -> Sequence[ir.Value] | None:
    """X·T along the axis, T triangular; long axes as blocks, and the sums of the blocks before.

    Whole numbers go by way of floats, which have them exactly up to 2^24 (float16: 2,048).
    """
    shape, axis = static_shape(node.inputs[0]), array_of(input_of(node, 1))
    if shape is None or axis is None or not shape:
        return None
    along, rank = int(axis.ravel()[0]) % len(shape), len(shape)
    exclusive, reverse = (bool(int_attribute(node, name, 0)) for name in ("exclusive", "reverse"))
    x = x_of(node)
    floats = x if is_float(x) or x.dtype is None else as_float(b, x)
    order = [index for index in range(rank) if index != along] + [along]
    size, rows = shape[along], math.prod(shape) // max(shape[along], 1)
    y = transposed(b, floats, order)
    if size <= _LONGEST:
        y = b.op("MatMul", reshaped(b, y, [rows, size]), b.constant(_ones(size, exclusive, reverse)))
    else:
        y = _by_blocks(b, reshaped(b, y, [rows, size]), rows, size, exclusive, reverse)
    y = reshaped(b, y, [shape[index] for index in order])
    y = b.op("Transpose", y, perm=np.argsort(order).tolist()) if order != sorted(order) else y
    return [y if floats is x else b.op("Cast", y, to=int(x.dtype or ir.DataType.FLOAT))]


def _ones(size: int, exclusive: bool, reverse: bool) -> np.ndarray:
    """The matrix whose column j has ones where x[i] belongs to the sum at j."""
    upper = np.triu(np.ones((size, size)), int(exclusive))
    return upper.T if reverse else upper


def _by_blocks(
    b: Builder, x: ir.Value, rows: int, size: int, exclusive: bool, reverse: bool
) -> ir.Value:
    width = math.isqrt(size - 1) + 1
    count = -(-size // width)
    if missing := count * width - size:
        x = b.op("Pad", x, b.ints(0, 0, 0, missing), b.constant(0.0))
    blocks = reshaped(b, x, [rows, count, width])
    inner = b.op(
        "MatMul",
        reshaped(b, blocks, [rows * count, width]),
        b.constant(_ones(width, exclusive, reverse)),
    )
    totals = reshaped(b, reduced(b, "ReduceSum", blocks, [2], keepdims=False), [rows, count])
    others = b.op("MatMul", totals, b.constant(_ones(count, True, reverse)))
    y = b.op("Add", reshaped(b, inner, [rows, count, width]), reshaped(b, others, [rows, count, 1]))
    y = reshaped(b, y, [rows, count * width])
    return sliced(b, y, 1, 0, size) if missing else y


def triangle(node: ir.Node, b: Builder) -> Sequence[ir.Value] | None:
    """X times a mask of ones on and above (`upper`) or below the diagonal k; And, of booleans."""
    shape, k = static_shape(node.inputs[0]), input_of(node, 1)
    diagonal = array_of(k)
    if shape is None or (k is not None and diagonal is None):
        return None
    offset = 0 if diagonal is None else int(diagonal.ravel()[0])
    cut = np.triu if int_attribute(node, "upper", 1) else np.tril
    mask = cut(np.ones(shape[-2:]), offset)
    kind = np.dtype(numpy_type(node.inputs[0]))
    return [b.op("And" if kind.kind == "b" else "Mul", x_of(node), b.constant(mask, kind))]


def _itself(b: Builder, x: ir.Value) -> ir.Value:
    del b
    return x


def _magnitude(b: Builder, x: ir.Value) -> ir.Value:
    return b.op("Abs", x)


def _square(b: Builder, x: ir.Value) -> ir.Value:
    return b.op("Mul", x, x)


RULES: Final[Mapping[str, Rule]] = {
    "CumSum": cumulative_sum,
    "ReduceL1": of_sum(_magnitude),
    "ReduceL2": of_sum(_square, "Sqrt"),
    "ReduceLogSum": of_sum(_itself, "Log"),
    "ReduceLogSumExp": log_sum_exp,
    "ReduceProd": product,
    "ReduceSumSquare": of_sum(_square),
    "Trilu": triangle,
}
