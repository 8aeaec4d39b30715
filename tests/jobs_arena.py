"""Processes of the job system, killed at random moments, and what must hold afterwards."""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from converter.jobs.database import connect
from converter.jobs.errors import DatabaseAway
from converter.jobs.rows import Rows
from converter.jobs.states import FOLLOWS, State
from converter.jobs.values import Job, Limits, Request, Submission
from converter.storage import Storage
from tests.documents import ROOT
from tests.postgres import Postgres


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@dataclass
class Arena:
    """A database, a storage, a dispatcher, and a scheduler with workers if it is a cluster."""

    folder: Path
    server: Postgres | None = None
    cluster: bool = False
    random: random.Random = field(default_factory=lambda: random.Random(0))
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    kills: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("tmp", "marks"):
            (self.folder / name).mkdir(parents=True)
        self.database = self.server.database() if self.server else str(self.folder / "jobs.db")
        self.files = str(self.folder / "files")
        self.address = f"tcp://127.0.0.1:{free_port()}"
        self.rows = Rows(connect(self.database))
        self.storage = Storage(self.files)
        self.source = self.storage.put(b"a source")

    # ------------------------------------------------------------ processes

    def start(self, name: str) -> None:
        """Start `dispatcher`, `scheduler`, `worker1` or `worker2`."""
        double = [sys.executable, "-m", "tests.jobs_double"]
        host, port = self.address.removeprefix("tcp://").split(":")
        listen = ["--host", host, "--port", port, "--no-dashboard"]
        cluster = [self.address] if self.cluster else []
        command = {
            "dispatcher": [*double, "dispatcher", self.database, self.files, *cluster],
            "scheduler": [sys.executable, "-m", "distributed.cli.dask_scheduler", *listen],
        }.get(name, [*double, "worker", self.address])
        env = os.environ | {"TMPDIR": str(self.folder / "tmp"), "PYTHONPATH": str(ROOT)}
        with (self.folder / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                command, stdout=log, stderr=log, cwd=ROOT, env=env, stdin=subprocess.DEVNULL
            )

    @contextlib.contextmanager
    def running(self, workers: int = 2) -> Iterator[None]:
        names = ["scheduler", *(f"worker{n + 1}" for n in range(workers))] if self.cluster else []
        for name in (*names, "dispatcher"):
            self.start(name)
        try:
            yield
        finally:
            for process in self.processes.values():
                process.kill()
                process.wait()
            self.rows.engine.dispose()

    def kill(self, name: str) -> None:
        """kill -9 of a process that was started, of `child`, or of the database; and start it again."""
        self.kills[name] = self.kills.get(name, 0) + 1
        if name == "child":
            alive: list[int] = []
            until = time.monotonic() + 10
            while not alive and time.monotonic() < until:
                alive = [pid for pid in self.marked() if is_alive(pid)]
                time.sleep(0.02)
            with contextlib.suppress(ProcessLookupError):
                if alive:
                    os.kill(self.random.choice(alive), signal.SIGKILL)
        elif name == "database":
            assert self.server is not None
            self.server.kill()
            time.sleep(self.random.uniform(0, 0.5))
            self.server.start()
        else:
            self.processes[name].kill()
            self.processes[name].wait()
            time.sleep(self.random.uniform(0, 0.5))
            self.start(name)

    def marked(self) -> list[int]:
        """The attempts' processes and their children, of now and before."""
        return [int(path.name) for path in (self.folder / "marks").iterdir()]

    # ------------------------------------------------------------ jobs

    def submit(self, name: str, **options: object) -> None:
        given = {"marks": str(self.folder / "marks"), **options}
        request = Request(source=self.source, source_name="a.tar", target="rvc2", options=given)
        self.rows.submit(Submission(id=name, request=request, limits=Limits(memory_bytes=10**9)))

    def wait(self, name: str, *states: State, timeout_s: float = 120) -> Job:
        until = time.monotonic() + timeout_s
        while True:
            with contextlib.suppress(DatabaseAway):
                job = self.rows.get(name)
                if job.state in states or job.has_ended:
                    return job
            assert time.monotonic() < until, (job, self.logs())
            time.sleep(0.05)

    def wait_for_marks(self, count: int, timeout_s: float = 60) -> list[int]:
        until = time.monotonic() + timeout_s
        while len(found := self.marked()) < count:
            assert time.monotonic() < until, self.logs()
            time.sleep(0.05)
        return found

    def logs(self) -> str:
        return "\n".join(path.read_text()[-3000:] for path in self.folder.glob("*.log"))

    # ------------------------------------------------------------ what must hold

    def check(self) -> None:
        """Every job has ended exactly once, with whole files, and nothing of it runs any more."""
        for job in self.rows.all():
            attempts = self.rows.attempts(job.id)
            lost = [one for one in attempts if one.state is None and one.counts]
            done = [one.number for one in attempts if one.state is State.SUCCEEDED]
            assert [one.number for one in attempts] == [*range(1, job.attempt + 1)]
            if job.state is State.SUCCEEDED:
                assert done == [job.attempt]
                archive = self.rows.artefacts(job.id)["archive"]
                assert self.storage.verify(archive.digest)
                with self.storage.open(archive.digest) as file:
                    assert file.read() == b"a source converted"
            else:
                # Its attempts were killed three times, or the tool that one of them had started.
                assert job.state is State.FAILED
                assert len(lost) == 3 or "was killed from outside" in job.reason, job
                assert done == []
            events = self.rows.events(job.id, limit=10_000)
            assert [one.position for one in events] == [*range(1, job.events + 1)]
            states = [State(one.data["state"]) for one in events if one.kind == "state"]
            assert all(after in FOLLOWS[before] for before, after in itertools.pairwise(states))
            assert states[-1] is job.state
            of_attempts = [(one.attempt, one.number) for one in events if one.kind != "state"]
            assert len(set(of_attempts)) == len(of_attempts)

    def check_gone(self, timeout_s: float = 20) -> None:
        """No process of this arena is left, once all that was started has been killed."""
        until = time.monotonic() + timeout_s
        while left := self.left():
            assert time.monotonic() < until, left
            time.sleep(0.1)

    def left(self) -> dict[int, str]:
        """Processes that were started with this arena's folder in their environment."""
        found = {}
        for place in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if str(self.folder).encode() in (place / "environ").read_bytes():
                    name = (place / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                    found[int(place.name)] = name
        return found
