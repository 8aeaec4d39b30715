"""Every key of ModelConverter's configuration, and what becomes of it here.

Source: the configuration models of modelconv 0.6.2; a test compares the table with them. Keys are those
of one stage; NAME stands for the name of an input or output.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from converter.findings import Finding, Severity

# The groups of ModelConverter's keys that are about one platform.
PLATFORMS: Final = ("hailo", "rvc2", "rvc3", "rvc4")
# Values that mean the same as a missing key.
_UNSET: Final[tuple[Any, ...]] = (None, "", [], {}, False)


@dataclass(frozen=True, kw_only=True)
class Taken:
    """A key that is an option here, under the same name or under other ones.

    Attributes:
        keys: The option's names, if they are different; `*` is every input that is not named.
        values: The option's values for some of ModelConverter's; None for one without effect.
        note: A note for the user.
    """

    keys: tuple[str, ...] = ()
    values: Mapping[Any, Any] = field(default_factory=dict)
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Ignored:
    """A key without effect here, and why. Values in `usual` give no note."""

    why: str
    usual: tuple[Any, ...] = _UNSET


@dataclass(frozen=True, kw_only=True)
class Refused:
    """A key that asks for something impossible here, unless it has one of the values `unset`."""

    why: str
    remedy: str
    unset: tuple[Any, ...] = _UNSET


@dataclass(frozen=True, kw_only=True)
class Structure:
    """A key that only a file can have: `document` reads it. Elsewhere `remedy` says what to use."""

    remedy: str


Rule = Taken | Ignored | Refused | Structure


@dataclass(frozen=True, kw_only=True)
class Translation:
    """What a key means here: options, and notes for the user."""

    values: Mapping[str, Any]
    notes: tuple[Finding, ...] = ()


_RANDOM: Final = Taken(
    keys=("calibration.random",),
    note="the frames that are generated here have no such parameter: calibration.random is set.",
)
_LINKED: Final = Refused(
    why="one model is converted at a time, so there is no other stage to run.",
    remedy="Run that stage yourself, save its outputs as .npy files, and give their folder as "
    "calibration.path.",
)


def _calibration(prefix: str, path: Rule) -> dict[str, Rule]:
    rules: dict[str, Rule] = {
        "": Taken(keys=("calibration.random",), values={"random": True, "Random": True}),
        ".path": path,
        ".max_images": Taken(keys=("calibration.max_images",)),
        ".resize_method": Taken(),
        **{f".{name}": _RANDOM for name in ("min_value", "max_value", "mean", "std", "data_type")},
        **{f".{name}": _LINKED for name in ("stage", "output", "script")},
    }
    return {prefix + name: rule for name, rule in rules.items()}


def _shared(name: str) -> Rule:
    """A key of the stage that holds for each input without such a key."""
    return Taken(keys=(f"inputs.*.{name}",))


_MO_REMEDY: Final = (
    "Use options: inputs.NAME.shape, .layout, .mean_values, .scale_values, .encoding.from and "
    ".data_type, outputs.NAME.data_type; list them with --explain."
)
_BLOB: Final[Mapping[str, Rule]] = {
    "disable_calibration": Taken(keys=("disable_calibration",)),
    "mo_args": Refused(why="the model optimizer is not run here.", remedy=_MO_REMEDY),
    "compile_tool_args": Refused(
        why="compile_tool gets only the converter's arguments.", remedy=_MO_REMEDY
    ),
    "compress_to_fp16": Taken(),
}
_HAILO: Final = Ignored(why="Hailo is no target here.")
_OPTIMIZATIONS: Final = (
    *("fuse_add_mul_to_bn", "fuse_comb_add_mul_to_conv", "fuse_single_add_mul_to_conv"),
    *("fuse_split_concat_to_conv", "substitute_sub_with_add", "substitute_div_with_mul"),
)
_NO_SUCH_REWRITES: Final = Ignored(
    why="those rewrites are not made here; the rewrites that are keep what the model computes.",
    usual=(None, True, False, "all", "none"),
)
_MODEL_TYPE: Final = Ignored(
    why="the type is the one that the model's graph has.", usual=(*_UNSET, "float32")
)
_FROM_GRAPH: Final = Structure(
    remedy="Outputs are described by the archive, and by the model itself; leave it out."
)

KEYS: Final[Mapping[str, Rule]] = {
    # The file.
    "name": Structure(remedy="It is the name of the archive: choose the output with -o."),
    "stages": Structure(remedy="Give the file as the source, or with --config."),
    "rich_logging": Ignored(
        why="how progress is shown depends on the terminal.", usual=(*_UNSET, True)
    ),
    # The stage.
    "input_model": Structure(remedy="Give the model as the source: convert --target T MODEL.onnx."),
    "input_bin": Ignored(why="an IR's weights are those beside its .xml, of the same name."),
    "input_file_type": Ignored(why="the model's suffix tells it.", usual=(*_UNSET, "ONNX")),
    "inputs": Structure(remedy="Write inputs.NAME.KEY."),
    "outputs": Structure(remedy="Write outputs.NAME.KEY."),
    "keep_intermediate_outputs": Ignored(
        why="--keep-work FOLDER keeps intermediate files.", usual=(*_UNSET, True)
    ),
    "onnx_simplification": Taken(values={"onnxsim": True, "onnxslim": True}),
    "disable_onnx_simplification": Taken(
        keys=("onnx_simplification",), values={True: False, False: None}
    ),
    "onnx_optimizations": _NO_SUCH_REWRITES,
    "disable_onnx_optimizations": _NO_SUCH_REWRITES,
    **{f"onnx_optimizations.{name}": _NO_SUCH_REWRITES for name in _OPTIMIZATIONS},
    "output_remote_url": Ignored(why="nothing is uploaded; the archive is written here."),
    "intermediate_outputs_remote_url": Ignored(why="nothing is uploaded."),
    "put_file_plugin": Ignored(why="nothing is uploaded."),
    "yolo_input_shape": Refused(
        why="PyTorch models are not converted.", remedy="Export the model to ONNX."
    ),
    "disable_calibration": Taken(),
    # What the stage says for all inputs.
    **{name: _shared(name) for name in ("shape", "layout", "mean_values", "scale_values")},
    "data_type": _MODEL_TYPE,
    "encoding": Taken(keys=("inputs.*.encoding.from", "inputs.*.encoding.to")),
    "encoding.from": _shared("encoding.from"),
    "encoding.to": _shared("encoding.to"),
    # There each input takes its files from the folder; here a folder of several inputs has sub-folders.
    **_calibration("calibration", Taken(keys=("inputs.*.calibration.path",))),
    # Each input.
    "inputs.NAME.name": Taken(),
    **{f"inputs.NAME.{name}": Taken() for name in ("shape", "layout", "mean_values", "scale_values")},
    "inputs.NAME.data_type": _MODEL_TYPE,
    "inputs.NAME.encoding": Taken(keys=("inputs.NAME.encoding.from", "inputs.NAME.encoding.to")),
    "inputs.NAME.encoding.from": Taken(),
    "inputs.NAME.encoding.to": Taken(),
    "inputs.NAME.frozen_value": Taken(),
    **_calibration("inputs.NAME.calibration", Taken()),
    # Each output.
    "outputs.NAME.name": Taken(),
    "outputs.NAME.shape": _FROM_GRAPH,
    "outputs.NAME.layout": _FROM_GRAPH,
    "outputs.NAME.data_type": _MODEL_TYPE,
    # The platforms.
    **{
        name: Refused(why="is not a section with keys.", remedy="Write KEY: VALUE below it.")
        for name in PLATFORMS
    },
    **{
        f"hailo.{name}": _HAILO
        for name in (
            *("disable_calibration", "force_onnx_names", "optimization_level", "compression_level"),
            *("batch_size", "disable_compilation", "alls", "hw_arch"),
        )
    },
    **{f"rvc2.{name}": rule for name, rule in _BLOB.items()},
    "rvc2.disable_calibration": Ignored(why="Myriad X computes in float16, nothing is calibrated."),
    "rvc2.number_of_shaves": Taken(),
    "rvc2.superblob": Taken(),
    "rvc2.n_workers": Ignored(why="as many blobs are compiled at once as the machine has cores."),
    **{f"rvc3.{name}": rule for name, rule in _BLOB.items()},
    "rvc3.pot_target_device": Ignored(
        why="NNCF quantizes here, not POT, and always for the VPU.", usual=(*_UNSET, "VPU")
    ),
    "rvc4.disable_calibration": Taken(
        keys=("rvc4.quantization_mode",),
        values={True: "FP16_STANDARD", False: None},
        note="a network that is not calibrated computes in floating point: FP16_STANDARD.",
    ),
    **{
        f"rvc4.{name}": Taken()
        for name in (
            *("snpe_onnx_to_dlc_args", "snpe_dlc_quant_args", "snpe_dlc_graph_prepare_args"),
            *("keep_raw_images", "use_per_channel_quantization", "use_per_row_quantization"),
            *("optimization_level", "quantization_mode", "htp_socs", "encodings"),
        )
    },
    "rvc4.strict_quantization_overrides": Ignored(
        why="encodings of tensors that the model does not have are always told."
    ),
    "rvc4.normalize_io_encodings": Ignored(
        why="frames keep their 256 values, and outputs the encodings that are given for them.",
        usual=(*_UNSET, True),
    ),
}


def pattern(key: str) -> tuple[str, str]:
    """The table's key for one with a name in it, and the name: `inputs.a.b.shape` has `a.b`."""
    group, _, rest = key.partition(".")
    if group in ("inputs", "outputs") and "." in rest:
        fields = (known.split(".NAME.")[1] for known in KEYS if known.startswith(f"{group}.NAME."))
        for name in sorted(fields, key=len, reverse=True):
            if rest.endswith(f".{name}"):
                return f"{group}.NAME.{name}", rest[: -len(name) - 1]
    return key, ""


def translated(key: str, raw: Any) -> Translation | None:
    """What a key means here; None if ModelConverter has none of that name.

    Args:
        key: A key of one stage, dotted.
        raw: Its value, of a file or of the command line.
    """
    known, name = pattern(key)
    rule = KEYS.get(known)
    match rule:
        case None:
            return None
        case Taken():
            return _taken(key, name, rule, raw)
        case Ignored():
            if _among(raw, rule.usual):
                return Translation(values={})
            note = Finding(
                code="modelconverter.ignored",
                severity=Severity.WARNING,
                where=key,
                message=f"has no effect here: {rule.why}",
            )
            return Translation(values={}, notes=(note,))
        case Refused():
            if _among(raw, rule.unset):
                return Translation(values={})
            return Translation(values={}, notes=(_refused(key, rule.why, rule.remedy),))
        case Structure():
            return Translation(values={}, notes=(_refused(key, "is only for a file.", rule.remedy),))


def _taken(key: str, name: str, rule: Taken, raw: Any) -> Translation:
    if rule is _RANDOM and raw is not None:
        raw = True
    elif rule.values:
        word = {"true": True, "false": False}.get(str(raw).lower(), raw)
        # The type counts as well: 1 is not True.
        raw = next((v for k, v in rule.values.items() if k == word and type(k) is type(word)), raw)
    if raw is None:
        return Translation(values={})
    options = [target.replace("NAME", name, 1) if name else target for target in rule.keys or (key,)]
    notes = (
        (
            Finding(
                code="modelconverter.differs",
                severity=Severity.WARNING,
                where=key,
                message=rule.note,
            ),
        )
        if rule.note
        else ()
    )
    return Translation(values=dict.fromkeys(options, raw), notes=notes)


def _among(raw: Any, values: tuple[Any, ...]) -> bool:
    """Whether a value, or the command line's word for it, is among values; its type counts."""
    words = {str(value).lower() for value in values if isinstance(value, bool | None)}
    if isinstance(raw, str) and raw.lower() in words:
        return True
    return any(raw == value and type(raw) is type(value) for value in values)


def _refused(key: str, why: str, remedy: str) -> Finding:
    return Finding(code="modelconverter.refused", where=key, message=why, remedy=remedy)
