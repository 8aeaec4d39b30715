"""What a camera, a parser or a reader would trip over in an archive, source or target."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

from converter.archive.opened import Archive, staged
from converter.artifact import Artifact
from converter.bare.open import is_bare
from converter.checks.registry import run
from converter.checks.subject import Subject, as_finding
from converter.errors import ArchiveError, ToolError
from converter.findings import Finding, Severity, errors
from converter.open_source import open_archive


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
            is_packed = Path(source).is_file() and not is_bare(Path(source))
            return run(Subject(archive=archive, file_name=Path(source).name, is_packed=is_packed))
    except ArchiveError as error:
        return error.findings or (as_finding(error, "archive.unreadable"),)


def own_warnings(
    members: Sequence[tuple[str, bytes | Path]], name: str, artifact: Artifact, work: Path
) -> list[Finding]:
    """The warnings that lint has for an archive of ours that is about to be written.

    Nothing is packed for it, and large files stay where they are. The warnings are no part of the
    build record: what lint knows may grow, the same conversion's bytes do not change for it.

    Args:
        members: Name in the archive, and the content or the file that holds it.
        name: What the archive will be called.
        artifact: What came out of the toolchain; its hashes are known.
        work: A folder to lay the members out below.

    Raises:
        ToolError: It has errors; a fault of ours, for the source was checked before the work.
    """
    hashes = {part.path: part.sha256 for part in (artifact, artifact.second) if part}
    with tempfile.TemporaryDirectory(prefix="lint-", dir=work) as folder:
        archive = staged(members, name, Path(folder), hashes)
        findings = run(Subject(archive=archive, file_name=name))
    if wrong := errors(findings):
        raise ToolError(
            f"{name} is not written, for lint finds {len(wrong)} errors in it, a fault of ours: "
            f"[{wrong[0].code}] {wrong[0].one_line}",
            remedy="Report it with what nnconvert plan --json prints.",
            findings=wrong,
        )
    return [finding for finding in findings if finding.severity is Severity.WARNING]
