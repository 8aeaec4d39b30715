"""What a file is and holds: an archive (source or target), a model or a compiled file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Final

from converter.archive.opened import BUILDINFO, read_json
from converter.errors import UsageError
from converter.formats import format_of, read_compiled
from converter.open_source import open_archive
from converter.profile import Profile
from converter.sources.facts import facts_of, kind_of

# What a file is called in JSON, by its format.
_KINDS: Final = {"ONNX": "onnx", "OpenVINO IR": "ir", "TFLite": "tflite"}


def inspect(source: str | os.PathLike[str]) -> dict[str, Any]:
    """What a file holds, as plain JSON data.

    Raises:
        UsageError: There is no such file.
        ArchiveError: It is damaged, or of an unknown kind.
    """
    path = Path(source)
    if not path.exists():
        raise UsageError(f"{path}: no such file or folder.")
    if path.is_file() and (facts := read_compiled(path)):
        return facts
    with open_archive(path) as archive:
        model = archive.config.get("model")
        metadata = model.get("metadata") if isinstance(model, dict) else None
        model_path = metadata.get("path") if isinstance(metadata, dict) else None
        facts = None
        if isinstance(model_path, str) and archive.member(model_path):
            facts = model_facts(archive.path(model_path))
        record = None
        if archive.member(BUILDINFO):
            record = read_json(archive.path(BUILDINFO), path.name)
        return {
            "kind": "archive",
            "name": archive.name,
            "members": [
                {"name": m.name, "size_bytes": m.size_bytes, "sha256": m.sha256}
                for m in archive.members
            ],
            "config": archive.config,
            "model_file": facts,
            "buildinfo": record,
        }


def profile(source: str | os.PathLike[str]) -> Profile:
    """What a compiled file asks of a camera, or the one in a converted archive: sizes, no times.

    Raises:
        UsageError: There is no such file, or it is not compiled.
        ArchiveError: It is damaged.
    """
    path = Path(source)
    if not path.exists():
        raise UsageError(f"{path}: no such file or folder.")
    if path.is_file() and format_of(path) is not None:
        return _profile(path)
    with open_archive(path) as archive:
        model = archive.config.get("model")
        metadata = model.get("metadata") if isinstance(model, dict) else None
        inside = metadata.get("path") if isinstance(metadata, dict) else None
        if not isinstance(inside, str) or not archive.member(inside):
            raise UsageError(f"{path}: the archive has no model file.", remedy="Run lint on it.")
        return _profile(archive.path(inside))


def _profile(path: Path) -> Profile:
    found = format_of(path)
    if found is None or found.profile is None:
        raise UsageError(
            f"{path.name}: what it asks of a camera is not in such a file.",
            remedy="Give a .blob, a .superblob, a .dlc, or a converted archive with one.",
        )
    return found.profile(path)


def model_facts(path: Path) -> dict[str, Any] | None:
    """The facts in a model file; None if it is of an unknown kind.

    Raises:
        ArchiveError: It is damaged.
    """
    return read_compiled(path) or _source_facts(path)


def _source_facts(path: Path) -> dict[str, Any] | None:
    if not kind_of(path.name):
        return None
    facts = facts_of(path, path.name)
    return {
        "kind": _KINDS[facts.format],
        "format": facts.format,
        "opset": facts.opset,
        "operators": dict(sorted(facts.operators.items())),
        "inputs": [_tensor(item) for item in facts.inputs],
        "outputs": [_tensor(item) for item in facts.outputs],
        "external_data": list(facts.external),
        **({"metadata": dict(facts.metadata)} if facts.metadata else {}),
    }


def _tensor(item: Any) -> dict[str, Any]:
    return {
        "name": item.name,
        "dtype": item.dtype,
        "shape": list(item.shape) if item.shape is not None else None,
    }
