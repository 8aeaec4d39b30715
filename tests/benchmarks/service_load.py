"""50 clients that ask for a job's state over loopback while two conversions run.

`python -m tests.benchmarks.service_load` (`nox -s service_load`) writes
`tests/benchmarks/results/service-load.md`.
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import tempfile
import threading
import time
from http.client import HTTPConnection
from pathlib import Path
from statistics import quantiles

from converter.client.client import Client
from tests.postgres import postgres
from tests.serving import Server, make_key, start
from tests.sources import DIGITS_ARCHIVE

RESULTS = Path(__file__).parent / "results/service-load.md"


def asked(
    server: Server, paths: list[str], seconds: float, clients: int, pause_s: float
) -> list[float]:
    """The seconds of each answer, over all clients; each has a connection of its own and pauses."""
    until = time.monotonic() + seconds
    found: list[list[float]] = [[] for _ in range(clients)]
    host, port = server.url.removeprefix("http://").split(":")

    def client(number: int) -> None:
        connection = HTTPConnection(host, int(port), timeout=60)
        headers = {"Authorization": f"Bearer {server.key}"}
        time.sleep(pause_s * number / clients)
        while time.monotonic() < until:
            began = time.perf_counter()
            connection.request("GET", paths[number % len(paths)], headers=headers)
            answer = connection.getresponse()
            answer.read()
            assert answer.status == 200
            found[number].append(time.perf_counter() - began)
            time.sleep(pause_s)
        connection.close()

    threads = [threading.Thread(target=client, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [one for several in found for one in several]


def submitted(server: Server, source: str, jobs: int) -> float:
    """Submissions per second of one client."""
    began = time.monotonic()
    for number in range(jobs):
        # Their labels' place is taken by those that run: they wait.
        server.put(f"/v1/conversions/w{number}", {"source": source, "target": "rvc2"})
    return jobs / (time.monotonic() - began)


def measured(folder: Path, database: str | None, given: argparse.Namespace) -> str:
    data = folder / "data"
    words = [] if database is None else ["--database", database]
    server = start(data, make_key(data, *words), *words)
    try:
        source = Client(server.url, server.key).upload(DIGITS_ARCHIVE)
        server.put("/v1/conversions/looked", {"source": source, "target": "rvc2"})
        paths = ["/v1/conversions/looked"]
        while b'"succeeded"' not in server.get(paths[0]):
            time.sleep(0.5)
        idle = asked(server, paths, given.seconds, given.clients, given.pause_s)
        rate = submitted(server, source, given.jobs)
        busy = asked(server, paths, given.seconds, given.clients, given.pause_s)
        state = server.get("/metrics").decode()
        assert 'nnconvert_jobs{state="failed"} 0' in state
    finally:
        server.process.terminate()
        server.process.wait(120)
    name = "SQLite" if database is None else "PostgreSQL"

    def row(what: str, times: list[float]) -> str:
        cuts = quantiles([1000 * one for one in times], n=100)
        return (
            f"| {name}, {what} | {len(times)} | {cuts[49]:.0f} | {cuts[94]:.0f} | {cuts[98]:.0f} |  |"
        )

    return "\n".join(
        [
            row("idle", idle),
            row("two conversions running", busy),
            f"| {name}, PUT | {given.jobs} | | | | {rate:.0f}/s |",
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument(
        "--pause-s", type=float, default=1.0, help="the official client polls every second"
    )
    parser.add_argument("--jobs", type=int, default=20)
    parser.add_argument("--sqlite-only", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        rows = [measured(Path(folder), None, given)]
    if not given.sqlite_only:
        with tempfile.TemporaryDirectory() as folder, postgres() as server:
            rows.append(measured(Path(folder), server.database(), given))
    RESULTS.write_text(
        "# GET of a conversion's state under load\n\n"
        f"`nox -s service_load`, {datetime.datetime.now(datetime.UTC):%Y-%m-%d}, Python "
        f"{platform.python_version()}, {os.cpu_count()} cores **that other work used at the same time**: "
        f"the times are upper bounds. {given.clients} clients on loopback, each with a pause of "
        f"{given.pause_s:g} s between its requests, for {given.seconds:g} s; the clients are threads of one "
        "Python process on the same cores.\n\n"
        "| | requests | p50, ms | p95, ms | p99, ms | rate |\n|---|---|---|---|---|---|\n"
        + "\n".join(rows)
        + "\n"
    )
    print(RESULTS.read_text())


if __name__ == "__main__":
    main()
