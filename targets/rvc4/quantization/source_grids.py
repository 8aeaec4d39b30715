"""The grids on which a quantized source has its tensors, as encodings of the prepared graph."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import onnx_ir as ir

    from converter.graph.quantized.codes import SourceRange

# How the passes end the names of tensors that they copy or rename.
_ENDINGS: Final = ("/own", "/use.")
# Biases: their scales follow from those of inputs and weights.
_DERIVED: Final = "int32"


def source_grids(model: ir.Model, ranges: Mapping[str, SourceRange]) -> dict[str, Any]:
    """Encodings (`TensorEncoding`) as plain JSON data, by the tensors' names in the prepared graph.

    Args:
        ranges: By the tensors' names in the graph that was read.
    """
    graph = model.graph
    found = {}
    values = [*graph.inputs, *graph.initializers.values()]
    values += [value for node in graph for value in node.outputs]
    for value in values:
        name = str(value.name)
        grid = ranges.get(name) or ranges.get(_read_name(name))
        if grid is None or grid.dtype == _DERIVED:
            continue
        low, high = grid.limits
        found[name] = {
            "bitwidth": (high - low).bit_length(),
            "scales": [float(scale) for scale in grid.scale.ravel()],
            "offsets": [int(low - zero) for zero in grid.zero_point.ravel()],
            "axis": grid.axis,
        }
    return found


def _read_name(name: str) -> str:
    for ending in _ENDINGS:
        name = name.partition(ending)[0]
    return name
