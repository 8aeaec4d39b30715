"""The dispatcher: hands queued jobs to an executor, and writes down what becomes of them.

One loop, one thread. It keeps nothing that matters: when it is killed, the next one finds in the rows
what ran, and queues it again. When the database does not answer, what the executor reports is kept
until it does.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from converter.errors import ToolError
from converter.jobs.admission import Admission
from converter.jobs.errors import DatabaseAway
from converter.jobs.executor import Executor, Lost, Report, Started, Ticket, Told
from converter.jobs.results import failed
from converter.jobs.rows import Rows
from converter.jobs.states import State
from converter.jobs.values import Job, Outcome

_LOG: Final = logging.getLogger("nnconvert.jobs")
# How long after its time limit, or its cancellation, an attempt is waited for: it may be on a machine
# that does not answer.
_OVERDUE_S: Final = 60.0
_EXPIRE_S: Final = 5.0


@dataclass
class _Live:
    """An attempt that the executor has. Times are of the monotonic clock: the wall's may jump."""

    job: Job
    place: str
    started_at: float | None = None
    cancelled_at: float | None = None


class Dispatcher:
    """Hands jobs to an executor until it is told to stop."""

    def __init__(
        self,
        rows: Rows,
        executor: Executor,
        *,
        max_losses: int = 3,
        patience_s: float = 30.0,
        poll_s: float = 0.5,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """A dispatcher; only one may run on a database (`leader`).

        Args:
            max_losses: After so many lost attempts that count, a job fails.
            patience_s: When a job has waited so long for memory, smaller ones no longer go before it.
            poll_s: How often it looks for new jobs while nothing else happens.
            clock: Seconds, of a clock that does not jump.
        """
        self._rows = rows
        self._executor = executor
        self._max_losses = max_losses
        self._poll_s = poll_s
        self._clock = clock
        self._admission = Admission(rows, patience_s=patience_s, clock=clock)
        self._live: dict[tuple[str, int], _Live] = {}
        self._reports: deque[Report] = deque()
        self._expired_at = -_EXPIRE_S
        self._asked_at = -poll_s
        # Running rows that are not ours must be looked for: at first, and after an outage.
        self._is_unsure = True
        self._restarted = True

    # ------------------------------------------------------------ for whoever runs it

    def run(self, stop: threading.Event) -> None:
        """Work until `stop` is set; what runs then is left to `close`."""
        while not stop.is_set():
            self.step()

    def run_until_idle(self, stop: threading.Event | None = None) -> None:
        """Work until no job is queued or runs, or `stop` is set."""
        while not (stop and stop.is_set()):
            self.step()
            if not self._live and not self._reports and self._is_empty():
                return

    def _is_empty(self) -> bool:
        try:
            return not self._rows.find(states=[State.QUEUED, State.RUNNING], limit=1)
        except DatabaseAway:
            return False

    def close(self) -> None:
        """End what runs; its jobs are queued again, which does not count against them."""
        self._executor.close()
        for (job_id, attempt), _ in list(self._live.items()):
            self._reports.append(
                Lost(job_id=job_id, attempt=attempt, reason="The dispatcher was stopped.", counts=False)
            )
        with contextlib.suppress(DatabaseAway):  # the next dispatcher finds them running
            self._write_reports()

    def step(self) -> None:
        """One turn: wait a little for reports, write them down, and start what there is room for.

        While the database does not answer, nothing is started and nothing is forgotten.
        """
        self._reports += self._executor.finished(self._poll_s)
        try:
            if self._is_unsure:
                self._reconcile()
            self._write_reports()
            self._end_cancelled()
            self._end_overdue()
            self._expire()
            self._start()
        except DatabaseAway:
            self._is_unsure = True
            time.sleep(self._poll_s)

    @property
    def running(self) -> int:
        """How many attempts the executor has."""
        return len(self._live)

    # ------------------------------------------------------------ one turn

    def _reconcile(self) -> None:
        """Queue the jobs again that rows call running and the executor does not have."""
        told = {(one.job_id, one.attempt) for one in self._reports if isinstance(one, Outcome | Lost)}
        for job in self._rows.running():
            key = (job.id, job.attempt)
            if key not in self._live and key not in told:
                reason = (
                    "The dispatcher was restarted." if self._restarted else "The database was away."
                )
                self._rows.lost(*key, reason, counts=False)
        self._is_unsure = self._restarted = False

    def _write_reports(self) -> None:
        while self._reports:
            report = self._reports[0]
            try:
                self._write(report)
            except DatabaseAway:
                raise
            except Exception:  # noqa: BLE001 - one report must not keep all the others for ever
                _LOG.exception("A report of job %s cannot be written down.", report.job_id)
                if isinstance(report, Outcome):
                    self._write(_unwritable(report))
            self._reports.popleft()

    def _write(self, report: Report) -> None:
        key = (report.job_id, report.attempt)
        match report:
            case Started():
                live = self._live.get(key)
                if live is not None:
                    live.started_at = self._clock()
                is_known = live is not None and live.place == report.worker
                if not is_known and not self._rows.start(*key, report.worker):
                    self._executor.cancel(*key)
            case Told():
                if not self._rows.append_events(*key, report.events):
                    self._executor.cancel(*key)
            case Outcome():
                self._rows.finish(report)
                live = self._live.pop(key, None)
                if live is not None:
                    self._admission.measured(live.job.kind, report.peak_bytes)
            case Lost():
                self._rows.lost(*key, report.reason, counts=report.counts, max_losses=self._max_losses)
                self._live.pop(key, None)

    def _end_cancelled(self) -> None:
        if not self._live or self._clock() < self._asked_at + self._poll_s:
            return
        self._asked_at = self._clock()
        for key in self._rows.cancelling():
            live = self._live.get(key)
            if live is not None and live.cancelled_at is None:
                live.cancelled_at = self._clock()
                self._executor.cancel(*key)

    def _end_overdue(self) -> None:
        """End the attempts that an executor neither ended in time nor says anything of."""
        now = self._clock()
        for key, live in list(self._live.items()):
            limit = live.job.limits.time_s
            if live.cancelled_at is not None and now > live.cancelled_at + _OVERDUE_S:
                self._rows.lost(*key, "It was cancelled, and did not answer.", counts=False)
            elif live.started_at is not None and now > live.started_at + limit + _OVERDUE_S:
                self._executor.cancel(*key)
                self._rows.finish(_timed_out(*key, limit))
            else:
                continue
            del self._live[key]

    def _expire(self) -> None:
        if self._clock() >= self._expired_at + _EXPIRE_S:
            self._rows.expire()
            self._expired_at = self._clock()

    def _start(self) -> None:
        room = self._executor.room()
        for chosen in self._admission.chosen(room, self._executor.refusals):
            job = chosen.job
            attempt = self._rows.claim(job.id, chosen.place)
            if attempt is None:  # it was cancelled meanwhile
                continue
            running = dataclasses.replace(job, state=State.RUNNING, attempt=attempt.number)
            self._live[job.id, attempt.number] = _Live(running, chosen.place)
            self._executor.start(
                Ticket(
                    job_id=job.id,
                    attempt=attempt.number,
                    request=job.request,
                    labels=job.labels,
                    time_s=job.limits.time_s,
                    memory_bytes=chosen.memory_bytes,
                    place=chosen.place,
                    bounds=job.limits.bounds,
                )
            )


def _unwritable(outcome: Outcome) -> Outcome:
    """What is written of an attempt whose own words the database refuses."""
    error = ToolError("Its result could not be written down.", remedy="Look at the server's log.")
    return Outcome(
        job_id=outcome.job_id,
        attempt=outcome.attempt,
        state=State.FAILED,
        result=failed(error),
        reason=str(error),
    )


def _timed_out(job_id: str, attempt: int, limit_s: float) -> Outcome:
    error = ToolError(
        f"The conversion did not end within {limit_s:g} s.", remedy="Give the job more time."
    )
    return Outcome(
        job_id=job_id,
        attempt=attempt,
        state=State.FAILED,
        result=failed(error),
        reason=str(error),
    )
