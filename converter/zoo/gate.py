"""The gate: a build beside the last published one, and whether it may take its place."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from typing import Any, Final, Self

from converter.findings import Finding, Severity
from converter.zoo.index import Cell, Index, Status
from converter.zoo.regressions import regressions
from converter.zoo.thresholds import Thresholds

# What a build that the gate refuses ends with.
EXIT_CODE: Final = 8


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What the gate says of a build.

    Attributes:
        findings: `ERROR` ends the build with exit code 8, `WARNING` is told, `INFO` is good news. Each
            `where` is a cell, `digits/rvc4/INT8_STANDARD`.
        counts: Cells by status.
        baseline: The build it was compared with; empty if there is none.
    """

    findings: tuple[Finding, ...] = ()
    counts: Mapping[str, int] = field(default_factory=dict)
    baseline: str = ""

    @property
    def passed(self) -> bool:
        """Whether the build may be published."""
        return not self.errors

    @property
    def errors(self) -> tuple[Finding, ...]:
        """The findings that the gate says no for."""
        return tuple(one for one in self.findings if one.severity is Severity.ERROR)

    @property
    def exit_code(self) -> int:
        """0 or 8."""
        return 0 if self.passed else EXIT_CODE

    @property
    def said(self) -> str:
        """The verdict in a line."""
        beside = f"compared with build {self.baseline}" if self.baseline else "nothing to compare with"
        if self.passed:
            return f"The gate says yes ({beside})."
        cells = len({one.where for one in self.errors})
        what = "1 cell" if cells == 1 else f"{cells:,} cells"
        return f"The gate says no for {what} ({beside})."

    def to_json(self) -> dict[str, Any]:
        """The verdict as plain JSON data: `gate` of `index.json`, and `gate.json`."""
        return {
            "verdict": "passed" if self.passed else "failed",
            "exit_code": self.exit_code,
            "said": self.said,
            "baseline": self.baseline or None,
            "counts": dict(self.counts),
            "findings": [one.to_json() for one in self.findings],
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """What `to_json` wrote down; an empty document has no finding."""
        return cls(
            findings=tuple(
                Finding(**{**one, "severity": Severity(one["severity"])})
                for one in data.get("findings", ())
            ),
            counts=dict(data.get("counts", {})),
            baseline=data.get("baseline") or "",
        )


def judge(
    build: Index,
    published: Index | None,
    thresholds: Thresholds | None = None,
    *,
    today: date,
    accept: bool = False,
) -> Verdict:
    """Hold a build against the last published one.

    A cell whose source has changed is another model: what differs is told and ends nothing. The same
    holds with `accept`, by which people take a change that they want. A failure is never accepted.

    Args:
        published: None if nothing was published yet.
        today: For expectations that expire.
    """
    limits = thresholds or Thresholds()
    before = {cell.id: cell for cell in published.cells} if published else {}
    findings: list[Finding] = []
    for cell in build.cells:
        findings += _own(cell, today)
        old = before.get(cell.id)
        if old is not None:
            findings += _compared(cell, old, limits, accept=accept)
    if published is not None and not build.build.only:
        here = {cell.id for cell in build.cells}
        gone = _gone(before.values(), here, limits)
        findings += _as_warnings(gone) if accept else gone
    return Verdict(
        findings=tuple(findings),
        counts=dict(Counter(cell.status.value for cell in build.cells)),
        baseline=published.build.id if published else "",
    )


def by_cell(findings: Iterable[Finding]) -> dict[str, list[Finding]]:
    """The findings of each cell."""
    found: dict[str, list[Finding]] = {}
    for one in findings:
        found.setdefault(one.where, []).append(one)
    return found


def _own(cell: Cell, today: date) -> Iterator[Finding]:
    """What a cell says by itself: whether it failed, and what was expected of it."""
    expected = cell.expected
    expired = expected is not None and expected.until < today.isoformat()
    if expected is not None and cell.status is Status.SUCCEEDED:
        said = f"It succeeds, and the manifest expects it to fail ({expected.reason})."
        remedy = "Take the entry out of expected failures."
        yield _told(cell, code="zoo.expected", message=said, remedy=remedy)
    elif expected is not None and expired:
        said = f"It was expected to fail until {expected.until} ({expected.reason}): {failure(cell)}"
        remedy = "Mend it, or give the entry a new date."
        error = Severity.ERROR
        yield _told(cell, code="zoo.expired", message=said, remedy=remedy, severity=error)
    elif cell.status is Status.FAILED:
        yield _told(cell, code="zoo.failed", message=failure(cell), severity=Severity.ERROR)


def failure(cell: Cell) -> str:
    """Why a cell failed, in a line."""
    error = cell.error or {}
    code = f" (exit code {error['exit_code']})" if error.get("exit_code") is not None else ""
    return f"{error.get('message') or 'It failed.'}{code}"


def _compared(cell: Cell, old: Cell, limits: Thresholds, *, accept: bool) -> Iterator[Finding]:
    was, now = old.status is Status.SUCCEEDED, cell.status is Status.SUCCEEDED
    if was and not now:
        # A failure ends the build by itself, an expected one does not: that it worked is told.
        yield _told(cell, code="zoo.flipped", message="It succeeded in the published build.")
    elif now and not was:
        said = "It succeeds now; it did not in the published build."
        yield _told(cell, code="zoo.mended", message=said, severity=Severity.INFO)
    elif now:
        found = list(regressions(cell, old, limits))
        if found and _is_another(cell, old):
            said = "Its source is another one than the published build's; what differs is told only."
            yield _told(cell, code="zoo.source", message=said, severity=Severity.INFO)
            accept = True
        yield from _as_warnings(found) if accept else found


def _is_another(cell: Cell, old: Cell) -> bool:
    digests = cell.source.get("sha256"), old.source.get("sha256")
    return None not in digests and digests[0] != digests[1]


def _gone(before: Iterable[Cell], here: set[str], limits: Thresholds) -> Iterator[Finding]:
    severity = Severity.WARNING if limits.missing_cells else Severity.ERROR
    for old in before:
        if old.status is Status.SUCCEEDED and old.id not in here:
            said = "It was published, and this build has no such cell."
            yield _told(old, code="zoo.gone", message=said, severity=severity)


def _as_warnings(findings: Iterable[Finding]) -> Iterator[Finding]:
    """The same, told only."""
    for one in findings:
        error = one.severity is Severity.ERROR
        yield replace(one, severity=Severity.WARNING) if error else one


def _told(
    cell: Cell,
    *,
    code: str,
    message: str,
    remedy: str = "",
    severity: Severity = Severity.WARNING,
) -> Finding:
    return Finding(code=code, where=cell.id, message=message, remedy=remedy, severity=severity)
