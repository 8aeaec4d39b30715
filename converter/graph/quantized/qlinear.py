"""Operators that take and give codes (QLinear..., QGemm), each as the float operator on the reals."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Final

import numpy as np
import onnx_ir as ir

from converter.graph.quantized.codes import SourceRange
from converter.graph.quantized.folder import (
    CodeRule,
    Folder,
    Replacement,
    UnreadableError,
    grid_of,
)
from converter.graph.rewrite import Builder, input_of, int_attribute


def _grids(node: ir.Node, *places: int, axes: Sequence[int | None] = ()) -> list[SourceRange]:
    """The grids of a node, each given by the index of its scale; the zero point is the next input."""
    found = []
    for index, place in enumerate(places):
        axis = axes[index] if index < len(axes) else None
        found.append(grid_of(input_of(node, place), input_of(node, place + 1), axis=axis))
    return found


def _qlinear_conv(node: ir.Node, b: Builder, f: Folder) -> Replacement:
    """QLinearConv(x, xs, xz, w, ws, wz, ys, yz, B): the bias has the scale xs * ws."""
    if int_attribute(node, "channels_last", 0):
        raise UnreadableError("has its channels last.")
    x_grid, w_grid, y_grid = _grids(node, 1, 4, 6, axes=(None, 0, None))
    x = f.reals(b, node.inputs[0], x_grid)
    w = f.reals(b, node.inputs[3], w_grid)
    bias = input_of(node, 8)
    inputs = [x, w] if bias is None else [x, w, _bias(b, f, bias, x_grid, w_grid)]
    y = b.again(node, *inputs, op_type="Conv")[0]
    b.nodes[-1].attributes.pop("channels_last", None)
    return [f.quantized(b, y, y_grid, node.outputs[0])]


def _bias(b: Builder, f: Folder, bias: ir.Value, x_grid: SourceRange, w_grid: SourceRange) -> ir.Value:
    scale = np.asarray(x_grid.scale * w_grid.scale)
    grid = SourceRange(
        scale=scale,
        zero_point=np.zeros(scale.shape, np.int64),
        dtype="int32",
        axis=None if scale.ndim == 0 else 0,
    )
    return f.reals(b, bias, grid)


def _qlinear_matmul(node: ir.Node, b: Builder, f: Folder) -> Replacement:
    """QLinearMatMul(a, as, az, b, bs, bz, ys, yz): scales for rows of a and for columns of b."""
    a_grid, b_grid, y_grid = _grids(node, 1, 4, 6, axes=(-2, -1, -1))
    left, right = f.reals(b, node.inputs[0], a_grid), f.reals(b, node.inputs[3], b_grid)
    return [f.quantized(b, b.op("MatMul", left, right), y_grid, node.outputs[0])]


def _qgemm(node: ir.Node, b: Builder, f: Folder) -> Replacement:
    """QGemm(A, as, az, B, bs, bz, C, ys, yz): C has the scale alpha * as * bs.

    Without ys, y is float.
    """
    flipped = int_attribute(node, "transB", 0)
    a_grid, b_grid = _grids(node, 1, 4, axes=(None, 0 if flipped else 1))
    x, w = f.reals(b, node.inputs[0], a_grid), f.reals(b, node.inputs[3], b_grid)
    alpha = node.attributes["alpha"].as_float() if "alpha" in node.attributes else 1.0
    inputs = [x, w]
    if (c := input_of(node, 6)) is not None:
        scaled = dataclasses.replace(a_grid, scale=a_grid.scale * np.float32(alpha))
        inputs.append(_bias(b, f, c, scaled, dataclasses.replace(b_grid, axis=1)))
    y = b.again(node, *inputs, op_type="Gemm")[0]
    if input_of(node, 7) is None:
        return [y]
    return [f.quantized(b, y, _grids(node, 7)[0], node.outputs[0])]


def _like(op_type: str, operands: int) -> CodeRule:
    """QLinearX(a, as, az, [b, bs, bz,] ys, yz) as X(a, b)."""

    def rule(node: ir.Node, b: Builder, f: Folder) -> Replacement:
        if int_attribute(node, "channels_last", 0):
            raise UnreadableError("has its channels last.")
        grids = _grids(node, *(1 + 3 * index for index in range(operands)), 3 * operands)
        reals = [f.reals(b, node.inputs[3 * index], grids[index]) for index in range(operands)]
        y = b.again(node, *reals, op_type=op_type)[0]
        for name in ("channels_last", "opset"):
            b.nodes[-1].attributes.pop(name, None)
        return [f.quantized(b, y, grids[-1], node.outputs[0])]

    return rule


def _qlinear_concat(node: ir.Node, b: Builder, f: Folder) -> Replacement:
    """QLinearConcat(ys, yz, x0, s0, z0, x1, s1, z1, ...)."""
    (y_grid,) = _grids(node, 0)
    places = range(2, len(node.inputs), 3)
    reals = [f.reals(b, node.inputs[place], *_grids(node, place + 1)) for place in places]
    return [f.quantized(b, b.again(node, *reals, op_type="Concat")[0], y_grid, node.outputs[0])]


def _qlinear_where(node: ir.Node, b: Builder, f: Folder) -> Replacement:
    """QLinearWhere(condition, x, xs, xz, y, ys, yz, zs, zz)."""
    x_grid, y_grid, grid = _grids(node, 2, 5, 7)
    x, y = f.reals(b, node.inputs[1], x_grid), f.reals(b, node.inputs[4], y_grid)
    return [f.quantized(b, b.op("Where", node.inputs[0], x, y), grid, node.outputs[0])]


RULES: Final[dict[str, CodeRule]] = {
    "QGemm": _qgemm,
    "QLinearAdd": _like("Add", 2),
    "QLinearAveragePool": _like("AveragePool", 1),
    "QLinearConcat": _qlinear_concat,
    "QLinearConv": _qlinear_conv,
    "QLinearGlobalAveragePool": _like("GlobalAveragePool", 1),
    "QLinearLeakyRelu": _like("LeakyRelu", 1),
    "QLinearMatMul": _qlinear_matmul,
    "QLinearMul": _like("Mul", 2),
    "QLinearSigmoid": _like("Sigmoid", 1),
    "QLinearSoftmax": _like("Softmax", 1),
    "QLinearWhere": _qlinear_where,
}
