"""Products and sums in the forms that QNN keeps as integers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from converter.graph.rewrite import (
    Builder,
    array_of,
    float_attribute,
    input_of,
    int_attribute,
)


def computed_gemm(node: ir.Node, b: Builder) -> Sequence[ir.Value] | None:
    """Gemm of two computed matrices as MatMul and Add: QNN's own way adds a bias in 32 bits."""
    if array_of(node.inputs[1]) is not None:
        return None
    x, w = (
        b.op("Transpose", value, perm=[1, 0]) if int_attribute(node, name, 0) else value
        for value, name in zip(node.inputs[:2], ("transA", "transB"), strict=True)
    )
    y = b.op("MatMul", x, w)
    alpha, beta = float_attribute(node, "alpha", 1.0), float_attribute(node, "beta", 1.0)
    if alpha != 1:
        y = b.op("Mul", y, b.constant(alpha))
    bias = input_of(node, 2)
    if bias is None or beta == 0:
        return [y]
    return [b.op("Add", y, bias if beta == 1 else b.op("Mul", bias, b.constant(beta)))]


def biased_gemm(node: ir.Node, b: Builder) -> Sequence[ir.Value] | None:
    """Alpha · X · W + beta · C of constant W with C for each column, or added behind it.

    QNN wants a bias of as many numbers as W has columns, and neither factors nor a transposed X.
    """
    weights, given, x = array_of(node.inputs[1]), input_of(node, 2), node.inputs[0]
    if weights is None:
        return computed_gemm(node, b)
    alpha, beta = float_attribute(node, "alpha", 1.0), float_attribute(node, "beta", 1.0)
    is_turned, kernel = int_attribute(node, "transB", 0), node.inputs[1]
    columns = weights.shape[0 if is_turned else 1]
    bias = array_of(given)
    is_row = (
        bias is not None and bias.size in (1, columns) and bias.shape[-1:] in ((), (1,), (columns,))
    )
    plain = alpha == beta == 1 and not int_attribute(node, "transA", 0)
    if plain and (given is None or (bias is not None and bias.shape == (columns,))):
        return None
    if alpha != 1:
        kernel = b.constant(weights * np.float32(alpha))
    if int_attribute(node, "transA", 0):
        x = b.op("Transpose", x, perm=[1, 0])
    if given is None or beta == 0:
        return [b.op("Gemm", x, kernel, transB=is_turned)]
    if bias is not None and is_row:
        row = np.broadcast_to(bias.ravel() * np.float32(beta), (columns,))
        return [b.op("Gemm", x, kernel, b.constant(row), transB=is_turned)]
    y = b.op("Gemm", x, kernel, transB=is_turned)
    behind = b.constant(bias * np.float32(beta)) if bias is not None else given
    if bias is None and beta != 1:
        behind = b.op("Mul", given, b.constant(beta))
    return [b.op("Add", y, behind)]


def sum_of_several(node: ir.Node, b: Builder) -> Sequence[ir.Value]:
    """Sum as a chain of Adds: QNN computes a quantized Sum in floating point."""
    total = node.inputs[0]
    for value in node.inputs[1:]:
        total = b.op("Add", total, value)
    assert total is not None
    return [total]


def mean_of_several(node: ir.Node, b: Builder) -> Sequence[ir.Value]:
    """Mean as a chain of Adds, times 1 / n: QNN fails on a Mean in float16."""
    return [b.op("Mul", *sum_of_several(node, b), b.constant(1 / len(node.inputs)))]
