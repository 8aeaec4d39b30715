"""Attempts on this machine: as many as its cores and its memory take, each in a process of its own."""

from __future__ import annotations

import contextlib
import platform
import queue
import threading
import time
from collections.abc import Sequence
from typing import Final

from converter.errors import ConvertError
from converter.jobs import machine
from converter.jobs.attempt import Working
from converter.jobs.executor import Lost, Place, Report, Started, Ticket, Told
from converter.jobs.isolation import Isolation
from converter.jobs.values import Outcome
from converter.jobs.warm import warm as keep_warm
from converter.processes.removal import temporary_folder
from converter.processes.work_folder import work_folder
from converter.storage import Storage
from converter.system import usable_cores

# How often running attempts are looked at: their events, their memory.
_LOOK_S: Final = 0.5


class Here:
    """This machine as an executor."""

    def __init__(
        self,
        storage: Storage,
        *,
        slots: int | None = None,
        memory_bytes: int | None = None,
        labels: frozenset[str] | None = None,
        warm: bool = True,
        isolation: Isolation | None = None,
    ) -> None:
        """Take this machine.

        Args:
            storage: Where inputs come from and outputs go.
            slots: How many attempts run at once; None for the number of cores.
            memory_bytes: What they may take together; None for most of what there is.
            labels: What it offers; None for what is found out (`machine.labels`).
            warm: Whether a process keeps what every conversion imports, where they run in no sandbox.
            isolation: The sandbox that they run in, unless their tools cannot.
        """
        self.refusals: dict[str, str] = {}
        self._storage = storage
        self._slots = slots or usable_cores()
        self._memory_bytes = memory_bytes or machine.memory_bytes()
        self._labels = machine.labels() if labels is None else labels
        self._name = platform.node() or "here"
        self._reports: queue.SimpleQueue[Report] = queue.SimpleQueue()
        self._working: dict[tuple[str, int], Working] = {}
        self._tickets: dict[tuple[str, int], Ticket] = {}
        self._threads: dict[tuple[str, int], threading.Thread] = {}
        self._cancelled: set[tuple[str, int]] = set()
        self._lock = threading.Lock()
        self._looked_at = 0.0
        self._stack = contextlib.ExitStack()
        # One for all attempts: making one looks for those of killed runs.
        self._work = self._stack.enter_context(work_folder())
        self._isolation = isolation
        # In a sandbox each conversion imports for itself; where there is an engine, some run in none.
        if warm and (isolation is None or "engine" in self._labels):
            self._stack.enter_context(keep_warm(self._work))

    def room(self) -> Sequence[Place]:
        """This machine, with what is left of it."""
        with self._lock:
            taken = sum(ticket.memory_bytes for ticket in self._tickets.values())
            free = self._slots - len(self._tickets)
        return [
            Place(
                name=self._name,
                free=free,
                free_bytes=self._memory_bytes - taken,
                total_bytes=self._memory_bytes,
                labels=self._labels,
            )
        ]

    def start(self, ticket: Ticket) -> None:
        """Begin an attempt in a thread, which waits for its process."""
        key = (ticket.job_id, ticket.attempt)
        thread = threading.Thread(target=self._run, args=(key, ticket), name=f"job {ticket.job_id}")
        with self._lock:
            self._tickets[key] = ticket
            self._threads[key] = thread
        thread.start()

    def _run(self, key: tuple[str, int], ticket: Ticket) -> None:
        self._reports.put(Started(job_id=key[0], attempt=key[1], worker=self._name))
        report: Outcome | Lost
        try:
            with temporary_folder(self._work) as folder:
                working = Working(ticket, self._storage, folder, self._isolation)
                with self._lock:
                    self._working[key] = working
                    is_cancelled = key in self._cancelled
                if is_cancelled:
                    working.cancel()
                report = working.run()
        except (ConvertError, OSError) as error:
            report = Lost(job_id=key[0], attempt=key[1], reason=f"The attempt failed: {error}")
        except Exception as error:  # noqa: BLE001 - a bug of ours must not keep the job for ever
            said = f"A bug in the converter: {type(error).__name__}: {error}"
            report = Lost(job_id=key[0], attempt=key[1], reason=said)
        with self._lock:
            self._working.pop(key, None)
            del self._tickets[key]
            del self._threads[key]
            self._cancelled.discard(key)
        self._reports.put(report)

    def cancel(self, job_id: str, attempt: int) -> None:
        """End an attempt: its conversion has a few seconds to end its tools and containers."""
        key = (job_id, attempt)
        with self._lock:
            if key not in self._tickets:
                return
            self._cancelled.add(key)
            working = self._working.get(key)
        if working is not None:
            # It may take as long as the conversion cleans up.
            threading.Thread(target=working.cancel, name=f"cancel {job_id}").start()

    def finished(self, timeout_s: float) -> list[Report]:
        """What happened since it was last asked."""
        found = self._told()
        with contextlib.suppress(queue.Empty):
            found.append(self._reports.get(timeout=0 if found else max(0.001, timeout_s)))
            while True:
                found.append(self._reports.get_nowait())
        return found

    def _told(self) -> list[Report]:
        """What running attempts tell, at most every `_LOOK_S`."""
        now = time.monotonic()
        if now < self._looked_at + _LOOK_S:
            return []
        self._looked_at = now
        with self._lock:
            working = dict(self._working)
        found: list[Report] = []
        for (job_id, attempt), one in working.items():
            if events := one.look():
                found.append(Told(job_id=job_id, attempt=attempt, events=events))
        return found

    def close(self) -> None:
        """End every attempt with all that it started, and the process that is kept warm."""
        with self._lock:
            keys, threads = list(self._tickets), list(self._threads.values())
        for key in keys:
            self.cancel(*key)
        for thread in threads:
            thread.join()
        self._stack.close()
