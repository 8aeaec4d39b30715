"""Random kills of every part of the job system; `nox -s faults` writes results/jobs-faults.md.

    python -m tests.benchmarks.jobs_faults [--kills 50] [--seed 0] [--only PATH] [--minutes 30] [--write]

One run makes the whole table: every path gets an equal part of the minutes that are left, and the table says
how many kills were done in them.

The processes are real; the conversions are `tests/jobs_double.py`, which last half a second. While a stream of
jobs runs, one part after another is killed (`kill -9`) at a random moment and started again. Afterwards every
job must have ended exactly once, with a whole file, and no process may be left (`tests/jobs_arena.py`).
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from converter.jobs.errors import DatabaseAway
from converter.jobs.states import State
from tests.benchmarks.versions_line import line
from tests.jobs_arena import Arena, is_alive
from tests.postgres import postgres

RESULTS = Path(__file__).with_name("results") / "jobs-faults.md"
# What is killed on each path: on one machine with SQLite, and on a cluster with PostgreSQL.
PATHS = {
    "child": ("here", ["child"]),
    "dispatcher": ("here", ["dispatcher"]),
    "child and dispatcher": ("here", ["child", "dispatcher"]),
    "child of a worker": ("cluster", ["child"]),
    "dispatcher of a cluster": ("cluster", ["dispatcher"]),
    "worker": ("cluster", ["worker1", "worker2"]),
    "scheduler": ("cluster", ["scheduler"]),
    "database": ("cluster", ["database"]),
    "any": ("cluster", ["child", "dispatcher", "worker1", "worker2", "scheduler", "database"]),
}
_AHEAD = 3
# The part of a path's time in which is killed.
_KILLING = 0.7


@dataclass(frozen=True)
class Row:
    path: str
    kills: int
    jobs: int
    failed: int
    attempts: int
    lost: int
    seconds: float


def run(path: str, kills: int, seed: int, seconds: float) -> Row:
    """One path; an AssertionError says what did not hold.

    Args:
        seconds: After these nothing more is killed.
    """
    kind, victims = PATHS[path]
    rng = random.Random(seed)
    started = time.monotonic()
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="faults-")))
        server = stack.enter_context(postgres()) if kind == "cluster" else None
        arena = Arena(folder / "arena", server, cluster=kind == "cluster", random=rng)
        with arena.running():
            arena.submit("0", seconds=0.5)
            arena.wait("0", State.RUNNING)
            submitted, done = 1, 0
            while done < kills and (done == 0 or time.monotonic() < started + seconds):
                submitted = _top_up(arena, submitted)
                _wait_for_work(arena)
                time.sleep(rng.uniform(0, 0.7))
                arena.kill(rng.choice(victims))
                done += 1
            for name in range(submitted):
                arena.wait(str(name), timeout_s=300)
            arena.check()
            jobs = list(arena.rows.all())
            attempts = [one for job in jobs for one in arena.rows.attempts(job.id)]
        arena.check_gone()
    return Row(
        path=path,
        kills=done,
        jobs=len(jobs),
        failed=sum(job.state is State.FAILED for job in jobs),
        attempts=len(attempts),
        lost=sum(one.state is None for one in attempts),
        seconds=time.monotonic() - started,
    )


def _wait_for_work(arena: Arena) -> None:
    """Wait until an attempt works: a part that has not begun is not worth killing."""
    until = time.monotonic() + 60
    while time.monotonic() < until and not any(map(is_alive, arena.marked())):
        time.sleep(0.02)


def _top_up(arena: Arena, submitted: int) -> int:
    """Keep a few jobs waiting."""
    with contextlib.suppress(DatabaseAway):
        counts = arena.rows.count()
        for _ in range(_AHEAD - counts.get(State.QUEUED, 0)):
            arena.submit(str(submitted), seconds=0.5)
            submitted += 1
    return submitted


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=list(PATHS))
    parser.add_argument("--minutes", type=float, default=30, help="for all paths together")
    parser.add_argument("--write", action="store_true")
    given = parser.parse_args()
    rows: list[Row] = []
    paths = [given.only] if given.only else [*PATHS]
    until = time.monotonic() + 60 * given.minutes
    for path in paths:
        share = (until - time.monotonic()) / (len(paths) - len(rows))
        # What was killed last must be made up for, and every job must end.
        rows.append(run(path, given.kills, given.seed, _KILLING * share))
        print(rows[-1], flush=True)
        if given.write:
            RESULTS.write_text(table(rows, given))


def table(rows: list[Row], given: argparse.Namespace) -> str:
    lines = [
        "# Random kills of the job system",
        "",
        "`nox -s faults`: `kill -9` at random moments while a stream of half-second jobs runs (a double of a",
        "conversion in real processes). On every path each job ended exactly once, with a whole file; no",
        "process was left. A job fails when its tool is killed, or after three lost attempts that count: those",
        "of killed children and workers do, those of dispatchers, schedulers and databases do not.",
        "",
        f"{line()} At most {given.kills} kills a path, {given.minutes:g} minutes for all paths, seed "
        f"{given.seed}; load {os.getloadavg()[1]:.0f} at the end.",
        "",
        "| killed | kills | jobs | of them failed | attempts | lost | seconds |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {one.path} | {one.kills} | {one.jobs} | {one.failed} | {one.attempts} | {one.lost} "
        f"| {one.seconds:.0f} |"
        for one in rows
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
