"""The members of an archive: their order, their names, and members that are not used."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Final

from converter.archive.guesses import read_guesses
from converter.archive.opened import BUILDINFO, CONFIG
from converter.checks.rule import Rule
from converter.checks.subject import Side, Subject
from converter.findings import Finding, Severity, listed

# Members that readers and converters use by their names: build record, AIMET's overrides, frames.
_KNOWN: Final = (CONFIG, BUILDINFO, "encodings.json")
_KNOWN_FOLDER: Final = "calibration/"
_WEIGHTS: Final = (".onnx_data", ".onnx.data")
_SHOWN: Final = 5
_TAKEN: Final = (".tar", ".tar.gz", ".tar.xz")


def _packing(subject: Subject) -> Iterator[Finding]:
    if subject.file_name and subject.is_packed and not subject.file_name.endswith(_TAKEN):
        yield Finding(
            code="archive.suffix",
            severity=Severity.WARNING,
            where=subject.file_name,
            message=f"DepthAI's model zoo takes a file for an archive if it ends in {listed(_TAKEN)}.",
            remedy="Pack it as .tar.xz.",
        )
    # A bare model has no config member, so its order does not matter.
    if subject.archive.member(CONFIG) and subject.archive.members[0].name != CONFIG:
        yield Finding(
            code="archive.config-not-first",
            # A source is read once, a target at every start of the camera.
            severity=Severity.WARNING if subject.side is Side.TARGET else Severity.INFO,
            where=CONFIG,
            message="comes after the model: every reader unpacks the model before it sees the config.",
            remedy="Pack config.json first.",
        )


def _names(subject: Subject) -> Iterator[Finding]:
    names = [member.name for member in subject.archive.members]
    seen: dict[str, str] = {}
    for name in names:
        other = seen.setdefault(name.lower(), name)
        if other != name:
            yield Finding(
                code="archive.case",
                severity=Severity.WARNING,
                where=repr(name),
                message=f"differs from {other!r} in upper and lower case only.",
                remedy="Rename one: some file systems can store only one of them.",
            )
    path = PurePosixPath(subject.path)
    if not subject.has_model and path.name != subject.path and path.name in names:
        yield Finding(
            code="archive.flattened",
            severity=Severity.INFO,
            where="model.metadata.path",
            message=f"{path.name!r} is in the archive, without the folder of {subject.path!r}: "
            "luxonis-ml's ArchiveGenerator packs files by their last name.",
            remedy=f"Write {path.name!r}, or pack the file with its folder.",
        )


def _guessed(subject: Subject) -> Iterator[Finding]:
    record, _ = subject.record
    for guess in read_guesses(record):
        yield Finding(
            code="archive.guessed",
            severity=Severity.INFO,
            where=guess.where,
            message=f"was guessed when the archive was made: {guess.message}",
            remedy="If it is wrong, convert the model again and say so.",
        )


def _record(subject: Subject) -> Iterator[Finding]:
    _, problem = subject.record
    if problem:
        yield Finding(
            code="archive.buildinfo",
            severity=Severity.WARNING,
            where=BUILDINFO,
            message=problem,
            remedy="Write it again, or leave it out: no camera reads it.",
        )


def _leftovers(subject: Subject) -> Iterator[Finding]:
    known = {*_KNOWN, subject.path}
    for head in subject.heads:
        known.add(str(head["metadata"].get("postprocessor_path")))
    if subject.side is Side.SOURCE:
        source, _ = subject.understood
        if source is None:  # which files the model has is not known
            return
        for stage in (source, source.second):
            known |= set(stage.files) if stage else set()
    left = [
        member.name
        for member in subject.archive.members
        if member.name not in known
        and not member.name.startswith(_KNOWN_FOLDER)
        and not member.name.endswith(_WEIGHTS)
    ]
    if left:
        more = f" and {len(left) - _SHOWN} more" if len(left) > _SHOWN else ""
        yield Finding(
            code="archive.leftover",
            severity=Severity.INFO,
            where="",
            message=f"Nothing refers to {listed(left[:_SHOWN])}{more}.",
            remedy="Leave out what is not needed: readers ignore it, and it takes room.",
        )


RULES: Final = (
    Rule(
        find=_packing,
        codes=("archive.suffix", "archive.config-not-first"),
        needs_schema=False,
    ),
    Rule(find=_names, codes=("archive.case", "archive.flattened"), needs_schema=False),
    Rule(find=_record, codes=("archive.buildinfo",), needs_schema=False),
    Rule(find=_guessed, codes=("archive.guessed",), needs_schema=False),
    Rule(find=_leftovers, codes=("archive.leftover",)),
)
# What opening an archive finds; no other check is possible then.
OPENING: Final = (
    "archive.unreadable",
    "archive.name",
    "archive.type",
    "archive.duplicate",
    "archive.config-missing",
    "archive.config-name",
    "archive.config-twice",
    "config.not-json",
)
