"""Scattering to constant places, written with Where."""

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


def scatter_nd(node: ir.Node, b: Builder) -> Sequence[ir.Value] | None:
    """Y = data, but y[indices[i]] = updates[i]; the last counts where indices repeat."""
    shape, indices = static_shape(x_of(node)), array_of(input_of(node, 1))
    if shape is None or indices is None or text_attribute(node, "reduction", "none") != "none":
        return None
    depth = indices.shape[-1]
    rest = shape[depth:]
    inner = math.prod(rest)
    starts = np.zeros(math.prod(indices.shape[:-1]), np.int64)
    for axis, places in enumerate(indices.reshape(-1, depth).T):
        starts = starts * shape[axis] + places % shape[axis]
    places = starts[:, None] * inner + np.arange(inner)
    return _scattered(node, b, shape, places)


def scatter_elements(node: ir.Node, b: Builder) -> Sequence[ir.Value] | None:
    """Y = data, but y[…, indices[i…], …] = updates[i…] along `axis`; of repeated ones the last."""
    shape, indices = static_shape(x_of(node)), array_of(input_of(node, 1))
    if shape is None or indices is None or text_attribute(node, "reduction", "none") != "none":
        return None
    axis = int_attribute(node, "axis", 0) % len(shape)
    places: list[NDArray[Any]] = [*np.indices(indices.shape)]
    places[axis] = indices % shape[axis]
    return _scattered(node, b, shape, np.asarray(np.ravel_multi_index(tuple(places), shape)))


def _scattered(
    node: ir.Node, b: Builder, shape: tuple[int, ...], places: NDArray[Any]
) -> Sequence[ir.Value] | None:
    """Where(is written, updates at their places, data).

    Args:
        shape: The data's.
        places: For each update, in their order, its place in the flattened data.
    """
    updates = input_of(node, 2)
    size = math.prod(shape)
    if updates is None or not size or not places.size:
        return None
    source = np.full(size, -1)
    source[places.ravel()] = np.arange(places.size)  # NumPy keeps the last, too
    written = (source >= 0).reshape(shape)
    values = array_of(updates)
    if values is not None:
        spread = b.constant(values.ravel()[source.clip(0)].reshape(shape), values.dtype)
    else:
        flat = b.op("Reshape", updates, b.ints(-1))
        spread = b.op("Gather", flat, b.constant(source.clip(0), np.int64), axis=0)
        spread = b.op("Reshape", spread, b.ints(*shape))
    return [b.op("Where", b.constant(written, np.bool_), spread, x_of(node))]


RULES: Final[Mapping[str, Rule]] = {"ScatterElements": scatter_elements, "ScatterND": scatter_nd}
