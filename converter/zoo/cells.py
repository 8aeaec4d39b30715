"""A cell of the index out of what a job, the cache or the plan says of it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Any, Final

from converter.errors import ConvertError, to_json
from converter.zoo.expected import covers, meant
from converter.zoo.index import Cell, Expected, Status
from converter.zoo.plan import PlannedCell

# Of `convert --json`, what the index has under the same names.
_SAME: Final = ("verification", "size_bytes", "plan_hash", "timings_s", "peak_bytes")


def document_of(planned: PlannedCell, result: Mapping[str, Any]) -> dict[str, Any]:
    """What is kept of a result in the cache: all that `cell_of` tells again."""
    told = {key: value for key, value in result.items() if key not in ("output", "cache")}
    backend = planned.backend
    return {
        "result": told,
        "tools": {backend.tool: backend.version} if backend else {},
        "toolchain": result.get("toolchain", planned.toolchain),
    }


def cell_of(
    planned: PlannedCell,
    document: Mapping[str, Any],
    files: Mapping[str, str],
    *,
    cached: bool,
    today: date,
) -> Cell:
    """The cell of a conversion that ended.

    Args:
        document: See `document_of`.
        files: The paths of `archive`, `report` and `log` in the build's folder.
        today: Expected failures have a last day.
    """
    result = document["result"]
    error = result.get("error")
    timings = result.get("timings_s", {})
    seconds = timings.get("total", result.get("seconds"))
    wanted = planned.wanted
    return Cell(
        model=wanted.model,
        target=wanted.target,
        mode=wanted.mode,
        status=_status(planned, error, today),
        cached=cached,
        archive=files.get("archive"),
        sha256=result.get("sha256"),
        seconds=seconds,
        toolchain=document["toolchain"],
        warnings=tuple(result.get("warnings", ())),
        source=planned.source,
        key=planned.key,
        tensors=result.get("model", {}),
        tools=document["tools"],
        error=error and _error(error, planned, today),
        expected=_expected(planned, error, today),
        report=files.get("report"),
        log=files.get("log"),
        tags=wanted.tags,
        **{name: result[name] for name in _SAME if name in result},
    )


def failed(planned: PlannedCell, error: ConvertError, today: date) -> Cell:
    """The cell of what could not even be tried."""
    result = {"exit_code": error.exit_code, "error": {**to_json(error), "stage": ""}}
    return cell_of(planned, document_of(planned, result), {}, cached=False, today=today)


def _status(planned: PlannedCell, error: Mapping[str, Any] | None, today: date) -> Status:
    if error is None:
        return Status.SUCCEEDED
    if covers(planned.wanted.expected, error.get("exit_code"), today):
        return Status.EXPECTED_FAILURE
    return Status.FAILED


def _error(error: Mapping[str, Any], planned: PlannedCell, today: date) -> dict[str, Any]:
    """The error; one that was expected until a day that has passed says so."""
    told = {key: value for key, value in error.items() if key != "tool_text"}
    late = [one for one in meant(planned.wanted.expected, error.get("exit_code")) if today > one.until]
    if late and _status(planned, error, today) is Status.FAILED:
        said = f"It was expected to fail until {late[0].until} ({late[0].reason})."
        told["remedy"] = f"{told.get('remedy', '')} {said}".strip()
    return told


def _expected(planned: PlannedCell, error: Mapping[str, Any] | None, today: date) -> Expected | None:
    """The entry of the manifest for the cell: the one that its failure is meant by, if there is one."""
    several = planned.wanted.expected
    about = [] if error is None else meant(several, error.get("exit_code"))
    valid = [one for one in about if today <= one.until]
    for one in [*valid, *about, *several]:
        return Expected(reason=one.reason, until=one.until.isoformat())
    return None
