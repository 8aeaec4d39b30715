"""From a float model and ranges to the integer network that QNN compiles.

ONNX Runtime's quantizer, with its settings for QNN, puts pairs of QuantizeLinear and DequantizeLinear
around every node; the ranges come from `observers`. Then the outermost pairs are removed, so that the
graph's inputs and outputs are the integer tensors, under their original names.
"""

from __future__ import annotations

import importlib
import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from converter.calibration.feeds import frames_of
from converter.feeding import TargetInput
from converter.graph.heavy import HEAVY_BYTES
from targets.rvc4.quantization.bias_correction import correct, correct_written, encoded
from targets.rvc4.quantization.formats import Formats, choose
from targets.rvc4.quantization.io_codes import expose, take_half
from targets.rvc4.quantization.islands import make_half
from targets.rvc4.quantization.modes import PER_TENSOR
from targets.rvc4.quantization.overrides import (
    limit,
    limit_conversions,
    overrides_of,
    with_gates,
    with_logarithms,
    with_own_constants,
)
from targets.rvc4.quantization.range_choice import mixed, search
from targets.rvc4.quantization.trial import (
    as_floats,
    error_of,
    is_heavy,
    run_float,
    run_integer,
    save,
)
from targets.rvc4.quantization.widths import FUSED

if TYPE_CHECKING:
    import onnx
    import onnx_ir as ir

Ranges = Mapping[str, tuple[float, float]]
# The least gain that counts: on unseen data a smaller difference is chance.
_CLEARLY: Final = 0.9
# On how many calibration frames ranges are tried by groups of tensors.
_SEARCHING_FRAMES: Final = 4
# On how many calibration frames the ways to choose ranges are compared.
_CHOOSING_FRAMES: Final = 48
# On how many of them means are taken, and whether the corrected biases help is judged.
_CORRECTING_FRAMES: Final = 8


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
    output_type: str,
    grids: Mapping[str, Any],
    wide: Sequence[str] = (),
    corrects: bool = False,
    shifts: Mapping[str, Sequence[float]] | None = None,
    whole: Mapping[str, tuple[float, float]] | None = None,
    narrow: Mapping[str, tuple[float, float]] | None = None,
    floats: Sequence[str] = (),
) -> dict[str, Any]:
    """Write the integer network, in a child process.

    Args:
        ranges: By method and tensor; with several methods each is tried on calibration frames, and
            the one whose outputs differ least from the float model's is kept.
        weights, activations: Bits.
        encodings: Given encodings (`Encodings.to_call`), which win over the ranges.
        grids: Encodings of a quantized source, which the given ones win over.
        output_type: `auto`, or the element type that every output leaves in (`outputs`).
        wide: Tensors that are asked to have 16 bits in an 8-bit mode.
        corrects: Whether biases may be corrected on calibration frames.
        shifts: A recorded correction (`bias_correction`), which is made again.
        whole: Ranges with room (`room`), which wide tensors of an 8-bit mode get: 16 bits have steps
            enough, and what a narrower range cuts off they could not bring back.
        narrow: Recorded ranges of wide tensors where they are converted to 8 bits; otherwise the
            ranges that `whole` takes the place of.
        floats: Nodes that compute in float16 (`islands`).

    Returns:
        The method that was kept, the error of each that was tried (relative RMSE over all outputs),
        scale and zero point of the outputs' codes, the outputs' element types, what is wide, and how
        biases were corrected.
    """
    frames = [TargetInput.from_json(item) for item in inputs]
    images = [item.name for item in frames if item.dtype == "uint8" and item.dai_type]
    changed = [item.name for item in frames if item.embedded is not None]
    known = whole or {}

    def formats_of(by_name: Ranges) -> tuple[Formats, Ranges, Ranges]:
        """The formats, the ranges that they have, and those where wide tensors get 8 bits.

        These ranges give the same formats again.
        """
        converted = dict(narrow or {})
        while True:
            formats = choose(
                *(model, by_name, weights, activations, output_type, encodings, grids, images, changed),
                *(wide, floats),
            )
            cut = {
                name: known[name]
                for name in formats.tensors
                if name in known and tuple(by_name[name]) != tuple(known[name])
            }
            if not cut:
                return formats, by_name, converted
            converted = {name: by_name[name] for name in cut} | converted
            by_name = {**by_name, **cut}

    def network_of(by_name: Ranges) -> tuple[Any, dict[str, Any], Formats, Ranges, Ranges]:
        formats, by_name, converted = formats_of(by_name)
        overrides = overrides_of(model, images, weights, activations)
        overrides |= formats.overrides
        limit_conversions(overrides, formats.narrowed(converted, by_name))
        network = _quantized(
            *(model, by_name, weights, activations, per_channel, overrides),
            wide=[name for name in formats.nodes if name not in floats],
            clipped=formats.clipped,
            floats=floats,
        )
        make_half(network, floats)
        take_half(network.graph, [item.name for item in frames if item.dtype == "float16"])
        codes = expose(network, images, activations, formats.leaving, {**by_name, **converted})
        return network, codes, formats, by_name, converted

    errors: dict[str, float] = {}
    ways: dict[str, str] = {}
    made = {method: network_of(by_name) for method, by_name in ranges.items()}
    best = next(iter(made))
    ranges = {method: found for method, (*_, found, _) in made.items()}
    if len(made) > 1:
        assert calibration is not None
        feeds = list(frames_of(calibration, sources, inputs, _CHOOSING_FRAMES))
        expected = run_float(model, feeds)

        def judge(method: str) -> None:
            network, codes, *_ = made[method]
            error = error_of(expected, run_integer(network, codes, feeds, target))
            errors[method] = float(f"{error:.3g}")

        for method in made:
            judge(method)
        best = _best(errors)
        quantized = _quantized_tensors(made[best][0])
        few = as_floats(model, feeds[:_SEARCHING_FRAMES])
        ways = search(model, ranges, best, quantized, activations, few)
        if ways:
            ranges[PER_TENSOR] = mixed(ranges, best, ways)
            made[PER_TENSOR] = network_of(ranges[PER_TENSOR])
            ranges[PER_TENSOR] = made[PER_TENSOR][3]
            judge(PER_TENSOR)
            # Less of a gain is chance on other frames.
            best = PER_TENSOR if errors[PER_TENSOR] < _CLEARLY * errors[best] else best
    network, codes, formats, _, converted = made[best]
    correction = None
    if shifts:
        correct(network, shifts)
    save(network, target)
    if calibration is None or calibration["random"] or grids or is_heavy(model):
        corrects = False
    if corrects:
        assert calibration is not None
        feeds = list(frames_of(calibration, sources, inputs, _CORRECTING_FRAMES))
        correction = correct_written(model, target, network, codes, feeds, encoded(encodings))
    return {
        "method": best,
        "errors": errors,
        "ranges": ranges[best],
        "methods": ways if best == PER_TENSOR else {},
        "outputs": codes,
        "types": {str(value.name): _type_name(value) for value in network.graph.outputs},
        "warnings": list(formats.warnings),
        "wide": formats.to_json() | {"narrow": {k: list(v) for k, v in sorted(converted.items())}},
        "from_source": list(formats.from_source),
        "measured": list(formats.measured),
        "floats": list(floats),
        "operators": formats.operators,
        "bias_correction": correction,
    }


# Rules leave one to computed places only, which the HTP computes wrongly with integers.
_FLOAT_ONLY: Final = ("ScatterElements",)


def _ort(module: str) -> Any:
    """A module of ONNX Runtime's quantizer, which has no types."""
    return importlib.import_module(f"onnxruntime.quantization.{module}")


def _quantized_tensors(network: ir.Model) -> set[str]:
    """The float tensors that codes are made of."""
    return {
        str(node.inputs[0].name)
        for node in network.graph
        if node.op_type == "QuantizeLinear" and node.inputs[0] is not None
    }


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
    *,
    wide: Sequence[str],
    clipped: Sequence[str],
    floats: Sequence[str],
) -> ir.Model:
    """The model with a pair of QuantizeLinear and DequantizeLinear around every node.

    Args:
        wide: Nodes that have 16 bits in an 8-bit mode.
        clipped: Outputs of Relu and Clip that codes do not cut off in their place.
        floats: Nodes that stay in floating point.
    """
    import onnx
    import onnx_ir as ir

    calibrate = _ort("calibrate")
    logging.getLogger().setLevel(logging.ERROR)
    kinds = _ort("quant_utils").QuantType
    weight_type = {8: kinds.QInt8, 16: kinds.QInt16}[weights]
    activation_type = {8: kinds.QUInt8, 16: kinds.QUInt16}[activations]
    proto, structure = _loaded(model)
    graphs = [proto.graph, *([structure.graph] if structure is not proto else [])]
    ranges = with_own_constants(graphs, ranges, overrides, wide)
    ranges = with_gates(graphs, ranges, overrides, wide)
    computed_wide = [node.name for node in proto.graph.node] if activations == 16 else wide
    ranges = with_logarithms(graphs, ranges, overrides, computed_wide)
    leaving = {value.name for value in proto.graph.output}
    for node in proto.graph.node:
        # The quantizer gives every Softmax the range from 0 to 1, however small its values are.
        if node.op_type == "Softmax" and node.output[0] in ranges:
            limit(overrides, node.output[0], ranges)
        # It gives what is in front of a Relu the range behind it, though that is an output as well.
        if node.op_type in FUSED and node.input[0] in leaving and node.input[0] in ranges:
            limit(overrides, node.input[0], ranges)
    for tensor in proto.graph.initializer:
        if tensor.name in ranges:  # the constant of a mask
            limit(overrides, tensor.name, ranges)
    rows = [row for group in overrides.values() for row in group]
    config = _ort("execution_providers.qnn").get_qnn_qdq_config(
        structure,
        None,
        activation_type=activation_type,
        weight_type=weight_type,
        per_channel=per_channel,
        init_overrides=overrides,
        add_qtype_converts=False,  # `widths` puts them where they belong
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
        nodes_to_exclude=list(floats),
        op_types_to_quantize=[op for op in config.op_types_to_quantize if op not in _FLOAT_ONLY],
        extra_options=config.extra_options,
    )
    replaces = made.try_replacing_upstream_output
    made.try_replacing_upstream_output = lambda before, output: (
        output not in clipped and replaces(before, output)
    )
    # Otherwise nodes at the start that only move, pool or clip stay in float32.
    for value in reversed(proto.graph.input):
        if value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT:
            made.quantize_activation_tensor(value.name)
    made.quantize_model()
    quantized: ir.Model = ir.from_proto(made.model.model)
    return quantized


def _loaded(model: str) -> tuple[onnx.ModelProto, onnx.ModelProto]:
    """The model, and one of the same structure, which for a heavy model has no weights."""
    import onnx

    proto = onnx.load(model)
    if sum(len(tensor.raw_data) for tensor in proto.graph.initializer) < HEAVY_BYTES:
        return proto, proto
    # Shapes are inferred already; the quantizer would do it again on two further copies.
    onnx.helper.set_model_props(proto, {"onnx.infer": "onnxruntime.quant"})
    return proto, onnx.load(model, load_external_data=False)


def _type_name(value: ir.Value) -> str:
    return "" if value.dtype is None else str(value.dtype.numpy())
