"""From a source model's tensors to an OpenVINO compiler's parameters: pure functions."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Final

from converter.errors import ModelError, from_findings
from converter.findings import Finding
from converter.model import ModelInput, SourceModel, Tensor
from converter.options.resolve import Options
from targets.openvino.parameters import InputParameters, TensorParameters

DTYPE_OF: Final = {"U8": "uint8", "FP16": "float16", "FP32": "float32", "I32": "int32"}
_PRECISION_OF: Final = {"float16": "FP16", "float32": "FP32"}
# A raw input's type in the source, and the type that the blob takes: floats stay floats.
_RAW_PRECISION: Final = {
    "float32": "FP32",
    "float64": "FP32",
    "float16": "FP16",
    "uint8": "U8",
    "int32": "I32",
    "int64": "I32",
}
# Those that a graph for Myriad X takes as int32 (`myriad_rules.narrow`).
NARROW: Final = ("int8", "int16", "uint16", "uint32", "uint64")
_MAX_RANK: Final = 5


def check_tensors(model: SourceModel, *, target: str, chip: str, also: Sequence[str] = ()) -> None:
    """Check that a chip can take the model's tensors.

    Args:
        also: Further types that raw inputs may have.

    Raises:
        ModelError: It has a finding for each tensor that it cannot take.
    """
    found = []
    types = (*_RAW_PRECISION, *also)
    for tensor in (*model.inputs, *model.outputs):
        remedy = ""
        if len(tensor.shape) > _MAX_RANK:
            message = f"{list(tensor.shape)} has {len(tensor.shape)} axes; {chip} takes five at most."
            remedy = "Merge axes with a Reshape in the model."
        elif isinstance(tensor, ModelInput) and tensor.dtype not in types:
            message = f"{chip} does not take {tensor.dtype}, only {', '.join(types)}."
            remedy = other_type(tensor)
        else:
            continue
        found.append(
            Finding(code=f"{target}.tensor", where=tensor.name, message=message, remedy=remedy)
        )
    if found:
        raise from_findings(ModelError, "The model", found)


def other_type(tensor: Tensor) -> str:
    """What to do with an input of a type that a chip does not take."""
    return (
        f"If it is always the same, set inputs.{tensor.name}.frozen_value; else let the model cast it "
        "from float32."
    )


def input_parameters(item: ModelInput, options: Options, *, interleaved: bool) -> InputParameters:
    """How an input is fed to the compiled network: frames as bytes, numbers as they are.

    Args:
        interleaved: Whether frames come in as NHWC.

    Raises:
        UsageError: The option `inputs.NAME.data_type` names a type that frames cannot have.
    """
    planned = InputParameters.of(
        item,
        options,
        interleaved=interleaved,
        raw_dtype="" if item.is_image else DTYPE_OF[_RAW_PRECISION.get(item.dtype, "I32")],
    )
    return dataclasses.replace(
        planned,
        precision={dtype: precision for precision, dtype in DTYPE_OF.items()}[planned.dtype],
        # The compiler reads "NHWC" as: the same NCHW network, fed interleaved.
        compiler_layout="NHWC" if item.is_image and planned.layout == "NHWC" else "",
    )


def output_parameters(item: Tensor, options: Options) -> TensorParameters:
    """How an output leaves the compiled network: float16, unless it is asked for otherwise."""
    setting = options.setting(f"outputs.{item.name}.data_type")
    dtype = str(setting.value)
    if setting.origin == "default" and not item.dtype.startswith("float"):
        dtype = "float32"  # float16 knows no integers above 2048; for those of a blob: docs/rvc2.md
    return TensorParameters(
        name=item.name,
        precision=_PRECISION_OF[dtype],
        dtype=dtype,
        layout=item.layout,
        shape=item.shape or None,
    )
