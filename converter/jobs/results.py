"""The result of a job, as its row has it: of one that failed, and of what an attempt's child says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from converter.errors import Cancelled, ConvertError, ToolError, to_json

# The document of `convert --json`, and what readers rely on.
_MADE: Final[Mapping[str, type]] = {
    "output": str,
    "sha256": str,
    "size_bytes": int,
    "plan_hash": str,
    "target": str,
    "toolchain": str,
    "model": dict,
    "verification": dict,
    "warnings": list,
    "timings_s": dict,
    "peak_bytes": dict,
    "cache": dict,
}
_ERROR: Final[Mapping[str, type]] = {
    "class": str,
    "exit_code": int,
    "message": str,
    "remedy": str,
    "findings": list,
    "tool_text": str,
    "code": str,
    "stage": str,
}
_FINDING: Final[Mapping[str, type]] = {
    "code": str,
    "severity": str,
    "where": str,
    "message": str,
    "remedy": str,
}
_FAILED: Final = frozenset({1, *(kind.exit_code for kind in ConvertError.__subclasses__())})
_DEEPEST: Final = 32
_LARGEST: Final = 2**53


def error_json(error: ConvertError, stage: str = "") -> dict[str, Any]:
    """An error: class, message, remedy, findings, the code of the first one, and the stage."""
    code = next((one.code for one in error.findings if one.code), "")
    told = to_json(error)
    return {"class": told.pop("kind"), **told, "code": code, "stage": stage}


def failed(error: ConvertError) -> dict[str, Any]:
    """The whole result: `exit_code` and `error`."""
    return {"exit_code": error.exit_code, "error": error_json(error)}


def checked(document: Any) -> dict[str, Any]:
    """The result that a child gave, which hostile input may have taken over.

    Returns:
        What it has of the fields that a result has.

    Raises:
        ToolError: It is no result of a conversion.
    """
    if not isinstance(document, dict) or not _is_plain(document, _DEEPEST):
        raise _malformed("it is no object of plain values")
    code = document.get("exit_code")
    if type(code) is not int or code not in {0, *_FAILED}:
        raise _malformed(f"exit_code is {code!r:.100}")
    if code == 0:
        made = _fields(document, _MADE, "")
        for name in ("output", "sha256"):
            if name not in made:
                raise _malformed(f"there is no {name}")
        for name in ("peak_bytes", "timings_s"):
            if any(type(one) not in (int, float) for one in made.get(name, {}).values()):
                raise _malformed(f"{name} has something else than numbers")
        return {**made, "exit_code": 0}
    if code == Cancelled.exit_code:
        return {"exit_code": code}
    error = document.get("error")
    if not isinstance(error, dict):
        raise _malformed("there is no error")
    told = {**dict.fromkeys(("class", "message", "remedy"), ""), **_fields(error, _ERROR, "error.")}
    for one in told.get("findings", ()):
        if not isinstance(one, dict) or one.keys() != _fields(one, _FINDING, "findings.").keys():
            raise _malformed("error.findings has something else than findings")
    found: dict[str, Any] = {"exit_code": code, "error": {**told, "exit_code": code}}
    if isinstance(document.get("verification"), dict):
        found["verification"] = document["verification"]
    return found


def _fields(data: Mapping[str, Any], wanted: Mapping[str, type], where: str) -> dict[str, Any]:
    found = {name: data[name] for name in wanted if name in data}
    for name, value in found.items():
        if type(value) is not wanted[name]:
            raise _malformed(f"{where}{name} is of another type")
    return found


def _is_plain(value: Any, deepest: int) -> bool:
    """Whether it is JSON data that every database and reader takes: not too deep, no huge numbers."""
    if isinstance(value, dict):
        return deepest > 0 and all(_is_plain(one, deepest - 1) for one in value.values())
    if isinstance(value, list):
        return deepest > 0 and all(_is_plain(one, deepest - 1) for one in value)
    return not isinstance(value, int) or abs(value) < _LARGEST


def _malformed(what: str) -> ToolError:
    return ToolError(
        f"The conversion ended with a result that is none: {what}.",
        remedy="Convert again; if it happens again, the model makes a tool misbehave.",
    )
