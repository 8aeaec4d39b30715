"""What is inside a published archive: its members and its build record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from converter.archive.opened import BUILDINFO, open_packed
from converter.archive.tar import Member
from converter.build_record import read_record


@dataclass(frozen=True, kw_only=True)
class Contents:
    """Members and build record of an archive that this converter wrote.

    Attributes:
        record: `buildinfo.json`.
    """

    members: Sequence[Member]
    record: Mapping[str, Any] = field(default_factory=dict)

    @property
    def source_files(self) -> dict[str, str]:
        """SHA-256 of the source's model files, by name."""
        plan = self.record.get("plan") or {}
        files = (plan.get("model") or {}).get("files") or {}
        return {_clean(name): str(digest) for name, digest in files.items()}

    @property
    def calibration(self) -> dict[str, str]:
        """SHA-256 of the calibration frames, by input; empty if there were none."""
        plan = self.record.get("plan") or {}
        told = (plan.get("parameters") or {}).get("calibration") or {}
        inputs = told.get("inputs") or {}
        return {_clean(name): str(one["sha256"]) for name, one in inputs.items() if one.get("sha256")}

    @property
    def tools(self) -> dict[str, str]:
        """Versions of what made it, by name: the toolchain's, and those of the plan's steps."""
        steps = (self.record.get("plan") or {}).get("steps") or ()
        found = {_clean(step["tool"]): _clean(step["version"]) for step in steps}
        found.pop("nnarchive-converter", None)  # a step's revision, not this program's version
        told = self.record.get("tools") or {}
        own = {_clean(name): _clean(version) for name, version in told.items()}
        return {**found, **own}


def contents_of(archive: Path) -> Contents:
    """Open an archive and read what it says of itself.

    Raises:
        ArchiveError: It is none of this converter's, or its record does not fit its content.
    """
    with open_packed(archive) as opened:
        has_record = opened.member(BUILDINFO) is not None
        record = read_record(opened) if has_record else {}
        return Contents(members=opened.members, record=record)


def _clean(text: Any) -> str:
    """A text that UTF-8 can hold: JSON can escape half a character."""
    return str(text).encode("utf-8", "replace").decode("utf-8")
