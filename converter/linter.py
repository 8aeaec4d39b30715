"""What a camera, a parser or a reader would trip over in an archive, source or target."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from converter.archive import Archive, open_archive, staged
from converter.checks.registry import run
from converter.checks.subject import Subject, as_finding
from converter.errors import ArchiveError
from converter.findings import Finding


def lint(source: str | os.PathLike[str] | Archive) -> tuple[Finding, ...]:
    """Every finding, errors first.

    What there is to find, why it matters and what to do is in `configs/codes.yaml`; `nnconvert lint
    --list` prints it.

    Args:
        source: An archive (file or unpacked folder), source or target.

    Raises:
        UsageError: There is no such file.
    """
    if isinstance(source, Archive):
        return run(Subject(archive=source))
    try:
        with open_archive(source) as archive:
            return run(Subject(archive=archive, file_name=Path(source).name))
    except ArchiveError as error:
        return error.findings or (as_finding(error, "archive.unreadable"),)


def lint_members(
    members: Sequence[tuple[str, bytes | Path]], name: str, folder: Path, hashes: Mapping[str, str]
) -> tuple[Finding, ...]:
    """The findings in an archive that is about to be written; nothing is packed, large files stay.

    Args:
        members: Name in the archive, and the content or the file that holds it.
        name: What the archive will be called.
        folder: An empty folder to lay the members out in.
        hashes: SHA-256 of members, where it is known.
    """
    return run(Subject(archive=staged(members, name, folder, hashes), file_name=name))
