"""A server, a child and a scheduler that are killed: what was accepted ends, once.

Many kills: `nox -s service_faults`.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from converter.client.client import Client
from converter.jobs.states import ENDED, State
from tests.benchmarks.service_faults import children, run
from tests.documents import ROOT
from tests.jobs_arena import free_port
from tests.serving import NNCONVERT, Server, running
from tests.sources import DIGITS_ARCHIVE


def test_two_kills_lose_nothing(tmp_path: Path) -> None:
    kills, told = run(tmp_path, victims=["child", "server"], jobs=2, seed=3)
    assert [one.victim for one in kills] == ["child", "server"]
    assert {one.state for one in told} == {State.SUCCEEDED}
    assert all(one.ended == 1 for one in told)


def until(server: Server, path: str, is_so: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    end = time.monotonic() + 240
    while not is_so(found := json.loads(server.get(path))):
        assert time.monotonic() < end, (found, server.log)
        time.sleep(0.2)
    return found


def test_a_scheduler_and_a_worker_that_are_killed_lose_no_job(tmp_path: Path) -> None:
    port = free_port()
    address = f"tcp://127.0.0.1:{port}"
    listen = ["--host", "127.0.0.1", "--port", str(port), "--no-dashboard"]
    commands = (
        [sys.executable, "-m", "distributed.cli.dask_scheduler", *listen],
        [*NNCONVERT, "worker", "--scheduler", address, "--slots", "1"],
    )
    with contextlib.ExitStack() as stack:
        log = stack.enter_context((tmp_path / "cluster").open("wb"))

        def begin() -> list[subprocess.Popen[bytes]]:
            env = os.environ | {"PYTHONPATH": str(ROOT)}
            began = [subprocess.Popen(one, stdout=log, stderr=log, env=env) for one in commands]
            for one in began:
                stack.callback(one.wait)
                stack.callback(one.kill)
            return began

        started = begin()
        server = stack.enter_context(running(tmp_path, "--scheduler", address))
        source = Client(server.url, server.key).upload(DIGITS_ARCHIVE)
        server.put("/v1/conversions/far", {"source": source, "target": "rvc2"})
        path = "/v1/conversions/far"
        # Only the attempt's own events tell that the worker has begun.
        until(server, path, lambda job: job["state"] == "running" and job["events"] > 2)
        below = children(started[1].pid)
        assert below
        for one in started:
            one.kill()
        begin()
        job = until(server, path, lambda job: job["state"] in ENDED)
        assert job["state"] == "succeeded", (job, (tmp_path / "cluster").read_text())
        assert job["attempt"] >= 2
        states = [one["state"] for one in _events(server, path) if "state" in one]
        assert [state for state in states if state in ENDED] == ["succeeded"]
        assert len(server.get(f"{path}/artefacts/archive")) == job["result"]["size_bytes"]
        assert not [pid for pid in below if Path(f"/proc/{pid}/exe").exists()]


def _events(server: Server, path: str) -> list[dict[str, Any]]:
    lines = server.get(f"{path}/events").decode().splitlines()
    return [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: ")]
