"""Constants of which a model stores few values and their places, written out for all other readers."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, Final

from converter.errors import ArchiveError, ModelError
from converter.graph.nested import graphs

_MOST_BYTES: Final = 1 << 30


def has_sparse(graph: Any) -> bool:
    """Whether a graph (onnx.GraphProto), or one inside it, has sparse constants."""
    return any(inner.sparse_initializer or any(_attributes(inner)) for inner in graphs(graph))


def write_out(graph: Any) -> None:
    """Make the sparse constants of a graph (onnx.GraphProto), and of those inside it, dense, in place.

    Raises:
        ModelError: One would be larger than a gigabyte.
        ArchiveError: One is damaged.
    """
    for inner in graphs(graph):
        inner.initializer.extend(_dense(tensor) for tensor in inner.sparse_initializer)
        del inner.sparse_initializer[:]
        for attribute in list(_attributes(inner)):
            attribute.t.CopyFrom(_dense(attribute.sparse_tensor))
            attribute.ClearField("sparse_tensor")
            attribute.name, attribute.type = "value", attribute.TENSOR


def _attributes(graph: Any) -> Iterator[Any]:
    for node in graph.node:
        if node.op_type == "Constant":
            yield from (item for item in node.attribute if item.HasField("sparse_tensor"))


def _dense(sparse: Any) -> Any:
    """The tensor (onnx.TensorProto); places are counted through, or given axis by axis."""
    import numpy as np
    from onnx import numpy_helper

    name, shape = sparse.values.name, list(sparse.dims)
    try:
        values, places = numpy_helper.to_array(sparse.values), numpy_helper.to_array(sparse.indices)
        if math.prod(shape) * values.itemsize > _MOST_BYTES:
            raise ModelError(
                f"The sparse constant {name!r} of shape {shape} has more than {_MOST_BYTES:,} bytes.",
                remedy="Export the model with a smaller one.",
            )
        dense = np.zeros(shape, values.dtype)
        if places.ndim == 1:
            dense.reshape(-1)[places] = values
        else:
            dense[tuple(places.T)] = values
    except (IndexError, OSError, TypeError, ValueError) as error:
        raise ArchiveError(
            f"The sparse constant {name!r} is damaged: {error}.", remedy="Export the model again."
        ) from error
    return numpy_helper.from_array(dense, name)
