"""What ONNX Runtime's quantizer is told of single tensors: its overrides, and what the HTP wants.

Some of it changes the graph that is quantized: every function here takes all copies of that.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from targets.rvc4.quantization.gates import keep_apart
from targets.rvc4.quantization.io_codes import WIDE_SCALE
from targets.rvc4.quantization.logarithms import bring_into_reach
from targets.rvc4.quantization.shared_constants import split
from targets.rvc4.quantization.widths import Rows

if TYPE_CHECKING:
    import onnx

# Their scales have no sign on the HTP; QNN would convert them, to 8 bits in every mode.
_UNSIGNED_SCALE: Final = ("InstanceNormalization", "LayerNormalization")
Ranges = Mapping[str, tuple[float, float]]


def _kinds() -> Any:
    """The quantizer's element types."""
    return importlib.import_module("onnxruntime.quantization.quant_utils").QuantType


def overrides_of(model: str, images: Sequence[str], weights: int, activations: int) -> Rows:
    """The quantizer's overrides: frames, whose code is the pixel's value, and what the HTP wants."""
    import onnx

    graph = onnx.load(model, load_external_data=False).graph
    kinds = _kinds()
    overrides: Rows = {}
    for name in images:
        overrides[name] = [_frame_codes(activations)]
    initializers = {tensor.name: tensor for tensor in graph.initializer}
    if weights == 8:
        for node in graph.node:
            if _one_scale(node) and node.input[1] in initializers:
                overrides[node.input[1]] = [{"quant_type": kinds.QInt8, "symmetric": True}]
            if node.op_type in _UNSIGNED_SCALE and node.input[1] in initializers:
                overrides[node.input[1]] = [{"quant_type": kinds.QUInt8}]
    return overrides


def limit(overrides: Rows, name: str, ranges: Ranges) -> None:
    """Let a tensor have its range; where a scale is given that counts."""
    first = overrides.setdefault(name, [{}])[0]
    if "scale" not in first:
        first.update(zip(("rmin", "rmax"), map(np.float32, ranges[name]), strict=True))


def limit_conversions(overrides: Rows, ranges: Ranges) -> None:
    """Let wide tensors have ranges of their own where they are converted to 8 bits."""
    for name, limits in ranges.items():
        row = (overrides.get(name) or [{}])[0].get("convert")
        if row is not None and "scale" not in row:
            row.update(zip(("rmin", "rmax"), map(np.float32, limits), strict=True))


def with_own_constants(
    graphs: Sequence[onnx.GraphProto],
    ranges: Ranges,
    overrides: Rows,
    wide: Sequence[str],
) -> Ranges:
    """Split constants that nodes of both widths read, in all graphs; the ranges with the copies'."""
    found, *_ = [split(graph, wide) for graph in graphs]
    kinds = _kinds()
    overrides.update({copy: [{"quant_type": kinds.QUInt16}] for copy in found.values()})
    return {**ranges, **{copy: ranges[name] for name, copy in found.items() if name in ranges}}


def with_gates(
    graphs: Sequence[onnx.GraphProto],
    ranges: Ranges,
    overrides: Rows,
    wide: Sequence[str],
) -> Ranges:
    """Keep wide gates apart from their products in all graphs; the ranges with the new tensors'."""
    found, *_ = [keep_apart(graph, wide) for graph in graphs]
    kind = {"quant_type": _kinds().QUInt16}
    for gate, (kept, zero) in found.items():
        row = {key: value for key, value in overrides.get(gate, [{}])[0].items() if key != "convert"}
        overrides[kept], overrides[zero] = [row | kind], [dict(kind)]
    return {**ranges, **{kept: ranges[gate] for gate, (kept, _) in found.items() if gate in ranges}}


def with_logarithms(
    graphs: Sequence[onnx.GraphProto],
    ranges: Ranges,
    overrides: Rows,
    wide: Sequence[str],
) -> Ranges:
    """Bring wide logarithms into the HTP's reach in all graphs; the ranges with the new tensors'."""
    (found, constants), *_ = [bring_into_reach(graph, ranges, wide) for graph in graphs]
    kind = {"quant_type": _kinds().QUInt16}
    overrides.update({name: [dict(kind)] for name in [*found, *constants]})
    return {**ranges, **found}


def _one_scale(node: onnx.NodeProto) -> bool:
    """Whether a node's weights have one scale in every mode.

    A grouped ConvTranspose has its output channels on two axes, the groups being part of the first.
    """
    if node.op_type == "ConvTranspose":
        return any(item.name == "group" and item.i > 1 for item in node.attribute)
    return node.op_type == "Gemm" and len(node.input) > 1


def _frame_codes(activations: int) -> dict[str, Any]:
    kinds = _kinds()
    return {
        "quant_type": kinds.QUInt8 if activations == 8 else kinds.QUInt16,
        "scale": np.array(1.0 if activations == 8 else WIDE_SCALE, np.float32),
        "zero_point": np.array(0, np.uint8 if activations == 8 else np.uint16),
    }
