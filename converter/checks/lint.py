"""Problems in an archive (source or target) for a camera, a parser or a reader."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

from converter.archive.opened import Archive, staged
from converter.artifact import Artifact
from converter.bare.open import is_bare
from converter.cameras import target_of
from converter.checks.registry import run
from converter.checks.subject import Side, Subject, as_finding
from converter.errors import ArchiveError, ToolError
from converter.findings import Finding, Severity, errors
from converter.open_source import open_archive, open_source
from converter.options.resolve import Options
from converter.target import load


def lint(source: str | os.PathLike[str] | Archive, *, target: str | None = None) -> tuple[Finding, ...]:
    """Every finding, errors first.

    `configs/codes.yaml` declares every finding, why it matters and what to do; `nnconvert lint --list`
    prints that.

    Args:
        source: An archive (file or unpacked folder), source or target.
        target: A target, or a camera, for which a source's nodes are looked at, too.

    Raises:
        UsageError: There is no such file, or no such target.
    """
    name = target_of(target).target if target is not None else None
    if isinstance(source, Archive):
        return _found(Subject(archive=source), name)
    try:
        path = Path(source)
        is_model = is_bare(path) and path.is_file()
        # A bare model as a conversion takes it: cut, with the head that it gets.
        opened = open_source(path, Options({}))[0] if is_model else open_archive(source)
        with opened as archive:
            is_packed = path.is_file() and not is_model
            subject = Subject(archive=archive, file_name=Path(source).name, is_packed=is_packed)
            return _found(subject, name)
    except ArchiveError as error:
        return error.findings or (as_finding(error, "archive.unreadable"),)


def _found(subject: Subject, target: str | None) -> tuple[Finding, ...]:
    """The findings of every rule, and the nodes that a target will refuse in a source."""
    found = run(subject)
    ask = getattr(load(target), "foreseen", None) if target is not None else None
    if ask is None or subject.side is not Side.SOURCE:
        return found
    model, _ = subject.understood
    stages = [stage for stage in (model, model and model.second) if stage is not None]
    return (*(item for stage in stages for item in ask(stage, subject.archive, Severity.ERROR)), *found)


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
