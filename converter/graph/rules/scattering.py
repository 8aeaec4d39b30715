"""Scatters to constant places: the updates gathered to where they go, and chosen there."""

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
from converter.graph.rules.forms import reshaped

_REDUCTIONS: Final = {"add": "Add", "mul": "Mul", "max": "Max", "min": "Min"}
# How often one element may be written to: each time is an operator of the whole tensor's size.
_TIMES: Final = 16


def scatter(node: ir.Node, b: Builder) -> Sequence[ir.Value] | None:
    """Y = data, but y[places[i]] = updates[i], or with a `reduction` y[places[i]] ∘ updates[i].

    Where(is written, the updates at their places, data); of several updates of one element the last.
    With a reduction once for each time that an element is written to. No compiler here takes all of it:
    the Myriad compiler has no ScatterND and drops reductions, QNN cuts updates off at the data's range.
    """
    indices, shape = array_of(input_of(node, 1)), static_shape(x_of(node))
    updates = input_of(node, 2)
    if indices is None or shape is None or updates is None or not math.prod(shape) or not indices.size:
        return None
    kind = text_attribute(node, "reduction", "none")
    places = places_of(node, indices, shape)
    if kind == "none":
        source = np.full(math.prod(shape), -1)
        source[places] = np.arange(places.size)  # NumPy keeps the last, too
        return [_chosen(b, source, shape, updates, x_of(node), "")]
    order = np.argsort(places, kind="stable")
    written, counts = np.unique(places, return_counts=True)
    if kind not in _REDUCTIONS or counts.max() > _TIMES:
        return None
    y, ends = x_of(node), np.cumsum(counts)
    for turn in range(int(counts.max())):
        source = np.full(math.prod(shape), -1)
        more = counts > turn
        source[written[more]] = order[(ends - counts)[more] + turn]
        y = _chosen(b, source, shape, updates, y, _REDUCTIONS[kind])
    return [y]


def places_of(node: ir.Node, indices: NDArray[Any], shape: Sequence[int]) -> NDArray[np.int64]:
    """For each update of a scatter the element of the flattened data, which has `shape`."""
    return (_of_elements if node.op_type == "ScatterElements" else _of_slices)(indices, shape, node)


def _chosen(
    b: Builder,
    source: NDArray[np.int64],
    shape: Sequence[int],
    updates: ir.Value,
    data: ir.Value,
    reduction: str,
) -> ir.Value:
    """The updates where there are any, reduced with the data, and the data elsewhere.

    Args:
        source: For each element of the flattened data its update, or -1.
        reduction: An operator; empty where an update takes the place of the data.
    """
    written, values = (source >= 0).reshape(shape), array_of(updates)
    if values is not None:
        spread = b.constant(values.ravel()[source.clip(0)].reshape(shape), values.dtype)
    else:
        spread = b.op("Gather", reshaped(b, updates, [-1]), b.ints(*source.clip(0)), axis=0)
        spread = reshaped(b, spread, shape)
    new = b.op(reduction, data, spread) if reduction else spread
    if reduction and written.all():
        return new
    if data.dtype == ir.DataType.BOOL:  # ONNX Runtime's Where has no booleans
        kept = b.op("And", data, b.constant(~written, np.bool_))
        return b.op("Or", b.op("And", new, b.constant(written, np.bool_)), kept)
    # Also where all is written: a compiler takes no input that nothing reads.
    return b.op("Where", b.constant(written, np.bool_), new, data)


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


RULES: Final[Mapping[str, Rule]] = {"ScatterElements": scatter, "ScatterND": scatter}
