"""Ranges of tensors that masks flow into: no lower than what a Softmax can tell.

With the codes of a range from -3.4e38 on there are none left for the scores.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import onnx_ir as ir

from converter.errors import ModelError, from_findings
from converter.findings import Finding
from converter.graph.masks import Seen, clip_bounds, masked
from converter.graph.rewrite import array_of, int_attribute

Ranges = dict[str, tuple[float, float]]
# A step of 16 bits must be a float32, whose largest number is 3.4e38.
_WIDEST: Final = 1e37


def rows_wanted(model: str) -> dict[str, int | None]:
    """Tensors whose rows' largest values decide how far a mask has to reach, with the rows' axis."""
    graph = ir.load(Path(model)).graph
    found: dict[str, int | None] = {}
    for node in graph:
        x, y = node.inputs[0] if node.inputs else None, node.outputs[0]
        if node.op_type == "Softmax" and x is not None:
            found[str(x.name)] = int_attribute(node, "axis", -1)
        elif node.op_type == "ReduceMax" and y.dtype == ir.DataType.FLOAT:
            found[str(y.name)] = None
    return found


def without_masks(model: str, ranges: Ranges, peaks: Mapping[str, float]) -> Ranges:
    """Ranges of the tensors and constants of masks, which replace what was measured.

    Args:
        model: The prepared float model.
        ranges: Measured, by tensor.
        peaks: `Observer.peak` of what `rows_wanted` names.
    """
    graph = ir.load(Path(model)).graph
    bounds = clip_bounds(graph, Seen(ranges=ranges, peaks=peaks))
    settled = {}
    for name in sorted(masked(graph, bounds, ranges)):
        low, high = ranges.get(name, (0.0, 0.0))
        array = array_of(graph.initializers.get(name))
        if array is not None:
            low, high = float(array.min()), float(array.max())
        floor, ceiling = bounds[name]
        # Where it is finite the bound counts even if these frames have no mask: the next may have.
        low = floor if math.isfinite(floor) else low
        high = ceiling if math.isfinite(ceiling) else high
        settled[name] = (low, max(low, high))
    return settled


def require_finite(model: str, ranges: Ranges) -> None:
    """Check that every range can be written with codes.

    Raises:
        ModelError: Tensors have values that no scale is for; it names them and their nodes.
    """
    graph = ir.load(Path(model)).graph
    makers = {str(out.name): node for node in graph for out in node.outputs}
    findings = [
        Finding(
            code="rvc4.range",
            where=f"node {makers[name].name!r} ({makers[name].op_type})" if name in makers else name,
            message=f"its output {name!r} has values from {low:.3g} to {high:.3g} on the calibration "
            "frames: no integer codes are for that.",
            remedy="Use a mask of about -100 in the model, or rvc4.quantization_mode=FP16_STANDARD.",
        )
        for name, (low, high) in ranges.items()
        if high - low > _WIDEST
    ]
    if findings:
        raise from_findings(ModelError, "The model", findings)
