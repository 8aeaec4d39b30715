"""The guesses in a build record: what was inferred of a bare model, and never confirmed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from converter.archive.opened import BUILDINFO, Archive, read_json
from converter.errors import ArchiveError
from converter.findings import Finding, Severity


def recorded_guesses(archive: Archive) -> tuple[Finding, ...]:
    """The guesses that an archive's build record has kept; nothing if it cannot be read."""
    if archive.member(BUILDINFO) is None:
        return ()
    try:
        return read_guesses(read_json(archive.path(BUILDINFO), archive.name))
    except ArchiveError:
        return ()


def read_guesses(record: Any) -> tuple[Finding, ...]:
    """The guesses in the content of a build record; entries of another form are left out."""
    entries = record.get("guesses") if isinstance(record, Mapping) else None
    found = []
    for entry in entries if isinstance(entries, list) else ():
        fields = (
            {key: entry.get(key) for key in ("code", "where", "message", "remedy")}
            if isinstance(entry, Mapping)
            else {}
        )
        if fields and all(isinstance(value, str) for value in fields.values()):
            found.append(Finding(severity=Severity.INFO, **{k: str(v) for k, v in fields.items()}))
    return tuple(found)


def guesses_json(guesses: Sequence[Finding]) -> list[dict[str, Any]]:
    """The guesses as the build record keeps them."""
    return [guess.to_json() for guess in guesses]
