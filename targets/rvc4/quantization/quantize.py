"""From a float model and ranges to the integer network that QNN compiles.

ONNX Runtime's quantizer, with its settings for QNN, puts pairs of QuantizeLinear and DequantizeLinear
around every node; the ranges come from `observers`. Then the outermost pairs are removed, so that the
graph's inputs and outputs are the integer tensors, under their original names.
"""

from __future__ import annotations

import importlib
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from converter.calibration.feeds import frames_of
from converter.feeding import TargetInput
from converter.graph.heavy import HEAVY_BYTES
from targets.rvc4.quantization.calibrate import inputs_of
from targets.rvc4.quantization.encodings import TensorEncoding, channel_axis, none_matches
from targets.rvc4.quantization.io_codes import WIDE_SCALE, decoded, expose, take_half

if TYPE_CHECKING:
    import onnx
    import onnx_ir as ir

# The least gain that counts: on unseen data a smaller difference is chance.
_CLEARLY: Final = 0.9
# On how many calibration frames the ways to choose ranges are compared.
_CHOOSING_FRAMES: Final = 48
_WITH_BIAS: Final = ("Conv", "ConvTranspose", "Gemm")


# ----------------------------------------------------------- quantization


def quantize_file(
    model: str,
    target: str,
    ranges: Mapping[str, Mapping[str, tuple[float, float]]],
    weights: int,
    activations: int,
    per_channel: bool,
    encodings: Mapping[str, Any] | None,
    calibration: Mapping[str, Any] | None,
    sources: Sequence[Mapping[str, Any]],
    inputs: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    """Write the integer network, in a child process.

    Args:
        ranges: By method and tensor; with several methods each is tried on calibration frames, and
            the one whose outputs differ least from the float model's is kept.
        weights, activations: Bits.
        encodings: Given encodings (`Encodings.to_call`), which win over the ranges.

    Returns:
        The method that was kept, the error of each that was tried (relative RMSE over all outputs),
        and scale and zero point of the outputs' codes.
    """
    frames = [TargetInput.from_json(item) for item in inputs]
    images = [item.name for item in frames if item.dtype == "uint8" and item.dai_type]
    errors: dict[str, float] = {}
    warnings: list[str] = []
    made: dict[str, tuple[Any, dict[str, Any]]] = {}
    for method, by_name in ranges.items():
        changed = [item.name for item in frames if item.embedded is not None]
        overrides, warnings = _overrides(model, images, changed, weights, activations, encodings)
        network = _quantized(model, by_name, weights, activations, per_channel, overrides)
        take_half(network.graph, [item.name for item in frames if item.dtype == "float16"])
        made[method] = (network, expose(network, images, activations))
    if len(made) > 1:
        assert calibration is not None
        feeds = list(frames_of(calibration, sources, inputs, _CHOOSING_FRAMES))
        expected = _run_float(model, feeds)
        for method, (network, codes) in made.items():
            error = _error(expected, _run_integer(network, codes, feeds, target))
            errors[method] = float(f"{error:.3g}")
    best = _best(errors) if errors else next(iter(made))
    network, codes = made[best]
    _save(network, target)
    return {"method": best, "errors": errors, "outputs": codes, "warnings": warnings}


def _ort(module: str) -> Any:
    """A module of ONNX Runtime's quantizer, which has no types."""
    return importlib.import_module(f"onnxruntime.quantization.{module}")


def _best(errors: Mapping[str, float]) -> str:
    """The method with the least error, if it is clearly less than that of the first (no clipping)."""
    plain = next(iter(errors))
    best = min(errors, key=lambda method: errors[method])
    return best if errors[best] < _CLEARLY * errors[plain] else plain


def _wide() -> tuple[Any, Any]:
    kinds = _ort("quant_utils").QuantType
    return kinds.QInt16, kinds.QUInt16


def _quantized(
    model: str,
    ranges: Mapping[str, tuple[float, float]],
    weights: int,
    activations: int,
    per_channel: bool,
    overrides: dict[str, list[dict[str, Any]]],
) -> ir.Model:
    """The model with a pair of QuantizeLinear and DequantizeLinear around every node."""
    import onnx
    import onnx_ir as ir

    calibrate = _ort("calibrate")
    logging.getLogger().setLevel(logging.ERROR)
    kinds = _ort("quant_utils").QuantType
    weight_type = {8: kinds.QInt8, 16: kinds.QInt16}[weights]
    activation_type = {8: kinds.QUInt8, 16: kinds.QUInt16}[activations]
    proto, structure = _loaded(model)
    for node in proto.graph.node:
        # The quantizer gives every Softmax the range from 0 to 1, however small its values are.
        if node.op_type == "Softmax" and node.output[0] in ranges:
            overrides.setdefault(node.output[0], [_limits(*ranges[node.output[0]])])
    for tensor in proto.graph.initializer:
        if tensor.name in ranges:  # the constant of a mask
            overrides.setdefault(tensor.name, [_limits(*ranges[tensor.name])])
    rows = [row for group in overrides.values() for row in group]
    config = _ort("execution_providers.qnn").get_qnn_qdq_config(
        structure,
        None,
        activation_type=activation_type,
        weight_type=weight_type,
        per_channel=per_channel,
        init_overrides=overrides,
        add_qtype_converts=any("quant_type" in row for row in rows),
    )
    if 16 in (weights, activations) or any(row.get("quant_type") in _wide() for row in rows):
        # Before opset 21 ONNX's operators support 8 bits only.
        config.extra_options["UseQDQContribOps"] = True
    # Otherwise Where, and what only moves, stays in float32 when nothing before it was quantized.
    config.extra_options["ForceQuantizeNoInputCheck"] = True
    known = {
        name: calibrate.TensorData(lowest=np.float32(low), highest=np.float32(high))
        for name, (low, high) in ranges.items()
    }
    made = _ort("qdq_quantizer").QDQQuantizer(
        proto,
        per_channel=per_channel,
        reduce_range=False,
        weight_qType=weight_type,
        activation_qType=activation_type,
        tensors_range=calibrate.TensorsData(calibrate.CalibrationMethod.MinMax, known),
        nodes_to_quantize=[],
        nodes_to_exclude=[],
        op_types_to_quantize=config.op_types_to_quantize,
        extra_options=config.extra_options,
    )
    # Otherwise nodes at the start that only move, pool or clip stay in float32.
    for value in reversed(proto.graph.input):
        if value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT:
            made.quantize_activation_tensor(value.name)
    made.quantize_model()
    quantized: ir.Model = ir.from_proto(made.model.model)
    return quantized


def _limits(low: float, high: float) -> dict[str, Any]:
    return {"rmin": np.float32(low), "rmax": np.float32(high)}


def _loaded(model: str) -> tuple[onnx.ModelProto, onnx.ModelProto]:
    """The model, and one of the same structure, which for a heavy model has no weights."""
    import onnx

    proto = onnx.load(model)
    if sum(len(tensor.raw_data) for tensor in proto.graph.initializer) < HEAVY_BYTES:
        return proto, proto
    # Shapes are inferred already; the quantizer would do it again on two further copies.
    onnx.helper.set_model_props(proto, {"onnx.infer": "onnxruntime.quant"})
    return proto, onnx.load(model, load_external_data=False)


def _overrides(
    model: str,
    images: Sequence[str],
    changed: Sequence[str],
    weights: int,
    activations: int,
    encodings: Mapping[str, Any] | None,
) -> tuple[dict[str, list[dict[str, Any]]], list[str]]:
    """The quantizer's overrides: frames, whose code is the pixel's value, and given encodings.

    Returns:
        Overrides by tensor, in the quantizer's format, and warnings about encodings not used.

    Raises:
        UsageError: No tensor of the encodings is in the model.
    """
    import onnx

    graph = onnx.load(model, load_external_data=False).graph
    kinds = _ort("quant_utils").QuantType
    overrides: dict[str, list[dict[str, Any]]] = {}
    for name in images:
        overrides[name] = [_frame_codes(activations)]
    initializers = {tensor.name: tensor for tensor in graph.initializer}
    if weights == 8:
        for node in graph.node:
            if _one_scale(node) and node.input[1] in initializers:
                overrides[node.input[1]] = [{"quant_type": kinds.QInt8, "symmetric": True}]
            # Here the HTP takes no signed scale.
            if node.op_type == "LayerNormalization" and node.input[1] in initializers:
                overrides[node.input[1]] = [{"quant_type": kinds.QUInt8}]
    if encodings is None:
        return overrides, []
    tensors = {name for node in graph.node for name in (*node.input, *node.output)}
    given = {**encodings["activations"], **encodings["weights"]}
    # The preprocessing has changed the inputs, and biases are sums of 32 bits.
    biases = {n.input[2] for n in graph.node if n.op_type in _WITH_BIAS and len(n.input) > 2}
    skipped = {*images, *changed, *biases}
    used = [name for name in given if name in tensors and name not in skipped]
    if not used:
        raise none_matches(list(given))
    shapes = {name: tuple(tensor.dims) for name, tensor in initializers.items()}
    for name in used:
        encoding = TensorEncoding(**given[name])
        user = next((n for n in graph.node if name in n.input), None)
        axis = channel_axis(name, encoding, shapes.get(name), user.op_type if user else "")
        overrides[name] = _given_codes(encoding, axis, is_weight=name in initializers)
    unused = [name for name in given if name not in tensors]
    if not unused:
        return overrides, []
    return overrides, [
        f"{len(unused)} of {len(given)} encodings name tensors that the prepared graph does not have, "
        f"{unused[0]!r} for one; measured ranges take their place."
    ]


def _one_scale(node: onnx.NodeProto) -> bool:
    """Whether a node's weights have one scale in every mode.

    A grouped ConvTranspose has its output channels on two axes, the groups being part of the first.
    """
    if node.op_type == "ConvTranspose":
        return any(item.name == "group" and item.i > 1 for item in node.attribute)
    return node.op_type == "Gemm" and len(node.input) > 1


def _frame_codes(activations: int) -> dict[str, Any]:
    kinds = _ort("quant_utils").QuantType
    return {
        "quant_type": kinds.QUInt8 if activations == 8 else kinds.QUInt16,
        "scale": np.array(1.0 if activations == 8 else WIDE_SCALE, np.float32),
        "zero_point": np.array(0, np.uint8 if activations == 8 else np.uint16),
    }


def _given_codes(encoding: TensorEncoding, axis: int, *, is_weight: bool) -> list[dict[str, Any]]:
    """AIMET's encoding in the quantizer's format: `real = scale * (code - zero_point)`."""
    kinds = _ort("quant_utils").QuantType
    signed = is_weight and encoding.is_symmetric
    kind = {
        (8, True): (kinds.QInt8, np.int8),
        (16, True): (kinds.QInt16, np.int16),
        (8, False): (kinds.QUInt8, np.uint8),
        (16, False): (kinds.QUInt16, np.uint16),
    }[encoding.bitwidth, signed]
    rows = []
    for index, (scale, offset) in enumerate(zip(encoding.scales, encoding.offsets, strict=True)):
        row: dict[str, Any] = {
            "quant_type": kind[0],
            "scale": np.array(scale, np.float32),
            "zero_point": np.array(0 if signed else -offset, kind[1]),
        }
        if len(encoding.scales) > 1 and index == 0:
            row["axis"] = axis
        rows.append(row)
    return rows


def _save(model: ir.Model, target: str) -> None:
    import onnx_ir as ir

    ir.save(model, target, external_data=f"{Path(target).name}.data", size_threshold_bytes=4096)


# ----------------------------------------------------------------- choice


def _run_float(model: str, feeds: Sequence[Mapping[str, Any]]) -> list[dict[str, NDArray[Any]]]:
    from converter.sources.onnx_session import session_of

    kinds = {item.name: item.dtype for item in inputs_of(model)}
    session = session_of(model)
    names = [output.name for output in session.get_outputs()]
    return [
        dict(
            zip(names, session.run(None, {k: v.astype(kinds[k]) for k, v in feed.items()}), strict=True)
        )
        for feed in feeds
    ]


def _run_integer(
    network: ir.Model, codes: Mapping[str, Any], feeds: Sequence[Mapping[str, Any]], target: str
) -> list[dict[str, NDArray[Any]]]:
    from converter.sources.onnx_session import session_of

    path = f"{target}.try.onnx"
    _save(network, path)
    session = session_of(path, exact=True)
    names = [output.name for output in session.get_outputs()]
    return [
        {
            name: decoded(values, codes.get(name))
            for name, values in zip(names, session.run(None, dict(feed)), strict=True)
        }
        for feed in feeds
    ]


def _error(
    expected: Sequence[Mapping[str, NDArray[Any]]], found: Sequence[Mapping[str, NDArray[Any]]]
) -> float:
    """The mean over the outputs of the relative RMSE over all frames."""
    from converter.verification.compare import compare

    rows = compare(expected, found).values()
    return float(np.mean([np.inf if row["rel_rmse"] is None else row["rel_rmse"] for row in rows]))
