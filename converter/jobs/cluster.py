"""The workers of a Dask scheduler as an executor.

The dispatcher chooses the worker, so each task is pinned to it; Dask carries tickets and reports, and
finds out that a worker died. Files do not travel through it. When the scheduler goes away, what ran is
lost, and the rows remember.
"""

from __future__ import annotations

import contextlib
import queue
import time
from collections.abc import Sequence
from typing import Any, Final

from converter.errors import UsageError
from converter.jobs import versions
from converter.jobs.executor import Lost, Place, Report, Started, Ticket, Told
from converter.jobs.values import Event, Outcome
from converter.storage import Storage

_CONNECT_S: Final = 3.0
_AGAIN_S: Final = 2.0
Key = tuple[str, int]


class Cluster:
    """A Dask scheduler's workers."""

    def __init__(self, address: str, storage: Storage) -> None:
        """Take a scheduler; it need not answer yet.

        Args:
            address: `tcp://HOST:PORT`; `tls://` with Dask's own configuration.
            storage: Where inputs come from and outputs go; workers must reach it under the same URL.

        Raises:
            UsageError: The extra `cluster` is not installed.
        """
        try:
            import distributed  # noqa: F401
        except ImportError:
            raise UsageError(
                "--scheduler needs Dask.", remedy="Run: pip install 'nnarchive-converter[cluster]'"
            ) from None
        self._address = address
        self._storage = storage
        self._client: Any = None
        self._tried_at = -_AGAIN_S
        self._reports: queue.SimpleQueue[Report] = queue.SimpleQueue()
        self._running: dict[Key, tuple[Ticket, str, Any]] = {}  # ticket, worker's address, future
        self._places: dict[str, str] = {}  # addresses by name
        # Addresses of workers that died: one may die between `room` and `start`.
        self._gone: set[str] = set()
        # Futures whose worker died: what releases them may not run in the client's own thread.
        self._dropped: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.refusals: dict[str, str] = {}

    # ------------------------------------------------------------ the connection

    def _connected(self) -> Any:
        """The client; None while the scheduler does not answer."""
        from distributed import Client

        client: Any
        if self._client is not None and self._client.status == "running":
            return self._client
        self._forget()
        if time.monotonic() < self._tried_at + _AGAIN_S:
            return None
        self._tried_at = time.monotonic()
        try:
            client = Client(self._address, timeout=_CONNECT_S, set_as_default=False, name="nnconvert")
            client.set_metadata(["nnconvert"], versions.own())
        except (OSError, TimeoutError):
            return None
        client.subscribe_topic("nnconvert", self._heard)
        client.subscribe_topic("all", self._watched)
        self._client = client
        return client

    def _forget(self) -> None:
        """The scheduler is gone, and with it all that ran."""
        self._gone.clear()
        for job_id, attempt in list(self._running):
            self._running.pop((job_id, attempt), None)
            self._reports.put(
                Lost(job_id=job_id, attempt=attempt, reason="The scheduler went away.", counts=False)
            )
        if self._client is not None:
            client, self._client = self._client, None
            with contextlib.suppress(Exception):
                client.close(timeout=1)

    # ------------------------------------------------------------ for the dispatcher

    def room(self) -> Sequence[Place]:
        """The workers of this version ; why others are refused is in `refusals`."""
        client = self._connected()
        if client is None:
            return []
        try:
            workers = client.scheduler_info()["workers"]
        except (OSError, TimeoutError):
            return []
        found, self._places, self.refusals = [], {}, {}
        for address, told in workers.items():
            offer = told.get("nnconvert")
            if offer is None:
                self.refusals[str(told["name"])] = "is no worker of nnconvert"
                continue
            if differs := versions.difference(offer["versions"], versions.own()):
                self.refusals[offer["name"]] = f"has {differs}"
                continue
            mine = [ticket for ticket, where, _ in self._running.values() if where == address]
            draining = told.get("metrics", {}).get("nnconvert", {}).get("draining", False)
            self._places[offer["name"]] = address
            found.append(
                Place(
                    name=offer["name"],
                    free=0 if draining else offer["slots"] - len(mine),
                    free_bytes=offer["memory_bytes"] - sum(ticket.memory_bytes for ticket in mine),
                    total_bytes=offer["memory_bytes"],
                    labels=frozenset(offer["labels"]),
                )
            )
        return found

    def start(self, ticket: Ticket) -> None:
        """Send an attempt to the worker that its ticket names."""
        from converter.jobs.worker import run

        key = (ticket.job_id, ticket.attempt)
        address = self._places.get(ticket.place)
        if self._client is None or address is None:
            self._reports.put(Lost(job_id=key[0], attempt=key[1], reason="It is gone.", counts=False))
            return
        name = f"{ticket.job_id}/{ticket.attempt}"
        resources = {"memory": ticket.memory_bytes, **{f"label {one}": 1 for one in ticket.labels}}
        future = self._client.submit(
            run,
            name,
            ticket.to_json(),
            self._storage.url,
            versions.own(),
            key=name,
            workers=[address],
            resources=resources,
            pure=False,
            retries=0,
        )
        self._running[key] = (ticket, address, future)
        future.add_done_callback(lambda done: self._done(key, done))
        if address in self._gone:  # told before there was a task: nobody would ever run it
            self._lost_with(key, "died", counts=False)

    def cancel(self, job_id: str, attempt: int) -> None:
        """Release an attempt's task; its worker ends the child and tells so."""
        found = self._running.get((job_id, attempt))
        if found is not None:
            found[2].cancel()

    def finished(self, timeout_s: float) -> list[Report]:
        """What was told since it was last asked."""
        if self._running:
            self._connected()
        with contextlib.suppress(queue.Empty):
            while True:
                self._dropped.get_nowait().cancel()
        found: list[Report] = []
        with contextlib.suppress(queue.Empty):
            found.append(self._reports.get(timeout=max(0.001, timeout_s)))
            while True:
                found.append(self._reports.get_nowait())
        return found

    def close(self) -> None:
        """Release every task, and leave the scheduler."""
        for _, _, future in list(self._running.values()):
            with contextlib.suppress(Exception):
                future.cancel()
        self._running.clear()
        if self._client is not None:
            self._client.close(timeout=_CONNECT_S)
            self._client = None

    # ------------------------------------------------------------ in the client's threads

    def _heard(self, event: tuple[float, Any]) -> None:
        """What a worker tells."""
        told = event[1]
        key = (told["job_id"], told["attempt"])
        if key not in self._running:
            return
        if "started" in told:
            self._reports.put(Started(job_id=key[0], attempt=key[1], worker=told["started"]))
        elif "events" in told:
            events = tuple(Event(**one) for one in told["events"])
            self._reports.put(Told(job_id=key[0], attempt=key[1], events=events))
        else:
            self._ended(key, told)

    def _done(self, key: Key, future: Any) -> None:
        if future.status == "finished":
            self._ended(key, future.result())
        elif future.status == "error":
            said = " ".join(str(future.exception()).split())[:400]
            self._ended(key, {"lost": {"reason": f"The worker failed: {said}", "counts": True}})
        # A cancelled one's worker tells how it ended; `_forget` tells it if the scheduler went away.

    def _ended(self, key: Key, told: dict[str, Any]) -> None:
        """Report an attempt's end, once."""
        if self._running.pop(key, None) is None:
            return
        if "outcome" in told:
            self._reports.put(Outcome.from_json(told["outcome"]))
        else:
            lost = {"job_id": key[0], "attempt": key[1], **told["lost"]}
            self._reports.put(Lost(**lost))

    def _watched(self, event: tuple[float, Any]) -> None:
        """What the scheduler tells of its workers: one is gone, and what it ran."""
        told = event[1]
        action = told.get("action") if isinstance(told, dict) else None
        if action == "add-worker":
            self._gone.discard(told["worker"])
        if action != "remove-worker":
            return
        # Before what runs is looked at: `start` does it in the other order, and one of both sees it.
        self._gone.add(told["worker"])
        expected = bool(told.get("expected"))
        for key, (_, address, _) in list(self._running.items()):
            if address == told["worker"]:
                self._lost_with(key, "was stopped" if expected else "died", counts=not expected)

    def _lost_with(self, key: Key, how: str, *, counts: bool) -> None:
        """Report an attempt as lost with its worker, and let go of its task."""
        found = self._running.get(key)
        if found is not None:
            ticket, _, future = found
            reason = f"The worker {ticket.place} {how}."
            self._ended(key, {"lost": {"reason": reason, "counts": counts}})
            self._dropped.put(future)
