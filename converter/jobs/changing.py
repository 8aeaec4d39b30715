"""How rows are changed: one job's row at a time, locked, with an event for each change of its state."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from converter.jobs.errors import Missing
from converter.jobs.reading import Reading, label_text
from converter.jobs.schema import ATTEMPTS, EVENTS, JOBS
from converter.jobs.states import ENDED, FOLLOWS, State
from converter.jobs.values import Event, Submission

# What one level of priority is worth: a job overtakes those that are one level below it and have waited
# up to this long, so that none waits for ever.
_LEVEL_S: Final = 600.0


def rank(queued_at: float, priority: int) -> float:
    """A job's place in the queue, lowest first."""
    return queued_at - _LEVEL_S * priority


class Changing(Reading):
    """Parts of a transaction that changes rows; `Rows` has the whole ones."""

    def __init__(self, engine: Engine, *, clock: Callable[[], float] = time.time) -> None:
        """Rows of a database.

        Args:
            engine: See `converter.jobs.database.connect`.
            clock: Seconds since 1970.
        """
        super().__init__(engine)
        self._clock = clock

    def _row(self, connection: Connection, job_id: str) -> Any:
        row = connection.execute(sa.select(JOBS).where(JOBS.c.id == job_id).with_for_update()).first()
        if row is None:
            raise Missing(f"There is no job {job_id!r}.")
        return row

    def _is_running(self, connection: Connection, job_id: str, attempt: int) -> bool:
        """The fence; the row is locked until the transaction ends."""
        fenced = (JOBS.c.id == job_id, JOBS.c.attempt == attempt, JOBS.c.state == State.RUNNING)
        return (
            connection.execute(sa.select(1).select_from(JOBS).where(*fenced).with_for_update()).first()
            is not None
        )

    def _attempt_state(self, connection: Connection, job_id: str, attempt: int) -> str | None:
        chosen = sa.select(ATTEMPTS.c.state).where(
            ATTEMPTS.c.job_id == job_id, ATTEMPTS.c.number == attempt
        )
        return connection.execute(chosen).scalar()

    def _move(
        self,
        connection: Connection,
        job_id: str,
        to: State,
        values: Mapping[str, Any],
        *,
        of: Sequence[State] | None = None,
    ) -> int | None:
        """Change a job's state and tell it; the attempt's number, or None if the state forbids it."""
        before = of or [state for state, following in FOLLOWS.items() if to in following]
        change = (
            sa.update(JOBS)
            .where(JOBS.c.id == job_id, JOBS.c.state.in_(before))
            .values(state=to, events=JOBS.c.events + 1, **values)
            .returning(JOBS.c.events, JOBS.c.attempt, JOBS.c.reason)
        )
        row = connection.execute(change).first()
        if row is None:
            return None
        told = state_event(job_id, row.events, self._clock(), to, row.attempt, row.reason)
        connection.execute(sa.insert(EVENTS), told)
        return int(row.attempt)

    def _set(
        self,
        connection: Connection,
        job_id: str,
        values: Mapping[str, Any],
        *where: sa.ColumnElement[bool],
    ) -> None:
        connection.execute(sa.update(JOBS).where(JOBS.c.id == job_id, *where).values(**values))

    def _set_attempt(self, connection: Connection, job_id: str, attempt: int, **values: Any) -> None:
        its = (ATTEMPTS.c.job_id == job_id, ATTEMPTS.c.number == attempt)
        connection.execute(sa.update(ATTEMPTS).where(*its).values(**values))

    def _ended(self, state: State, reason: str) -> dict[str, Any]:
        assert state in ENDED
        return {"ended_at": self._clock(), "reason": reason, "expires_at": None}

    def _append(
        self, connection: Connection, job_id: str, attempt: int, events: Iterable[Event]
    ) -> None:
        """Put events behind the job's others; its row is locked."""
        of_attempt = (EVENTS.c.job_id == job_id, EVENTS.c.attempt == attempt)
        kept = connection.execute(sa.select(sa.func.max(EVENTS.c.number)).where(*of_attempt)).scalar()
        new = [one for one in events if one.number > (kept or 0)]
        if not new:
            return
        change = sa.update(JOBS).where(JOBS.c.id == job_id).values(events=JOBS.c.events + len(new))
        last = connection.execute(change.returning(JOBS.c.events)).scalar_one()
        first = last - len(new) + 1
        told = [
            asdict(one) | {"job_id": job_id, "attempt": attempt, "position": first + index}
            for index, one in enumerate(new)
        ]
        connection.execute(sa.insert(EVENTS), told)


def first_values(one: Submission, now: float) -> dict[str, Any]:
    """The row of a job that is new."""
    state = State.QUEUED
    if one.hold:
        state = State.ACCEPTED
    elif one.request.missing:
        state = State.WAITING_INPUTS
    is_queued = state is State.QUEUED
    wait_s = one.limits.wait_s
    return {
        "id": one.id,
        "tenant": one.tenant,
        "name": one.name,
        "batch": one.batch,
        "state": str(state),
        "request": one.request.to_json(),
        "asked": one.asked,
        "kind": one.request.kind,
        "limits": asdict(one.limits),
        "labels": label_text(one.labels),
        "priority": one.priority,
        "rank": rank(now, one.priority) if is_queued else None,
        "attempt": 0,
        "losses": 0,
        "reason": "",
        "result": None,
        "events": 1,
        "cancelling": False,
        "source_bytes": one.source_bytes,
        "created_at": now,
        "queued_at": now if is_queued else None,
        "started_at": None,
        "ended_at": None,
        "expires_at": None if is_queued or wait_s is None else now + wait_s,
    }


def state_event(
    job_id: str, position: int, at: float, state: str, attempt: int = 0, reason: str = ""
) -> dict[str, Any]:
    """The row of an event that a job itself tells: its state changed."""
    return {
        "job_id": job_id,
        "position": position,
        "attempt": 0,
        "number": position,
        "at": at,
        "kind": "state",
        "data": {"state": str(state), "attempt": attempt, "reason": reason},
    }
