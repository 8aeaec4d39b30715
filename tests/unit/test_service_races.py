"""Requests that overtake each other, and clean-up beside them."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from converter.jobs.database import Kept
from converter.jobs.leader import Leader
from converter.processes.run import Processes
from converter.service import retention
from converter.service.api import conversions
from converter.service.context import Context
from converter.service.hub.library import Library
from converter.service.uploads import Uploads
from converter.storage import Missing, Storage
from tests.unit.service import BYTES, client, hub_instance, service, uploaded

M = "/models/api/v1"


@pytest.fixture
def context(tmp_path: Path) -> Iterator[Context]:
    with service(tmp_path / "data", keep_s=100) as found:
        yield found


def test_a_part_that_is_sent_twice_at_once_is_kept_once(
    context: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = Uploads(context.engine, context.storage, tmp_path / "uploads", "alice")
    part = tmp_path / "part"
    part.write_bytes(BYTES[:10])
    digest = context.storage.put(BYTES)
    context.storage.delete(digest)
    upload = mine.begin("net.onnx", len(BYTES), digest)
    together = threading.Barrier(2)

    def add(_: int) -> str:
        together.wait()
        try:
            return str(mine.add(upload, 0, part).offset)
        except Exception as error:
            return type(error).__name__

    with ThreadPoolExecutor(2) as pool:
        assert sorted(pool.map(add, range(2))) == ["10", "Conflict"]
    part.write_bytes(BYTES[10:])
    assert mine.add(upload, 10, part).complete


def test_plans_leave_threads_for_others(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    at_once, most = 0, 0
    lock = threading.Lock()

    def slow(*_: Any, **__: Any) -> dict[str, Any]:
        nonlocal at_once, most
        with lock:
            at_once += 1
            most = max(most, at_once)
        time.sleep(0.05)
        with lock:
            at_once -= 1
        return {}

    monkeypatch.setattr(Processes, "call", slow)
    with client(context) as http, ThreadPoolExecutor(8) as pool:
        body = {"source": uploaded(http), "target": "rvc2"}
        answers = list(pool.map(lambda _: http.post("/v1/plans", json=body), range(8)))
    assert [answer.status_code for answer in answers] == [200] * 8
    assert most <= 2


def test_a_file_that_is_put_again_while_others_are_swept_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = Storage(tmp_path)
    digest = storage.put(b"old")
    listed = [(digest, 0.0)]
    monkeypatch.setattr(storage, "_all", lambda: iter(listed))
    assert storage.sweep(()) == 0
    assert storage.has(digest)
    assert storage.sweep((), grace_s=-1) == 3


def test_what_a_request_found_a_moment_ago_outlives_its_row(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = uploaded(client(context))
    kept: list[Any] = []
    monkeypatch.setattr(context.storage, "sweep", kept.append)
    late = time.time() + 200
    retention.tidy(context, now=late)
    retention.tidy(context, now=late)
    assert [digest in names for names in kept] == [True, False]


def test_a_stream_of_events_ends_with_the_record(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    http = client(context)
    body = {"source": uploaded(http), "target": "rvc2"}
    http.put("/v1/conversions/gone", json=body)
    job = context.rows.find(tenant="alice")[0].id

    real = context.rows.events

    def events(*which: Any, **more: Any) -> Any:
        found = real(*which, **more)
        if found:
            context.rows.cancel(job)
            context.rows.delete(job)
        return found

    monkeypatch.setattr(context.rows, "events", events)
    strict = TestClient(http.app, headers=dict(http.headers))  # an error in the stream is raised
    assert strict.get("/v1/conversions/gone/events").status_code == 200


def test_deleting_goes_on_where_retention_took_a_job(context: Context) -> None:
    http = client(context)
    base = hub_instance(http)
    for _ in range(2):
        http.post(f"{M}/modelInstances/{base}/export/rvc2", json={"name": "export"})
    first, second = context.rows.find(tenant="alice")
    context.rows.cancel(first.id)
    context.rows.delete(first.id)
    model = Library(context.engine, "alice").find("model", {})[0]["id"]
    assert http.delete(f"{M}/models/{model}").status_code == 200
    assert context.rows.get(second.id).has_ended


def test_who_lost_the_lead_in_an_outage_takes_it_again_if_nobody_else_has_it(context: Context) -> None:
    with Leader(context.engine) as first, Leader(context.engine) as second:
        assert first.try_lead()
        assert first.holds()
        first.close()
        assert first.holds()
        first.close()
        assert second.try_lead()
        assert not first.holds()


def test_the_official_client_s_files_have_quotas_too(context: Context) -> None:
    http = client(context, quota={"upload_bytes": 100, "stored_bytes": 150_000})
    base = hub_instance(http)
    url = f"{M}/modelInstances/{base}/upload_async"
    assert http.post(f"{url}?size=101&name=a").status_code == 413
    policy = http.post(f"{url}?size=1&name=a").json()["policy"]  # who lies is stopped on the way
    large = {"file": ("net.onnx", b"x" * 200_000)}
    assert http.post(policy["url"], data=policy["fields"], files=large).status_code == 413
    other = client(context, "bob", quota={"stored_bytes": len(BYTES) + 5})
    uploaded(other)
    again = {"name": "net.onnx", "size": len(BYTES), "digest": context.storage.put(BYTES)}
    assert other.post("/v1/uploads", json=again).status_code == 200  # what is there takes no room
    assert other.post(f"{M}/models", json={"name": "m"}).status_code == 200
    made = other.post(f"{M}/modelVersions", json={"name": "v", "model_id": "m"}).json()["id"]
    body = {"name": "i", "model_version_id": made, "model_type": "ONNX"}
    one = other.post(f"{M}/modelInstances", json=body).json()["id"]
    assert other.post(f"{M}/modelInstances/{one}/upload_async?size=6").status_code == 413


@pytest.mark.parametrize(
    ("target", "more"), [("rvc2", {}), ("rvc4", {"target_precision": "FP16_STANDARD"})]
)
def test_data_that_a_conversion_has_no_use_for_are_taken_all_the_same(
    context: Context, target: str, more: dict[str, str]
) -> None:
    http = client(context)
    body = {"name": "export", "quantization_data": "CUSTOM", **more}
    job = http.post(f"{M}/modelInstances/{hub_instance(http)}/export/{target}", json=body).json()["id"]
    begun = http.post(f"{M}/modelInstances/export/{job}/upload_quantization_zip").json()
    assert http.put(begun["upload_url"], content=b"a zip").status_code == 200
    assert context.rows.get(job).request.calibration is None


def test_who_polls_is_not_refused(context: Context) -> None:
    http = client(context, quota={"per_minute": 20})
    base = hub_instance(http)
    job = http.post(f"{M}/modelInstances/{base}/export/rvc2", json={"name": "export"}).json()["id"]
    answers = {http.get(f"/jobs/api/v1/jobs/{job}").status_code for _ in range(30)}
    assert answers == {200}


def test_those_who_poll_share_queries(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    http = client(context)
    body = {"source": uploaded(http), "target": "rvc2"}
    ids = []
    for number in range(4):
        http.put(f"/v1/conversions/c{number}", json=body | {"options": {"verify.frames": number + 1}})
        ids.append(conversions._job_id("alice", f"c{number}"))
    real, queries = Kept.rows, []

    def counted(kept: Kept, statement: Any, values: Any) -> Any:
        queries.append(values["ids"])
        time.sleep(0.05)
        return real(kept, statement, values)

    monkeypatch.setattr(Kept, "rows", counted)

    async def ask() -> list[Any]:
        asked = [context.lookups.get(ids[n % 4], tenant="alice") for n in range(100)]
        stranger = context.lookups.get(ids[0], tenant="eve")
        unknown = context.lookups.get("none", tenant="alice")
        return await asyncio.gather(*asked, stranger, unknown, return_exceptions=True)

    *found, stranger, unknown = asyncio.run(ask())
    assert [job.id for job in found] == ids * 25
    assert isinstance(stranger, Missing)
    assert isinstance(unknown, Missing)
    assert len(queries) == 2  # the first one is asked for at once, the others together
    assert queries[1] == sorted([*ids, "none"])


def test_who_polled_and_went_away_keeps_nobody_from_an_answer(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    http = client(context)
    http.put("/v1/conversions/one", json={"source": uploaded(http), "target": "rvc2"})
    job = conversions._job_id("alice", "one")
    monkeypatch.setattr(Kept, "rows", lambda *given, real=Kept.rows: time.sleep(0.05) or real(*given))

    async def ask() -> Any:
        tasks = [asyncio.ensure_future(context.lookups.get(job, tenant="alice")) for _ in range(3)]
        await asyncio.sleep(0.01)
        for task in tasks[:2]:  # one that is asked for, and one that waits
            task.cancel()
        return await tasks[2]

    assert asyncio.run(ask()).id == job
    assert http.get("/v1/conversions/one").status_code == 200


def test_streams_are_bounded(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conversions, "_STREAMS", 0)
    http = client(context)
    http.put("/v1/conversions/one", json={"source": uploaded(http), "target": "rvc2"})
    assert http.get("/v1/conversions/one/events").status_code == 429
