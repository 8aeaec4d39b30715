"""A worker of a Dask scheduler: it announces what it can convert, and runs attempts.

The Dask process computes nothing itself. Each attempt has a child process (`attempt`), which ends when
its task is released, when the worker is told to stop, and when the worker dies.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import platform
import signal
import threading
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from distributed import Worker, WorkerPlugin, get_worker

from converter.errors import ToolchainError, UsageError
from converter.jobs import machine, versions
from converter.jobs.attempt import Working
from converter.jobs.errors import OtherVersion
from converter.jobs.executor import Lost, Ticket
from converter.jobs.isolation import Isolation
from converter.jobs.values import Outcome
from converter.jobs.warm import warm
from converter.processes.sandbox import Mode, Sandbox
from converter.processes.sandbox import find as find_sandbox
from converter.processes.work_folder import work_folder
from converter.storage import Storage
from converter.system import usable_cores

PLUGIN: Final = "nnconvert"
# Scheduler's metadata with the dispatcher's versions.
VERSIONS: Final = "nnconvert"
TOPIC: Final = "nnconvert"
_LOOK_S: Final = 0.5
_AGAIN_S: Final = 2.0
_CLOSE_S: Final = 10.0
# How long a scheduler may take to answer for the first time: they are often started together.
_FIRST_S: Final = 60.0


@dataclass(frozen=True, kw_only=True)
class Offer:
    """What a worker announces: `Place` without what is taken of it, and its versions."""

    name: str
    slots: int
    memory_bytes: int
    labels: frozenset[str]
    versions: Mapping[str, str]

    @classmethod
    def own(cls, slots: int | None, memory_bytes: int | None) -> Offer:
        """What this machine offers."""
        return cls(
            name=f"{platform.node() or 'worker'}-{os.getpid()}",
            slots=slots or usable_cores(),
            memory_bytes=memory_bytes or machine.memory_bytes(),
            labels=machine.labels(),
            versions=versions.own(),
        )

    @property
    def resources(self) -> dict[str, float]:
        """The same as Dask's resources; a label has no amount."""
        return {"memory": self.memory_bytes, **{f"label {one}": self.slots for one in self.labels}}


class Attempts(WorkerPlugin):  # type: ignore[misc]
    """The attempts that a worker runs, ended when their tasks are."""

    name = PLUGIN

    def __init__(
        self, offer: Offer, storage: str | None = None, sandbox: Sandbox | None = None
    ) -> None:
        """Attempts of a worker.

        Args:
            sandbox: What conversions run in, unless their tools cannot.
            storage: Where this machine has the storage, if not where the dispatcher has it.
        """
        self.offer = offer
        self.is_draining = False
        self._storage = storage
        self._isolation = Isolation(sandbox) if sandbox else None
        self._working: dict[str, Working] = {}
        self._lock = threading.Lock()

    @property
    def count(self) -> int:
        """How many attempts run."""
        return len(self._working)

    def transition(self, key: Any, start: str, finish: str, **_: Any) -> None:
        """Dask lets go of a task: its child must not run on."""
        with self._lock:
            working = self._working.get(str(key))
        if working is not None and start == "executing" and finish != "memory":
            threading.Thread(target=working.cancel, name=f"cancel {key}").start()

    def teardown(self, worker: Any) -> None:  # noqa: ARG002
        """The worker ends."""
        self.end_all()

    def end_all(self, reason: str = "The worker was stopped.") -> None:
        """End what runs."""
        with self._lock:
            working = list(self._working.values())
        threads = [threading.Thread(target=one.cancel, args=(reason,)) for one in working]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def run(
        self, key: str, ticket: Ticket, storage: str, tell: Callable[[Any], None]
    ) -> Outcome | Lost:
        """Run an attempt to its end; in a thread of the worker's."""
        with work_folder() as folder:
            files = Storage(self._storage or storage)
            working = Working(ticket, files, folder, self._isolation)
            with self._lock:
                self._working[key] = working
            over = threading.Event()
            teller = threading.Thread(target=_tell, args=(working, over, tell))
            teller.start()
            try:
                return working.run()
            finally:
                with self._lock:
                    del self._working[key]
                over.set()
                teller.join()


def _tell(working: Working, over: threading.Event, tell: Callable[[Any], None]) -> None:
    while not over.wait(_LOOK_S):
        if events := working.look():
            tell([asdict(one) for one in events])


def run(key: str, ticket: dict[str, Any], storage: str, theirs: dict[str, str]) -> dict[str, Any]:
    """What a task is: an attempt's outcome, or its loss, as JSON data."""
    worker = get_worker()
    attempts = worker.plugins[PLUGIN]
    assert isinstance(attempts, Attempts)
    one = Ticket.from_json(ticket)
    about = {"job_id": one.job_id, "attempt": one.attempt}
    if differs := versions.difference(attempts.offer.versions, theirs):
        reason = f"The worker {attempts.offer.name} is of another version: {differs}."
        return {"lost": {**about, "reason": reason, "counts": False}}
    worker.log_event(TOPIC, {**about, "started": attempts.offer.name})
    report = attempts.run(
        key, one, storage, lambda events: worker.log_event(TOPIC, {**about, "events": events})
    )
    told = {"lost": asdict(report)} if isinstance(report, Lost) else {"outcome": report.to_json()}
    # The future of a task that was cancelled tells nothing.
    worker.log_event(TOPIC, {**about, **told})
    return told


def serve(
    scheduler: str,
    *,
    slots: int | None = None,
    memory_bytes: int | None = None,
    storage: str | None = None,
    sandbox: Mode = "auto",
    say: Callable[[str], None],
) -> None:
    """Work for a scheduler until SIGTERM or SIGINT: the first one drains, a second one ends at once.

    A scheduler that goes away is waited for.

    Raises:
        OtherVersion: The dispatcher is of another version.
        UsageError: The address is none.
        ToolchainError: No scheduler answers there, for a minute; or a sandbox is required, and does not
            work here.
    """
    logging.getLogger("distributed").setLevel(logging.WARNING)
    hidden = [Path(storage).absolute()] if storage and "://" not in storage else []
    found, said = find_sandbox(sandbox, hidden=hidden)
    say(f"Sandbox: {said}.")
    offer = Offer.own(slots, memory_bytes)
    is_warm = found is None or "engine" in offer.labels  # see `Here`
    with work_folder() as folder, warm(folder) if is_warm else contextlib.nullcontext():
        asyncio.run(_serve(scheduler, offer, storage, found, folder, say))


async def _serve(
    scheduler: str,
    offer: Offer,
    storage: str | None,
    sandbox: Sandbox | None,
    folder: Path,
    say: Callable[[str], None],
) -> None:
    asked = asyncio.Event()
    again = asyncio.Event()

    def stop() -> None:
        (again if asked.is_set() else asked).set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    waiting, was_reached, began = False, False, loop.time()
    while not asked.is_set():
        attempts = Attempts(offer, storage, sandbox)
        worker = _worker(scheduler, offer, attempts, folder)
        try:
            await asyncio.wait_for(worker, _CLOSE_S)
        except ValueError as error:
            raise UsageError(
                f"--scheduler {scheduler}: {error}", remedy="Write tcp://HOST:8786."
            ) from None
        except (OSError, TimeoutError):
            with contextlib.suppress(Exception):
                await worker.close(timeout=1, nanny=False)
            if not was_reached and loop.time() >= began + _FIRST_S:
                raise ToolchainError(
                    f"No scheduler answers at {scheduler}.",
                    remedy="Start one (dask scheduler), or check the address and the network.",
                ) from None
            if not waiting:
                say(f"Waiting for the scheduler at {scheduler}.")
            waiting = True
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(asked.wait(), _AGAIN_S)
            continue
        waiting, was_reached = False, True
        theirs = await worker.scheduler.get_metadata(keys=[VERSIONS], default=None)
        if theirs and (differs := versions.difference(offer.versions, theirs)):
            await worker.close(nanny=False)
            raise OtherVersion(
                f"The dispatcher is of another version; this worker has {differs}.",
                remedy="Install the dispatcher's versions here.",
            )
        say(f"{offer.name}: {offer.slots} at once, {offer.memory_bytes / 1e9:.1f} GB, {_named(offer)}")
        closed = asyncio.create_task(worker.finished())
        stopped = asyncio.create_task(asked.wait())
        await asyncio.wait((closed, stopped), return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        if asked.is_set():
            attempts.is_draining = True
            if attempts.count:
                say(f"Draining: waiting for {attempts.count} conversions; stop again to end them.")
            while attempts.count and not again.is_set():
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(again.wait(), 0.2)
        await loop.run_in_executor(None, attempts.end_all)
        if not closed.done():
            await asyncio.sleep(0.5 if again.is_set() else 0.1)  # what they told is on its way
            await worker.close(nanny=False)
        await closed


def _worker(scheduler: str, offer: Offer, attempts: Attempts, folder: Path) -> Any:
    return Worker(
        scheduler,
        name=offer.name,
        nthreads=offer.slots,
        resources=offer.resources,
        # It holds nothing; its children's memory is what `Place` counts.
        memory_limit=0,
        local_directory=str(folder),
        plugins=(attempts,),
        startup_information={PLUGIN: lambda _: _plain(offer)},
        metrics={PLUGIN: lambda _: {"draining": attempts.is_draining}},
        dashboard=False,
        death_timeout=_CLOSE_S,
    )


def _plain(offer: Offer) -> dict[str, Any]:
    return asdict(offer) | {"labels": sorted(offer.labels), "versions": dict(offer.versions)}


def _named(offer: Offer) -> str:
    return " ".join(sorted(offer.labels)) or "no toolchain"
