"""The rows: the truth about every job. Each change is one transaction, fenced by state and attempt.

A change that comes too late changes nothing and says so: an attempt that was lost cannot finish, and a
job that ended stays as it ended.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from converter.errors import ConvertError, ToolError
from converter.jobs.changing import (
    INSERT_ARTEFACTS,
    INSERT_ATTEMPT,
    INSERT_EVENTS,
    Changing,
    event_values,
    first_values,
    rank,
    state_event,
)
from converter.jobs.database import writing
from converter.jobs.errors import Conflict, Missing
from converter.jobs.reading import job_of, label_text
from converter.jobs.results import failed
from converter.jobs.schema import ARTEFACTS, ATTEMPTS, EVENTS, JOBS
from converter.jobs.states import ENDED, State
from converter.jobs.storable import storable, storable_text
from converter.jobs.values import (
    Attachment,
    Attempt,
    Event,
    Job,
    Outcome,
    Request,
    Submission,
    limits_of,
)

_CHUNK: Final = 500
_NEW: Final[Mapping[str, Any]] = {
    name: dialect.insert(JOBS).on_conflict_do_nothing(index_elements=["id"]).returning(JOBS)
    for name, dialect in (("sqlite", sqlite), ("postgresql", postgresql))
}
_THESE: Final = sa.select(JOBS).where(JOBS.c.id.in_(sa.bindparam("ids", expanding=True)))


class Rows(Changing):
    """Every way to change the rows, and to look at them (`Reading`).

    Any number of processes may have one on the same database. A call raises DatabaseAway if the
    database does not answer; it may be repeated then, also if it had been carried out.
    """

    # ------------------------------------------------------------ by whoever has jobs

    def submit(self, one: Submission) -> Job:
        """Put a job on record; the same one may be handed in again, which changes nothing.

        Raises:
            Conflict: There is another job of that id.
        """
        return self.submit_all([one])[0]

    def submit_all(self, several: Sequence[Submission]) -> list[Job]:
        """Put jobs on record, all or none, in their order.

        Raises:
            Conflict: There is another job of one of the ids.
        """
        now = self._clock()
        found: dict[str, Any] = {}
        with writing(self.engine) as connection:
            new = _NEW[connection.dialect.name]
            for start in range(0, len(several), _CHUNK):
                chunk = several[start : start + _CHUNK]
                values = [first_values(one, now) for one in chunk]
                made = {row.id: row for row in connection.execute(new, values)}
                told = [state_event(v["id"], 1, now, v["state"]) for v in values if v["id"] in made]
                if told:
                    connection.execute(INSERT_EVENTS, told)
                found |= made
                if known := [one.id for one in chunk if one.id not in made]:
                    found |= {row.id: row for row in connection.execute(_THESE, {"ids": known})}
            for one in several:
                if found[one.id].asked != one.asked:
                    raise Conflict(
                        f"There is another job {one.id!r}.", remedy="Choose another id for this one."
                    )
        return [job_of(found[one.id]) for one in several]

    def release(self, job_id: str) -> Job:
        """Let a job go on that was submitted with `hold`; one that was released stays as it is."""
        return self._prepared(job_id, {})

    def give_inputs(self, job_id: str, given: Mapping[str, str | Attachment]) -> Job:
        """Hand in files that a job waits for; it is queued when the last one has come.

        Args:
            given: Digests by `source`, `calibration` or an option's key; see `Request.wants`.

        Raises:
            Missing: There is no such job.
            Conflict: It does not wait for files any more.
        """
        return self._prepared(job_id, given)

    def _prepared(self, job_id: str, given: Mapping[str, str | Attachment]) -> Job:
        with writing(self.engine) as connection:
            row = self._row(connection, job_id)
            state, old = State(row.state), Request.from_json(row.request)
            request = old.with_inputs(given)
            if state not in (State.ACCEPTED, State.WAITING_INPUTS):
                if request == old:
                    return job_of(row)
                raise Conflict(f"The job {job_id!r} is {state}: it takes no more files.")
            held = state is State.ACCEPTED and given
            to = State.WAITING_INPUTS if request.missing else State.QUEUED
            values = {"request": request.to_json(), "kind": request.kind}
            if held or to is state:
                self._set(connection, job_id, values)
            else:
                self._move(connection, job_id, to, values | self._times(row, to))
            return job_of(self._row(connection, job_id))

    def _times(self, row: Any, to: State) -> dict[str, Any]:
        now = self._clock()
        if to is State.QUEUED:
            return {"queued_at": now, "rank": rank(now, row.priority), "expires_at": None}
        wait_s = limits_of(row.limits).wait_s
        return {"expires_at": None if wait_s is None else now + wait_s}

    def cancel(self, job_id: str, reason: str = "It was cancelled.") -> Job:
        """End a job: at once if it does not run, else the dispatcher ends its attempt.

        One that has ended stays as it ended.

        Raises:
            Missing: There is no such job.
        """
        with writing(self.engine) as connection:
            self._row(connection, job_id)
            before = (State.ACCEPTED, State.WAITING_INPUTS, State.QUEUED)
            ended = self._ended(State.CANCELLED, reason)
            if self._move(connection, job_id, State.CANCELLED, ended, of=before) is None:
                asked = {"cancelling": True, "reason": reason}
                self._set(connection, job_id, asked, JOBS.c.state == State.RUNNING)
            return job_of(self._row(connection, job_id))

    def delete(self, job_id: str) -> None:
        """Take a job that has ended off the record, with its events; its files stay in the storage.

        Raises:
            Missing: There is no such job.
            Conflict: It has not ended.
        """
        with writing(self.engine) as connection:
            row = self._row(connection, job_id)
            if State(row.state) not in ENDED:
                raise Conflict(f"The job {job_id!r} is {row.state}.", remedy="Cancel it first.")
            for table in (ARTEFACTS, EVENTS, ATTEMPTS):
                connection.execute(sa.delete(table).where(table.c.job_id == job_id))
            connection.execute(sa.delete(JOBS).where(JOBS.c.id == job_id))

    # ------------------------------------------------------------ by the dispatcher

    def claim(self, job_id: str, worker: str = "") -> Attempt | None:
        """Begin an attempt at a queued job; None if it is not queued any more."""
        now = self._clock()
        with writing(self.engine) as connection:
            values = {"started_at": now, "reason": ""}
            moved = self._move(connection, job_id, State.RUNNING, values, is_new_attempt=True)
            if moved is None:
                return None
            attempt = Attempt(
                job_id=job_id,
                number=moved,
                worker=worker,
                state=State.RUNNING,
                reason="",
                counts=False,
                peak_bytes=0,
                started_at=now,
                ended_at=None,
            )
            connection.execute(INSERT_ATTEMPT, asdict(attempt) | {"state": str(State.RUNNING)})
            return attempt

    def start(self, job_id: str, attempt: int, worker: str) -> bool:
        """Note where an attempt has begun to work; False if it is not the job's any more."""
        with writing(self.engine, durable=False) as connection:
            if not self._is_running(connection, job_id, attempt):
                return False
            self._set_attempt(connection, job_id, attempt, worker=worker)
            return True

    def append_events(self, job_id: str, attempt: int, events: Iterable[Event]) -> bool:
        """Keep what an attempt tells, once; False if the attempt is not the job's any more."""
        new = list(events)
        try:
            with writing(self.engine, durable=False) as connection:
                last = self._reserve(connection, job_id, attempt, len(new))
                if last is not None and new:
                    told = event_values(job_id, attempt, last - len(new), new)
                    connection.execute(INSERT_EVENTS, told)
                return last is not None
        except sa.exc.IntegrityError:  # some are kept already
            return self.append_events(job_id, attempt, self._unkept(job_id, attempt, new))

    def finish(self, outcome: Outcome) -> bool:
        """End a job as its attempt ended; False if the attempt is not the job's any more.

        The files become the job's in the same transaction: nobody sees half a result. An attempt that
        was cancelled although nobody asked for the job's end (its worker was stopped) is lost.
        """
        if outcome.state is State.CANCELLED and not self._is_unwanted(outcome.job_id):
            lost = self.lost(outcome.job_id, outcome.attempt, outcome.reason, counts=False)
            return lost is not None
        try:
            return self._finish(outcome)
        except sa.exc.IntegrityError:  # some of its events are kept already
            new = self._unkept(outcome.job_id, outcome.attempt, outcome.events)
            return self._finish(replace(outcome, events=tuple(new)))

    def _is_unwanted(self, job_id: str) -> bool:
        """Whether the end of a job was asked for, or it ended so, or is off the record."""
        try:
            job = self.get(job_id)
        except Missing:
            return True
        return job.cancelling or job.state is State.CANCELLED

    def _finish(self, outcome: Outcome) -> bool:
        job_id, attempt, events = outcome.job_id, outcome.attempt, outcome.events
        reason = storable_text(outcome.reason)
        ended = {"result": storable(dict(outcome.result)), "state": str(outcome.state)}
        ended |= self._ended(outcome.state, reason)
        with writing(self.engine) as connection:
            last = self._reserve(connection, job_id, attempt, len(events) + 1, ended)
            if last is None:
                # Also when this same call was carried out before, and the answer was lost.
                state = self._attempt_state(connection, job_id, attempt)
                return state == str(outcome.state)
            told = event_values(job_id, attempt, last - len(events) - 1, events)
            now = self._clock()
            told.append(state_event(job_id, last, now, outcome.state, attempt, reason))
            connection.execute(INSERT_EVENTS, told)
            self._set_attempt(
                connection,
                job_id,
                attempt,
                state=str(outcome.state),
                reason=reason,
                peak_bytes=outcome.peak_bytes,
                ended_at=now,
            )
            made = [storable(asdict(one)) | {"job_id": job_id} for one in outcome.artefacts]
            if made:
                connection.execute(INSERT_ARTEFACTS, made)
            return True

    def lost(
        self, job_id: str, attempt: int, reason: str, *, counts: bool = True, max_losses: int = 3
    ) -> Job | None:
        """An attempt is gone without a result: queue its job again, or end it.

        It fails when `max_losses` attempts were lost that count, and is cancelled if that was asked.

        Args:
            counts: Whether the job may be to blame: not for an outage or a worker that was drained.

        Returns:
            The job as it is now; None if the attempt is not the job's any more.
        """
        reason = storable_text(reason)
        with writing(self.engine) as connection:
            if not self._is_running(connection, job_id, attempt):
                return None
            row = self._row(connection, job_id)
            losses = row.losses + int(counts)
            if row.cancelling:
                to, values = State.CANCELLED, self._ended(State.CANCELLED, row.reason)
            elif losses >= max_losses:
                told = f"Lost {losses} times, the last time: {reason}"
                to, values = State.FAILED, self._ended(State.FAILED, told) | {"result": _gave_up(told)}
            else:
                to, values = State.QUEUED, {"reason": reason, "started_at": None}
            self._move(connection, job_id, to, values | {"losses": losses})
            self._set_attempt(
                connection,
                job_id,
                attempt,
                state=None,
                reason=reason,
                counts=counts,
                ended_at=self._clock(),
            )
            return job_of(self._row(connection, job_id))

    def refuse(self, job_id: str, error: ConvertError) -> bool:
        """End a job that does not run, because it cannot; False if it does not wait any more."""
        with writing(self.engine) as connection:
            values = self._ended(State.FAILED, str(error)) | {"result": storable(failed(error))}
            before = (State.ACCEPTED, State.WAITING_INPUTS, State.QUEUED)
            return self._move(connection, job_id, State.FAILED, values, of=before) is not None

    def explain(self, labels: frozenset[str], reason: str) -> None:
        """Write down why the queued jobs with these labels wait; an empty reason takes it away."""
        with writing(self.engine) as connection:
            waiting = (JOBS.c.state == State.QUEUED, JOBS.c.labels == label_text(labels))
            change = sa.update(JOBS).where(*waiting, JOBS.c.reason != reason)
            connection.execute(change.values(reason=reason))

    def expire(self) -> list[str]:
        """End the jobs whose files have not come in time, and return their ids."""
        overdue = sa.select(JOBS.c.id).where(
            JOBS.c.state.in_([State.ACCEPTED, State.WAITING_INPUTS]),
            JOBS.c.expires_at < self._clock(),
        )
        ended = self._ended(State.EXPIRED, "Files that it names have not come in time.")
        with writing(self.engine) as connection:
            ids = list(connection.execute(overdue).scalars())
            return [one for one in ids if self._move(connection, one, State.EXPIRED, ended) is not None]


def _gave_up(reason: str) -> dict[str, Any]:
    return failed(
        ToolError(reason, remedy="Look at the log of the last attempt; give it more memory or time.")
    )
