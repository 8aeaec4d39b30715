"""Gathers and scatters: indices from the start, and scatters of constant indices as one lookup."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

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

_REDUCTIONS: Final = {"add": "Add", "mul": "Mul", "max": "Max", "min": "Min"}
_NEUTRAL: Final = {"add": 0.0, "mul": 1.0, "max": -65504.0, "min": 65504.0}
# How often one element may be written to: each time is an operator of the whole tensor's size.
_TIMES: Final = 16


def gather(node: ir.Node, b: Builder) -> Sequence[ir.Value] | None:
    """Gather and GatherElements: constant indices counted from the start, which a blob does not do."""
    indices, shape = array_of(input_of(node, 1)), static_shape(x_of(node))
    if indices is None or shape is None or not (indices < 0).any():
        return None
    size = shape[int_attribute(node, "axis", 0) % len(shape)]
    return b.again(node, x_of(node), b.constant(indices % size, indices.dtype))


def gather_nd(node: ir.Node, b: Builder) -> Sequence[ir.Value] | None:
    """The same for GatherND, whose indices have a size for each axis that they choose from."""
    indices, shape = array_of(input_of(node, 1)), static_shape(x_of(node))
    if indices is None or shape is None or not (indices < 0).any():
        return None
    first = int_attribute(node, "batch_dims", 0)
    sizes = np.array(shape[first : first + indices.shape[-1]])
    return b.again(node, x_of(node), b.constant(indices % sizes, indices.dtype))


def one_hot(node: ir.Node, b: Builder) -> Sequence[ir.Value] | None:
    """The same for OneHot; what is beyond the depth either way stays there."""
    indices, depth = array_of(x_of(node)), array_of(input_of(node, 1))
    if indices is None or depth is None or not (indices < 0).any():
        return None
    size = int(depth.ravel()[0])
    known = np.where((indices < 0) & (indices >= -size), indices + size, indices)
    return b.again(node, b.constant(known, indices.dtype), *node.inputs[1:])


def scatter(node: ir.Node, b: Builder) -> Sequence[ir.Value] | None:
    """Scatters of constant indices: for each element of the result the place that it comes from.

    Without a reduction one Gather of data and updates behind each other. With one, the update of each
    element, or the reduction's neutral number, is gathered and reduced; again where an element has
    several. The Myriad compiler has no ScatterND and no reduction.
    """
    indices, shape = array_of(input_of(node, 1)), static_shape(x_of(node))
    updates = input_of(node, 2)
    if indices is None or shape is None or updates is None:
        return None
    kind = text_attribute(node, "reduction", "none")
    elements = node.op_type == "ScatterElements"
    if elements and kind == "none" and (indices >= 0).all():
        return None
    targets = (_of_elements if elements else _of_slices)(indices, shape, node)
    size = math.prod(shape)
    flat = b.op("Reshape", updates, b.ints(-1))
    if kind == "none":
        origin = np.arange(size)
        origin[targets] = size + np.arange(targets.size)  # of several updates the last one
        both = b.op("Concat", b.op("Reshape", x_of(node), b.ints(-1)), flat, axis=0)
        chosen = b.op("Gather", both, b.ints(*origin), axis=0)
        return [b.op("Reshape", chosen, b.ints(*shape))]
    order = np.argsort(targets, kind="stable")
    places, counts = np.unique(targets, return_counts=True)
    if kind not in _REDUCTIONS or counts.max(initial=0) > _TIMES:
        return None
    y, ends = x_of(node), np.cumsum(counts)
    neutral = b.constant([_NEUTRAL[kind]], _numpy_type(updates))
    padded = b.op("Concat", flat, neutral, axis=0)
    for turn in range(int(counts.max(initial=0))):
        origin = np.full(size, targets.size)
        more = counts > turn
        origin[places[more]] = order[(ends - counts)[more] + turn]
        update = b.op("Reshape", b.op("Gather", padded, b.ints(*origin), axis=0), b.ints(*shape))
        y = b.op(_REDUCTIONS[kind], y, update)
    return [y]


def _numpy_type(value: ir.Value) -> Any:
    return np.float32 if value.dtype is None else value.dtype.numpy()


def _of_elements(indices: NDArray[Any], shape: Sequence[int], node: ir.Node) -> NDArray[np.int64]:
    """The element that each update goes to: another place along one axis."""
    axis = int_attribute(node, "axis", 0) % len(shape)
    places = np.indices(indices.shape)
    places[axis] = indices % shape[axis]
    return np.asarray(np.ravel_multi_index(list(places), tuple(shape))).ravel()


def _of_slices(indices: NDArray[Any], shape: Sequence[int], node: ir.Node) -> NDArray[np.int64]:
    """The element that each update goes to: slices that the last axis of the indices names."""
    del node
    depth = indices.shape[-1]
    rest = math.prod(shape[depth:])
    names = (indices % np.array(shape[:depth])).reshape(-1, depth).T
    slices = np.ravel_multi_index(list(names), tuple(shape[:depth]))
    return np.asarray(slices[:, None] * rest + np.arange(rest)).ravel()


def cast(node: ir.Node, b: Builder) -> Sequence[ir.Value] | None:
    """To booleans: whether a number is not 0; the Myriad compiler cuts off fractions first."""
    x = x_of(node)
    if int_attribute(node, "to", 1) != int(ir.DataType.BOOL) or x.dtype in (None, ir.DataType.BOOL):
        return None
    return [b.op("Not", b.op("Equal", x, b.constant(0, _numpy_type(x))))]


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


RULES: Final[Mapping[str, Rule]] = {
    "Cast": cast,
    "Gather": gather,
    "GatherElements": gather,
    "GatherND": gather_nd,
    "OneHot": one_hot,
    "RoiAlign": roi_align,
    "ScatterElements": scatter,
    "ScatterND": scatter,
}
