"""From a source model and options to the parameters of SNPE's tools."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Final

from converter.errors import ModelError, UsageError, from_findings
from converter.feeding import TargetInput
from converter.findings import Finding, Severity
from converter.model import SourceModel, Tensor
from converter.options.resolve import Options
from converter.preprocessing import write_dai_type
from targets.rvc4.parameters import Parameters
from targets.rvc4.snpe.input_lists import check_names
from targets.rvc4.snpe.options import CONVERT, user_arguments
from targets.rvc4.snpe.parameters import SnpeParameters, UserArguments

# The layouts that `--input_layout` takes; N batch, C channels, F features, T time.
_LAYOUTS: Final = (
    *("NCDHW", "NDHWC", "NCHW", "NHWC", "NFC", "NCF"),
    *("NTF", "TNF", "NF", "NC", "F", "NONTRIVIAL"),
)


def snpe_parameters(
    model: SourceModel, shared: Parameters, options: Options, *, is_custom: bool
) -> tuple[SnpeParameters, tuple[Finding, ...]]:
    """The tools' parameters, with inputs and outputs as the tools will leave them, and warnings.

    Args:
        shared: The parameters that all RVC4 toolchains have.
        is_custom: Whether the mode is CUSTOM, in which the user's arguments may replace others.

    Raises:
        UsageError: Options that SNPE does not have.
        ModelError: Names that its lists cannot hold.
    """
    check_names([*(item.name for item in model.inputs), *(item.name for item in model.outputs)])
    inputs, outputs, precision = shared.inputs, shared.outputs, shared.precision
    if precision.ranges == "percentile":
        raise UsageError(
            "rvc4.act_quantizer: SNPE has no percentile.",
            remedy="Use min-max or mse (SNPE's enhanced), or convert with --toolchain native.",
        )
    arguments, warnings = user_arguments(options, is_custom=is_custom)
    findings = [*warnings]
    if precision.is_float:
        findings.append(
            Finding(
                code="snpe.float-frames",
                severity=Severity.WARNING,
                where="rvc4.quantization_mode",
                message="in floating point SNPE's network takes float16 frames, which the archive "
                "says; whether a camera delivers them was not checked.",
                remedy="The native toolchain's float16 networks take 8-bit frames.",
            )
        )
    _check_archive_preprocessing(inputs)
    _check_frames(inputs)
    fed = tuple(_as_float(item) if precision.is_float and item.dai_type else item for item in inputs)
    raw = tuple(item.name for item in fed if item.dai_type is None)
    kept = _kept_layouts(arguments[CONVERT], [item.name for item in outputs])
    axes = {item.name: output_axes(item, keeps=item.name in kept) for item in outputs}
    moved = [name for name, order in axes.items() if list(order) != sorted(order)]
    if moved and not options.flag("verify.enabled"):
        findings.append(
            Finding(
                code="snpe.axes",
                severity=Severity.WARNING,
                where=moved[0],
                message="without a verification nothing shows whether SNPE leaves the channels last, "
                "as the archive will say: where sizes are equal, shapes do not tell.",
                remedy="Leave --no-verify out.",
            )
        )
    parameters = SnpeParameters.extending(
        shared,
        inputs=fed,
        outputs=tuple(_permuted(item, axes[item.name]) for item in outputs),
        layouts={item.name: layout_word(item) for item in fed},
        preserved=raw,
        output_axes=axes,
        per_row=options.flag("rvc4.use_per_row_quantization"),
        optimization_level=options.integer("rvc4.optimization_level"),
        socs=options.words("rvc4.htp_socs"),
        arguments=arguments,
    )
    return parameters, tuple(findings)


def layout_word(item: TargetInput) -> str:
    """The layout of an input of the ONNX file, by SNPE's name."""
    layout = item.model_layout
    if layout in ("NCD", "NDC", "D"):
        layout = layout.replace("D", "F")
    return layout if layout in _LAYOUTS else "NONTRIVIAL"


def output_axes(item: Tensor, *, keeps: bool) -> tuple[int, ...]:
    """The axes of an output in the order in which SNPE leaves them: channels last from rank 4 on.

    That is SNPE's rule; a verification finds out whether it holds, for sizes do not show it.

    Args:
        keeps: Whether a user's `--preserve_io` keeps the order.
    """
    rank = len(item.shape)
    if rank < 4 or keeps or item.layout.endswith("C"):
        return tuple(range(rank))
    return (0, *range(2, rank), 1)


def _permuted(item: Tensor, axes: Sequence[int]) -> Tensor:
    layout = "".join(item.layout[axis] for axis in axes) if item.layout else ""
    return dataclasses.replace(item, shape=tuple(item.shape[axis] for axis in axes), layout=layout)


def _as_float(item: TargetInput) -> TargetInput:
    color = item.remaining.color
    assert color is not None
    return dataclasses.replace(
        item, dtype="float16", dai_type=write_dai_type(color, interleaved=True, half=True)
    )


def _check_archive_preprocessing(inputs: Sequence[TargetInput]) -> None:
    for item in inputs:
        if item.dai_type and item.dtype != "uint8":
            raise UsageError(
                f"--preprocess archive: SNPE chooses codes for the normalized values of {item.name!r}, "
                "and a camera does not know them.",
                remedy="Embed mean and scale, or convert with --toolchain native.",
            )


def _check_frames(inputs: Sequence[TargetInput]) -> None:
    """Refuse frames without a batch axis: SNPE does not bring them to its layout.

    Raises:
        ModelError: It has a finding for each such input.
    """
    findings = [
        Finding(
            code="snpe.frames",
            where=item.name,
            message=f"SNPE takes frames as NCHW or NHWC, not as {item.model_layout}.",
            remedy="Give the model a batch axis, or convert with --toolchain native.",
        )
        for item in inputs
        if item.dai_type and item.model_layout not in ("NCHW", "NHWC")
    ]
    if findings:
        raise from_findings(ModelError, "The model", findings)


def _kept_layouts(given: UserArguments, outputs: Sequence[str]) -> frozenset[str]:
    """The outputs whose layout a user's `--preserve_io` keeps."""
    kept: set[str] = set()
    for option, values in given.words:
        if option != "--preserve_io":
            continue
        if not values or values == ("layout",):
            kept |= set(outputs)
        elif values[0] == "layout":
            kept |= set(values[1:])
    return frozenset(kept)
