"""What a camera, a parser or a reader would trip over in an archive, source or target."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from converter.archive import Archive, open_archive
from converter.errors import ArchiveError, ConvertError, ModelError
from converter.findings import Finding, Severity
from converter.formats import read_compiled, suffixes
from converter.options import Options
from converter.preprocessing import DAI_TYPES
from converter.schema import check_schema

# DepthAI's other ImgFrame types that a config may name (depthai-core, ImgFrame::Type).
_OTHER_FRAMES: Final = ("RAW8", "RAW16", "RAW32", "NV12", "NV21", "YUV420p", "YUV422i")


def lint(source: str | os.PathLike[str] | Archive) -> tuple[Finding, ...]:
    """Every finding, errors first.

    Args:
        source: An archive (file or unpacked folder), source or target.

    Raises:
        UsageError: There is no such file.
    """
    with contextlib.ExitStack() as stack:
        try:
            archive = (
                source if isinstance(source, Archive) else stack.enter_context(open_archive(source))
            )
        except ArchiveError as error:
            return error.findings or (_as_finding(error, "archive.unreadable"),)
        findings = list(archive.guesses)
        findings += list(
            _source_findings(archive) if _is_source(archive) else _target_findings(archive)
        )
        if not isinstance(source, Archive) and str(source).endswith(".tar.bz2"):
            findings.append(
                Finding(
                    code="archive.bz2",
                    severity=Severity.WARNING,
                    where=Path(source).name,
                    message="DepthAI's model zoo does not know .tar.bz2 as an archive.",
                    remedy="Pack it as .tar.xz.",
                )
            )
    order = list(Severity)
    return tuple(sorted(findings, key=lambda finding: order.index(finding.severity)))


def _as_finding(error: ConvertError, code: str) -> Finding:
    return Finding(code=code, where="", message=error.message, remedy=error.remedy)


def _model_path(archive: Archive) -> str:
    with contextlib.suppress(KeyError, TypeError):
        return str(archive.config["model"]["metadata"]["path"])
    return ""


def _is_source(archive: Archive) -> bool:
    return not _model_path(archive).endswith(suffixes())


def _source_findings(archive: Archive) -> Iterator[Finding]:
    from converter.understand import understand

    try:
        _, findings = understand(archive, Options({}))
        yield from findings
    except (ArchiveError, ModelError) as error:
        yield from error.findings or (_as_finding(error, "model.not-convertible"),)


def _target_findings(archive: Archive) -> Iterator[Finding]:
    config = archive.config
    schema = check_schema(config)
    yield from schema
    if schema:
        return
    path = _model_path(archive)
    if archive.member(path) is None:
        yield Finding(
            code="config.model-missing",
            where="model.metadata.path",
            message=f"{path!r} is not in the archive.",
            remedy="The member's name must equal the path to the letter.",
        )
        return
    if path.endswith(".superblob") and _target_of(archive, path) == "rvc3":
        yield Finding(
            code="camera.superblob-rvc3",
            severity=Severity.WARNING,
            where="model.metadata.path",
            message="DepthAI lists an archive with a superblob as one for RVC2 only.",
            remedy="Convert with rvc3.superblob=false for DepthAI.",
        )
    if archive.members[0].name != "config.json":
        yield Finding(
            code="archive.config-not-first",
            severity=Severity.WARNING,
            where="config.json",
            message="comes after the model: every reader unpacks that before it sees the config.",
            remedy="Pack config.json first.",
        )
    for check in (_check_frames, _check_heads, _check_compiled):
        yield from check(archive, config["model"])


def _target_of(archive: Archive, path: str) -> str:
    """The platform of an archive's compiled file; empty if it cannot be read."""
    with contextlib.suppress(ArchiveError):
        return str((read_compiled(archive.path(path)) or {}).get("target", ""))
    return ""


def _check_frames(_archive: Archive, model: Mapping[str, Any]) -> Iterator[Finding]:
    for index, item in enumerate(model["inputs"]):
        where, pre = f"model.inputs[{index}]", item["preprocessing"]
        if item["input_type"] != "image":
            continue
        dai_type = pre.get("dai_type")
        if dai_type is None:
            yield Finding(
                code="camera.dai-type-missing",
                where=f"{where}.preprocessing.dai_type",
                message="is not written: it means BGR888p on RVC2 and RVC3, BGR888i on RVC4.",
                remedy="Write it.",
            )
        elif dai_type not in (*DAI_TYPES, *_OTHER_FRAMES):
            yield Finding(
                code="camera.dai-type-unknown",
                where=f"{where}.preprocessing.dai_type",
                message=f"{dai_type!r} is no frame type of DepthAI.",
                remedy=f"There are {', '.join(DAI_TYPES)}.",
            )
        normalizes = any(pre.get("mean") or ()) or any(x != 1 for x in pre.get("scale") or ())
        if normalizes:
            yield Finding(
                code="camera.not-applied",
                severity=Severity.WARNING,
                where=f"{where}.preprocessing",
                message="mean and scale are not applied on the camera; whoever feeds it must.",
                remedy="Convert without --preprocess archive to embed them.",
            )
        if item.get("layout") not in ("NCHW", "NHWC"):
            yield Finding(
                code="camera.layout",
                severity=Severity.WARNING,
                where=f"{where}.layout",
                message=f"a camera links itself only to NCHW or NHWC, not to {item.get('layout')!r}.",
            )
        half = dai_type is not None and "F16" in dai_type
        if dai_type in DAI_TYPES and half is not (item["dtype"] == "float16"):
            yield Finding(
                code="camera.dtype",
                where=f"{where}.dtype",
                message=f"{item['dtype']!r} contradicts {dai_type!r}.",
            )


def _check_heads(_archive: Archive, model: Mapping[str, Any]) -> Iterator[Finding]:
    outputs = [item["name"] for item in model["outputs"]]
    for index, head in enumerate(model.get("heads") or ()):
        where, metadata = f"model.heads[{index}]", head.get("metadata") or {}
        named = head.get("outputs")
        if not named:
            yield Finding(
                code="head.outputs-missing",
                where=f"{where}.outputs",
                message="is not written; parsers read that as undefined.",
                remedy="Name the outputs.",
            )
        for name in named or ():
            if name not in outputs:
                yield Finding(
                    code="head.output",
                    where=f"{where}.outputs",
                    message=f"there is no output {name!r}.",
                    remedy=f"There are {', '.join(outputs)}.",
                )
        classes, count = metadata.get("classes"), metadata.get("n_classes")
        if isinstance(classes, list) and isinstance(count, int) and len(classes) != count:
            yield Finding(
                code="head.classes",
                where=f"{where}.metadata.n_classes",
                message=f"{count} is written, classes has {len(classes)} names.",
            )
        if isinstance(anchors := metadata.get("anchors"), list) and _odd_anchors(anchors):
            yield Finding(
                code="head.anchors",
                where=f"{where}.metadata.anchors",
                message="anchors come in pairs of width and height.",
            )


def _odd_anchors(anchors: list[Any]) -> bool:
    for layer in anchors:
        for anchor in layer if isinstance(layer, list) else ():
            if isinstance(anchor, list) and len(anchor) != 2:
                return True
    return False


def _check_compiled(archive: Archive, model: Mapping[str, Any]) -> Iterator[Finding]:
    """The config against what the compiled file says of itself."""
    path = archive.path(_model_path(archive))
    try:
        facts = read_compiled(path)
    except ArchiveError as error:
        yield _as_finding(error, "model.unreadable")
        return
    if facts is None:
        return
    for kind in ("inputs", "outputs"):
        if kind not in facts:
            continue  # the format's tensors are not public
        compiled = {item["name"]: item for item in facts[kind]}
        for index, item in enumerate(model[kind]):
            where = f"model.{kind}[{index}]"
            found = compiled.pop(item["name"], None)
            if found is None:
                yield Finding(
                    code="compiled.tensor",
                    where=f"{where}.name",
                    message=f"the compiled file has no {item['name']!r}.",
                )
                continue
            same: list[tuple[str, Callable[[Any], Any]]] = [("dtype", str), ("shape", list)]
            for key, read in same:
                if item.get(key) is not None and read(item[key]) != found[key]:
                    yield Finding(
                        code=f"compiled.{key}",
                        where=f"{where}.{key}",
                        message=f"{item[key]} is written, {found[key]} is compiled.",
                    )
        for name in compiled:
            yield Finding(
                code="compiled.tensor",
                where=f"model.{kind}",
                message=f"the compiled file's {name!r} is not described.",
            )
