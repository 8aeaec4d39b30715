"""What an archive's build record says, held against the archive, the source and what is made again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from converter.archive.opened import BUILDINFO, Archive
from converter.artifact import Artifact
from converter.config.second_stage import postprocessor_path
from converter.errors import ArchiveError, VerificationError


def read_record(archive: Archive) -> dict[str, Any]:
    """The archive's build record, checked to describe the compiled file beside it."""
    member = archive.member(BUILDINFO)
    if member is None:
        raise ArchiveError(
            f"{archive.name} has no {BUILDINFO}: it was not made by this converter.",
            remedy="Convert its source again, which compares as well.",
        )
    try:
        record = json.loads(archive.path(BUILDINFO).read_bytes())
        model = archive.config["model"]
        parts = {model["metadata"]["path"]: record}
        if second := postprocessor_path(model):
            parts[second] = record["postprocessor"]
        recorded = {path: part["compiled"]["sha256"] for path, part in parts.items()}
        known = all(map(_is_record, parts.values()))
        known = known and all(isinstance(record[key], str) for key in ("target", "toolchain"))
        known = known and isinstance(record["options"], dict)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ArchiveError(
            f"The {BUILDINFO} of {archive.name} is not this converter's ({error})."
        ) from error
    if not known:
        raise ArchiveError(f"The {BUILDINFO} of {archive.name} is not this converter's.")
    for path, digest in recorded.items():
        compiled = archive.member(path) if isinstance(path, str) else None
        if compiled is None or compiled.sha256 != digest:
            raise ArchiveError(
                f"{path!r} is not the file that the {BUILDINFO} of {archive.name} describes: the "
                "archive was changed.",
                remedy="Take the archive as it was written.",
            )
    return dict(record)


def _is_record(record: Mapping[str, Any]) -> bool:
    """Whether the fields of a stage's record that a target reads have the right types."""
    if not all(isinstance(record[key], dict) for key in ("tools", "plan", "compiled")):
        return False
    report = record["compiled"].get("calibration")
    if report is None:
        return True
    ranges = report.get("ranges") if isinstance(report, dict) else None
    if not isinstance(ranges, dict) or not isinstance(report.get("method"), str):
        return False
    pairs = all(
        isinstance(pair, list) and len(pair) == 2 and all(isinstance(x, int | float) for x in pair)
        for pair in ranges.values()
    )
    return pairs and isinstance(report.get("encodings", ()), dict | None)


def require_source(record: Mapping[str, Any], files: Mapping[str, str], name: str) -> None:
    """The source is the one that the archive was made from."""
    recorded = record["plan"].get("model", {}).get("files")
    if recorded != dict(files):
        raise ArchiveError(
            f"{name} is not the source of this archive: its model is another one.",
            remedy="Give the archive that it was converted from.",
        )


def require_config(archive: Archive, expected: Mapping[str, Any]) -> None:
    """Check that the archive's config describes its compiled file: cameras read only the config."""
    found = _difference(archive.config, expected, "")
    if found:
        raise ArchiveError(
            f"config.json of {archive.name} was changed: {found} differs from the compiled file.",
            remedy="Take the archive as it was written.",
        )


def require_facts(archive: Archive, record: Mapping[str, Any], artifact: Artifact) -> None:
    """What the build record says of the compiled file is what that file says."""
    for part, told in ((artifact, record), (artifact.second, record.get("postprocessor"))):
        if part is None or told is None:
            continue
        found = json.loads(json.dumps({k: v for k, v in part.facts.items() if k != "calibration"}))
        recorded = {key: told["compiled"].get(key, value) for key, value in found.items()}
        if where := _difference(recorded, found, ""):
            raise ArchiveError(
                f"{BUILDINFO} of {archive.name} was changed: {where} differs from the compiled file.",
                remedy="Take the archive as it was written.",
            )


def require_compared(record: Mapping[str, Any]) -> None:
    """A conversion may leave out what cannot be computed here; who asks whether it is right may not.

    Raises:
        VerificationError: An output was not compared.
    """
    missing = record.get("not_compared") or {}
    if record.get("status") == "passed" and not missing:
        return
    said = "; ".join(f"{name!r}: {reason}" for name, reason in missing.items()) or record.get("reason")
    raise VerificationError(
        f"Not every output could be compared with the source: {said}.",
        remedy="Compare these outputs on the camera.",
        tool_text=json.dumps(record, indent=2),
    )


def _difference(one: Any, other: Any, where: str) -> str:
    """The first JSON path at which two documents differ; empty if they are the same."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        for key in {**one, **other}:
            if one.get(key, ...) != other.get(key, ...):
                return _difference(one.get(key), other.get(key), f"{where}.{key}".lstrip("."))
        return ""
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for index, (a, b) in enumerate(zip(one, other, strict=True)):
            if a != b:
                return _difference(a, b, f"{where}[{index}]")
        return ""
    return "" if one == other else where


def tools_named(tools: Mapping[str, Any]) -> str:
    """Tools with their versions, in words."""
    return ", ".join(f"{name} {version}" for name, version in tools.items())
