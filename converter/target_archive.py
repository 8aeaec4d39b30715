"""The target archive: a config that describes the compiled file, and the build record."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path, PurePosixPath
from typing import Any, Final

from converter.archive.guesses import guesses_json
from converter.archive.opened import BUILDINFO, CONFIG
from converter.artifact import Artifact, CompiledInput
from converter.errors import ToolError
from converter.model import SourceModel, Tensor
from converter.modelconverter.record import known
from converter.plans import Plan

_NOISE: Final = 1e-5


def model_member(source: SourceModel, artifact: Artifact) -> str:
    """The compiled file's name in the archive: the source's path with the compiled file's suffix."""
    path = PurePosixPath(source.path)
    name = str(path.with_name(path.stem + artifact.suffix))
    if source.link is None:
        return name
    # Stages whose names differ only in their suffixes would get the same name here.
    first = PurePosixPath(source.link.model.path)
    taken = str(first.with_name(first.stem + artifact.suffix))
    return str(path.with_name(f"{path.stem}-postprocessor{artifact.suffix}")) if name == taken else name


def target_config(source: SourceModel, artifact: Artifact) -> dict[str, Any]:
    """The source's config, with all that is different in the compiled file corrected.

    Heads, names and further metadata are kept as they are.
    """
    config = copy.deepcopy(dict(source.config))
    model = config["model"]
    metadata = model["metadata"]
    metadata["path"] = model_member(source, artifact)
    metadata["precision"] = artifact.precision
    model["inputs"] = [_input(_entry(model["inputs"], item.name), item) for item in artifact.inputs]
    model["outputs"] = [_tensor(_entry(model["outputs"], item.name), item) for item in artifact.outputs]
    names = [item.name for item in artifact.outputs]
    for head in model.get("heads") or ():
        # A missing list means "all outputs", but DepthAI reads it as undefined.
        if head.get("outputs") is None:
            head["outputs"] = list(names)
        if source.second is not None and artifact.second is not None and _is_staged(head):
            head["metadata"]["postprocessor_path"] = model_member(source.second, artifact.second)
    return config


def _is_staged(head: Mapping[str, Any]) -> bool:
    return (head.get("metadata") or {}).get("postprocessor_path") is not None


def _entry(entries: list[dict[str, Any]], name: str) -> dict[str, Any]:
    return next(entry for entry in entries if entry["name"] == name)


def _tensor(entry: dict[str, Any], item: Tensor) -> dict[str, Any]:
    described = {**entry, "dtype": item.dtype, "shape": list(item.shape)}
    if item.layout:
        described["layout"] = item.layout
    else:
        described.pop("layout", None)
    return described


def _input(entry: dict[str, Any], item: CompiledInput) -> dict[str, Any]:
    described = _tensor(entry, item)
    described["input_type"] = "image" if item.dai_type else "raw"
    left = item.preprocessing
    if item.dai_type is None:
        described["preprocessing"] = {
            "mean": list(left.mean) or None,
            "scale": list(left.scale) or None,
        }
        return described
    described["preprocessing"] = {
        "mean": list(left.mean),
        "scale": list(left.scale),
        # The two deprecated flags, for readers that still look at them.
        "reverse_channels": left.reverses,
        "interleaved_to_planar": item.layout.endswith("C"),
        "dai_type": item.dai_type,
        "resize_mode": left.resize_mode,
    }
    return described


def buildinfo(plan: Plan, artifact: Artifact) -> dict[str, Any]:
    """How the archive was made; it is the same in every run."""
    return {
        **known(plan, artifact),
        "converter": {"name": "nnarchive-converter", "version": version("nnarchive-converter")},
        "target": plan.target,
        "toolchain": plan.toolchain,
        **_made(plan, artifact),
        "options": plan.options.decisive(),
        **({"guesses": guesses_json(plan.guesses)} if plan.guesses else {}),
        **(
            {"postprocessor": _made(plan.second, artifact.second) | {"face": artifact.second.signature}}
            if plan.second and artifact.second
            else {}
        ),
    }


def _made(plan: Plan, artifact: Artifact) -> dict[str, Any]:
    """How one stage was made."""
    without = ("origins", "postprocessor")
    return {
        "tools": dict(artifact.tools),
        # Who set an option is no part of what was made, so it is no part of the bytes.
        "plan": {key: value for key, value in plan.to_json().items() if key not in without},
        "compiled": {**artifact.facts, "sha256": artifact.sha256},
        "warnings": [*(str(warning) for warning in plan.warnings), *artifact.warnings],
        "verification": _robust(artifact.verification) if artifact.verification else None,
    }


def _robust(record: Mapping[str, Any]) -> dict[str, Any]:
    """A verification without digits that depend on the processor.

    All digits are in `--json` and `Conversion.verification`.
    """
    without = ("outputs", "float16", "quantized", "diagnosis", "headlines")
    kept = {key: value for key, value in record.items() if key not in without}
    kept["outputs"] = {name: _robust_row(row) for name, row in record["outputs"].items()}
    if "excused" in kept:
        kept["excused"] = {name: _coarse(error) for name, error in kept["excused"].items()}
    return kept


def _robust_row(row: Mapping[str, Any]) -> dict[str, Any]:
    if "agreement" in row:  # an output of indices
        return {"agreement": round(row["agreement"], 2), "wrong": _coarse(row["wrong"])}
    return {"cosine": round(row["cosine"], 4), "rel_rmse": _coarse(row["rel_rmse"])}


def _coarse(error: float | None) -> float | None:
    """One significant digit; zero below a hundred-thousandth."""
    if error is None:
        return None
    return float(f"{error:.0e}") if error >= _NOISE else 0.0


def entries(plan: Plan, artifact: Artifact) -> list[tuple[str, bytes | Path]]:
    """The members of the target archive, `config.json` first.

    Raises:
        ToolError: The config is not valid; this is a bug in the converter.
    """
    from converter.config.schema import check_schema

    config = target_config(plan.model, artifact)
    if problems := check_schema(config):
        raise ToolError(f"The config that would be written is not valid: {problems[0]}")
    record = buildinfo(plan, artifact)
    members: list[tuple[str, bytes | Path]] = [
        (CONFIG, _json(config)),
        (BUILDINFO, _json(record)),
        (config["model"]["metadata"]["path"], artifact.path),
    ]
    if plan.model.second is not None and artifact.second is not None:
        members.append((model_member(plan.model.second, artifact.second), artifact.second.path))
    return members


def _json(value: Any) -> bytes:
    return json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False).encode()
