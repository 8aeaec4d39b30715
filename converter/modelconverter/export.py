"""A plan as a configuration file that ModelConverter takes and that means the same.

Comments at the top name what such a file cannot express.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from converter.archive.opened import CONFIG
from converter.bare.open import is_bare
from converter.calibration.dataset import FOLDER
from converter.errors import UsageError
from converter.model import ModelInput
from converter.modelconverter.document import read
from converter.modelconverter.keys import KEYS, Taken, pattern
from converter.options.declared import specs
from converter.options.resolve import Options
from converter.plans import Plan
from converter.preprocessing import Color
from converter.sources.frozen_values import array_of

_SECTIONS: Final[Mapping[str, tuple[str, ...]]] = {
    "rvc2": ("number_of_shaves", "superblob", "compress_to_fp16"),
    "rvc3": ("compress_to_fp16",),
    "rvc4": (
        *("quantization_mode", "use_per_channel_quantization", "use_per_row_quantization"),
        *("optimization_level", "htp_socs", "keep_raw_images", "encodings"),
        *("snpe_onnx_to_dlc_args", "snpe_dlc_quant_args", "snpe_dlc_graph_prepare_args"),
    ),
}
# Options that its file has in another form, that its command line has, or that change no result.
_SAID: Final = ("preprocess", "calibration.random", "disable_calibration")
_SAID_OF_INPUTS: Final = ("input_type", "dai_type", "encoding.from", "encoding.to")
_NOT_OF_THE_RESULT: Final = ("verify.", "container.", "online.")


def text(plan: Plan, source: str | os.PathLike[str]) -> str:
    """The file, comments included.

    Args:
        source: The archive or model that the plan was made from.

    Raises:
        UsageError: The archive has two stages.
    """
    import yaml

    if plan.second is not None:
        raise UsageError(
            f"A file for ModelConverter cannot describe a second stage, {plan.second.model.path}.",
            remedy="Give ModelConverter the archive itself: it reads both stages.",
        )
    stage = _stage(plan, Path(source))
    comments = [*_how_to_use(plan, Path(source)), *_cut(plan), *_not_said(plan, stage)]
    document = {"name": plan.model.archive_name, "stages": {plan.model.archive_name: stage}}
    lines = [f"# {' '.join(comment.split())}\n" for comment in comments]
    return "".join(lines) + yaml.safe_dump(
        document, sort_keys=False, allow_unicode=True, default_flow_style=None, width=100
    )


def _stage(plan: Plan, source: Path) -> dict[str, Any]:
    options, target = plan.options, plan.target
    section = {key: _plain(options.get(f"{target}.{key}")) for key in _SECTIONS.get(target, ())}
    if target == "rvc4":
        section["encodings"] = _encodings(plan, source)
    calibration = plan.parameters.to_json().get("calibration")
    if target == "rvc3" and calibration is None:
        section["disable_calibration"] = True
    return {
        "input_model": _model(plan, source),
        "inputs": [
            *(_input(item, plan, source, calibration) for item in plan.model.inputs),
            *_frozen(options),
        ],
        "outputs": [
            {
                "name": item.name,
                **({"shape": list(item.shape)} if item.shape else {}),
                **({"layout": item.layout} if item.shape and item.layout else {}),
                "data_type": item.dtype,
            }
            for item in plan.model.outputs
        ],
        "onnx_simplification": "onnxslim" if options.flag("onnx_simplification") else False,
        "onnx_optimizations": False,
        target: {key: value for key, value in section.items() if value is not None},
    }


def _cut(plan: Plan) -> list[str]:
    """What a file cannot say of a cut: ModelConverter reads the whole model."""
    cut = plan.model.cut
    if cut is None:
        return []
    chosen = cut.get("outputs")
    if isinstance(chosen, Mapping) and all(new == tensor for new, tensor in chosen.items()):
        return []  # ModelConverter cuts at the outputs that its file names
    names = ", ".join(item.name for item in plan.model.outputs)
    return [
        f"The plan cuts the model, and the outputs {names} are only in the cut one: {plan.model.path} "
        "has others. Write an archive with the cut model (nnconvert init), unpack it, and name its "
        "model as input_model; or leave the cut out with --no-cut."
    ]


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _input(item: ModelInput, plan: Plan, source: Path, calibration: Any) -> dict[str, Any]:
    pre = item.preprocessing
    color = pre.color.value if pre.color else "NONE"
    to = plan.options.text(f"inputs.{item.name}.encoding.to") or Color.BGR.value
    described: dict[str, Any] = {
        "name": item.name,
        "shape": list(item.shape),
        **({"layout": item.layout} if item.layout else {}),
        "data_type": item.dtype,
        "encoding": {"from": color, "to": color if color in ("NONE", "GRAY") else to},
    }
    if pre.mean:
        described["mean_values"] = list(pre.mean)
    if pre.scale:
        described["scale_values"] = list(pre.scale)
    if calibration is not None:
        described["calibration"] = _calibration(item, plan, source, calibration)
    return described


def _frozen(options: Options) -> list[dict[str, Any]]:
    """The inputs that have left the model; a value out of a file is written down as numbers."""
    found = []
    for name in options.names("inputs"):
        value = options.text(f"inputs.{name}.frozen_value")
        if value is not None:
            number = array_of(value).tolist()
            found.append({"name": name, "frozen_value": number})
    return found


def _calibration(item: ModelInput, plan: Plan, source: Path, data: Mapping[str, Any]) -> dict[str, Any]:
    options = plan.options
    maximum = options.integer("calibration.max_images")
    if data["random"]:
        return {"max_images": maximum if maximum > 0 else data["frames"]}
    folder = options.text(f"inputs.{item.name}.calibration.path")
    if folder is None:
        given = options.text("calibration.path")
        root = Path(given).absolute() if given else _beside(plan, source, FOLDER)
        # In ModelConverter each input has a folder; here the inputs may be sub-folders of one.
        folder = str(root / item.name if len(plan.model.inputs) > 1 else root)
    else:
        folder = str(Path(folder).absolute())
    method = options.text(f"inputs.{item.name}.calibration.resize_method")
    return {
        "path": folder,
        "max_images": maximum,
        "resize_method": method or str(options.get("calibration.resize_method")),
    }


# ------------------------------------------------------------------ places


def _is_packed(source: Path) -> bool:
    """Whether the model is in an archive's file, from which it must be taken first."""
    is_document = source.suffix.lower() in (".yaml", ".yml", ".json")
    return source.is_file() and not is_document and not is_bare(source)


def _beside(plan: Plan, source: Path, member: str) -> Path:
    """The path of a source's file; of a packed one, its path once unpacked beside the YAML file."""
    if source.is_dir():
        return source.absolute() / member
    if _is_packed(source):
        return Path(member)
    model = source.absolute() if is_bare(source) else read(source).model
    return model if member == plan.model.path else model.parent / member


def _model(plan: Plan, source: Path) -> str:
    return str(_beside(plan, source, plan.model.path))


def _encodings(plan: Plan, source: Path) -> str | None:
    given = plan.options.text("rvc4.encodings")
    if given:
        return str(Path(given).absolute())
    used = plan.parameters.to_json().get("encodings")
    return str(_beside(plan, source, "encodings.json")) if used else None


# ---------------------------------------------------------------- comments


def _how_to_use(plan: Plan, source: Path) -> list[str]:
    flags = ""
    if plan.options.get("preprocess") == "archive":
        flags += " --archive-preprocess"
    if version := plan.options.text(f"{plan.target}.tool_version"):
        flags += f" --tool-version {version}"
    lines = [f"modelconverter convert {plan.target} --path THIS_FILE{flags}"]
    if _is_packed(source):
        lines.append(f"Its paths are members of {source.name}: unpack it beside this file.")
    return lines


def _not_said(plan: Plan, stage: Mapping[str, Any]) -> list[str]:
    """What the file does not say of the plan, in lines."""
    told = [str(warning) for warning in plan.warnings if not warning.code.startswith("init.")]
    lines = [f"warning: {text}" for text in told]
    lines += [f"not said: {key} {_plain(plan.options.get(key))}" for key in _unsaid_keys(plan)]
    options, model = plan.options, plan.model.config["model"]
    is_superblob = plan.target == "rvc2" and options.flag("rvc2.superblob")
    if is_superblob and options.integer("rvc2.number_of_shaves") != 8:
        lines.append("ModelConverter bases a superblob on 8 SHAVE cores, whatever is said.")
    if plan.target == "rvc3" and options.flag("rvc3.superblob"):
        lines.append("ModelConverter writes a .blob for RVC3, and no superblob.")
    if model.get("heads"):
        lines.append(f"ModelConverter's files have no heads: those of the {CONFIG} are lost.")
    for item in plan.model.inputs:
        if item.preprocessing.resize_mode:
            lines.append(f"not said: resize_mode {item.preprocessing.resize_mode} of {item.name!r}")
        if not item.is_image and item.preprocessing.normalizes and "C" not in item.layout:
            lines.append(
                f"ModelConverter normalizes no numbers without channels: it will refuse {item.name!r}."
            )
    for entry in stage["inputs"]:
        path = entry.get("calibration", {}).get("path")
        if path and Path(path).is_file():
            lines.append(f"ModelConverter takes folders only, and {path} is a file.")
    return lines


def _unsaid_keys(plan: Plan) -> list[str]:
    """The options that were set and for which its files have no key."""
    return [key for key in plan.options.settings if not _is_said(key, plan.options, plan.target)]


def _is_said(key: str, options: Options, target: str) -> bool:
    if key.startswith(_NOT_OF_THE_RESULT) or key.endswith(("timeout_s", ".tool_version")):
        return True
    if key in _SAID or (key.startswith("inputs.") and key.endswith(_SAID_OF_INPUTS)):
        return True
    spec = next((spec for spec in specs() if spec.key == key), None)
    if spec is not None and spec.targets and target not in spec.targets:
        return True
    if spec is not None and options.get(key) == spec.default:
        return True
    rule = KEYS.get(pattern(key)[0])
    # Here `data_type` is the compiled model's, in ModelConverter the source's.
    return isinstance(rule, Taken)
