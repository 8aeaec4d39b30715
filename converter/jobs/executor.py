"""What runs attempts: this machine (`here`), or a Dask scheduler's workers (`cluster`).

The dispatcher asks for places, starts tickets, and reads reports; an executor knows nothing of rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol, Self

from converter.jobs.values import Event, Outcome, Request


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where attempts run: this machine, or one worker.

    Attributes:
        free: How many more attempts it takes now.
        free_bytes: How much memory is not set aside for attempts.
        total_bytes: How much memory it has for attempts: a job that needs more never runs there.
        labels: What it offers, such as `engine`, or `rvc4/native`.
    """

    name: str
    free: int
    free_bytes: int
    total_bytes: int
    labels: frozenset[str]


@dataclass(frozen=True, kw_only=True)
class Ticket:
    """An attempt to run, in plain values.

    Attributes:
        time_s: After this many seconds it is ended, and has failed.
        memory_bytes: What is set aside for it.
        place: The place that was chosen, by name.
        bounds: See `Limits.bounds`.
    """

    job_id: str
    attempt: int
    request: Request
    labels: frozenset[str]
    time_s: float
    memory_bytes: int
    place: str = ""
    bounds: Mapping[str, int | None] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON data, which `from_json` reads."""
        whole = asdict(self)
        return whole | {"request": self.request.to_json(), "labels": sorted(self.labels)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """The ticket that `to_json` wrote down."""
        request, labels = Request.from_json(data["request"]), frozenset(data["labels"])
        return cls(**{**data, "request": request, "labels": labels})


@dataclass(frozen=True, kw_only=True)
class Started:
    """An attempt has begun to work, on the worker of that name."""

    job_id: str
    attempt: int
    worker: str


@dataclass(frozen=True, kw_only=True)
class Told:
    """An attempt has told something."""

    job_id: str
    attempt: int
    events: tuple[Event, ...]


@dataclass(frozen=True, kw_only=True)
class Lost:
    """An attempt is gone without a result.

    Attributes:
        counts: Whether the job may be to blame; not for a worker that was drained, or an outage.
    """

    job_id: str
    attempt: int
    reason: str
    counts: bool = True


Report = Started | Told | Outcome | Lost


class Executor(Protocol):
    """What the dispatcher hands attempts to.

    Attributes:
        refusals: Why workers that are there are no places, by their names.
    """

    refusals: dict[str, str]

    def room(self) -> Sequence[Place]:
        """The places that there are now; none while no worker is there."""
        ...

    def start(self, ticket: Ticket) -> None:
        """Begin an attempt; returns at once."""
        ...

    def cancel(self, job_id: str, attempt: int) -> None:
        """End an attempt with all that it started; returns at once, a report follows."""
        ...

    def finished(self, timeout_s: float) -> list[Report]:
        """What happened, in order for each attempt; waits until something has, at most `timeout_s`."""
        ...

    def close(self) -> None:
        """End every attempt with all that it started, without reports."""
        ...
