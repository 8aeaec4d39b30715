"""What the rows say: jobs one by one and in pages, their events, attempts and artefacts."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.engine import Engine, Row

from converter.jobs.database import reading
from converter.jobs.errors import Missing
from converter.jobs.schema import ARTEFACTS, ATTEMPTS, EVENTS, JOBS
from converter.jobs.states import ENDED, State
from converter.jobs.values import Artefact, Attempt, Event, Job, Request, limits_of

# How many rows are held at once while all are looked through.
_PAGE: Final = 1000


class Reading:
    """Every way to look at the rows; each call is a transaction of its own."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def get(self, job_id: str, *, tenant: str | None = None) -> Job:
        """A job.

        Args:
            tenant: Whose it must be; another one's is not there. None is everybody's.

        Raises:
            Missing: There is none of that id.
        """
        with reading(self.engine) as connection:
            row = connection.execute(_ONE, {"of_job": job_id}).first()
        if row is not None and tenant is not None and row.tenant != tenant:
            row = None
        if row is None:
            raise Missing(f"There is no job {job_id!r}.")
        return job_of(row)

    def find(
        self,
        *,
        tenant: str | None = None,
        states: Collection[State] = (),
        batch: str | None = None,
        name: str | None = None,
        after: int = 0,
        limit: int = 100,
        newest_first: bool = False,
    ) -> list[Job]:
        """A page of jobs in the order of their `number`.

        Args:
            after: The `number` of the last job of the page before.
        """
        chosen = sa.select(JOBS)
        if tenant is not None:
            chosen = chosen.where(JOBS.c.tenant == tenant)
        if states:
            chosen = chosen.where(JOBS.c.state.in_(sorted(states)))
        if batch is not None:
            chosen = chosen.where(JOBS.c.batch == batch)
        if name is not None:
            chosen = chosen.where(JOBS.c.name == name)
        if newest_first:
            chosen = chosen.where(JOBS.c.number < after) if after else chosen
            chosen = chosen.order_by(JOBS.c.number.desc())
        else:
            chosen = chosen.where(JOBS.c.number > after).order_by(JOBS.c.number)
        with reading(self.engine) as connection:
            return [job_of(row) for row in connection.execute(chosen.limit(limit))]

    def states(self, job_ids: Iterable[str]) -> dict[str, State]:
        """The states of some jobs; those that are not there are left out."""
        left = list(job_ids)
        found: dict[str, State] = {}
        with reading(self.engine) as connection:
            for start in range(0, len(left), _PAGE):  # a statement has a bounded number of values
                these = left[start : start + _PAGE]
                chosen = sa.select(JOBS.c.id, JOBS.c.state).where(JOBS.c.id.in_(these))
                found |= {job_id: State(state) for job_id, state in connection.execute(chosen)}
        return found

    def count(self, *, tenant: str | None = None, batch: str | None = None) -> dict[State, int]:
        """How many jobs are in each state."""
        chosen = sa.select(JOBS.c.state, sa.func.count()).group_by(JOBS.c.state)
        if tenant is not None:
            chosen = chosen.where(JOBS.c.tenant == tenant)
        if batch is not None:
            chosen = chosen.where(JOBS.c.batch == batch)
        with reading(self.engine) as connection:
            return {State(state): number for state, number in connection.execute(chosen)}

    def events(self, job_id: str, *, after: int = 0, limit: int = 1000) -> list[Event]:
        """A job's events in order, those behind the position `after`."""
        chosen = (
            sa.select(EVENTS)
            .where(EVENTS.c.job_id == job_id, EVENTS.c.position > after)
            .order_by(EVENTS.c.position)
            .limit(limit)
        )
        with reading(self.engine) as connection:
            return [
                Event(
                    position=row.position,
                    attempt=row.attempt,
                    number=row.number,
                    at=row.at,
                    kind=row.kind,
                    data=row.data,
                )
                for row in connection.execute(chosen)
            ]

    def attempts(self, job_id: str) -> list[Attempt]:
        """A job's attempts, the first one first."""
        chosen = sa.select(ATTEMPTS).where(ATTEMPTS.c.job_id == job_id).order_by(ATTEMPTS.c.number)
        with reading(self.engine) as connection:
            return [
                Attempt(**{**row._mapping, "state": State(row.state) if row.state else None})
                for row in connection.execute(chosen)
            ]

    def artefacts(self, job_id: str) -> dict[str, Artefact]:
        """A job's files by kind."""
        chosen = sa.select(ARTEFACTS).where(ARTEFACTS.c.job_id == job_id)
        with reading(self.engine) as connection:
            return {
                row.kind: Artefact(
                    kind=row.kind, digest=row.digest, name=row.name, size_bytes=row.size_bytes
                )
                for row in connection.execute(chosen)
            }

    # ------------------------------------------------------------ for the dispatcher

    def wanted_labels(self) -> list[frozenset[str]]:
        """The sets of labels that queued jobs ask for."""
        # One look into the index for each: DISTINCT would read all that is queued.
        found: list[str] = []
        with reading(self.engine) as connection:
            first, following = _LABELS[connection.dialect.name]
            labels = connection.execute(first).scalar()
            while labels is not None:
                found.append(labels)
                labels = connection.execute(following, {"after": labels}).scalar()
        return [frozenset(labels.split()) for labels in found]

    def queue(self, labels: Collection[frozenset[str]], limit: int) -> list[Job]:
        """The first queued jobs that ask for one of these sets of labels, in the order of the queue."""
        found: list[Row[Any]] = []
        with reading(self.engine) as connection:
            for one in labels:
                found += connection.execute(_QUEUE, {"of_labels": label_text(one), "most": limit})
        found.sort(key=lambda row: (row.rank, row.number))
        return [job_of(row) for row in found[:limit]]

    def running(self) -> list[Job]:
        """Every job that runs."""
        chosen = sa.select(JOBS).where(_is(State.RUNNING)).order_by(JOBS.c.number)
        with reading(self.engine) as connection:
            return [job_of(row) for row in connection.execute(chosen)]

    def cancelling(self) -> list[tuple[str, int]]:
        """Id and attempt of the running jobs whose end was asked for."""
        with reading(self.engine) as connection:
            return [(job_id, attempt) for job_id, attempt in connection.execute(_CANCELLING)]

    def peaks(self, kinds: Collection[str]) -> dict[str, int]:
        """The most memory in bytes that jobs of these kinds took, where it was measured."""
        chosen = (
            sa.select(JOBS.c.kind, sa.func.max(ATTEMPTS.c.peak_bytes))
            .join(ATTEMPTS, ATTEMPTS.c.job_id == JOBS.c.id)
            .where(JOBS.c.kind.in_(kinds), ATTEMPTS.c.peak_bytes > 0)
            .group_by(JOBS.c.kind)
        )
        with reading(self.engine) as connection:
            return {row[0]: row[1] for row in connection.execute(chosen)}

    def digests(self) -> set[str]:
        """The files of the storage that rows name: artefacts, and the inputs of jobs that go on."""
        with reading(self.engine) as connection:
            found = set(connection.execute(sa.select(ARTEFACTS.c.digest).distinct()).scalars())
            going_on = sa.select(JOBS.c.request).where(JOBS.c.state.not_in(sorted(ENDED)))
            for page in connection.execute(going_on).scalars().partitions(_PAGE):
                for request in page:
                    found |= Request.from_json(request).digests
        return found

    def all(self, **filters: Any) -> Iterator[Job]:
        """Every job that `find` finds, page by page."""
        after = 0
        while page := self.find(**filters, after=after, limit=_PAGE):
            yield from page
            after = page[-1].number


def _is(state: State) -> sa.ColumnElement[bool]:
    # As text and not as a parameter: the partial indexes are used only then.
    return JOBS.c.state == sa.literal_column(f"'{state}'")


_ONE: Final = sa.select(JOBS).where(JOBS.c.id == sa.bindparam("of_job"))
_CANCELLING: Final = sa.select(JOBS.c.id, JOBS.c.attempt).where(_is(State.RUNNING), JOBS.c.cancelling)


def _labels_from(table: str) -> tuple[sa.TextClause, sa.TextClause]:
    """The first set of labels that queued jobs have, and the one behind `after`."""
    found = f"SELECT labels FROM {table} WHERE state = 'queued' "  # noqa: S608 - no value of a user
    order = "ORDER BY labels LIMIT 1"
    return sa.text(found + order), sa.text(f"{found} AND labels > :after {order}")


# SQLite's planner takes the index of states by itself, and reads and sorts all that is queued
# (https://sqlite.org/lang_indexedby.html).
_LABELS: Final = {
    "sqlite": _labels_from("jobs INDEXED BY jobs_queued"),
    "postgresql": _labels_from("jobs"),
}
_QUEUE: Final = (
    sa.select(JOBS)
    .where(_is(State.QUEUED), JOBS.c.labels == sa.bindparam("of_labels"))
    .order_by(JOBS.c.rank, JOBS.c.number)
    .limit(sa.bindparam("most", type_=sa.Integer))
)


def label_text(labels: Collection[str]) -> str:
    """A set of labels as its column has it."""
    return " ".join(sorted(labels))


def job_of(row: Row[Any]) -> Job:
    """The job in a row."""
    columns = row._mapping
    same = {name: columns[name] for name in _SAME}
    return Job(
        **same,
        state=State(row.state),
        request=Request.from_json(row.request),
        limits=limits_of(row.limits),
        labels=frozenset(row.labels.split()),
    )


_DIFFERENT: Final = frozenset({"state", "request", "limits", "labels"})
_SAME: Final[Sequence[str]] = [name for name in Job.__dataclass_fields__ if name not in _DIFFERENT]
