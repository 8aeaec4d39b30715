"""What a check found: one shape for lint, doctor and the reading of an archive."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Severity(StrEnum):
    """How bad a finding is; `ERROR` stops a conversion."""

    ERROR = "error"
    WARNING = "warning"
    INFO = "info"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One problem: where it is, which value is wrong, and what to write instead.

    Attributes:
        code: Stable and searchable, `area.problem`; declared in `configs/codes.yaml`.
        where: A JSON path (`model.inputs[0].shape`), a node, or a file.
        message: Which value was found and which was expected.
        remedy: What to write or to run.
    """

    code: str
    where: str
    message: str
    remedy: str = ""
    severity: Severity = Severity.ERROR

    @property
    def one_line(self) -> str:
        """`where: message`, without the remedy."""
        return f"{self.where}: {self.message}" if self.where else self.message

    @property
    def said(self) -> str:
        """The finding behind the word for it: `warning: …`, or `note: …` for a fact."""
        word = "note" if self.severity is Severity.INFO else self.severity.value
        return f"{word}: {self}"

    def __str__(self) -> str:
        return f"{self.one_line} {self.remedy}".strip()

    def to_json(self) -> dict[str, Any]:
        """The finding as plain JSON data."""
        return {
            "code": self.code,
            "severity": self.severity.value,
            "where": self.where,
            "message": self.message,
            "remedy": self.remedy,
        }


def errors(findings: Sequence[Finding]) -> list[Finding]:
    """The findings that stop a conversion."""
    return [finding for finding in findings if finding.severity is Severity.ERROR]


def perhaps(name: str, names: Sequence[str]) -> str:
    """A remedy that names the nearest of the possible names; empty if none is near."""
    lowered = {candidate.lower(): candidate for candidate in names}
    near = difflib.get_close_matches(name.lower(), lowered, n=1, cutoff=0.5)
    return f"Perhaps you meant {lowered[near[0]]!r}." if near else ""


def listed(names: Sequence[str]) -> str:
    """Names for a message."""
    return ", ".join(repr(name) for name in names) or "none"


def few(names: Sequence[str], most: int = 6) -> str:
    """The first names for a message, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return listed(names[:most]) + more
