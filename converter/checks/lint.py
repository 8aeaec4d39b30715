"""Problems in an archive (source or target) for a camera, a parser or a reader."""

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
from converter.open_source import open_archive, open_source
from converter.options.resolve import Options


def lint(source: str | os.PathLike[str] | Archive) -> tuple[Finding, ...]:
    """Every finding, errors first.

    `configs/codes.yaml` declares every finding, why it matters and what to do; `nnconvert lint --list`
    prints that.

    Args:
        source: An archive (file or unpacked folder), source or target.

    Raises:
        UsageError: There is no such file.
    """
    if isinstance(source, Archive):
        return run(Subject(archive=source))
    try:
        path = Path(source)
        is_model = is_bare(path) and path.is_file()
        # A bare model as a conversion takes it: cut, with the head that it gets.
        opened = open_source(path, Options({}))[0] if is_model else open_archive(source)
        with opened as archive:
            is_packed = path.is_file() and not is_model
            return run(Subject(archive=archive, file_name=Path(source).name, is_packed=is_packed))
    except ArchiveError as error:
        return error.findings or (as_finding(error, "archive.unreadable"),)


def own_warnings(
    members: Sequence[tuple[str, bytes | Path]], name: str, artifact: Artifact, work: Path
) -> list[Finding]:
    """The warnings of lint for a converted archive that is about to be written.

    Nothing is packed for this, and large files stay where they are. The warnings are not in the build
    record: lint may get new rules, and the bytes of a conversion shall stay the same.

    Args:
        members: Name in the archive, and the content or the file that holds it.
        name: The archive's name.
        artifact: The toolchain's result; its hashes are known.
        work: A folder for the members.

    Raises:
        ToolError: It has errors; this is a bug in the converter, for the source was checked before.
    """
    hashes = {part.path: part.sha256 for part in (artifact, artifact.second) if part}
    with tempfile.TemporaryDirectory(prefix="lint-", dir=work) as folder:
        archive = staged(members, name, Path(folder), hashes)
        findings = run(Subject(archive=archive, file_name=name))
    if wrong := errors(findings):
        raise ToolError(
            f"{name} was not written: lint finds {len(wrong)} errors in it, a bug in the converter: "
            f"[{wrong[0].code}] {wrong[0].one_line}",
            remedy="Report it with the output of nnconvert plan --json.",
            findings=wrong,
        )
    return [
        finding
        for finding in findings
        # Who gives an archive without a head wants none; of a bare model it is told when it is opened.
        if finding.severity is Severity.WARNING and finding.code != "head.none"
    ]
