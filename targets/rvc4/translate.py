"""From a source model and options to the RVC4 toolchain's parameters."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from converter.archive.opened import Archive
from converter.backend import Backend
from converter.calibration import dataset as calibration
from converter.calibration.dataset import Calibration
from converter.errors import ModelError, UsageError, from_findings
from converter.feeding import TargetInput
from converter.findings import Finding, Severity
from converter.model import ModelInput, SourceModel, Tensor
from converter.options.resolve import Options
from targets.rvc4.mixed.wanted import FILE, wanted
from targets.rvc4.parameters import Parameters, QnnParameters
from targets.rvc4.quantization.aimet import read_encodings
from targets.rvc4.quantization.encodings import MEMBER, Encodings
from targets.rvc4.quantization.modes import CUSTOM, MODES, Precision, RangeMethod
from targets.rvc4.snpe.translate import snpe_parameters

SOC_MODELS: Final = {"sm8550": 43}
_RAW_DTYPE: Final = {
    "float32": "float32",
    "float64": "float32",
    "float16": "float32",
    "int32": "int32",
    "int64": "int32",
    "int8": "int32",
    "int16": "int32",
    "uint16": "int32",
    "uint8": "uint8",
}
_MAX_RANK: Final = 5
_AUTO: Final = "auto"
_CUSTOM_KEYS: Final = ("rvc4.weights_bitwidth", "rvc4.act_bitwidth", "rvc4.act_quantizer")


def translate(
    model: SourceModel, archive: Archive, options: Options, backend: Backend
) -> tuple[Parameters, tuple[Finding, ...]]:
    """Resolve what the toolchain is told, and what deserves a warning.

    Raises:
        UsageError: Options that cannot be had, calibration data that is missing or unusable.
        ModelError: Tensors that the chip cannot take.
    """
    problems = [_problem(tensor) for tensor in (*model.inputs, *model.outputs)]
    if found := [problem for problem in problems if problem]:
        raise from_findings(ModelError, "The model", found)
    mode = str(options.get("rvc4.quantization_mode"))
    precision = _precision(mode, options)
    recorded = _recorded(options)
    mixed, precision = wanted(model, options, mode, precision, backend, recorded)
    encodings = _encodings(model, archive, options, precision, recorded)
    if mixed.assignment is not None and mixed.assignment.wide and backend.toolchain != "native":
        if not mixed.assignment.ranges:
            raise UsageError(
                f"{FILE}: the file has no ranges (encodings), which SNPE is told the widths with.",
                remedy="Give the buildinfo.json or the precision.json of a search.",
            )
        encodings = mixed.assignment.encodings(encodings)
    data, findings = _calibration(model, archive, options, precision, encodings, recorded, backend)
    if encodings and precision.is_float:
        findings.append(
            Finding(
                code="rvc4.encodings",
                severity=Severity.WARNING,
                where="rvc4.quantization_mode",
                message=f"{mode} computes in floating point: the encodings are not used.",
                remedy="Choose an INT8 mode, or take them out.",
            )
        )
        encodings = None
    corrects = _corrects(options, precision, backend)
    # By default it is on where it can be had.
    asked_to = options.setting("rvc4.bias_correction").origin != "default"
    if asked_to and options.flag("rvc4.bias_correction") and not corrects and recorded is None:
        findings.append(_uncorrected(mode, precision))
    inputs = tuple(_input(item, options) for item in model.inputs)
    output_type = _output_type(options, mode, precision, backend)
    outputs = tuple(_output(item, precision, output_type) for item in model.outputs)
    shared = Parameters(
        inputs=inputs,
        outputs=outputs,
        mode=mode,
        precision=precision,
        per_channel=precision.per_channel and options.flag("rvc4.use_per_channel_quantization"),
        percentile=options.number("rvc4.percentile"),
        simplify=options.flag("onnx_simplification"),
        calibration=data,
        encodings=encodings,
        timeout_s=options.number("rvc4.compile_timeout_s"),
        backend=backend,
        output_type=output_type,
        mixed=mixed,
        bias_correction=corrects,
        recorded=recorded,
    )
    if backend.toolchain == "native":
        return QnnParameters.extending(shared, soc=_soc(options)), tuple(findings)
    parameters, warnings = snpe_parameters(model, shared, options, is_custom=mode == CUSTOM)
    return parameters, (*findings, *warnings)


def _problem(tensor: Tensor) -> Finding | None:
    if len(tensor.shape) > _MAX_RANK:
        message = f"{list(tensor.shape)} has {len(tensor.shape)} axes; the chip takes five at most."
        remedy = "Merge axes with a Reshape in the model."
    elif isinstance(tensor, ModelInput) and tensor.dtype not in _RAW_DTYPE:
        message = f"the chip takes no {tensor.dtype}, only {', '.join(_RAW_DTYPE)}."
        remedy = (
            f"If it is always the same, set inputs.{tensor.name}.frozen_value; else let the model "
            "cast it from float32."
        )
    else:
        return None
    return Finding(code="rvc4.tensor", where=tensor.name, message=message, remedy=remedy)


def _precision(mode: str, options: Options) -> Precision:
    if mode != CUSTOM:
        if given := [key for key in _CUSTOM_KEYS if options.get(key) is not None]:
            raise UsageError(
                f"{', '.join(given)}: {mode} decides that itself.",
                remedy=f"Leave it out, or set rvc4.quantization_mode={CUSTOM}.",
            )
        return MODES[mode]
    weights, activations = (options.get(key) or 8 for key in _CUSTOM_KEYS[:2])
    if (weights, activations) == (16, 8):
        raise UsageError(
            "rvc4.weights_bitwidth 16 with rvc4.act_bitwidth 8 is nothing that the chip computes.",
            remedy="Use 8 and 8, 8 and 16, or 16 and 16.",
        )
    methods: dict[str, RangeMethod] = {"percentile": "percentile", "mse": "mse"}
    return Precision(
        weights=int(str(weights)),
        activations=int(str(activations)),
        ranges=methods.get(str(options.get(_CUSTOM_KEYS[2])), "min-max"),
        per_channel=weights == 8,
    )


def _soc(options: Options) -> str:
    socs = options.words("rvc4.htp_socs")
    if len(socs) != 1 or socs[0] not in SOC_MODELS:
        raise UsageError(
            f"rvc4.htp_socs: {', '.join(socs)} cannot be had with the native toolchain.",
            remedy=f"Use {', '.join(SOC_MODELS)}, the chip of RVC4.",
        )
    return socs[0]


def _recorded(options: Options) -> Mapping[str, Any] | None:
    """The ranges of the build record that is to be repeated, if one is."""
    if options.record is None:
        return None
    found: Mapping[str, Any] | None = options.record["compiled"].get("calibration")
    return found


def _encodings(
    model: SourceModel,
    archive: Archive,
    options: Options,
    precision: Precision,
    recorded: Mapping[str, Any] | None,
) -> Encodings | None:
    if recorded is not None:
        return Encodings.from_call(recorded["encodings"]) if recorded["encodings"] else None
    if model.link is not None:
        return None  # they are the first stage's
    given = options.text("rvc4.encodings")
    if given:
        if precision.is_float:
            raise UsageError(
                "rvc4.encodings: FP16_STANDARD computes in floating point, which has no encodings.",
                remedy="Choose an INT8 mode, or leave them out.",
            )
        return read_encodings(Path(given))
    return read_encodings(archive.path(MEMBER)) if archive.member(MEMBER) else None


def _calibration(
    model: SourceModel,
    archive: Archive,
    options: Options,
    precision: Precision,
    encodings: Encodings | None,
    recorded: Mapping[str, Any] | None,
    backend: Backend,
) -> tuple[Calibration | None, list[Finding]]:
    if recorded is not None:
        return None, []
    if precision.is_float:
        return None, []
    data, findings = calibration.find(model, archive, options)
    knows_ranges = backend.toolchain == "native" and model.link is None
    if data is None and knows_ranges and _is_quantized(model, archive):
        findings.append(
            Finding(
                code="rvc4.source-ranges",
                severity=Severity.WARNING,
                where="calibration.path",
                message="the model is quantized: its own ranges are taken. What it has none for is "
                "measured on generated frames.",
                remedy="Give calibration.path if the conversion names tensors without a range.",
            )
        )
        return calibration.generated(options.integer("calibration.max_images")), findings
    if data is None:
        also = " beside the encodings, for the tensors that they leave out" if encodings else ""
        raise UsageError(
            f"{options.get('rvc4.quantization_mode')} needs calibration data{also}, and there is none.",
            remedy="Give calibration.path=FOLDER with about 50 typical images; or put them into the "
            "archive as calibration/; or choose rvc4.quantization_mode=FP16_STANDARD, which needs "
            "none. (To try things out, calibration.random=true.)",
        )
    if data.random:
        findings.append(calibration.random_warning())
    return data, findings


def _is_quantized(model: SourceModel, archive: Archive) -> bool:
    """Whether a source has quantized activations, whose ranges it therefore knows."""
    from converter.graph.facts import read_facts

    if model.format != "ONNX":
        return False
    operators = read_facts(archive.path(model.path), model.path).operators
    return any(op == "QuantizeLinear" or op.startswith("QLinear") for op in operators)


def _input(item: ModelInput, options: Options) -> TargetInput:
    planned = TargetInput.of(
        item, options, interleaved=True, raw_dtype=_RAW_DTYPE.get(item.dtype, item.dtype)
    )
    if not item.is_image and options.text(f"inputs.{item.name}.data_type"):
        raise UsageError(
            f"inputs.{item.name}.data_type: numbers go into a DLC as {_RAW_DTYPE[item.dtype]}.",
            remedy="Leave it out.",
        )
    # Numbers that are normalized inside come in as the floats that they are there.
    return dataclasses.replace(planned, dtype="float32") if _normalized(planned) else planned


def _normalized(item: TargetInput) -> bool:
    return item.dai_type is None and item.embedded is not None


def _corrects(options: Options, precision: Precision, backend: Backend) -> bool:
    """Whether biases are corrected: the native toolchain does it for integers."""
    chosen = options.flag("rvc4.bias_correction")
    return chosen and not precision.is_float and backend.toolchain == "native"


def _uncorrected(mode: str, precision: Precision) -> Finding:
    """The warning that a wish has no effect."""
    if precision.is_float:
        message, remedy = f"{mode} rounds no weights to integers.", "Choose an INT mode"
    else:
        message, remedy = "SNPE does not correct biases.", "Convert with --toolchain native"
    return Finding(
        code="rvc4.bias-correction",
        severity=Severity.WARNING,
        where="rvc4.bias_correction",
        message=f"it has no effect: {message}",
        remedy=f"{remedy}, or leave it out.",
    )


def _output_type(options: Options, mode: str, precision: Precision, backend: Backend) -> str:
    chosen = options.text("rvc4.output_type") or _AUTO
    if chosen == _AUTO:
        return chosen
    if precision.is_float:
        raise UsageError(
            f"rvc4.output_type: the outputs of {mode} are float16.",
            remedy="Leave it out, or choose an INT8 mode.",
        )
    if backend.toolchain != "native":
        raise UsageError(
            "rvc4.output_type: only the native toolchain has that.",
            remedy="Leave it out, or convert with --toolchain native.",
        )
    return chosen


def _output(item: Tensor, precision: Precision, output_type: str) -> Tensor:
    if not item.dtype.startswith("float"):
        return item
    dtype = "float16" if precision.is_float else f"uint{precision.activations}"
    return dataclasses.replace(item, dtype=dtype if output_type == _AUTO else output_type)
