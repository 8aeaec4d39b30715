"""Verifying a finished archive against its source.

Where the compiled file can be run here (a blob, a DLC of SNPE's), that file is compared. Any other is
made again, as the build record says: the same source and tools give the same bytes, so the network that
is compared here is provably the one in the archive.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from converter.archive.opened import BUILDINFO, Archive
from converter.artifact import Artifact
from converter.config.second_stage import postprocessor_path
from converter.errors import ArchiveError, Cancelled, UsageError, VerificationError, disk_error
from converter.events import Event, OnEvent, Warned, ignore
from converter.open_source import open_archive, open_source
from converter.options.resolve import Layer, Options, Setting, is_decisive, resolve
from converter.plans import Plan
from converter.processes.run import Processes
from converter.processes.work_folder import work_folder
from converter.run import carry_out, make_plan
from converter.target import Kept, Run, modules_called
from converter.target import load as load_target
from converter.target_archive import target_config

# How a verification runs on this machine: an archive of unknown origin must not set these.
_HERE: Final = ("verify.", "container.", "online.")
# Frames of the user's folder: enough for a result, without an hour on the emulator.
_FRAMES: Final = 20
_IMAGE_ID: Final = re.compile(r"sha256:[0-9a-f]{64}")


@dataclass
class Compared:
    """What a comparison found, as far as it came.

    Attributes:
        kept: By model file the tensors; filled before they are judged.
        record: The verification record with the `sha256` of the compiled file; of a comparison that
            failed what the error has of it.
        warnings: What was told on the way.
    """

    kept: dict[str, Kept] = field(default_factory=dict)
    record: Mapping[str, Any] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)


def verify_archive(
    archive: str | os.PathLike[str],
    against: str | os.PathLike[str],
    *,
    data: str | os.PathLike[str] | None = None,
    labels: str | os.PathLike[str] | None = None,
    options: Mapping[str, Any] | Options | None = None,
    on_event: OnEvent | None = None,
    report: str | os.PathLike[str] | None = None,
) -> dict[str, Any]:
    """Compare an archive that this converter wrote with the source it was made from.

    Args:
        archive: The converted archive.
        against: The source archive.
        data: Frames to compare on, as `calibration.path` has them, 20 of them unless
            `verify.frames` sets another number; None takes the source's `calibration/`, or generates
            some.
        labels: Labels of those frames, as `verify.labels` has them: the record then has `accuracy`.
        options: The options `verify.…`, `container.…` and `online.…`, by key.
        report: A page to write (`.html`), also if the verification fails; see `converter.convert`.

    Returns:
        The verification record (docs/verification.md), with the `sha256` of the compiled file.

    Raises:
        ArchiveError: This converter did not write the archive, it was changed, or it is of another
            source.
        VerificationError: It does not compute what the source does, or the installed tools make another
            file from the source.
    """
    compared = Compared()
    page = None
    if report is not None:
        from converter.report_page.page import page_place

        page = page_place(report)
    try:
        compare_again(
            archive, against, compared, data=data, labels=labels, options=options, on_event=on_event
        )
    except VerificationError as error:
        if page is not None and compared.kept:
            _write_page(page, archive, against, compared, error.message)
            error.remedy = f"{page} shows it. {error.remedy}"
        raise
    if page is not None:
        _write_page(page, archive, against, compared)
    return dict(compared.record)


def _write_page(
    page: Path,
    archive: str | os.PathLike[str],
    against: str | os.PathLike[str],
    compared: Compared,
    error: str = "",
) -> None:
    from converter.report_page.page import Subject, write_page

    kept, path = list(compared.kept.values()), Path(archive)
    subject = Subject(
        archive=path,
        size_bytes=path.stat().st_size if path.is_file() else 0,
        source=Path(against),
        plan=kept[0].plan,
        record=compared.record,
        kept=kept,
        warnings=compared.warnings,
        error=error,
    )
    write_page(page, subject)


def compare_again(
    archive: str | os.PathLike[str],
    against: str | os.PathLike[str],
    compared: Compared,
    *,
    data: str | os.PathLike[str] | None = None,
    labels: str | os.PathLike[str] | None = None,
    options: Mapping[str, Any] | Options | None = None,
    usual: Mapping[str, Any] | None = None,
    on_event: OnEvent | None = None,
) -> None:
    """`verify_archive`, with the tensors; errors likewise, and what is known then is in `compared`.

    Args:
        compared: What is filled.
        usual: Options that hold where nobody sets them.
    """
    listen = on_event or ignore

    def told(event: Event) -> None:
        if isinstance(event, Warned):
            compared.warnings.append(event.text)
        listen(event)

    try:
        _compare_again(archive, against, compared, (data, labels), options, usual or {}, told)
    except VerificationError as error:
        if error.tool_text:
            compared.record = json.loads(error.tool_text)
        raise


def _compare_again(
    archive: str | os.PathLike[str],
    against: str | os.PathLike[str],
    compared: Compared,
    frames: tuple[str | os.PathLike[str] | None, str | os.PathLike[str] | None],
    options: Mapping[str, Any] | Options | None,
    usual: Mapping[str, Any],
    on_event: OnEvent,
) -> None:
    with contextlib.ExitStack() as stack:
        try:
            work = stack.enter_context(work_folder())
            made = stack.enter_context(open_archive(archive, work=work))
            record = _record(made)
            chosen = _options(record, options, *frames, usual=usual)
            source, chosen = open_source(against, chosen, target=str(record["target"]), work=work)
            stack.enter_context(source)
            processes = Processes()
            stack.callback(processes.end_all)
            plan = _plan(source, record, chosen)
            processes.warm_up(modules_called(plan.target), work)
            _require_source(record, plan.model.files, source.name)
            run = Run.of(source, plan, work=work, on_event=on_event, processes=processes)
            run.kept = compared.kept
            run.compiled = made.path(made.config["model"]["metadata"]["path"])
            second = postprocessor_path(made.config["model"])
            artifact = carry_out(run, source, made.path(second) if second else None)
            _require_config(made, target_config(plan.model, artifact))
            _require_facts(made, record, artifact)
            for part in (artifact, artifact.second):
                if part is not None:
                    _require_compared(part.verification or {})
            digests = [part.sha256 for part in (artifact, artifact.second) if part]
        except OSError as error:
            raise disk_error(error, "verifying") from error
        except KeyboardInterrupt as error:
            raise Cancelled("Cancelled.") from error
    recorded = [part["compiled"]["sha256"] for part in (record, record.get("postprocessor")) if part]
    if digests != recorded:
        raise VerificationError(
            f"The installed tools make another file from {source.name} than the one in {made.name}, so "
            "that one cannot be verified.",
            remedy=f"Use the tools that made it: {_tools(record['tools'])}; installed are "
            f"{_tools(artifact.tools)}.",
        )
    compared.record = {**artifact.verifications, "sha256": digests[0]}


def _plan(source: Archive, record: Mapping[str, Any], chosen: Options) -> Plan:
    try:
        return make_plan(source, str(record["target"]), chosen, str(record["toolchain"]))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        # Only the record is not checked field by field.
        raise ArchiveError(f"The {BUILDINFO} is not this converter's ({error!r}).") from error


def _require_config(archive: Archive, expected: Mapping[str, Any]) -> None:
    """Check that the archive's config describes its compiled file: cameras read only the config."""
    found = _difference(archive.config, expected, "")
    if found:
        raise ArchiveError(
            f"config.json of {archive.name} was changed: {found} differs from the compiled file.",
            remedy="Take the archive as it was written.",
        )


def _require_facts(archive: Archive, record: Mapping[str, Any], artifact: Artifact) -> None:
    """What the build record says of the compiled file is what that file says."""
    for part, told in ((artifact, record), (artifact.second, record.get("postprocessor"))):
        if part is None or told is None:
            continue
        found = json.loads(json.dumps({k: v for k, v in part.facts.items() if k != "calibration"}))
        recorded = {key: told["compiled"].get(key, value) for key, value in found.items()}
        if where := _difference(recorded, found, ""):
            raise ArchiveError(
                f"{BUILDINFO} of {archive.name} was changed: {where} differs from the compiled file.",
                remedy="Take the archive as it was written.",
            )


def _require_compared(record: Mapping[str, Any]) -> None:
    """A conversion may leave out what cannot be computed here; who asks whether it is right may not.

    Raises:
        VerificationError: An output was not compared.
    """
    missing = record.get("not_compared") or {}
    if record.get("status") == "passed" and not missing:
        return
    said = "; ".join(f"{name!r}: {reason}" for name, reason in missing.items()) or record.get("reason")
    raise VerificationError(
        f"Not every output could be compared with the source: {said}.",
        remedy="Compare these outputs on the camera.",
        tool_text=json.dumps(record, indent=2),
    )


def _difference(one: Any, other: Any, where: str) -> str:
    """The first JSON path at which two documents differ; empty if they are the same."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        for key in {**one, **other}:
            if one.get(key, ...) != other.get(key, ...):
                return _difference(one.get(key), other.get(key), f"{where}.{key}".lstrip("."))
        return ""
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for index, (a, b) in enumerate(zip(one, other, strict=True)):
            if a != b:
                return _difference(a, b, f"{where}[{index}]")
        return ""
    return "" if one == other else where


def _tools(tools: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {version}" for name, version in tools.items())


def _record(archive: Archive) -> dict[str, Any]:
    """The archive's build record, checked to describe the compiled file beside it."""
    member = archive.member(BUILDINFO)
    if member is None:
        raise ArchiveError(
            f"{archive.name} has no {BUILDINFO}: it was not made by this converter.",
            remedy="Convert its source again, which compares as well.",
        )
    try:
        record = json.loads(archive.path(BUILDINFO).read_bytes())
        model = archive.config["model"]
        parts = {model["metadata"]["path"]: record}
        if second := postprocessor_path(model):
            parts[second] = record["postprocessor"]
        recorded = {path: part["compiled"]["sha256"] for path, part in parts.items()}
        known = all(map(_is_record, parts.values()))
        known = known and all(isinstance(record[key], str) for key in ("target", "toolchain"))
        known = known and isinstance(record["options"], dict)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ArchiveError(
            f"The {BUILDINFO} of {archive.name} is not this converter's ({error})."
        ) from error
    if not known:
        raise ArchiveError(f"The {BUILDINFO} of {archive.name} is not this converter's.")
    for path, digest in recorded.items():
        compiled = archive.member(path) if isinstance(path, str) else None
        if compiled is None or compiled.sha256 != digest:
            raise ArchiveError(
                f"{path!r} is not the file that the {BUILDINFO} of {archive.name} describes: the "
                "archive was changed.",
                remedy="Take the archive as it was written.",
            )
    return dict(record)


def _is_record(record: Mapping[str, Any]) -> bool:
    """Whether the fields of a stage's record that a target reads have the right types."""
    if not all(isinstance(record[key], dict) for key in ("tools", "plan", "compiled")):
        return False
    report = record["compiled"].get("calibration")
    if report is None:
        return True
    ranges = report.get("ranges") if isinstance(report, dict) else None
    if not isinstance(ranges, dict) or not isinstance(report.get("method"), str):
        return False
    pairs = all(
        isinstance(pair, list) and len(pair) == 2 and all(isinstance(x, int | float) for x in pair)
        for pair in ranges.values()
    )
    return pairs and isinstance(report.get("encodings", ()), dict | None)


def _options(
    record: Mapping[str, Any],
    options: Mapping[str, Any] | Options | None,
    data: str | os.PathLike[str] | None,
    labels: str | os.PathLike[str] | None,
    *,
    usual: Mapping[str, Any],
) -> Options:
    """The recorded options, overridden by those of the comparison; `usual` where they set none."""
    given = (
        options
        if isinstance(options, Options)
        else resolve([Layer(origin="options", values=options or {})])
    )
    report = record["compiled"].get("calibration")
    # Ranges that are not in the record must be measured again.
    allowed = (*_HERE, "calibration.") if report and not report["ranges"] else _HERE
    if wrong := [key for key in given.settings if not key.startswith(allowed)]:
        raise UsageError(
            f"{', '.join(wrong)}: an archive is verified as it was made.",
            remedy=f"Only the options {' and '.join(f'{prefix}…' for prefix in allowed)} can be given.",
        )
    base = resolve([Layer(origin="build record", values=record["options"])])
    if foreign := [key for key in base.settings if not is_decisive(key)]:
        raise ArchiveError(
            f"The {BUILDINFO} is not this converter's: no build record sets {', '.join(foreign)}."
        )
    runs_files = getattr(load_target(str(record["target"])), "RUNS_FILES", False)
    if (
        record["toolchain"] == "online"
        and not runs_files
        and given.setting("online.url").origin == "default"
    ):
        raise UsageError(
            "The archive was made by a service, and verifying it sends the source's model there again.",
            remedy="Name the service: online.url=https://…",
        )
    own = resolve([Layer(origin="default", values=usual)]).settings
    settings = {**base.settings, **own, **_image(record), **given.settings}
    if data is not None:
        extra = {"verify.frames": _FRAMES, "verify.data": os.fspath(data)}
        told = resolve([Layer(origin="--data", values=extra)])
        settings = {**told.settings, **settings, "verify.data": told.setting("verify.data")}
    if labels is not None:
        told = resolve([Layer(origin="--labels", values={"verify.labels": os.fspath(labels)})])
        settings |= told.settings
    if settings.get("verify.enabled") and not given.flag("verify.enabled"):
        raise UsageError("verify.enabled is false: there is nothing to do.")
    return dataclasses.replace(base, settings=settings, record=record)


def _image(record: Mapping[str, Any]) -> dict[str, Setting]:
    """The image that made the archive, whatever its name on this machine."""
    image = record["tools"].get("image")
    if not isinstance(image, str) or not _IMAGE_ID.fullmatch(image):
        return {}
    return {"container.image": Setting(value=image, origin="build record")}


def _require_source(record: Mapping[str, Any], files: Mapping[str, str], name: str) -> None:
    recorded = record["plan"].get("model", {}).get("files")
    if recorded != dict(files):
        raise ArchiveError(
            f"{name} is not the source of this archive: its model is another one.",
            remedy="Give the archive that it was converted from.",
        )
