"""Converting: open, understand, plan, carry out, describe, write. The Python API."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from converter.archive.guesses import recorded_guesses
from converter.archive.opened import Archive
from converter.archive.write import copy_archive, destination, suffix_of, write_archive
from converter.artifact import Artifact
from converter.bare.open import unsettled
from converter.cache import results
from converter.cache.key import key_of
from converter.cache.stages import Stages
from converter.cache.store import Store
from converter.calibration.given import as_files
from converter.cameras import target_of
from converter.conversion import Conversion, small_enough
from converter.errors import (
    Cancelled,
    ToolError,
    UsageError,
    VerificationError,
    disk_error,
    from_findings,
)
from converter.events import Notice, OnEvent, Warned
from converter.findings import Finding, Severity, errors
from converter.model import SourceModel
from converter.notebook import listener
from converter.open_source import open_source
from converter.options.resolve import Layer, Options, resolve
from converter.plans import Plan
from converter.processes.run import Processes
from converter.processes.work_folder import work_folder
from converter.report_page.place import page_place
from converter.sources.import_step import import_source, import_step
from converter.sources.settled_archive import settled_archive
from converter.target import Run, modules_called
from converter.target import load as load_target
from converter.told import Told
from converter.verification.frames import find_frames
from converter.verification.reference import check_source

Overrides = Options | Mapping[str, Any] | None


def plan(
    source: str | os.PathLike[str] | Archive,
    target: str,
    *,
    options: Overrides = None,
    toolchain: str = "auto",
) -> Plan:
    """Resolve what a conversion would do, without running anything.

    Args:
        source: An NN Archive (file or unpacked folder) or one that is open; a model (`.onnx`,
            `.xml`, `.tflite`), or a ModelConverter file that names one.
        target: `rvc2`, or another target that is installed; or a camera's name, `oak-d`.
        options: Options by key, dotted or nested, e.g. `{"rvc2.superblob": True}`. Calibration data
            may be arrays or pictures: see `converter.calibration.given.as_files`.
        toolchain: `auto`, or one that the target has.

    Raises:
        UsageError, ArchiveError, ModelError: See `converter.errors`.
    """
    target = target_of(target).target
    with as_files(options) as given:
        resolved = _options(given)
        if isinstance(source, Archive):
            settled = settled_archive(source, resolved, owned=False)
            with settled if settled is not source else contextlib.nullcontext():
                return make_plan(settled, target, resolved, toolchain)
        archive, resolved = open_source(source, resolved, target=target)
        with archive:
            return make_plan(archive, target, resolved, toolchain)


def convert(
    source: str | os.PathLike[str] | Archive,
    target: str,
    *,
    output: str | os.PathLike[str] | None = None,
    options: Overrides = None,
    toolchain: str = "auto",
    force: bool = False,
    keep_work: str | os.PathLike[str] | None = None,
    on_event: OnEvent | None = None,
    report: str | os.PathLike[str] | None = None,
) -> Conversion:
    """Convert an NN Archive for a camera.

    Args:
        source: An NN Archive (file or unpacked folder) or one that is open; a model (`.onnx`,
            `.xml`, `.tflite`), or a ModelConverter file that names one.
        target: `rvc2`, or another target that is installed; or a camera's name, `oak-d`.
        output: The archive to write: `.tar.xz`, `.tar.gz`, `.tar.bz2` or `.tar`; or a folder, which
            is made if its name ends with `/` or has no suffix. None writes
            `<archive name>.<target>.tar.xz` into the current folder.
        options: As for `plan`.
        toolchain: `auto`, or one that the target has.
        force: Replace an existing output; without it that is an error.
        keep_work: An empty or new folder that keeps the intermediate files.
        on_event: Called with the events of `converter.events`, from this thread and from others. A
            notebook shows a bar without one.
        report: A page to write (`.html`): frames, plots, tensors, warnings. It is also written if the
            verification fails. The cache is not asked then, for it has no tensors.

    Raises:
        ConvertError: One of its subclasses, each with its exit code. Nothing was written then, and
            an existing output was not changed.
    """
    started = time.monotonic()
    target = target_of(target).target
    given = Path(source) if isinstance(source, str | os.PathLike) else None
    with contextlib.ExitStack() as stack:
        try:
            page = page_place(report)
            resolved = _options(stack.enter_context(as_files(options)))
            told = Told(stack.enter_context(listener(on_event)))
            work = stack.enter_context(work_folder(keep_work))
            processes = Processes()
            stack.callback(processes.end_all)
            processes.warm_up(modules_called(target), work)
            if isinstance(source, Archive):
                archive = settled_archive(source, resolved, work=work, owned=False)
                if archive is not source:
                    stack.enter_context(archive)
            else:
                archive, resolved = open_source(source, resolved, target=target, work=work)
                stack.enter_context(archive)
            made = make_plan(archive, target, resolved, toolchain)
            place = _destination(output, made, force=force)
            told.plan(made)
            store = _store(resolved)
            key = key_of(made, suffix_of(place)) if store is not None else None
            if store is not None:
                max_bytes = int(resolved.number("cache.max_gb") * 1e9)
                stages = Stages(store, made.target, max_bytes=max_bytes, tell=told.notice)
                processes.memory = stack.enter_context(stages)
            may_take = keep_work is None and page is None
            entry = results.find(store, key) if store and key and may_take else None
            if entry is not None:
                done = _taken(entry, made, place, told, source=given, force=force)
            else:
                run = Run.of(archive, made, work=work, on_event=told.event, processes=processes)
                run.kept = {}
                done = (
                    _made(run, archive, place, told, source=given, force=force)
                    if page is None
                    else _reported(page, run, archive, place, told, source=given, force=force)
                )
        except OSError as error:
            raise disk_error(error, "converting") from error
        except KeyboardInterrupt as error:
            raise Cancelled("Cancelled; nothing was written.") from error
    if store is not None and key is not None and not done.cached and _is_key(key, made, place):
        document = {
            "sha256": done.sha256,
            "size_bytes": done.size_bytes,
            "model": done.model,
            "verification": done.verification,
            "warnings": done.warnings[len(made.warnings) : told.before_lint],
        }
        results.keep(store, key, place, document, int(resolved.number("cache.max_gb") * 1e9))
    total = {"total": round(time.monotonic() - started, 3)}
    return dataclasses.replace(done, timings_s={**done.timings_s, **total})


def _is_key(key: str, made: Plan, place: Path) -> bool:
    """Whether labels and the files of tools' arguments are still what the key was made of."""
    try:
        return key_of(made, suffix_of(place)) == key
    except OSError:
        return False


def _store(options: Options) -> Store | None:
    """The cache that the options name; a cache in which nothing can be made is none.

    Raises:
        UsageError: There is no such kind of store.
    """
    if not options.flag("cache.enabled"):
        return None
    try:
        return Store(options.text("cache.url"))
    except ToolError:
        return None


def _reported(
    page: Path,
    run: Run,
    archive: Archive,
    place: Path,
    told: Told,
    *,
    source: Path | None,
    force: bool,
) -> Conversion:
    """`_made`, and a page of it; also of a verification that failed."""
    from converter.report_page.page import Subject, write_page

    try:
        done = _made(run, archive, place, told, source=source, force=force)
    except VerificationError as error:
        failed = Subject(
            archive=place,
            size_bytes=None,
            source=source,
            plan=run.plan,
            record=json.loads(error.tool_text or "{}"),
            kept=list((run.kept or {}).values()),
            warnings=told.warnings,
            error=error.message,
        )
        write_page(page, failed)
        error.remedy = f"{page} shows it. {error.remedy}"
        raise
    # Whoever asks for a page beforehand gets all of it, whatever its size.
    dataclasses.replace(done, _kept=tuple((run.kept or {}).values())).report(page)
    return done


def _made(
    run: Run, archive: Archive, place: Path, told: Told, *, source: Path | None, force: bool
) -> Conversion:
    """Carry a plan out and write its archive."""
    from converter.checks.lint import own_warnings
    from converter.target_archive import entries
    from converter.unchanged import check_unchanged

    try:
        artifact = carry_out(run, archive)
    except VerificationError as error:
        (run.work / "verification.json").write_text(error.tool_text)  # for --keep-work
        raise
    with run.stage("pack"):
        check_unchanged(archive, run.plan)
        members = entries(run.plan, artifact)
        told.lint(own_warnings(members, place.name, artifact, run.work))
        sha256, size = write_archive(place, members, force=force)
    return Conversion(
        output=place,
        sha256=sha256,
        size_bytes=size,
        plan=run.plan,
        model=artifact.signature,
        verification=artifact.verifications,
        warnings=tuple(told.warnings),
        peak_bytes=run.peak_bytes,
        timings_s=run.timings_s,
        source=source,
        _kept=small_enough((run.kept or {}).values()),
    )


def _taken(
    entry: results.Entry, made: Plan, place: Path, told: Told, *, source: Path | None, force: bool
) -> Conversion:
    """Copy a result of the cache, and tell what was told when it was made."""
    from converter.checks.lint import lint

    told.event(Notice(text="Taken from the cache: the same plan was carried out before."))
    with entry.archive:
        copy_archive(place, entry.archive, force=force)
    for text in entry.warnings:
        told.event(Warned(text=text))
    told.lint(
        finding
        for finding in lint(place)
        if finding.severity is Severity.WARNING and finding.code != "head.none"
    )
    return Conversion(
        output=place,
        sha256=entry.sha256,
        size_bytes=entry.size_bytes,
        plan=made,
        model=entry.model,
        verification=entry.verification,
        warnings=tuple(told.warnings),
        cached=True,
        source=source,
    )


def carry_out(run: Run, archive: Archive, compiled: Path | None = None) -> Artifact:
    """Carry out the plan of a run: the model, then that of its second stage.

    Args:
        compiled: The second stage's compiled file, when a finished archive is verified.
    """
    import_source(run)
    target = load_target(run.plan.target)
    try:
        artifact = target.run(run)
    except ToolError as error:
        check_source(run.source, error, work=run.work)
        raise
    if run.plan.second is None:
        return artifact
    work = run.work / "second"
    work.mkdir()
    run.notice(f"The second stage, {run.plan.second.model.path}:")
    second = Run.of(archive, run.plan.second, work=work, on_event=run.on_event, processes=run.processes)
    second.compiled = compiled
    second.kept, second.layers = run.kept, run.layers
    import_source(second)
    made = target.run(second)
    run.timings_s |= {f"second {name}": seconds for name, seconds in second.timings_s.items()}
    run.peak_bytes |= {f"second {name}": size for name, size in second.peak_bytes.items()}
    return dataclasses.replace(artifact, second=made)


def _options(options: Overrides) -> Options:
    if isinstance(options, Options):
        return options
    return resolve([Layer(origin="options", values=options or {})])


def make_plan(archive: Archive, target: str, options: Options, toolchain: str) -> Plan:
    """The plan for an open archive; errors as for `plan`."""
    module = load_target(target)
    from converter.config.read import understand

    notes = options.notes_for(target)
    if fatal := errors(notes):
        raise from_findings(UsageError, "The options", fatal)
    model, findings = understand(archive, options)

    def plan_of(model: SourceModel, options: Options) -> Plan:
        share = module.plan(model, archive, options, toolchain)
        first = import_step(model)
        frames, doubts = find_frames(model, archive, options)
        labelled, more = _labelled(model, options)
        second = None
        if model.second is not None:
            record = options.record and options.record.get("postprocessor")
            told = dataclasses.replace(options.of_second_stage(model.names), record=record)
            second = plan_of(model.second, told)
        return Plan(
            target=target,
            backend=share.backend,
            model=model,
            parameters=share.parameters,
            steps=(*((first,) if first else ()), *share.steps),
            warnings=(*share.warnings, *doubts, *more, *(second.warnings if second else ())),
            options=options,
            frames=frames,
            labelled=labelled,
            second=second,
        )

    made = plan_of(model, options)
    guesses = unsettled(archive, options)
    return dataclasses.replace(
        made,
        warnings=(*notes, *guesses, *findings, *dict.fromkeys(made.warnings)),
        # Those of `init` were told when the archive was made; they stay on record.
        guesses=(*guesses, *recorded_guesses(archive)),
    )


def _labelled(model: SourceModel, options: Options) -> tuple[object | None, tuple[Finding, ...]]:
    if options.text("verify.labels") is None:
        return None, ()
    from converter.verification.accuracy.labelled import find_labelled

    return find_labelled(model, options)


def _destination(output: str | os.PathLike[str] | None, plan: Plan, *, force: bool) -> Path:
    from converter.archive.write import output_name

    return destination(output, output_name(plan.model.archive_name, plan.target), force=force)
