"""What a cluster makes of what Dask says; Dask itself is in `test_jobs_faults`."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from converter.errors import ToolchainError
from converter.jobs import versions, worker
from converter.jobs.admission import _why
from converter.jobs.cluster import Cluster
from converter.jobs.executor import Lost, Ticket
from converter.jobs.values import Request
from converter.storage import Storage


class Client:
    """A double of Dask's client, with the workers that the test names."""

    status = "running"

    def __init__(self, workers: dict[str, Any]) -> None:
        self.workers = workers

    def scheduler_info(self) -> dict[str, Any]:
        return {"workers": self.workers}


def offer(name: str, **changes: object) -> dict[str, Any]:
    told = {"name": name, "slots": 2, "memory_bytes": 100, "labels": ["engine"]}
    return {"name": name, "nnconvert": {**told, "versions": versions.own(), **changes}}


@pytest.fixture
def cluster(tmp_path: Path) -> Cluster:
    return Cluster("tcp://127.0.0.1:1", Storage(tmp_path))


def test_workers_of_other_versions_are_refused_by_name(cluster: Cluster) -> None:
    other = versions.own() | {"onnx": "1.0", "code": "another"}
    draining = offer("leaving") | {"metrics": {"nnconvert": {"draining": True}}}
    cluster._client = Client(
        {
            "tcp://a": offer("good"),
            "tcp://b": offer("old", versions=other),
            "tcp://c": {"name": "stranger"},
            "tcp://d": draining,
        }
    )
    room = {place.name: place for place in cluster.room()}
    assert {name: place.free for name, place in room.items()} == {"good": 2, "leaving": 0}
    assert room["good"].labels == {"engine"}
    ours = versions.own()
    assert cluster.refusals == {
        "old": f"has code another and not {ours['code']}, onnx 1.0 and not {ours['onnx']}",
        "stranger": "is no worker of nnconvert",
    }
    said = _why(frozenset(), [], cluster.refusals)
    assert said.startswith("It waits for a worker: there is none, for old has code another")


def test_a_scheduler_that_does_not_answer_has_no_room_and_loses_what_ran(cluster: Cluster) -> None:
    request = Request(source=None, source_name="a", target="rvc2")
    ticket = Ticket(
        job_id="a", attempt=1, request=request, labels=frozenset(), time_s=1, memory_bytes=1, place="w"
    )
    assert Ticket.from_json(ticket.to_json()) == ticket
    cluster.start(ticket)
    assert cluster.finished(0) == [Lost(job_id="a", attempt=1, reason="It is gone.", counts=False)]
    cluster._running["a", 1] = (ticket, "tcp://a", None)
    cluster._tried_at = float("inf")
    assert cluster.room() == []
    lost = Lost(job_id="a", attempt=1, reason="The scheduler went away.", counts=False)
    assert cluster.finished(0) == [lost]
    assert cluster.finished(0) == []


class Future:
    """A double of a task at the scheduler."""

    def __init__(self) -> None:
        self.was_cancelled = False

    def cancel(self) -> None:
        self.was_cancelled = True

    def add_done_callback(self, call: Any) -> None:
        pass


@pytest.mark.parametrize("back", [False, True], ids=["gone", "another one at its address"])
def test_an_attempt_whose_worker_dies_while_it_is_sent_is_lost_at_once(
    cluster: Cluster, back: bool
) -> None:
    """The scheduler keeps a task for a worker that is gone, and nobody tells of it any more."""
    future = Future()
    client = Client({"tcp://a": offer("one")})
    cluster._client = client

    def submit(*_: object, **__: object) -> Future:
        cluster._watched((0.0, {"action": "remove-worker", "worker": "tcp://a", "expected": False}))
        if back:
            cluster._watched((0.0, {"action": "add-worker", "worker": "tcp://a"}))
        return future

    client.submit = submit  # type: ignore[attr-defined]
    assert [place.name for place in cluster.room()] == ["one"]
    request = Request(source="sha256:" + "0" * 64, source_name="a.tar", target="rvc2")
    one = Ticket(
        job_id="1",
        attempt=1,
        request=request,
        labels=frozenset(),
        time_s=1.0,
        memory_bytes=1,
        place="one",
    )
    cluster.start(one)
    lost = [(one.reason, one.counts) for one in cluster.finished(0.0) if isinstance(one, Lost)]
    assert lost == ([] if back else [("The worker one died.", False)])
    cluster.finished(0.0)
    assert future.was_cancelled is not back


def test_a_worker_whose_scheduler_never_answers_says_so_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "_FIRST_S", 0.0)
    monkeypatch.setattr(worker, "_CLOSE_S", 1.0)
    mine = worker.Offer(name="a", slots=1, memory_bytes=1, labels=frozenset(), versions=versions.own())
    said: list[str] = []
    with pytest.raises(ToolchainError, match=r"No scheduler answers at tcp://127\.0\.0\.1:1\."):
        asyncio.run(worker._serve("tcp://127.0.0.1:1", mine, None, tmp_path, said.append))
    assert said == []
