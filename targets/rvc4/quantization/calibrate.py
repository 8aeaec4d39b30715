"""Ranges of a float model's tensors, measured on the user's frames, in a child process."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

from converter.calibration.feeds import frames_of
from converter.model import Tensor
from targets.rvc4.quantization.modes import BEST_OF
from targets.rvc4.quantization.observers import Observer, measure
from targets.rvc4.quantization.room import with_room
from targets.rvc4.quantization.settle import require_finite, rows_wanted, without_masks

# Operators that move pixels and compute nothing.
_MOVES: Final = ("Gather", "Transpose")


def calibrate_file(
    model: str,
    calibration: Mapping[str, Any],
    sources: Sequence[Mapping[str, Any]],
    inputs: Sequence[Mapping[str, Any]],
    method: str,
    percentile: float,
    bits: int,
    outputs: Sequence[str],
) -> dict[str, Any]:
    """Measure the ranges of every float tensor, in a child process.

    Returns:
        Ranges by method and tensor, the values that were seen at each input, and `whole`: the ranges
        that tensors with 16 bits get.
    """
    import onnx

    kinds = {item.name: item.dtype for item in inputs_of(model)}
    feeds = (
        {name: values.astype(kinds[name]) for name, values in feed.items()}
        for feed in frames_of(calibration, sources, inputs)
    )
    methods = BEST_OF if method == "best" else (method,)
    rows = rows_wanted(model)
    observers = measure(
        model,
        feeds,
        int(calibration["frames"]),
        percentile=percentile if "percentile" in methods else None,
        histogram="mse" in methods,
        rows=rows,
    )
    peaks = {name: observers[name].peak for name in rows if math.isfinite(observers[name].peak)}
    seen = {name: item.min_max() for name, item in observers.items()}
    settled = without_masks(model, seen, peaks)
    require_finite(model, seen | settled)
    frames = [item["name"] for item in inputs if item["dtype"] == "uint8" and item["dai_type"]]
    settled |= dict.fromkeys(_frame_values(model, frames), (0.0, 255.0))
    graph = onnx.load(model, load_external_data=False).graph
    whole = with_room(graph, seen, settled)
    ranges = {
        way: {
            # Outputs are never clipped: a box or a score at the edge is a result.
            name: seen[name]
            if name in outputs or way == "min-max"
            else _chosen(item, way, percentile, bits)
            for name, item in observers.items()
        }
        | settled
        for way in methods
    }
    return {
        "ranges": {method: _rounded(by_name) for method, by_name in ranges.items()},
        "whole": _rounded(whole | settled),
        "seen": {name: seen[name] for name in kinds if name in seen},
    }


def _rounded(ranges: Mapping[str, tuple[float, float]]) -> dict[str, tuple[float, float]]:
    """Ranges with six digits: the last bits of a sum depend on the processor."""
    return {name: (float(f"{low:.6g}"), float(f"{high:.6g}")) for name, (low, high) in ranges.items()}


def _chosen(seen: Observer, method: str, percentile: float, bits: int) -> tuple[float, float]:
    return seen.percentile(percentile) if method == "percentile" else seen.least_error(bits)


def _frame_values(model: str, images: Sequence[str]) -> list[str]:
    """Inputs that take frames, and tensors that only move their pixels: codes are pixel values."""
    import onnx

    names = list(images)
    for node in onnx.load(model, load_external_data=False).graph.node:
        if node.op_type in _MOVES and node.input[0] in names:
            names.append(node.output[0])
    return names


def inputs_of(model: str) -> list[Any]:
    """Name and NumPy type of each of a model's inputs."""
    import onnx

    from converter.graph.facts import DTYPES

    graph = onnx.load(model, load_external_data=False).graph
    weights = {tensor.name for tensor in graph.initializer}
    return [
        Tensor(name=value.name, dtype=DTYPES[value.type.tensor_type.elem_type], shape=())
        for value in graph.input
        if value.name not in weights
    ]
