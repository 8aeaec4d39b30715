"""How rows are changed: one job's row at a time, locked, with an event for each change of its state."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from functools import cache
from types import MappingProxyType
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from converter.jobs.database import reading
from converter.jobs.errors import Missing
from converter.jobs.reading import Reading, label_text
from converter.jobs.schema import ARTEFACTS, ATTEMPTS, EVENTS, JOBS
from converter.jobs.states import ENDED, FOLLOWS, State
from converter.jobs.storable import storable, storable_text
from converter.jobs.values import Event, Submission

# What one level of priority is worth: a job overtakes those that are one level below it and have waited
# up to this long, so that none waits for ever.
_LEVEL_S: Final = 600.0
_NO_VALUES: Final[Mapping[str, Any]] = MappingProxyType({})
# Statements are made once: it is the making that takes time.
INSERT_EVENTS: Final = sa.insert(EVENTS)
INSERT_ATTEMPT: Final = sa.insert(ATTEMPTS)
INSERT_ARTEFACTS: Final = sa.insert(ARTEFACTS)
_OF_JOB: Final = JOBS.c.id == sa.bindparam("of_job")
_OF_ATTEMPT: Final = JOBS.c.attempt == sa.bindparam("of_attempt")
_LOCKED: Final = sa.select(JOBS).where(_OF_JOB).with_for_update()
_RUNNING: Final = (
    sa.select(1)
    .select_from(JOBS)
    .where(_OF_JOB, _OF_ATTEMPT, JOBS.c.state == State.RUNNING)
    .with_for_update()
)


@cache
def _moving(columns: tuple[str, ...], before: tuple[State, ...], *, is_new_attempt: bool) -> sa.Update:
    """The change of a job's state; `columns` are what changes with it, and the parameters' names."""
    to = {name: sa.bindparam(f"to_{name}", type_=JOBS.c[name].type) for name in columns}
    if is_new_attempt:
        to["attempt"] = JOBS.c.attempt + 1  # type: ignore[assignment]
    change = sa.update(JOBS).where(_OF_JOB, JOBS.c.state.in_(before))
    return change.values(events=JOBS.c.events + 1, **to).returning(
        JOBS.c.events, JOBS.c.attempt, JOBS.c.reason
    )


@cache
def _reserving(columns: tuple[str, ...]) -> sa.Update:
    """Place for events of an attempt, fenced; see `_moving`."""
    to = {name: sa.bindparam(f"to_{name}", type_=JOBS.c[name].type) for name in columns}
    fenced = sa.update(JOBS).where(_OF_JOB, _OF_ATTEMPT, JOBS.c.state == State.RUNNING)
    events = JOBS.c.events + sa.bindparam("count", type_=JOBS.c.events.type)
    return fenced.values(events=events, **to).returning(JOBS.c.events)


@cache
def _setting_attempt(columns: tuple[str, ...]) -> sa.Update:
    to = {name: sa.bindparam(f"to_{name}", type_=ATTEMPTS.c[name].type) for name in columns}
    its = (ATTEMPTS.c.job_id == sa.bindparam("of_job"), ATTEMPTS.c.number == sa.bindparam("of_attempt"))
    return sa.update(ATTEMPTS).where(*its).values(**to)


def _named(values: Mapping[str, Any]) -> dict[str, Any]:
    return {f"to_{name}": value for name, value in values.items()}


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
        row = connection.execute(_LOCKED, {"of_job": job_id}).first()
        if row is None:
            raise Missing(f"There is no job {job_id!r}.")
        return row

    def _is_running(self, connection: Connection, job_id: str, attempt: int) -> bool:
        """The fence; the row is locked until the transaction ends."""
        of = {"of_job": job_id, "of_attempt": attempt}
        return connection.execute(_RUNNING, of).first() is not None

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
        of: tuple[State, ...] = (),
        is_new_attempt: bool = False,
    ) -> int | None:
        """Change a job's state and tell it; the attempt's number, or None if the state forbids it."""
        before = of or tuple(state for state, following in FOLLOWS.items() if to in following)
        whole = {"state": str(to), **values}
        change = _moving(tuple(whole), before, is_new_attempt=is_new_attempt)
        row = connection.execute(change, {"of_job": job_id, **_named(whole)}).first()
        if row is None:
            return None
        told = state_event(job_id, row.events, self._clock(), to, row.attempt, row.reason)
        connection.execute(INSERT_EVENTS, told)
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
        of = {"of_job": job_id, "of_attempt": attempt}
        connection.execute(_setting_attempt(tuple(values)), of | _named(values))

    def _ended(self, state: State, reason: str) -> dict[str, Any]:
        assert state in ENDED
        return {"ended_at": self._clock(), "reason": storable_text(reason), "expires_at": None}

    def _reserve(
        self,
        connection: Connection,
        job_id: str,
        attempt: int,
        count: int,
        values: Mapping[str, Any] = _NO_VALUES,
    ) -> int | None:
        """Make place for events behind the job's others, and lock its row: the fence of an attempt.

        Args:
            values: Other columns to set.

        Returns:
            The position of the last one; None if the attempt is not the job's any more.
        """
        of = {"of_job": job_id, "of_attempt": attempt, "count": count, **_named(values)}
        last = connection.execute(_reserving(tuple(values)), of).scalar()
        return None if last is None else int(last)

    def _unkept(self, job_id: str, attempt: int, events: Iterable[Event]) -> list[Event]:
        """Those of an attempt's events that are not kept yet.

        Raises:
            IntegrityError: None of them is kept: that was not why they could not be written.
        """
        events = list(events)
        known = sa.select(EVENTS.c.number).where(
            EVENTS.c.job_id == job_id,
            EVENTS.c.attempt == attempt,
            EVENTS.c.number >= min((one.number for one in events), default=0),
        )
        with reading(self.engine) as connection:
            kept = set(connection.execute(known).scalars())
        new = [one for one in events if one.number not in kept]
        if len(new) == len(events):
            raise sa.exc.IntegrityError("events", None, ValueError("they are not kept"))
        return new


def event_values(
    job_id: str, attempt: int, after: int, events: Sequence[Event]
) -> list[dict[str, Any]]:
    """The rows of an attempt's events, behind a position."""
    return [
        {
            "job_id": job_id,
            "position": after + index,
            "attempt": attempt,
            "number": one.number,
            "at": one.at,
            "kind": one.kind,
            "data": storable(dict(one.data)),
        }
        for index, one in enumerate(events, 1)
    ]


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
