"""Runs cells as jobs: hands them in, and gives them back as they end."""

from __future__ import annotations

import contextlib
import shutil
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

from converter.jobs.dispatcher import Dispatcher
from converter.jobs.executor import Executor, Lost, Place, Report, Started, Ticket, Told
from converter.jobs.rows import Rows
from converter.jobs.states import State
from converter.jobs.values import Artefact, Attachment, Job, Limits, Outcome, Request, Submission
from converter.processes.work_folder import work_folder
from converter.storage import Storage
from converter.zoo.events import CellStarted, CellTold, Noted, OnZooEvent
from converter.zoo.plan import PlannedCell, ZooPlan
from converter.zoo.upload import Uploads

# Whose jobs they are.
TENANT: Final = "zoo"
# How often rows are asked for what no report told: a job that no place can hold.
_LOOK_S: Final = 2.0
_SHUTDOWN_STATES: Final = (State.ACCEPTED, State.WAITING_INPUTS, State.QUEUED, State.RUNNING)


@dataclass(frozen=True, kw_only=True)
class Ended:
    """A cell whose job has ended."""

    planned: PlannedCell
    job: Job
    artefacts: Mapping[str, Artefact]


class _Watched:
    """An executor whose reports are also kept for somebody who watches."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor
        self.seen: list[Report] = []
        self.refusals = executor.refusals

    def room(self) -> Sequence[Place]:
        places = self._executor.room()
        self.refusals = self._executor.refusals
        return places

    def start(self, ticket: Ticket) -> None:
        self._executor.start(ticket)

    def cancel(self, job_id: str, attempt: int) -> None:
        self._executor.cancel(job_id, attempt)

    def finished(self, timeout_s: float) -> list[Report]:
        reports = self._executor.finished(timeout_s)
        self.seen += reports
        return reports

    def close(self) -> None:
        self._executor.close()


class Runner:
    """Runs cells on this machine or on a scheduler's workers; a context manager.

    Attributes:
        storage: Where the jobs' files are, until the block is left.
    """

    def __init__(
        self, plan: ZooPlan, out: Path, batch: str, *, scheduler: str | None, database: str | None
    ) -> None:
        """Prepare.

        Args:
            out: The build's folder; a scheduler's workers find the jobs' files beside it.
            batch: What the jobs are part of.
            scheduler: A Dask scheduler, `tcp://host:8786`; None is this machine.
            database: Where the rows are; None for a database that ends with the build.
        """
        self._plan, self._out, self._batch = plan, out, batch
        self._scheduler, self._database = scheduler, database
        self._refused: dict[str, str] = {}
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            self._open(stack)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def _open(self, stack: contextlib.ExitStack) -> None:
        from converter.jobs.database import connect
        from converter.jobs.leader import Leader

        work = stack.enter_context(work_folder())
        files = work / "files"
        if self._scheduler is not None:
            files = self._out.absolute().parent / f".{self._out.name}.{self._batch}.jobs"
            stack.callback(shutil.rmtree, files, ignore_errors=True)
        self.storage = Storage(files)
        engine = connect(self._database or str(work / "jobs.sqlite"))
        stack.callback(engine.dispose)
        if self._database is not None:
            leader = Leader(engine)
            stack.callback(leader.close)
            leader.wait()  # a build that uses the same database ends first
        self._rows = Rows(engine)
        self._uploads = Uploads(self.storage, work, is_shared=self._scheduler is not None)
        self._executor = _Watched(self._execute())
        limits = self._plan.manifest.limits
        self._dispatcher = Dispatcher(self._rows, self._executor, max_losses=limits.retries + 1)
        stack.callback(self._close)

    def _execute(self) -> Executor:
        limits = self._plan.manifest.limits
        if self._scheduler is not None:
            from converter.jobs.cluster import Cluster

            return Cluster(self._scheduler, self.storage)
        from converter.jobs.here import Here

        memory = None if limits.memory_gb is None else int(limits.memory_gb * 1e9)
        return Here(self.storage, slots=limits.parallel, memory_bytes=memory)

    def _close(self) -> None:
        """End what runs; what is left of the build in the database is cancelled."""
        self._dispatcher.close()
        if self._database is not None:
            for job in self._rows.all(batch=self._batch, states=_SHUTDOWN_STATES):
                self._rows.cancel(job.id, "The build was stopped.")

    @property
    def at_once(self) -> int:
        """How many cells are converted at a time; 0 while no worker is there."""
        return sum(place.free for place in self._executor.room())

    def run(self, cells: Sequence[PlannedCell], on_event: OnZooEvent) -> Iterator[Ended]:
        """Convert cells, and give each as its job ends.

        Raises:
            ConvertError: Nothing can be converted at all: the database or the storage is gone.
        """
        left = {f"{self._batch}-{index}": cell for index, cell in enumerate(_apart(cells))}
        self._cancel_leftovers()
        self._rows.submit_all([self._submission(job_id, cell) for job_id, cell in left.items()])
        looked_at = time.monotonic()
        while left:
            self._dispatcher.step()
            self._tell_refusals(on_event)
            ended = dict.fromkeys(self._seen(left, on_event))
            if time.monotonic() > looked_at + _LOOK_S:
                looked_at = time.monotonic()
                ended |= dict.fromkeys(job.id for job in self._ended() if job.id in left)
            for job_id in ended:
                job = self._rows.get(job_id)
                if job.has_ended and job_id in left:
                    artefacts = self._rows.artefacts(job_id)
                    yield Ended(planned=left.pop(job_id), job=job, artefacts=artefacts)

    def _tell_refusals(self, on_event: OnZooEvent) -> None:
        """Tell of workers that are not taken, such as those of another version, each once."""
        for name, why in self._executor.refusals.items():
            if self._refused.get(name) != why:
                self._refused[name] = why
                on_event(Noted(text=f"{name}: {why}"))

    def _ended(self) -> Iterator[Job]:
        return self._rows.all(batch=self._batch, states=[State.FAILED, State.CANCELLED, State.EXPIRED])

    def _cancel_leftovers(self) -> None:
        """Cancel what a build that was killed has left in the database."""
        if self._database is not None:
            for job in self._rows.all(tenant=TENANT, states=_SHUTDOWN_STATES):
                if job.batch != self._batch:
                    self._rows.cancel(job.id, "Its build was killed.")

    def _seen(self, left: Mapping[str, PlannedCell], on_event: OnZooEvent) -> Iterator[str]:
        """Tell what happened; the jobs that may have ended."""
        reports, self._executor.seen = self._executor.seen, []
        for report in reports:
            cell = left.get(report.job_id)
            if cell is None:
                continue
            match report:
                case Started():
                    on_event(CellStarted(id=cell.id, cost_s=cell.cost_s))
                case Told():
                    for event in report.events:
                        if event.kind == "stage" and "title" in event.data:
                            on_event(CellTold(id=cell.id, text=str(event.data["title"])))
                case Lost():
                    on_event(CellTold(id=cell.id, text=f"lost: {report.reason}"))
                    yield report.job_id
                case Outcome():
                    yield report.job_id

    def _submission(self, job_id: str, cell: PlannedCell) -> Submission:
        wanted, manifest = cell.wanted, self._plan.manifest
        source = self._uploads.model(wanted.source.path)
        options: dict[str, Any] = wanted.values()
        if self._plan.store is not None:
            options["cache.enabled"] = True
        calibration, attachments = None, {}
        for key, place in wanted.files.items():
            if not self._uploads.is_shared:
                options[key] = str(place.path.absolute())
            elif key == "calibration.path":
                calibration = self._uploads.archive(place.path)
            else:
                digest, name = self._uploads.file(place.path)
                attachments[key] = Attachment(digest=digest, name=name)
        toolchain = cell.toolchain
        return Submission(
            id=job_id,
            request=Request(
                source=source.digest,
                source_name=source.name,
                beside=source.beside,
                target=wanted.target,
                options=options,
                toolchain=toolchain,
                calibration=calibration,
                attachments=attachments,
                report=manifest.report,
            ),
            limits=Limits(time_s=manifest.limits.cell_timeout_s, wait_s=None),
            labels=frozenset() if toolchain == "auto" else frozenset({f"{wanted.target}/{toolchain}"}),
            tenant=TENANT,
            name=cell.id,
            batch=self._batch,
            source_bytes=source.size_bytes,
        )


def _apart(cells: Sequence[PlannedCell]) -> list[PlannedCell]:
    """The first cells of all models, then the second ones, which take the stages of the first.

    Cells of one model that run at the same time would all make them.
    """
    counts: Counter[str] = Counter()
    turns = []
    for cell in cells:
        turns.append(counts[cell.wanted.model])
        counts[cell.wanted.model] += 1
    order = sorted(range(len(cells)), key=lambda index: turns[index])
    return [cells[index] for index in order]
