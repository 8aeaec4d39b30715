"""A target's compiled file: where it is, what it is, and whether the config describes it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

from converter.archive.opened import BUILDINFO
from converter.archive.tar import name_problem
from converter.checks.rule import TARGET, Rule
from converter.checks.subject import Subject
from converter.findings import Finding, Severity, perhaps
from converter.formats import formats, recognized, suffixes

# The header's versions that DepthAI knows (depthai-core, src/openvino/OpenVINO.cpp).
_BLOB_VERSIONS: Final = (
    "5.0", "6.0", "2020.3", "2020.4", "2021.1", "2021.2", "2021.3", "2021.4", "2022.1",
)  # fmt: skip


def _file(subject: Subject) -> Iterator[Finding]:
    where, path = "model.metadata.path", subject.path
    if problem := name_problem(path):
        yield Finding(code="config.path", where=where, message=f"{path!r} {problem}")
    elif not subject.has_model:
        near = perhaps(path, [member.name for member in subject.archive.members])
        yield Finding(
            code="config.model-missing",
            where=where,
            message=f"{path!r} is not in the archive.",
            remedy=near or "The member's name must equal the path to the letter.",
        )


def _suffix(subject: Subject) -> Iterator[Finding]:
    if not subject.has_model:
        return
    path = subject.path
    found = recognized(subject.archive.path(path))
    if found is not None and not path.endswith(found.suffix):
        message = f"{path!r} holds a {found.suffix[1:]} for {found.target}"
        if path.lower().endswith(found.suffix):
            message += "; readers know that by its suffix, in lower case"
    elif not path.endswith(suffixes()):
        message = f"{path!r} has a suffix that readers know only in lower case"
    else:
        return
    wanted = found.suffix if found else "." + path.rpartition(".")[2].lower()
    yield Finding(
        code="model.suffix",
        where="model.metadata.path",
        message=f"{message}.",
        remedy=f"Let its name end with {wanted}, in the archive and in the config.",
    )


def _platform(subject: Subject) -> Iterator[Finding]:
    facts, problems = subject.compiled
    yield from problems
    if facts is None:
        return
    target = facts["target"]
    if facts["kind"] == "superblob" and target == "rvc3":
        yield Finding(
            code="camera.superblob-rvc3",
            severity=Severity.WARNING,
            where="model.metadata.path",
            message="DepthAI lists an archive with a superblob as one for RVC2 only.",
            remedy="Convert with rvc3.superblob=false for DepthAI.",
        )
    for claimed, by in _claims(subject):
        if claimed != target:
            yield Finding(
                code="model.platform",
                severity=Severity.WARNING,
                where="model.metadata.path",
                message=f"{subject.path!r} is for {target}, but {by} says {claimed}.",
                remedy=f"Put a file for {claimed} in, or name the archive after {target}.",
            )
            return
    version = facts.get("version")
    if target == "rvc2" and version not in _BLOB_VERSIONS:
        yield Finding(
            code="model.blob-version",
            where="model.metadata.path",
            message=f"the blob's header has version {version}, which DepthAI does not know.",
            remedy=f"Compile it with an OpenVINO that writes one of {', '.join(_BLOB_VERSIONS)}.",
        )


def _claims(subject: Subject) -> Iterator[tuple[str, str]]:
    """The platforms that an archive's record and name claim."""
    known = {item.target for item in formats()}
    record, _ = subject.record
    claimed = record.get("target") if isinstance(record, dict) else None
    if isinstance(claimed, str) and claimed in known:
        yield claimed, BUILDINFO
    for part in subject.file_name.lower().split("."):
        if part in known:
            yield part, "the archive's name"


def _compiled(subject: Subject) -> Iterator[Finding]:
    """The config against the facts in the compiled file."""
    facts, _ = subject.compiled
    if facts is None:
        return
    for kind in ("inputs", "outputs"):
        if kind not in facts:
            continue  # the format's tensors are not public
        compiled = {item["name"]: item for item in facts[kind]}
        for index, item in enumerate(subject.model[kind]):
            where = f"model.{kind}[{index}]"
            found = compiled.pop(item["name"], None)
            if found is None:
                yield Finding(
                    code="compiled.tensor",
                    where=f"{where}.name",
                    message=f"the compiled file has no {item['name']!r}.",
                    remedy=perhaps(item["name"], list(compiled)),
                )
                continue
            same: list[tuple[str, Callable[[Any], Any]]] = [("dtype", str), ("shape", list)]
            for key, read in same:
                if item.get(key) is not None and read(item[key]) != found[key]:
                    yield Finding(
                        code=f"compiled.{key}",
                        where=f"{where}.{key}",
                        message=f"is {item[key]}, but {found[key]} is compiled.",
                    )
        for name in compiled:
            yield Finding(
                code="compiled.tensor",
                where=f"model.{kind}",
                message=f"the compiled file's {name!r} is not described.",
            )


RULES: Final = (
    Rule(find=_file, codes=("config.path", "config.model-missing"), sides=TARGET),
    Rule(find=_suffix, codes=("model.suffix",), sides=TARGET, needs_schema=False),
    Rule(
        find=_platform,
        codes=(
            "model.unreadable",
            "camera.superblob-rvc3",
            "model.platform",
            "model.blob-version",
        ),
        sides=TARGET,
        needs_schema=False,
    ),
    Rule(
        find=_compiled,
        codes=("compiled.tensor", "compiled.dtype", "compiled.shape"),
        sides=TARGET,
    ),
)
