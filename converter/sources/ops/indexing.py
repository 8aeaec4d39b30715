"""Operators that take or give indices: gather, scatter, sort, one-hot.

Formulas: OpenVINO's operation specifications (opset1 to opset16).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import onnx_ir as ir

from converter.sources.ops.elementwise import Rule
from converter.sources.ops.emitter import Emitter, Inexpressible, sizes_of


def gather(e: Emitter) -> Sequence[ir.Value]:
    """Gather-1, Gather-7 (batch axes) and Gather-8 (indices from the end).

    Within batches it is GatherND, with the axis moved behind them.
    """
    axis, rank, where = e.axes(2)[0], e.rank(), e.rank(1)
    batch = int(e.attributes.get("batch_dims", 0))
    batch += where if batch < 0 else 0
    if batch == 0:
        return [e.op("Gather", e.x(), e.i64(1), axis=axis)]
    order = [*range(batch), axis, *(other for other in range(batch, rank) if other != axis)]
    data = e.transpose(e.x(), order)
    y = e.op("GatherND", data, e.unsqueeze(e.i64(1), where), batch_dims=batch)
    # Now there are the batch, what was picked, what was before the axis, and the rest.
    picked, before = where - batch, axis - batch
    end = where + rank - batch - 1
    back = [*range(batch), *range(where, where + before), *range(batch, batch + picked)]
    return [e.transpose(y, [*back, *range(where + before, end)])]


def gather_elements(e: Emitter) -> Sequence[ir.Value]:
    """GatherElements-6."""
    return [e.op("GatherElements", e.x(), e.i64(1), axis=int(e.attributes["axis"]))]


def gather_nd(e: Emitter) -> Sequence[ir.Value]:
    """GatherND-5, which makes one axis of the batch's, and GatherND-8."""
    batch = int(e.attributes["batch_dims"])
    y = e.op("GatherND", e.x(), e.i64(1), batch_dims=batch)
    return [e.reshape(y, e.out_shape()) if e.version == "opset5" and batch > 1 else y]


def scatter_update(e: Emitter) -> Sequence[ir.Value]:
    """ScatterUpdate-3: whole slices along one axis, which is brought to the front for it."""
    axis, rank, count = e.axes(3)[0], e.rank(), e.rank(1)
    order = [axis, *(other for other in range(rank) if other != axis)]
    back = [order.index(place) for place in range(rank)]
    moved = [*range(axis, axis + count), *range(axis), *range(axis + count, rank + count - 1)]
    updates = e.transpose(e.x(2), moved)
    data = e.transpose(e.x(), order)
    y = e.op("ScatterND", data, e.unsqueeze(e.i64(1), count), updates)
    return [e.transpose(y, back)]


def scatter_elements(e: Emitter) -> Sequence[ir.Value]:
    """ScatterElementsUpdate-3 and ScatterElementsUpdate-12 (with a reduction)."""
    axis, reduction = e.axes(3)[0], _reduction(e)
    if reduction != "none" and not e.attributes.get("use_init_val", True):
        raise Inexpressible(" that ignores the initial values")
    more = {} if reduction == "none" else {"reduction": reduction}
    return [e.op("ScatterElements", e.x(), e.i64(1), e.x(2), axis=axis, **more)]


def scatter_nd(e: Emitter) -> Sequence[ir.Value]:
    """ScatterNDUpdate-3 and ScatterNDUpdate-15 (with a reduction)."""
    reduction = _reduction(e)
    more = {} if reduction == "none" else {"reduction": reduction}
    return [e.op("ScatterND", e.x(), e.i64(1), e.x(2), **more)]


def _reduction(e: Emitter) -> str:
    names = {"none": "none", "sum": "add", "prod": "mul", "max": "max", "min": "min"}
    given = str(e.attributes.get("reduction", "none")).lower()
    if given not in names:
        raise Inexpressible(f" with the reduction {given}")
    if given in ("max", "min"):
        e.need(18)
    return names[given]


def slice_scatter(e: Emitter) -> Sequence[ir.Value]:
    """SliceScatter-15: the slice's places in the flat tensor are constants."""
    shape = e.shape()
    starts, stops, steps = (e.ints_of(index) for index in (2, 3, 4))
    axes = e.axes(5) if e.has(5) else list(range(len(starts)))
    cut = [slice(None)] * len(shape)
    for axis, *ends in zip(axes, starts, stops, steps, strict=True):
        cut[axis] = slice(*ends)
    places = np.arange(math.prod(shape)).reshape(shape)[tuple(cut)].ravel()
    flat, updates = e.reshape(e.x(), [-1]), e.reshape(e.x(1), [-1])
    return [e.reshape(e.op("ScatterElements", flat, e.ints(*places), updates, axis=0), shape)]


def top_k(e: Emitter) -> Sequence[ir.Value]:
    """TopK-1, TopK-3 and TopK-11; sorted by value, or by place with a second TopK."""
    a, axis = e.attributes, int(e.attributes["axis"])
    order = str(a["sort"]).lower()
    more = {"axis": axis, "largest": int(a["mode"] == "max")}
    values, indices = e.ops("TopK", 2, e.x(), e.vector(1), sorted=int(order != "none"), **more)
    if order == "index":
        count = e.vector(1)
        indices, _ = e.ops("TopK", 2, indices, count, axis=axis, largest=0, sorted=1)
        values = e.op("GatherElements", e.x(), indices, axis=axis)
    return [values, e.cast(indices, e.out_dtype(1), ir.DataType.INT64)]


def one_hot(e: Emitter) -> Sequence[ir.Value]:
    """OneHot-1 and OneHot-16; a negative index is none at all unless the node says otherwise."""
    indices, depth = e.i64(0), e.vector(1)
    if str(e.attributes.get("negative_indices_mode", "ignore_negative")).lower() != "normalize":
        if (known := e.known(0)) is None:
            beyond = e.op("Reshape", depth, e.constant([], np.int64))
            negative = e.op("Less", indices, e.constant(0, np.int64))
            indices = e.op("Where", negative, beyond, indices)
        elif (known < 0).any():
            raise Inexpressible(" of negative constants")
    on, off = (e.op("Reshape", e.x(index), e.ints(1)) for index in (2, 3))
    values = e.op("Concat", off, on, axis=0)
    kind = e.out_dtype()
    through = kind if kind in (ir.DataType.FLOAT, ir.DataType.INT64) else ir.DataType.FLOAT
    values = e.cast(values, through, kind)
    y = e.op("OneHot", indices, depth, values, axis=int(e.attributes["axis"]))
    return [e.cast(y, kind, through)]


def non_zero(e: Emitter) -> Sequence[ir.Value]:
    """NonZero-3."""
    return [e.cast(e.op("NonZero", e.x()), e.out_dtype(), ir.DataType.INT64)]


def bucketize(e: Emitter) -> Sequence[ir.Value]:
    """Bucketize-3: how many of the ascending borders lie before a number."""
    compare = "Greater" if e.attributes["with_right_bound"] else "GreaterOrEqual"
    if not sizes_of(e.node.input_value(1))[0]:
        raise Inexpressible(" without borders")
    borders = e.cast(e.x(1), e.dtype(0), e.dtype(1))
    beyond = e.op(compare, e.unsqueeze(e.x(), e.rank()), borders)
    numbers = e.op("Cast", beyond, to=int(ir.DataType.INT64))
    total = e.reduce("ReduceSum", numbers, [e.rank()], False)
    return [e.cast(total, e.out_dtype(), ir.DataType.INT64)]


RULES: Final[Mapping[str, Rule]] = {
    "Bucketize": bucketize,
    "Gather": gather,
    "GatherElements": gather_elements,
    "GatherND": gather_nd,
    "NonZero": non_zero,
    "OneHot": one_hot,
    "ScatterElementsUpdate": scatter_elements,
    "ScatterNDUpdate": scatter_nd,
    "ScatterUpdate": scatter_update,
    "SliceScatter": slice_scatter,
    "TopK": top_k,
}
