"""Which queued jobs may start now: by the queue's order, memory and labels; none starves."""

from __future__ import annotations

import dataclasses
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Final

from converter.errors import ToolchainError
from converter.jobs.executor import Place
from converter.jobs.rows import Rows
from converter.jobs.values import Job

# How many jobs that do not fit are looked past in one turn.
_LOOKED_PAST: Final = 16
# How often it is told why jobs wait, while every place is taken.
_EXPLAIN_S: Final = 5.0
# What a conversion takes beside its model, and for each byte of the source, until it is measured:
# 0.36 GB were measured for the digits example, and 2.95 GB for a model of 2.2 GB.
_BASE_BYTES: Final = 800 << 20
_BYTES_PER_BYTE: Final = 4
# How many kinds' peaks are remembered.
_MOST_KINDS: Final = 1000
# A measured peak is of one run; the next one may take a little more.
_MARGIN: Final = 1.1


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """A job to start, the memory to set aside for it, and the place's name."""

    job: Job
    memory_bytes: int
    place: str


class Admission:
    """Chooses jobs for places.

    The order is that of `Rows.queue`. A job that does not fit now lets others go before it, but not for
    ever: after `patience_s` the place that will be free for it soonest takes nothing else.
    """

    def __init__(self, rows: Rows, *, patience_s: float, clock: Callable[[], float]) -> None:
        self._rows = rows
        self._patience_s = patience_s
        self._clock = clock
        self._waiting_since: dict[str, float] = {}
        self._explained: dict[frozenset[str], str] = {}
        self._explained_at = -_EXPLAIN_S
        self._peaks: OrderedDict[str, int] = OrderedDict()  # bytes by kind, of the latest kinds

    def measured(self, kind: str, peak_bytes: int) -> None:
        """An attempt at a job of this kind has ended, which took so much memory."""
        if kind in self._peaks:
            self._peaks[kind] = max(self._peaks[kind], peak_bytes)

    def _peaks_of(self, kinds: Set[str]) -> Mapping[str, int]:
        """The rows are asked once for each kind: this dispatcher sees what is measured from then on."""
        if new := kinds - self._peaks.keys():
            self._peaks |= dict.fromkeys(new, 0) | self._rows.peaks(new)
        found = {kind: self._peaks[kind] for kind in kinds}
        while len(self._peaks) > _MOST_KINDS:
            self._peaks.popitem(last=False)
        return found

    def chosen(self, room: Sequence[Place], refusals: Mapping[str, str]) -> Iterator[Chosen]:
        """The jobs to start now, each with its place.

        Jobs that can never run on these places are ended; why jobs wait for a label is written down.

        Args:
            refusals: See `Executor`.
        """
        places = {place.name: place for place in room}
        is_full = bool(room) and not any(place.free > 0 for place in room)
        if is_full and self._clock() < self._explained_at + _EXPLAIN_S:
            return
        self._explained_at = self._clock()
        wanted = self._rows.wanted_labels()
        self._explain(wanted, room, refusals)
        offered = [labels for labels in wanted if any(labels <= place.labels for place in room)]
        if is_full or not offered:
            return
        free = sum(max(0, place.free) for place in room)
        jobs = self._rows.queue(offered, free + _LOOKED_PAST)
        peaks = self._peaks_of({job.kind for job in jobs})
        now = self._clock()
        waiting, self._waiting_since = self._waiting_since, {}
        for job in jobs:
            able = [place for place in places.values() if job.labels <= place.labels]
            largest = max((place.total_bytes for place in able), default=0)
            need, is_firm = _need(job, peaks[job.kind])
            if is_firm and need > largest and able:
                self._refuse(job, need, largest)
                continue
            need = min(need, largest)
            fitting = [place for place in able if place.free > 0 and place.free_bytes >= need]
            if fitting:
                # The smallest that fits, so that large ones stay free for what is large.
                place = min(fitting, key=lambda place: place.free_bytes)
                places[place.name] = dataclasses.replace(
                    place, free=place.free - 1, free_bytes=place.free_bytes - need
                )
                yield Chosen(job=job, memory_bytes=need, place=place.name)
                continue
            since = self._waiting_since[job.id] = waiting.get(job.id, now)
            could = [place for place in able if place.total_bytes >= need]
            if now - since >= self._patience_s and could:
                del places[max(could, key=lambda place: place.free_bytes).name]
            if not any(place.free > 0 for place in places.values()):
                break

    def _refuse(self, job: Job, need: int, largest: int) -> None:
        error = ToolchainError(
            f"The job needs {_gb(need)} of memory, and the largest worker for it has {_gb(largest)}.",
            remedy="Start a larger worker, or ask for less.",
        )
        self._rows.refuse(job.id, error)

    def _explain(
        self,
        wanted: Sequence[frozenset[str]],
        room: Sequence[Place],
        refusals: Mapping[str, str],
    ) -> None:
        """Tell the jobs whose labels no place offers why they wait."""
        reasons = {}
        for labels in wanted:
            able = any(labels <= place.labels for place in room)
            reasons[labels] = "" if able else _why(labels, room, refusals)
            if self._explained.get(labels) != reasons[labels]:
                self._rows.explain(labels, reasons[labels])
        self._explained = {labels: reason for labels, reason in reasons.items() if not reason}


def _why(labels: frozenset[str], room: Sequence[Place], refusals: Mapping[str, str]) -> str:
    if not room:
        refused = "; ".join(f"{name} {why}" for name, why in sorted(refusals.items()))
        return f"It waits for a worker: there is none{f', for {refused}' if refused else ''}."
    offered = frozenset().union(*(place.labels for place in room))
    lacking = ", ".join(sorted(labels - offered)) or " and ".join(sorted(labels))
    return f"It waits for a worker that offers {lacking}: there is none."


def _need(job: Job, peak_bytes: int) -> tuple[int, bool]:
    """The memory to set aside for a job, and whether it is known, and not guessed."""
    if job.limits.memory_bytes is not None:
        return job.limits.memory_bytes, True
    if peak_bytes:
        return int(peak_bytes * _MARGIN), True
    return _BASE_BYTES + _BYTES_PER_BYTE * job.source_bytes, False


def _gb(size_bytes: int) -> str:
    return f"{size_bytes / 1e9:.1f} GB"
