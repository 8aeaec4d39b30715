"""Products of codes: the integer operators, dynamic quantization, and the scales behind them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

import numpy as np
import onnx_ir as ir

from converter.graph.quantized.codes import UNIT, Codes, SourceRange
from converter.graph.quantized.folder import (
    CodeRule,
    Folder,
    Replacement,
    UnreadableError,
    grid_of,
    known,
)
from converter.graph.rewrite import Builder, array_of, input_of, int_attribute


def _dynamic(node: ir.Node, b: Builder, f: Folder) -> Replacement:
    """DynamicQuantizeLinear: what it gives is x itself, with the scale 1 and the zero point 0."""
    x = node.inputs[0]
    assert x is not None  # the operator has one
    one = b.constant(1, np.float32)
    f.ones.add(one)
    return [Codes(real=x, grid=UNIT, is_dynamic=True), one, b.constant(0, np.uint8)]


def _centred(
    b: Builder, f: Folder, value: ir.Value | None, zero: ir.Value | None, axis: int
) -> ir.Value:
    """A code less its zero point, as a float tensor."""
    codes = f.codes(value)
    if codes is not None and codes.is_dynamic:
        return codes.real
    dtype = value.dtype.name.lower() if value is not None and value.dtype is not None else "uint8"
    zeros = known(zero) if zero is not None else np.zeros((), np.int64)
    if zeros is None:
        raise UnreadableError("has a zero point that is computed, not constant.")
    flat = zeros.size == 1
    zeros = zeros.astype(np.int64).reshape(() if flat else (-1,))
    grid = SourceRange(
        scale=np.ones(zeros.shape, np.float32),
        zero_point=zeros,
        dtype=dtype,
        axis=None if flat else axis,
    )
    return f.reals(b, value, grid)


def _matmul_integer(node: ir.Node, b: Builder, f: Folder) -> Replacement:
    """(a - zero) @ (b - zero); a scale behind it goes into constant weights."""
    a = _centred(b, f, node.inputs[0], input_of(node, 2), -2)
    w = _centred(b, f, node.inputs[1], input_of(node, 3), -1)
    return [_product(b, f, b.op("MatMul", a, w))]


def _conv_integer(node: ir.Node, b: Builder, f: Folder) -> Replacement:
    x = _centred(b, f, node.inputs[0], input_of(node, 2), 1)
    w = _centred(b, f, node.inputs[1], input_of(node, 3), 0)
    return [_product(b, f, b.again(node, x, w, op_type="Conv")[0])]


def _product(b: Builder, f: Folder, y: ir.Value) -> Codes:
    f.products[y] = b.nodes[-1]
    return Codes(real=y, grid=UNIT)


def _cast(node: ir.Node, _b: Builder, f: Folder) -> Replacement:
    """Products of codes are cast to float before they are scaled: they are floats already."""
    codes = f.codes(node.inputs[0])
    to = ir.DataType(int_attribute(node, "to", 1))
    if codes is None or codes.real not in f.products or not to.is_floating_point():
        return None
    only = len(node.inputs[0].uses()) == 1 if node.inputs[0] is not None else False
    if not only:
        del f.products[codes.real]
    return [codes.real]


def _scaled(node: ir.Node, b: Builder, f: Folder) -> Replacement:
    """The scale behind a product of codes goes into its weights, which are too large for float16."""
    first, second = node.inputs
    for x, factor in ((first, second), (second, first)):
        assert x is not None and factor is not None  # Mul has two
        if x in f.ones:
            if factor in f.ones:
                f.ones.add(node.outputs[0])
            return [factor]
        product, array = f.products.get(x), known(factor)
        if product is None or array is None or len(x.uses()) != 1:
            continue
        if _scale_weights(b, f, product, array):
            return [x]
    return None


def _scale_weights(b: Builder, f: Folder, product: ir.Node, factor: Any) -> bool:
    """Multiply a product's constant weights, or return False where that cannot be."""
    weight = product.inputs[1]
    values = array_of(weight)
    if weight is None or values is None:
        return False
    axis = values.ndim - 1 if product.op_type == "MatMul" else 0
    behind = [1] * (values.ndim - axis - 1)
    if factor.size == 1:
        factor, shape = factor.reshape(()), []
    elif factor.size == values.shape[axis] == factor.shape[-1 - len(behind)]:
        shape = [-1, *behind]
    else:
        return False
    scaled = b.constant((values * factor.reshape(shape)).astype(values.dtype), values.dtype)
    for grid in [grid for value, grid in f.ranges if value is weight]:
        scale = grid.scale * factor.reshape(-1 if shape else ())
        zero = np.broadcast_to(grid.zero_point, scale.shape)
        own = replace(grid, scale=scale, zero_point=zero, axis=axis if scale.ndim else None)
        f.ranges.append((scaled, own))
    product.replace_input_with(1, scaled)
    return True


def _matmul_to_float(node: ir.Node, b: Builder, f: Folder) -> Replacement:
    """MatMulIntegerToFloat(a, b, as, bs, az, bz, bias)."""
    if (codes := f.codes(node.inputs[0])) is not None and codes.is_dynamic:
        a = codes.real
    else:
        a = f.reals(b, node.inputs[0], grid_of(input_of(node, 2), input_of(node, 4), axis=-2))
    return [_with_float_bias(b, a, _weight(b, f, node, 3, 5), input_of(node, 6))]


def _dynamic_matmul(node: ir.Node, b: Builder, f: Folder) -> Replacement:
    """DynamicQuantizeMatMul(a, b, bs, bz, bias), a in float."""
    a = node.inputs[0]
    assert a is not None  # the operator has one
    return [_with_float_bias(b, a, _weight(b, f, node, 2, 3), input_of(node, 4))]


def _weight(b: Builder, f: Folder, node: ir.Node, scale: int, zero: int) -> ir.Value:
    value = node.inputs[1]
    if (codes := f.codes(value)) is not None and codes.is_dynamic:
        return codes.real
    return f.reals(b, value, grid_of(input_of(node, scale), input_of(node, zero), axis=-1))


def _with_float_bias(b: Builder, a: ir.Value, w: ir.Value, bias: ir.Value | None) -> ir.Value:
    y = b.op("MatMul", a, w)
    return y if bias is None else b.op("Add", y, bias)


def _dynamic_lstm(node: ir.Node, b: Builder, _f: Folder) -> Replacement:
    """DynamicQuantizeLSTM(X, W, R, B, lens, h, c, P, Ws, Wz, Rs, Rz): W and R are transposed."""
    inputs = list(node.inputs[:8])
    for place, scale in ((1, 8), (2, 10)):
        values = array_of(node.inputs[place])
        scales, zeros = known(input_of(node, scale)), known(input_of(node, scale + 1))
        if values is None or scales is None or zeros is None:
            raise UnreadableError("has weights that are computed, not constant.")
        shape = (-1, 1, 1) if scales.ndim == 1 else (scales.shape[0], 1, scales.shape[1])
        reals = (values.astype(np.float32) - zeros.reshape(shape)) * scales.reshape(shape)
        inputs[place] = b.constant(reals.transpose(0, 2, 1), np.float32)
    while inputs and inputs[-1] is None:
        inputs.pop()
    return list(b.again(node, *inputs, op_type="LSTM"))


RULES: Final[dict[str, CodeRule]] = {
    "ConvInteger": _conv_integer,
    "DynamicQuantizeLSTM": _dynamic_lstm,
    "DynamicQuantizeLinear": _dynamic,
    "DynamicQuantizeMatMul": _dynamic_matmul,
    "MatMulInteger": _matmul_integer,
    "MatMulIntegerToFloat": _matmul_to_float,
}
# What scales their results.
AROUND: Final[dict[str, CodeRule]] = {"Cast": _cast, "Mul": _scaled}
