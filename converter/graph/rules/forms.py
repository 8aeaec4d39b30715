"""Operators in the form that the graph's opset has: attributes became inputs in opsets 13 and 18."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import onnx_ir as ir

from converter.graph.rewrite import Builder, array_of, static_shape

_SUM_TAKES_INPUT: Final = 13
_SPLIT_TAKES_INPUT: Final = 13
_REDUCE_TAKES_INPUT: Final = 18
_SPLIT_COUNTS: Final = 18


def opset_of(b: Builder) -> int:
    """The version of ONNX's own operators in the graph."""
    return b.graph.opset_imports.get("", 0)


def reduced(b: Builder, kind: str, x: ir.Value, axes: Sequence[int], *, keepdims: bool) -> ir.Value:
    """A reduction (`ReduceSum`, ...) over some axes."""
    since = _SUM_TAKES_INPUT if kind == "ReduceSum" else _REDUCE_TAKES_INPUT
    if opset_of(b) >= since:
        return b.op(kind, x, b.ints(*axes), keepdims=int(keepdims))
    return b.op(kind, x, axes=list(axes), keepdims=int(keepdims))


def split(b: Builder, x: ir.Value, axis: int, sizes: Sequence[int]) -> Sequence[ir.Value]:
    """Pieces of the given sizes along an axis; one piece is the tensor itself."""
    if len(sizes) == 1:
        return [x]
    if opset_of(b) >= _SPLIT_TAKES_INPUT:
        if len(set(sizes)) > 1:
            return b.ops("Split", len(sizes), x, b.ints(*sizes), axis=axis)
        counted = {"num_outputs": len(sizes)} if opset_of(b) >= _SPLIT_COUNTS else {}
        return b.ops("Split", len(sizes), x, axis=axis, **counted)
    return b.ops("Split", len(sizes), x, axis=axis, split=list(sizes))


def sliced(b: Builder, x: ir.Value, axis: int, start: int, stop: int, step: int = 1) -> ir.Value:
    """A slice along one axis."""
    return b.op("Slice", x, b.ints(start), b.ints(stop), b.ints(axis), b.ints(step))


def reshaped(b: Builder, x: ir.Value, shape: Sequence[int]) -> ir.Value:
    """The same values in another shape; of a constant a constant."""
    known = array_of(x)
    if known is not None:
        return b.constant(known.reshape(shape), known.dtype)
    y = b.op("Reshape", x, b.ints(*shape))
    if -1 not in shape and x.dtype is not None:
        y.dtype, y.shape = x.dtype, ir.Shape(shape)
    return y


def transposed(b: Builder, x: ir.Value, perm: Sequence[int]) -> ir.Value:
    """The axes in another order; of a constant a constant."""
    if list(perm) == list(range(len(perm))):
        return x
    known, shape = array_of(x), static_shape(x)
    if known is not None:
        return b.constant(known.transpose(perm), known.dtype)
    y = b.op("Transpose", x, perm=list(perm))
    if shape is not None and x.dtype is not None:
        y.dtype, y.shape = x.dtype, ir.Shape([shape[axis] for axis in perm])
    return y


def joined(b: Builder, pieces: Sequence[ir.Value], axis: int) -> ir.Value:
    """Pieces behind each other."""
    return b.op("Concat", *pieces, axis=axis) if len(pieces) > 1 else pieces[0]


def as_float(b: Builder, x: ir.Value) -> ir.Value:
    """Cast to float32."""
    y = b.op("Cast", x, to=int(ir.DataType.FLOAT))
    y.dtype, y.shape = ir.DataType.FLOAT, x.shape
    return y


def numpy_type(value: ir.Value | None) -> Any:
    """A value's NumPy type; float32 if it is not known."""
    return np.float32 if value is None or value.dtype is None else value.dtype.numpy()


def is_float(value: ir.Value | None) -> bool:
    """Whether a value is known to hold floats."""
    return value is not None and value.dtype is not None and value.dtype.is_floating_point()
