"""50 clients that ask for a job's state over loopback while two conversions run.

`python -m tests.benchmarks.service_load` (`nox -s service_load`) writes
`tests/benchmarks/results/service-load.md`. `--beside FOLDER` measures another checkout in turn with this
one: on a machine that does other work only that compares.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import datetime
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import quantiles

from converter.client.client import Client
from tests.benchmarks.service_faults import children
from tests.postgres import postgres
from tests.serving import Server, make_key, start
from tests.sources import DIGITS_ARCHIVE

RESULTS = Path(__file__).parent / "results/service-load.md"
_TICKS_S = os.sysconf("SC_CLK_TCK")
_RUNNING = re.compile(rb'nnconvert_jobs\{state="running"\} (\d+)')


@dataclass
class Measured:
    """Answers of one phase: their seconds, and the CPU seconds of the server's own process."""

    seconds: list[float] = field(default_factory=list)
    cpu_s: float = 0.0

    def __iadd__(self, other: Measured) -> Measured:
        self.seconds += other.seconds
        self.cpu_s += other.cpu_s
        return self


async def asked(
    port: int, paths: Sequence[str], key: str, seconds: float, clients: int, pause_s: float
) -> list[float]:
    """The seconds of each answer, over all clients; each has a connection of its own and pauses."""
    until = time.monotonic() + seconds
    found: list[float] = []

    async def client(number: int) -> None:
        path = paths[number % len(paths)]
        request = (
            f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {key}\r\n\r\n".encode()
        )
        await asyncio.sleep(pause_s * number / clients)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while time.monotonic() < until:
            began = time.perf_counter()
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            told = re.search(rb"(?i)content-length: (\d+)", head)
            assert head.startswith(b"HTTP/1.1 200"), head
            assert told, head
            await reader.readexactly(int(told[1]))
            found.append(time.perf_counter() - began)
            await asyncio.sleep(pause_s)
        writer.close()

    await asyncio.gather(*(client(number) for number in range(clients)))
    return found


def measured(server: Server, paths: Sequence[str], given: argparse.Namespace) -> Measured:
    """Ask, in a process of its own: its work is not the server's, and not this one's."""
    port = server.url.rpartition(":")[2]
    call = (port, list(paths), server.key, given.seconds, given.clients, given.pause_s)
    code = (
        "import asyncio, json; from tests.benchmarks.service_load import asked; "
        f"print(json.dumps(asyncio.run(asked(*{call!r}))))"
    )
    began = _cpu_s(server.process.pid)
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    return Measured(json.loads(done.stdout), _cpu_s(server.process.pid) - began)


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_S


@contextlib.contextmanager
def served(data: Path, database: str | None, code: Path | None) -> Iterator[Server]:
    """A server of this code or of another checkout's."""
    words = [] if database is None else ["--database", database]
    with contextlib.ExitStack() as stack:
        if code is not None:  # `python -c` looks into the current folder first
            stack.enter_context(contextlib.chdir(code))
        server = start(data, make_key(data, *words), *words)
    try:
        yield server
    finally:
        below = children(server.process.pid)
        server.process.terminate()
        server.process.wait(120)
        assert not [pid for pid in below if Path(f"/proc/{pid}/exe").exists()]


def submitted(server: Server, source: str, names: Sequence[str]) -> float:
    """Submissions per second of one client."""
    began = time.monotonic()
    for number, name in enumerate(names):
        options = {"rvc2.number_of_shaves": number % 16 + 1}
        body = {"source": source, "target": "rvc2", "options": options}
        server.put(f"/v1/conversions/{name}", body)
    return len(names) / (time.monotonic() - began)


def phases(
    data: Path, database: str | None, code: Path | None, turn: int, given: argparse.Namespace
) -> dict[str, Measured]:
    """Idle, and with two conversions running; half of the clients ask for these."""
    with served(data, database, code) as server:
        source = Client(server.url, server.key).upload(DIGITS_ARCHIVE)
        server.put("/v1/conversions/looked", {"source": source, "target": "rvc2"})
        ended = "/v1/conversions/looked"
        while b'"succeeded"' not in server.get(ended):
            time.sleep(0.5)
        idle = measured(server, [ended], given)
        names = [f"w{turn}-{number}" for number in range(given.jobs)]
        submitted(server, source, names)
        while _running(server) < 2:
            time.sleep(0.2)
        going_on = [f"/v1/conversions/{name}" for name in names[:2]]
        busy = measured(server, [ended, *going_on, ended], given)
        assert _running(server) >= 2, "The conversions ended before the requests did: give more --jobs."
        assert b'nnconvert_jobs{state="failed"} 0' in server.get("/metrics")
    return {"idle": idle, "two conversions running": busy}


def _running(server: Server) -> int:
    found = _RUNNING.search(server.get("/metrics"))
    assert found
    return int(found[1])


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument(
        "--pause-s", type=float, default=1.0, help="the official client polls every second"
    )
    parser.add_argument("--jobs", type=int, default=30)
    parser.add_argument("--turns", type=int, default=1)
    parser.add_argument("--beside", type=Path, help="another checkout, measured in turn")
    parser.add_argument("--databases", nargs="+", default=["SQLite", "PostgreSQL"])
    parser.add_argument("--output", type=Path, default=RESULTS)
    given = parser.parse_args()
    codes = [(given.beside, "before")] if given.beside else []
    codes.append((None, "now"))
    found: dict[tuple[str, str, str], Measured] = {}
    load, *_ = os.getloadavg()
    with postgres() as server:
        for turn in range(given.turns):
            for name in given.databases:
                for code, when in codes:
                    database = server.database() if name == "PostgreSQL" else None
                    with tempfile.TemporaryDirectory() as folder:
                        for what, one in phases(
                            Path(folder) / "data", database, code, turn, given
                        ).items():
                            found.setdefault((name, what, when), Measured())
                            found[name, what, when] += one
                            print(row(name, what, when, one), flush=True)
    given.output.write_text(
        "# GET of a conversion's state under load\n\n"
        f"`nox -s service_load`, {datetime.datetime.now(datetime.UTC):%Y-%m-%d}, Python "
        f"{platform.python_version()}, {os.cpu_count()} cores, load average {load:.1f} before it began. "
        f"{given.clients} clients on loopback in a process of their own, each "
        f"with a pause of {given.pause_s:g} s between its requests, for {given.seconds:g} s, {given.turns} "
        "times. CPU is that of the server's process, the dispatcher with it, for each answer.\n\n"
        "| database | while | code | requests | p50, ms | p95, ms | p99, ms | CPU, ms |\n"
        "|---|---|---|---|---|---|---|---|\n"
        + "\n".join(row(*key, one) for key, one in found.items())
        + "\n"
    )
    print(given.output.read_text())


def row(name: str, what: str, when: str, one: Measured) -> str:
    cuts = quantiles([1000 * each for each in one.seconds], n=100)
    cpu_ms = 1000 * one.cpu_s / len(one.seconds)
    times = " | ".join(f"{cuts[place]:.0f}" for place in (49, 94, 98))
    return f"| {name} | {what} | {when} | {len(one.seconds)} | {times} | {cpu_ms:.1f} |"


if __name__ == "__main__":
    main()
