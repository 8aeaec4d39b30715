"""What jobs cost; `nox -s jobs_benchmark` writes results/jobs.md.

CPU seconds are of this process and its children; wall seconds depend on what else the machine does.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from converter.jobs.database import connect
from converter.jobs.dispatcher import Dispatcher
from converter.jobs.here import Here
from converter.jobs.rows import Rows
from converter.jobs.states import State
from converter.jobs.values import Event, Outcome, Request, Submission
from converter.storage import Storage
from tests import jobs_double
from tests.benchmarks.versions_line import line
from tests.postgres import postgres

RESULTS = Path(__file__).with_name("results") / "jobs.md"
SIZES = (1_000, 10_000, 100_000)
NOTHING: frozenset[str] = frozenset()


def cpu_s() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def each(number: int, call: Callable[[int], object]) -> tuple[float, float]:
    """CPU and wall milliseconds of one of `number` calls; the wall's median."""
    walls, cpu = [], cpu_s()
    for index in range(number):
        started = time.perf_counter()
        call(index)
        walls.append(time.perf_counter() - started)
    return 1000 * (cpu_s() - cpu) / number, 1000 * sorted(walls)[number // 2]


def submission(index: int) -> Submission:
    request = Request(
        source="sha256:" + f"{index:064x}",
        source_name="model.tar.xz",
        target="rvc2",
        options={"rvc2.superblob": True},
    )
    return Submission(id=f"job-{index}", request=request, batch="night", name=f"model {index}")


def sizes(database: str, size: int) -> str:
    """A row of the table: a database with that many jobs."""
    rows = Rows(connect(database))
    started, cpu = time.perf_counter(), cpu_s()
    for start in range(0, size, 10_000):
        rows.submit_all([submission(index) for index in range(start, min(size, start + 10_000))])
    enqueue, enqueue_cpu = time.perf_counter() - started, cpu_s() - cpu

    def claim(_: int) -> None:
        rows.wanted_labels()
        rows.claim(rows.queue([NOTHING], 64)[0].id)

    def finish(index: int) -> None:
        rows.finish(Outcome(job_id=f"job-{index}", attempt=1, state=State.SUCCEEDED, result={}))

    claims = each(50, claim)
    finishes = each(50, finish)
    pages = each(50, lambda n: rows.find(batch="night", after=n * size // 50, limit=100))
    counts = each(5, lambda _: rows.count(batch="night"))
    rows.engine.dispose()
    cells = [f"{enqueue:.1f} ({enqueue_cpu:.1f})"]
    cells += [f"{wall:.1f} ({cpu:.1f})" for cpu, wall in (claims, finishes, pages, counts)]
    return " | ".join(cells)


def rows_ms(folder: Path) -> float:
    """CPU milliseconds of one job's rows: submitted, claimed, started, 4 times 4 events, finished."""
    rows = Rows(connect(str(folder / "one.db")))

    def job(index: int) -> None:
        one = submission(index)
        rows.submit(one)
        rows.claim(one.id)
        rows.start(one.id, 1, "here")
        for batch in range(4):
            told = [
                Event(attempt=0, number=4 * batch + n, at=0.0, kind="log", data={"text": "a line"})
                for n in range(4)
            ]
            rows.append_events(one.id, 1, told)
        rows.finish(Outcome(job_id=one.id, attempt=1, state=State.SUCCEEDED, result={}))

    job(0)
    cpu, _ = each(200, lambda index: job(index + 1))
    rows.engine.dispose()
    return cpu


def whole_ms(folder: Path, number: int) -> tuple[float, float]:
    """CPU milliseconds of one job that converts nothing: of the dispatcher, and with its processes."""
    jobs_double.use()
    rows, storage = Rows(connect(str(folder / "whole.db"))), Storage(folder / "files")
    source = storage.put(b"source")
    request = Request(source=source, source_name="a.tar", target="rvc2")
    executor = Here(storage, slots=2, memory_bytes=10**12, labels=NOTHING)
    dispatcher = Dispatcher(rows, executor, poll_s=0.5)
    rows.submit(Submission(id="first", request=request))
    dispatcher.run_until_idle()
    rows.submit_all([Submission(id=str(index), request=request) for index in range(number)])
    own, every = time.process_time(), cpu_s()
    dispatcher.run_until_idle()
    own = time.process_time() - own
    dispatcher.close()  # its children's time is known once they were waited for
    every = cpu_s() - every
    assert rows.count() == {State.SUCCEEDED: number + 1}
    rows.engine.dispose()
    return 1000 * own / number, 1000 * every / number


@contextmanager
def databases(folder: Path) -> Iterator[list[tuple[str, Callable[[], str]]]]:
    with postgres() as server:
        made = iter(range(1000))
        yield [
            ("SQLite", lambda: str(folder / f"{next(made)}.db")),
            ("PostgreSQL", server.database),
        ]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--most", type=int, default=max(SIZES))
    given = parser.parse_args()
    lines = ["# What jobs cost", "", line(), "PostgreSQL's own CPU time is not counted.", ""]
    with tempfile.TemporaryDirectory() as name, databases(Path(name)) as found:
        folder = Path(name)
        own, every = whole_ms(folder, 100)
        lines += [
            "CPU milliseconds a job, beside what the conversion takes:",
            "",
            "| | ms |",
            "|---|---|",
            f"| its rows: submitted, claimed, 16 events in 4 parts, finished (SQLite) | {rows_ms(folder):.1f} |",
            f"| the dispatcher's process, with the files, on this machine | {own:.1f} |",
            f"| the same with the attempt's processes, which convert nothing | {every:.1f} |",
            "",
            "Wall time, and CPU time in brackets. Enqueue: seconds for all; the rest: milliseconds for one.",
            "",
            "| database | jobs | enqueue all, s | choose and claim | finish | a page of 100 | count states |",
            "|---|---|---|---|---|---|---|",
        ]
        for kind, make in found:
            for size in (one for one in SIZES if one <= given.most):
                lines.append(f"| {kind} | {size:,} | {sizes(make(), size)} |")
                print(lines[-1], flush=True)
    text = "\n".join(lines) + "\n"
    print(text)
    if given.write:
        RESULTS.write_text(text)


if __name__ == "__main__":
    main()
