"""Kills at every place of the job system: nothing is lost, nothing is done twice, nothing runs on.

The processes are real ones, the conversions in them a double (`tests/jobs_double.py`). `nox -s faults`
does the same fifty times a path, at random moments.
"""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from converter.jobs.states import State
from tests.jobs_arena import Arena, is_alive


def until_gone(arena: Arena, pids: list[int]) -> None:
    until = time.monotonic() + 30
    while any(map(is_alive, pids)):
        assert time.monotonic() < until, arena.left()
        time.sleep(0.05)


def test_on_this_machine(tmp_path: Path) -> None:
    arena = Arena(tmp_path / "arena")
    with arena.running():
        arena.submit("dies", dies=str(tmp_path / "died"))
        arena.submit("fails", fails=True)
        assert arena.wait("dies").attempt == 2
        assert arena.rows.attempts("dies")[0].reason.startswith("The conversion was killed")
        failed = arena.wait("fails")
        assert (failed.state, failed.attempt, failed.reason) == (
            State.FAILED,
            1,
            "It fails. As it was asked to.",
        )
        arena.rows.delete("fails")

        # The dispatcher is killed; the next one queues the job again.
        before = len(arena.marked())
        arena.submit("long", seconds=1)
        first = arena.wait_for_marks(before + 2)
        arena.kill("dispatcher")
        until_gone(arena, first)
        done = arena.wait("long")
        assert (done.state, done.attempt, done.losses) == (State.SUCCEEDED, 2, 0)

        # Cancelled twice while it runs; its child and the child's child end.
        before = len(arena.marked())
        arena.submit("endless", seconds=600)
        pids = arena.wait_for_marks(before + 2)
        arena.rows.cancel("endless")
        arena.rows.cancel("endless")
        assert arena.wait("endless").state is State.CANCELLED
        until_gone(arena, pids)
        arena.rows.delete("endless")

        # A stopped process does not get a grace for ever.
        before = len(arena.marked())
        arena.submit("frozen", seconds=600)
        pids = sorted(
            set(arena.wait_for_marks(before + 2)) & {p for p in arena.marked() if is_alive(p)}
        )
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        arena.rows.cancel("frozen")
        until_gone(arena, pids)
        assert arena.wait("frozen").state is State.CANCELLED
        arena.rows.delete("frozen")
    arena.check()
    arena.check_gone()


def test_on_a_cluster(tmp_path: Path) -> None:
    arena = Arena(tmp_path / "arena", cluster=True)
    with arena.running(workers=1):
        arena.submit("first")
        assert arena.wait("first").state is State.SUCCEEDED

        before = len(arena.marked())
        arena.submit("again", seconds=1)
        pids = arena.wait_for_marks(before + 2)
        arena.kill("worker1")
        until_gone(arena, pids)
        done = arena.wait("again")
        assert (done.state, done.attempt, done.losses) == (State.SUCCEEDED, 2, 1)
        assert "died" in arena.rows.attempts("again")[0].reason

        # Dask only releases the task; the child must end.
        before = len(arena.marked())
        arena.submit("endless", seconds=600)
        pids = arena.wait_for_marks(before + 2)
        arena.rows.cancel("endless")
        assert arena.wait("endless").state is State.CANCELLED
        until_gone(arena, pids)
        arena.rows.delete("endless")

        before = len(arena.marked())
        arena.submit("scheduler", seconds=1)
        arena.wait_for_marks(before + 2)
        arena.kill("scheduler")
        done = arena.wait("scheduler")
        assert (done.state, done.losses) == (State.SUCCEEDED, 0)
    arena.check()
    arena.check_gone()
