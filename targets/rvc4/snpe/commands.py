"""From typed parameters to the argument vectors of SNPE's tools: pure functions.

Paths are those inside the container. A user's argument (in the mode CUSTOM) replaces the converter's
argument for the same option.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from converter.container.container import WORK
from converter.feeding import TargetInput
from targets.rvc4.quantization.modes import RangeMethod
from targets.rvc4.snpe.options import CONVERT, INFO, PREPARE, QUANTIZE, RUN
from targets.rvc4.snpe.parameters import SnpeParameters

# A user's arguments are added to the converter's: each names other tensors.
_ADDED: Final = {"--preserve_io"}
# A user's argument replaces the converter's for the same tensor only.
_BY_TENSOR: Final = {"--input_dim", "--input_dtype", "--input_layout"}
_QUANTIZERS: Final[dict[RangeMethod, str]] = {"min-max": "tf", "mse": "enhanced", "best": "enhanced"}


@dataclass(frozen=True, kw_only=True)
class Paths:
    """The files of a conversion, as the tools see them."""

    onnx: str = f"{WORK}/model.onnx"
    overrides: str = f"{WORK}/overrides.json"
    float_dlc: str = f"{WORK}/float.dlc"
    input_list: str = f"{WORK}/calibration.txt"
    quantized_dlc: str = f"{WORK}/quantized.dlc"
    dlc: str = f"{WORK}/model.dlc"
    info: str = f"{WORK}/info.csv"
    run_list: str = f"{WORK}/frames.txt"
    results: str = f"{WORK}/results"


PATHS: Final = Paths()


def dtype_word(item: TargetInput) -> str:
    """The element type of an input of the ONNX file: frames come in as float32, like other floats."""
    if item.dai_type or item.dtype.startswith("float"):
        return "float32"
    return item.dtype


def convert(parameters: SnpeParameters, paths: Paths = PATHS) -> tuple[str, ...]:
    """`snpe-onnx-to-dlc`: the prepared ONNX file to a float DLC."""
    made: list[tuple[str, ...]] = [("-i", paths.onnx), ("--output_path", paths.float_dlc)]
    inputs = parameters.inputs
    made += [("--input_dim", item.name, ",".join(map(str, item.source_shape))) for item in inputs]
    made += [("--input_dtype", item.name, dtype_word(item)) for item in inputs]
    made += [("--out_name", item.name) for item in parameters.outputs]
    made += [("--input_layout", name, layout) for name, layout in parameters.layouts.items()]
    if parameters.preserved:
        made.append(("--preserve_io", "layout", *parameters.preserved))
        made.append(("--preserve_io", "datatype", *parameters.preserved))
    if parameters.precision.is_float:
        made.append(("--float_bitwidth", "16"))
    else:
        made.append(("--quantization_overrides", paths.overrides))
    return _merged(CONVERT, made, parameters)


def quantize(parameters: SnpeParameters, paths: Paths = PATHS) -> tuple[str, ...]:
    """`snpe-dlc-quant`: the float DLC and a list of frames to a DLC of integers."""
    precision = parameters.precision
    made: list[tuple[str, ...]] = [
        ("--input_list", paths.input_list),
        ("--input_dlc", paths.float_dlc),
        ("--output_dlc", paths.quantized_dlc),
    ]
    if parameters.per_channel:
        made.append(("--use_per_channel_quantization",))
    if parameters.per_row:
        made.append(("--use_per_row_quantization",))
    assert precision.ranges is not None
    quantizer = _QUANTIZERS[precision.ranges]
    if quantizer != "tf":
        made += [("--param_quantizer", quantizer), ("--act_quantizer", quantizer)]
    if precision.weights != 8:
        made.append(("--weights_bitwidth", str(precision.weights)))
    if precision.activations != 8:
        made.append(("--act_bitwidth", str(precision.activations)))
    if needs_native_files(parameters):
        made.append(("--use_native_input_files",))
    # A frame's codes are the pixel values: that is an override, even without given encodings.
    made.append(("--override_params",))
    return _merged(QUANTIZE, made, parameters)


def needs_native_files(parameters: SnpeParameters) -> bool:
    """Whether the listed files hold other types than float32: SNPE reads all of them one way."""
    return any(dtype_word(item) != "float32" for item in parameters.inputs)


def prepare(parameters: SnpeParameters, paths: Paths = PATHS) -> tuple[str, ...]:
    """`snpe-dlc-graph-prepare`: the DLC with what the chip needs to load it fast."""
    is_float = parameters.precision.is_float
    made: list[tuple[str, ...]] = [
        ("--input_dlc", paths.float_dlc if is_float else paths.quantized_dlc),
        ("--output_dlc", paths.dlc),
        ("--set_output_tensors", ",".join(item.name for item in parameters.outputs)),
        ("--optimization_level", str(parameters.optimization_level)),
        ("--htp_socs", ",".join(parameters.socs)),
    ]
    if is_float:
        made.append(("--use_float_io",))
    return _merged(PREPARE, made, parameters)


def info(paths: Paths = PATHS) -> tuple[str, ...]:
    """`snpe-dlc-info`: what the DLC holds, as a table."""
    return (INFO, "-i", paths.dlc, "-s", paths.info)


def run(parameters: SnpeParameters, paths: Paths = PATHS) -> tuple[str, ...]:
    """`snpe-net-run`: frames through the DLC on SNPE's CPU runtime."""
    native = ("--userbuffer_auto", "--use_native_input_files")
    return (
        *(RUN, "--container", paths.dlc, "--input_list", paths.run_list),
        *("--output_dir", paths.results),
        *(native if needs_native_files(parameters) else ()),
    )


def _merged(tool: str, made: Sequence[tuple[str, ...]], parameters: SnpeParameters) -> tuple[str, ...]:
    given = parameters.user(tool)
    # `--bitwidth` and the like exclude the converter's options, by the documentation.
    replaced = set(given.options - _ADDED - _BY_TENSOR)
    tensors = {(option, *values[:1]) for option, values in given.words if option in _BY_TENSOR}
    if "--bitwidth" in replaced:
        replaced |= {"--weights_bitwidth", "--act_bitwidth"}
    if "--htp_archs" in replaced:
        replaced |= {"--htp_socs"}
    kept = [
        word
        for group in made
        if group[0] not in replaced and group[:2] not in tensors
        for word in group
    ]
    return (tool, *kept, *given.argv())
