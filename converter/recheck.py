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
from converter.build_record import (
    read_record,
    require_compared,
    require_config,
    require_facts,
    require_source,
    tools_named,
)
from converter.config.second_stage import postprocessor_path
from converter.errors import ArchiveError, Cancelled, UsageError, VerificationError, disk_error
from converter.events import Event, OnEvent, Warned, ignore
from converter.open_source import open_archive, open_source
from converter.options.resolve import Layer, Options, Setting, is_decisive, resolve
from converter.plans import Plan
from converter.processes.run import Processes
from converter.processes.work_folder import work_folder
from converter.report_page.place import page_place
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
        layers: Where they are asked for, what each layer loses (`Run.layers`).
        record: The verification record with the `sha256` of the compiled file; of a comparison that
            failed what the error has of it.
        warnings: What was told on the way.
    """

    kept: dict[str, Kept] = field(default_factory=dict)
    layers: dict[str, dict[str, Any]] | None = None
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
    page = page_place(report)
    try:
        compare_again(
            archive, against, compared, data=data, labels=labels, options=options, on_event=on_event
        )
    except VerificationError as error:
        if page is not None and error.tool_text and compared.kept:
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
            record = read_record(made)
            chosen = _options(record, options, *frames, usual=usual)
            source, chosen = open_source(against, chosen, target=str(record["target"]), work=work)
            stack.enter_context(source)
            processes = Processes()
            stack.callback(processes.end_all)
            plan = _plan(source, record, chosen)
            processes.warm_up(modules_called(plan.target), work)
            require_source(record, plan.model.files, source.name)
            run = Run.of(source, plan, work=work, on_event=on_event, processes=processes)
            run.kept, run.layers = compared.kept, compared.layers
            run.compiled = made.path(made.config["model"]["metadata"]["path"])
            second = postprocessor_path(made.config["model"])
            artifact = carry_out(run, source, made.path(second) if second else None)
            require_config(made, target_config(plan.model, artifact))
            require_facts(made, record, artifact)
            for part in (artifact, artifact.second):
                if part is not None:
                    require_compared(part.verification or {})
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
            remedy=f"Use the tools that made it: {tools_named(record['tools'])}; installed are "
            f"{tools_named(artifact.tools)}.",
        )
    compared.record = {**artifact.verifications, "sha256": digests[0]}


def _plan(source: Archive, record: Mapping[str, Any], chosen: Options) -> Plan:
    try:
        return make_plan(source, str(record["target"]), chosen, str(record["toolchain"]))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        # Only the record is not checked field by field.
        raise ArchiveError(f"The {BUILDINFO} is not this converter's ({error!r}).") from error


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
