"""kill -9 of the server, and of what works for it, at random moments: every accepted job ends once.

`python -m tests.benchmarks.service_faults --kills 12` (`nox -s service_faults`) writes
`tests/benchmarks/results/service-faults.md`; `tests/convert/test_serve_faults.py` does it with two kills.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import hashlib
import json
import os
import platform
import random
import signal
import tempfile
import time
import urllib.error
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from converter.client.client import Client
from converter.jobs.database import connect
from converter.jobs.rows import Rows
from converter.jobs.states import ENDED, State
from converter.storage import Storage
from tests.serving import Server, make_key, start
from tests.sources import DIGITS_ARCHIVE

_FILE = bytes(range(256)) * 4096
RESULTS = Path(__file__).parent / "results/service-faults.md"


@dataclass(frozen=True, kw_only=True)
class Kill:
    """What was killed, how long after it was chosen to wait, and the state that it left in the rows."""

    victim: str
    after_s: float
    states: str


@dataclass(frozen=True, kw_only=True)
class Told:
    """How a job ended.

    Attributes:
        attempts: All of them; `counted` those whose loss counts against the job.
        ended: Attempts with an end of their own: one, or none for a job that failed by its losses.
    """

    name: str
    state: State
    attempts: int
    counted: int
    ended: int
    reason: str


def children(pid: int) -> list[int]:
    """All descendants of a process."""
    found: list[int] = []
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in map(int, (task / "children").read_text().split()):
                found += [child, *children(child)]
    return found


def _working(pid: int) -> list[int]:
    """Descendants of a server once a conversion is among them: beside what only forks."""
    until = time.monotonic() + 30
    while len(found := children(pid)) < 3 and time.monotonic() < until:
        time.sleep(0.1)
    return found


def run(folder: Path, *, victims: Sequence[str], jobs: int, seed: int) -> tuple[list[Kill], list[Told]]:
    """Submit jobs, kill at random moments, start again, and wait until all have ended.

    Raises:
        AssertionError: A job did not end, ended twice, or its file is not what its row says; or a
            process outlived the server.
    """
    dice = random.Random(seed)
    data = folder / "data"
    server = start(data, make_key(data))
    port = int(server.url.rpartition(":")[2])
    kills: list[Kill] = []
    try:
        source = Client(server.url, server.key).upload(DIGITS_ARCHIVE)
        half = _half_sent(server)
        names = [f"job{number}" for number in range(jobs)]
        for number, name in enumerate(names):
            options = {"rvc2.number_of_shaves": number % 16 + 1, "verify.frames": 1 + number // 16}
            body = {"source": source, "target": "rvc2", "options": options}
            server.put(f"/v1/conversions/{name}", body)
        for victim in victims:
            after_s = dice.uniform(0.0, 6.0)
            time.sleep(after_s)
            below = children(server.process.pid)
            if victim == "child":
                below = _working(server.process.pid)
            if victim == "server":
                server.process.kill()
                server.process.wait()
                _gone(below)
            else:
                for pid in dice.sample(below, min(1, len(below))):
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
            states = Counter(job.state for job in _rows(data, names))
            told = ", ".join(f"{number} {state}" for state, number in sorted(states.items()))
            kills.append(Kill(victim=victim, after_s=after_s, states=told))
            if victim == "server":
                server = start(data, server.key, port=port)
        until = time.monotonic() + 900
        while any(job.state not in ENDED for job in _rows(data, names)):
            assert time.monotonic() < until, server.log
            time.sleep(0.5)
        _looked_at(server, names)
        _sent_on(server, half)
    finally:
        below = children(server.process.pid)
        server.process.send_signal(signal.SIGINT)
        server.process.wait(60)
    _gone(below)
    return kills, list(_told(data, names))


def _half_sent(server: Server) -> str:
    """Announce a file and send half of it: the upload's address."""
    told = f"sha256:{hashlib.sha256(_FILE).hexdigest()}"
    upload = server.send("POST", "/v1/uploads", {"name": "a.onnx", "size": len(_FILE), "digest": told})
    address = f"/v1/uploads/{upload['id']}"
    server.send("PATCH", address, _FILE[: len(_FILE) // 2], {"Upload-Offset": "0"})
    return address


def _sent_on(server: Server, address: str) -> None:
    """What was taken of a file before the kills is still there, and the rest completes it."""
    offset = json.loads(server.get(address))["offset"]
    assert offset == len(_FILE) // 2
    rest = server.send("PATCH", address, _FILE[offset:], {"Upload-Offset": str(offset)})
    assert rest["complete"]


def _gone(pids: Sequence[int]) -> None:
    """No process outlives the server by more than a few seconds."""
    until = time.monotonic() + 20
    while left := [pid for pid in pids if Path(f"/proc/{pid}/exe").exists()]:
        assert time.monotonic() < until, f"{left} outlived the server"
        time.sleep(0.1)


def _open(data: Path) -> Rows:
    return Rows(connect(str(data / "service.sqlite"), wait_s=30))


def _rows(data: Path, names: Sequence[str]) -> list:  # type: ignore[type-arg]
    rows = _open(data)
    try:
        found = {job.name: job for job in rows.find(tenant="alice", limit=1000)}
        return [found[name] for name in names]  # an accepted job is never gone
    finally:
        rows.engine.dispose()


def _looked_at(server: Server, names: Sequence[str]) -> None:
    """What a client sees of each job agrees with its end."""
    for name in names:
        with contextlib.suppress(urllib.error.HTTPError):
            assert server.get(f"/v1/conversions/{name}/artefacts/archive")


def _told(data: Path, names: Sequence[str]) -> Iterator[Told]:
    rows, storage = _open(data), Storage(data / "storage")
    with tempfile.TemporaryDirectory() as folder:
        for job in _rows(data, names):
            attempts = rows.attempts(job.id)
            ended = [one for one in attempts if one.state is not None]
            assert not [one for one in attempts if one.state is State.RUNNING], job
            assert len(ended) <= 1, attempts
            made = rows.artefacts(job.id)
            assert ("archive" in made) == (job.state is State.SUCCEEDED), job
            if job.state is State.SUCCEEDED:
                assert [one.state for one in ended] == [State.SUCCEEDED]
                assert job.result["sha256"] == made["archive"].digest.removeprefix("sha256:")
                storage.fetch(made["archive"].digest, Path(folder) / job.name)  # checked as it is read
            else:
                assert job.reason, job
            states = [one.data["state"] for one in rows.events(job.id) if one.kind == "state"]
            assert sum(state in ENDED for state in states) == 1, states
            yield Told(
                name=job.name,
                state=job.state,
                attempts=len(attempts),
                counted=sum(one.counts for one in attempts),
                ended=len(ended),
                reason=job.reason,
            )
    rows.engine.dispose()


def table(kills: Sequence[Kill], told: Sequence[Told], seed: int) -> str:
    """The results for people."""
    lines = [
        "# kill -9 of the service",
        "",
        f"`nox -s service_faults`, {datetime.datetime.now(datetime.UTC):%Y-%m-%d}, seed {seed}, Python "
        f"{platform.python_version()}, {os.cpu_count()} cores shared with other work. SQLite; attempts on "
        "the server's machine. `child` is one of the server's descendants, chosen at random: a conversion, "
        "one of its tools, or the process that forks them. After each kill of the server all its "
        "descendants were gone within 20 s.",
        "",
        "| kill | victim | after | the rows then |",
        "|---|---|---|---|",
        *(
            f"| {number} | {one.victim} | {one.after_s:.1f} s | {one.states} |"
            for number, one in enumerate(kills, 1)
        ),
        "",
        "| job | ended | attempts | lost that count | reason |",
        "|---|---|---|---|---|",
        *(
            f"| {one.name} | {one.state} | {one.attempts} | {one.counted} | {one.reason} |"
            for one in told
        ),
        "",
        f"{len(kills)} kills, {len(told)} jobs: every one ended exactly once.",
        "",
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=12)
    parser.add_argument("--jobs", type=int, default=10)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    victims = [("server", "child", "server")[number % 3] for number in range(given.kills)]
    with tempfile.TemporaryDirectory() as folder:
        kills, told = run(Path(folder), victims=victims, jobs=given.jobs, seed=given.seed)
    RESULTS.write_text(table(kills, told, given.seed))
    print(RESULTS.read_text())


if __name__ == "__main__":
    main()
