"""From a source model and options to the RVC2 compiler's parameters: a pure function."""

from __future__ import annotations

import dataclasses
from typing import Final

from converter.errors import ModelError, UsageError, from_findings
from converter.findings import Finding
from converter.model import ModelInput, SourceModel, Tensor
from converter.options import Options
from targets.rvc2.parameters import InputParameters, Parameters, TensorParameters

DTYPE_OF: Final = {"U8": "uint8", "FP16": "float16", "FP32": "float32", "I32": "int32"}
_PRECISION_OF: Final = {"float16": "FP16", "float32": "FP32"}
# What a raw input may be in the source, and how the blob takes it: floats stay what they are.
_RAW_PRECISION: Final = {
    "float32": "FP32",
    "float64": "FP32",
    "float16": "FP16",
    "uint8": "U8",
    "int32": "I32",
    "int64": "I32",
}
_MAX_RANK: Final = 5


def translate(model: SourceModel, options: Options) -> Parameters:
    """Resolve what the compiler is told.

    Raises:
        UsageError: Options that cannot be had on this target.
        ModelError: Tensors that Myriad X cannot take.
    """
    _check_options(options)
    problems = [_problem(tensor) for tensor in (*model.inputs, *model.outputs)]
    if findings := [problem for problem in problems if problem]:
        raise from_findings(ModelError, "The model", findings)
    cmx = options.get("rvc2.number_of_cmx_slices")
    return Parameters(
        inputs=tuple(_input(item, options) for item in model.inputs),
        outputs=tuple(_output(item, options) for item in model.outputs),
        shaves=options.integer("rvc2.number_of_shaves"),
        cmx_slices=int(cmx) if isinstance(cmx, int) else None,
        superblob=options.flag("rvc2.superblob"),
        simplify=options.flag("onnx_simplification"),
        # Whatever the first axis means to the model, the compiler takes it for the batch.
        batch=max((item.shape[0] for item in model.inputs if item.shape), default=1),
        compile_timeout_s=options.number("rvc2.compile_timeout_s"),
    )


def _check_options(options: Options) -> None:
    if not options.flag("rvc2.compress_to_fp16"):
        raise UsageError(
            "rvc2.compress_to_fp16: Myriad X computes in float16, so false cannot be had.",
            remedy="Leave it out.",
        )


def _problem(tensor: Tensor) -> Finding | None:
    if len(tensor.shape) > _MAX_RANK:
        message = f"{list(tensor.shape)} has {len(tensor.shape)} axes; Myriad X takes five at most."
    elif isinstance(tensor, ModelInput) and tensor.dtype not in _RAW_PRECISION:
        message = f"Myriad X takes no {tensor.dtype}, only {', '.join(_RAW_PRECISION)}."
    else:
        return None
    return Finding(code="rvc2.tensor", where=tensor.name, message=message)


def _input(item: ModelInput, options: Options) -> InputParameters:
    planned = InputParameters.of(
        item,
        options,
        interleaved=options.flag("rvc2.interleaved_input"),
        raw_dtype="" if item.is_image else DTYPE_OF[_RAW_PRECISION[item.dtype]],
    )
    return dataclasses.replace(
        planned,
        precision={dtype: precision for precision, dtype in DTYPE_OF.items()}[planned.dtype],
        # The compiler reads "NHWC" as: the same NCHW network, fed interleaved.
        compiler_layout="NHWC" if item.is_image and planned.layout == "NHWC" else "",
    )


def _output(item: Tensor, options: Options) -> TensorParameters:
    setting = options.setting(f"outputs.{item.name}.data_type")
    dtype = str(setting.value)
    if setting.origin == "default" and not item.dtype.startswith("float"):
        dtype = "float32"  # float16 knows no integers above 2048
    return TensorParameters(
        name=item.name,
        precision=_PRECISION_OF[dtype],
        dtype=dtype,
        layout=item.layout,
        shape=item.shape or None,
    )
