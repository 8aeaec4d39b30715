"""The documented options of SNPE's tools, and a user's own arguments for them.

Source: Qualcomm's "Neural Processing SDK, Tools" (80-63442-2; revisions of 2025); it was not checked
with an SDK. An option that is not listed is passed on with a warning; the tool then decides.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from converter.container.container import WORK
from converter.digests import sha256_of
from converter.errors import UsageError, from_findings
from converter.findings import Finding, Severity
from converter.options.resolve import Options
from targets.rvc4.snpe.parameters import UserArguments, UserFile

CONVERT: Final = "snpe-onnx-to-dlc"
QUANTIZE: Final = "snpe-dlc-quant"
PREPARE: Final = "snpe-dlc-graph-prepare"
INFO: Final = "snpe-dlc-info"
RUN: Final = "snpe-net-run"
# The folder of a user's files in the container.
ARGUMENT_FOLDER: Final = "arguments"
_KEYS: Final = {
    CONVERT: "rvc4.snpe_onnx_to_dlc_args",
    QUANTIZE: "rvc4.snpe_dlc_quant_args",
    PREPARE: "rvc4.snpe_dlc_graph_prepare_args",
}


@dataclass(frozen=True, kw_only=True)
class Option:
    """An option of a tool.

    Attributes:
        values: How many values it takes: a number, `?` for none or one, `+` and `*` for a list.
        is_file: Whether its values are files to read.
        aliases: Other names for it.
    """

    values: int | str = 1
    is_file: bool = False
    aliases: tuple[str, ...] = ()


_LOGGING: Final[Mapping[str, Option]] = {
    "--help": Option(values=0, aliases=("-h",)),
    "--version": Option(values=0),
    "--verbose": Option(values=0),
    "--quiet": Option(values=0),
    "--silent": Option(values=0),
    "--debug": Option(),
    "--debug1": Option(values=0),
    "--debug2": Option(values=0),
    "--debug3": Option(values=0),
    "--log-mask": Option(),
    "--log-file": Option(),
    "--log-dir": Option(),
    "--log-file-include-hostname": Option(values=0),
}
DOCUMENTED: Final[Mapping[str, Mapping[str, Option]]] = {
    CONVERT: {
        "--help": Option(values=0, aliases=("-h",)),
        "--debug": Option(values="?"),
        "--input_network": Option(is_file=True, aliases=("-i",)),
        "--output_path": Option(aliases=("-o",)),
        "--out_name": Option(aliases=("--out_node",)),
        "--input_dim": Option(values=2, aliases=("-d",)),
        "--input_dtype": Option(values=2),
        "--input_layout": Option(values=2, aliases=("-l",)),
        "--input_type": Option(values=2, aliases=("-t",)),
        "--input_encoding": Option(values="+", aliases=("-e",)),
        "--custom_io": Option(is_file=True),
        "--preserve_io": Option(values="*"),
        "--dry_run": Option(values="?"),
        "--no_simplification": Option(values=0, aliases=("-n",)),
        "--batch": Option(aliases=("-b",)),
        "--define_symbol": Option(values=2, aliases=("-s",)),
        "--dump_custom_io_config_template": Option(),
        "--dump_qairt_io_config_yaml": Option(values="?"),
        "--enable_framework_trace": Option(values=0),
        "--quantization_overrides": Option(is_file=True),
        "--keep_quant_nodes": Option(values=0),
        "--disable_batchnorm_folding": Option(values=0),
        "--expand_lstm_op_structure": Option(values=0),
        "--keep_disconnected_nodes": Option(values=0),
        "--preserve_onnx_output_order": Option(values=0),
        "--copyright_file": Option(is_file=True),
        "--float_bitwidth": Option(),
        "--float_bw": Option(),
        "--float_bias_bw": Option(),
        "--float_bias_bitwidth": Option(),
        "--model_version": Option(),
        "--validation_target": Option(values=2),
        "--strict": Option(values=0),
        "--udo_config_paths": Option(values="+", is_file=True, aliases=("-udo",)),
        "--op_package_lib": Option(is_file=True, aliases=("-opl",)),
        "--converter_op_package_lib": Option(is_file=True, aliases=("-cpl",)),
        "--package_name": Option(aliases=("-p",)),
        "--op_package_config": Option(values="+", is_file=True, aliases=("-opc",)),
    },
    QUANTIZE: {
        **_LOGGING,
        "--input_dlc": Option(is_file=True),
        "--output_dlc": Option(),
        "--input_list": Option(is_file=True),
        "--no_weight_quantization": Option(values=0),
        "--use_enhanced_quantizer": Option(values=0),
        "--use_adjusted_weights_quantizer": Option(values=0),
        "--optimizations": Option(),
        "--algorithms": Option(),
        "--override_params": Option(values=0),
        "--use_encoding_optimizations": Option(values=0),
        "--udo_package_path": Option(is_file=True),
        "--use_symmetric_quantize_weights": Option(values=0),
        "--use_native_dtype": Option(values=0),
        "--use_native_input_files": Option(values=0),
        "--use_native_output_files": Option(values=0),
        "--float_fallback": Option(values=0),
        "--param_quantizer": Option(),
        "--act_quantizer": Option(),
        "--bitwidth": Option(),
        "--weights_bitwidth": Option(),
        "--act_bitwidth": Option(),
        "--float_bitwidth": Option(),
        "--bias_bitwidth": Option(),
        "--float_bias_bitwidth": Option(),
        "--axis_quant": Option(values=0),
        "--use_per_channel_quantization": Option(values=0),
        "--use_per_row_quantization": Option(values=0),
        "--enable_per_row_quantized_bias": Option(values=0),
        "--restrict_quantization_steps": Option(),
    },
    PREPARE: {
        **_LOGGING,
        "--input_dlc": Option(is_file=True),
        "--output_dlc": Option(),
        "--set_output_tensors": Option(),
        "--set_output_layers": Option(),
        "--input_list": Option(is_file=True),
        "--htp_socs": Option(),
        "--htp_archs": Option(),
        "--vtcm_override": Option(),
        "--optimization_level": Option(),
        "--buffer_data_type": Option(),
        "--overwrite_cache_records": Option(values=0),
        "--use_float_io": Option(values=0),
        "--htp_dlbc": Option(),
        "--num_hvx_threads": Option(),
        "--input_name": Option(),
        "--input_dimensions": Option(),
        "--memorymapped_buffer_hint": Option(),
        "--udo_package_path": Option(is_file=True),
    },
}
# Options for files, inputs and outputs: only the converter sets them, for the archive describes them.
_OURS: Final = {
    CONVERT: {
        *("--input_network", "--output_path", "--dry_run", "--help"),
        *("--out_name", "--input_type", "--input_encoding"),
    },
    QUANTIZE: {"--input_dlc", "--output_dlc", "--input_list", "--help", "--version"},
    PREPARE: {"--input_dlc", "--output_dlc", "--help", "--version"},
}
# Options that a quantization mode sets.
MODE_OPTIONS: Final = {
    CONVERT: {"--float_bitwidth", "--float_bw"},
    QUANTIZE: {
        "--use_enhanced_quantizer",
        "--use_adjusted_weights_quantizer",
        "--use_symmetric_quantize_weights",
        "--param_quantizer",
        "--act_quantizer",
        "--bitwidth",
        "--weights_bitwidth",
        "--act_bitwidth",
        "--float_bitwidth",
        "--float_fallback",
        "--axis_quant",
        "--use_per_channel_quantization",
        "--use_per_row_quantization",
    },
    PREPARE: {"--use_float_io"},
}


def user_arguments(
    options: Options, *, is_custom: bool
) -> tuple[dict[str, UserArguments], list[Finding]]:
    """A user's arguments for each tool, and a warning for each that is not documented.

    Raises:
        UsageError: The converter or the mode sets an argument, or one lacks its value or file.
    """
    given: dict[str, UserArguments] = {}
    warnings: list[Finding] = []
    errors: list[Finding] = []
    for tool, key in _KEYS.items():
        words = options.words(key)
        split, undocumented = _split(tool, words, key, errors)
        for option in undocumented:
            near = difflib.get_close_matches(option, DOCUMENTED[tool], n=1)
            warnings.append(
                Finding(
                    code="snpe.argument",
                    severity=Severity.WARNING,
                    where=key,
                    message=f"{tool}'s documentation has no {option}; it is handed on as it is.",
                    remedy=f"Perhaps you meant {near[0]}." if near else "",
                )
            )
        for option, _ in split:
            if option in _OURS[tool]:
                errors.append(_refused(key, f"the converter sets {option} (files and tensors)."))
            elif not is_custom and option in MODE_OPTIONS[tool]:
                errors.append(
                    _refused(
                        key,
                        f"the mode {options.get('rvc4.quantization_mode')} sets {option}.",
                        "Set rvc4.quantization_mode=CUSTOM.",
                    )
                )
        # When a DLC is verified again, the files that it was made with are not read.
        is_made = options.record is not None
        given[tool] = (
            UserArguments(words=tuple(split)) if is_made else _with_files(tool, split, key, errors)
        )
    if errors:
        raise from_findings(UsageError, "SNPE's arguments", errors)
    return given, warnings


def _refused(key: str, message: str, remedy: str = "Leave it out.") -> Finding:
    return Finding(code="snpe.argument", where=key, message=message, remedy=remedy)


def _split(
    tool: str, words: Sequence[str], key: str, errors: list[Finding]
) -> tuple[list[tuple[str, tuple[str, ...]]], list[str]]:
    """Words as options with their values, aliases resolved; and the options that are not listed."""
    names = {alias: name for name, option in DOCUMENTED[tool].items() for alias in option.aliases}
    rest = list(words)
    found: list[tuple[str, tuple[str, ...]]] = []
    undocumented = []
    while rest:
        word = rest.pop(0)
        option, equals, value = word.partition("=")
        if not option.startswith("-"):
            errors.append(_refused(key, f"{word!r} belongs to no option."))
            continue
        option = names.get(option, option)
        spec = DOCUMENTED[tool].get(option)
        if spec is None:
            undocumented.append(option)
        wanted = "*" if spec is None else spec.values
        values = [value] if equals else _take(rest, wanted)
        if (isinstance(wanted, int) and len(values) != wanted) or (wanted == "+" and not values):
            need = "no value" if wanted == 0 else f"{wanted} values" if wanted != 1 else "one value"
            errors.append(_refused(key, f"{option} takes {need}, not {len(values)}.", "Correct it."))
            continue
        found.append((option, tuple(values)))
    return found, undocumented


def _take(rest: list[str], wanted: int | str) -> list[str]:
    most = {"?": 1, "+": len(rest), "*": len(rest)}.get(str(wanted), wanted)
    values: list[str] = []
    while rest and len(values) < int(most) and not rest[0].startswith("--"):
        values.append(rest.pop(0))
    return values


def _with_files(
    tool: str, words: Sequence[tuple[str, tuple[str, ...]]], key: str, errors: list[Finding]
) -> UserArguments:
    """The files that arguments name are copied into the container, under other names."""
    files: list[UserFile] = []
    replaced = []
    for option, values in words:
        spec = DOCUMENTED[tool].get(option)
        if spec is None or not spec.is_file or option in _OURS[tool]:
            replaced.append((option, values))
            continue
        inside = []
        for value in values:
            path = Path(value)
            if not path.is_file():
                errors.append(_refused(key, f"{option}: there is no file {value}.", "Name a file."))
                continue
            name = f"{tool}-{len(files)}{path.suffix}"
            files.append(UserFile(path=path.absolute(), name=name, sha256=sha256_of(path)))
            inside.append(f"{WORK}/{ARGUMENT_FOLDER}/{name}")
        replaced.append((option, tuple(inside)))
    return UserArguments(words=tuple(replaced), files=tuple(files))
