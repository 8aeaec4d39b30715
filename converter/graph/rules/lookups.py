"""Lookups at constant places, with indices from the start; one-hot rows, casts and regions."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import onnx_ir as ir

from converter.graph.rewrite import (
    Builder,
    Rule,
    array_of,
    input_of,
    int_attribute,
    static_shape,
    text_attribute,
)
from converter.graph.rules.common import x_of
from converter.graph.rules.forms import numpy_type, reshaped

# Operators whose results are places counted from the start.
_NOT_NEGATIVE: Final = ("ArgMax", "ArgMin", "TopK")


def gather(node: ir.Node, b: Builder) -> Sequence[ir.Value] | None:
    """Gather and GatherElements: constant indices counted from the start, which a blob does not do."""
    indices, shape = array_of(input_of(node, 1)), static_shape(x_of(node))
    if indices is None or shape is None or not (indices < 0).any():
        return None
    size = shape[int_attribute(node, "axis", 0) % len(shape)]
    return b.again(node, x_of(node), b.constant(indices % size, indices.dtype))


def gather_nd(node: ir.Node, b: Builder) -> Sequence[ir.Value] | None:
    """GatherND of constant indices as a Gather of the rows that they name, whatever `batch_dims` is.

    The axes that are chosen from become one, (batch · chosen, rest), where each row has a number.
    """
    indices, shape = array_of(input_of(node, 1)), static_shape(x_of(node))
    if indices is None or shape is None or not indices.size:
        return None
    first = int_attribute(node, "batch_dims", 0)
    taken, rest = shape[: first + indices.shape[-1]], shape[first + indices.shape[-1] :]
    names = np.concatenate(
        [
            np.moveaxis(np.indices(indices.shape[:-1])[:first], 0, -1),
            indices % np.array(shape[first : first + indices.shape[-1]]),
        ],
        axis=-1,
    )
    places = np.ravel_multi_index(list(np.moveaxis(names, -1, 0)), taken)
    rows = reshaped(b, x_of(node), [math.prod(taken), math.prod(rest)])
    found = b.op("Gather", rows, b.ints(*places.ravel().tolist()), axis=0)
    return [reshaped(b, found, [*places.shape, *rest])]


def gather_nd_of_batches(node: ir.Node, b: Builder) -> Sequence[ir.Value] | None:
    """GatherND with `batch_dims` as one without: the batch is written in front of the indices."""
    shape, given = static_shape(x_of(node)), input_of(node, 1)
    sizes, first = static_shape(given), int_attribute(node, "batch_dims", 0)
    if (made := gather_nd(node, b)) is not None or not first or shape is None or sizes is None:
        return made
    batch = np.moveaxis(np.indices(sizes[:-1])[:first], 0, -1)
    return [b.op("GatherND", x_of(node), b.op("Concat", b.constant(batch, np.int64), given, axis=-1))]


def one_hot(node: ir.Node, b: Builder) -> Sequence[ir.Value] | None:
    """The same for OneHot; what is beyond the depth either way stays there."""
    indices, depth = array_of(x_of(node)), array_of(input_of(node, 1))
    if indices is None or depth is None or not (indices < 0).any():
        return None
    size = int(depth.ravel()[0])
    known = np.where((indices < 0) & (indices >= -size), indices + size, indices)
    return b.again(node, b.constant(known, indices.dtype), *node.inputs[1:])


def one_hot_compared(node: ir.Node, b: Builder) -> Sequence[ir.Value] | None:
    """OneHot as off + (on - off) · (indices = place); indices count from either end."""
    x, values = x_of(node), input_of(node, 2)
    given, depth, known = static_shape(x), array_of(input_of(node, 1)), array_of(values)
    if given is None or depth is None or known is None or array_of(x) is not None or x.dtype is None:
        return None
    off, on = known.ravel()
    if not np.isfinite([off, on]).all():
        return None
    # Of a narrow or unsigned type, not all places and their negative counterparts are numbers.
    whole_numbers = (ir.DataType.INT32, ir.DataType.INT64)
    if x.dtype not in whole_numbers:
        x = b.op("Cast", x, to=int(ir.DataType.INT64))
        x.dtype = ir.DataType.INT64
    axis, size = int_attribute(node, "axis", -1) % (len(given) + 1), int(depth.ravel()[0])
    places, kind = (
        reshaped(b, x, [*given[:axis], 1, *given[axis:]]),
        ir.DataType.from_numpy(known.dtype),
    )
    whole = np.arange(size).reshape([-1, *[1] * (len(given) - axis)])
    made = x.producer()
    never = made is not None and made.op_type in _NOT_NEGATIVE
    hits = [
        b.op("Equal", places, b.constant(row, numpy_type(x)))
        for row in ((whole,) if never else (whole, whole - size))
    ]
    if kind == ir.DataType.BOOL:
        return None if off == on else [_truth(b, hits, inverted=bool(off))]
    hits = [b.op("Cast", hit, to=int(kind)) for hit in hits]
    hit = b.op("Add", *hits) if len(hits) > 1 else hits[0]
    if on - off != 1:
        hit = b.op("Mul", hit, b.constant(on - off, known.dtype))
    return [b.op("Add", hit, b.constant(off, known.dtype)) if off else hit]


def _truth(b: Builder, hits: Sequence[ir.Value], *, inverted: bool) -> ir.Value:
    """Whether any of the hits is true; `inverted`: whether none is."""
    hit = b.op("Or", *hits) if len(hits) > 1 else hits[0]
    return b.op("Not", hit) if inverted else hit


def cast(node: ir.Node, b: Builder) -> Sequence[ir.Value] | None:
    """To booleans: whether a number is not 0; the Myriad compiler cuts off fractions first."""
    x = x_of(node)
    if int_attribute(node, "to", 1) != int(ir.DataType.BOOL) or x.dtype in (None, ir.DataType.BOOL):
        return None
    return [b.op("Not", b.op("Equal", x, b.constant(0, numpy_type(x))))]


def roi_align(node: ir.Node, b: Builder) -> Sequence[ir.Value] | None:
    """Regions moved by half a pixel (`half_pixel`, the default from opset 16 on) as a shift of theirs.

    The older form also makes regions at least 1 wide, so that this holds for constant ones that are.
    """
    if b.graph.opset_imports.get("", 0) < 16:
        return None
    scale = node.attributes["spatial_scale"].as_float() if "spatial_scale" in node.attributes else 1.0
    inputs = list(node.inputs)
    if text_attribute(node, "coordinate_transformation_mode", "half_pixel") == "half_pixel":
        regions = array_of(node.inputs[1])
        if regions is None or ((regions[:, 2:] - regions[:, :2]) * scale < 1).any():
            return None
        inputs[1] = b.constant(regions - np.float32(0.5 / scale))
    elif "coordinate_transformation_mode" not in node.attributes:
        return None
    made = b.again(node, *inputs)
    b.nodes[-1].attributes["coordinate_transformation_mode"] = ir.AttrString(
        "coordinate_transformation_mode", "output_half_pixel"
    )
    return made


# What QNN has nothing for.
ONE_HOT: Final[Mapping[str, Rule]] = {"OneHot": one_hot_compared}
BATCHES: Final[Mapping[str, Rule]] = {"GatherND": gather_nd_of_batches}
RULES: Final[Mapping[str, Rule]] = {
    "Cast": cast,
    "Gather": gather,
    "GatherElements": gather,
    "GatherND": gather_nd,
    "OneHot": one_hot,
    "RoiAlign": roi_align,
}
