"""QuantizeLinear and DequantizeLinear, ONNX's and com.microsoft's."""

from __future__ import annotations

from typing import Final

import onnx_ir as ir

from converter.graph.quantized.codes import Codes, SourceRange
from converter.graph.quantized.folder import (
    CodeRule,
    Folder,
    Replacement,
    UnreadableError,
    grid_of,
)
from converter.graph.rewrite import Builder, array_of, input_of, int_attribute


def _quantize(node: ir.Node, b: Builder, f: Folder) -> Replacement:
    """QuantizeLinear(x, scale, zero point)."""
    x = node.inputs[0]
    assert x is not None  # the operator has one
    if (block := int_attribute(node, "block_size", 0)) and array_of(x) is None:
        raise UnreadableError(f"quantizes activations in blocks of {block}.")
    kind = ir.DataType(int_attribute(node, "output_dtype", 0) or 2).name.lower()
    grid = _node_grid(node, kind)
    array = array_of(x)
    if array is not None and not block:
        return [Codes(real=f.rounded(b, array, grid, str(x.name)), grid=grid)]
    return [f.quantized(b, x, grid, node.outputs[0])]


def _dequantize(node: ir.Node, b: Builder, f: Folder) -> Replacement:
    """DequantizeLinear(codes, scale, zero point)."""
    x = node.inputs[0]
    codes = f.codes(x)
    if codes is not None and codes.is_dynamic:
        return [codes.real]
    kind = x.dtype.name.lower() if x is not None and x.dtype is not None else ""
    grid = _node_grid(node, kind)
    block = int_attribute(node, "block_size", 0)
    return [f.reals(b, x, grid, given=node.outputs[0], block=block)]


def _node_grid(node: ir.Node, dtype: str) -> SourceRange:
    axis = int_attribute(node, "axis", 1)
    return grid_of(input_of(node, 1), input_of(node, 2), axis=axis, dtype=dtype)


RULES: Final[dict[str, CodeRule]] = {
    "DequantizeLinear": _dequantize,
    "QuantizeLinear": _quantize,
}
