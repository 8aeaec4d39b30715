"""Products and sums in the forms that QNN keeps as integers."""

from __future__ import annotations

from collections.abc import Sequence

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


def sum_of_several(node: ir.Node, b: Builder) -> Sequence[ir.Value]:
    """Sum as a chain of Adds: QNN computes a quantized Sum in floating point."""
    total = node.inputs[0]
    for value in node.inputs[1:]:
        total = b.op("Add", total, value)
    assert total is not None
    return [total]
