"""The service's own API: events, waiting, files, batches, ends, retention; and what outlives a restart."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from converter.jobs.database import JOBS, connect, writing
from converter.jobs.errors import DatabaseAway
from converter.jobs.states import State
from converter.jobs.values import Event
from converter.service import access
from converter.service.context import Context
from converter.service.database import migrate
from converter.service.retention import tidy
from converter.service.tables import HUB_INSTANCES
from converter.storage import Missing
from tests.unit.service import BYTES, client, end, hub_instance, service, uploaded

RVC2 = {"target": "rvc2"}


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Context]:
    with service(tmp_path_factory.mktemp("api") / "data") as found:
        yield found


@pytest.fixture(scope="module")
def http(context: Context) -> Any:
    return client(context)


def job_of(context: Context, name: str) -> str:
    (job,) = context.rows.find(tenant="alice", name=name)
    return job.id


def put(http: Any, name: str, **more: Any) -> dict[str, Any]:
    answer = http.put(f"/v1/conversions/{name}", json={"source": uploaded(http), **RVC2, **more})
    assert answer.status_code in (200, 201), answer.text
    return dict(answer.json())


def events(http: Any, name: str, after: str | None = None) -> list[tuple[int, str, dict[str, Any]]]:
    """The events of a conversion that has ended: the stream ends by itself."""
    headers = {} if after is None else {"Last-Event-ID": after}
    answer = http.get(f"/v1/conversions/{name}/events", headers=headers)
    assert answer.headers["content-type"].startswith("text/event-stream")
    found = []
    for block in answer.text.strip().split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
        if "id" in fields:
            found.append((int(fields["id"]), fields["event"], json.loads(fields["data"])))
    return found


def test_events_go_on_behind_the_last_one_also_after_a_restart(tmp_path: Path) -> None:
    with service(tmp_path / "data") as context:
        http = client(context)
        put(http, "told")
        job = job_of(context, "told")
        attempt = context.rows.claim(job, "double")
        assert attempt is not None
        told = [
            Event(attempt=0, number=n, at=1.0, kind="log", data={"text": f"line {n}\nü"})
            for n in (1, 2, 3)
        ]
        context.rows.append_events(job, attempt.number, told)
        context.rows.cancel(job)
        context.rows.lost(job, attempt.number, "double")
        whole = events(http, "told")
        assert [position for position, _, _ in whole] == list(range(1, len(whole) + 1))
        assert [data["text"] for _, kind, data in whole if kind == "log"] == [
            f"line {n}\nü" for n in (1, 2, 3)
        ]
        assert whole[-1][2]["state"] == "cancelled"
    with service(tmp_path / "data") as context:
        again = client(context)
        assert events(again, "told", "3") == whole[3:]
        assert events(again, "told", "no number") == whole


def test_a_long_poll_answers_when_something_changes_and_not_before(context: Context, http: Any) -> None:
    put(http, "polled")
    url = "/v1/conversions/polled"
    first = http.get(url)
    tag = {"If-None-Match": first.headers["ETag"]}
    assert http.get(url, headers=tag).status_code == 304
    started = time.monotonic()
    assert http.get(f"{url}?wait=0.3", headers=tag).status_code == 304
    assert time.monotonic() - started >= 0.3
    job = job_of(context, "polled")
    threading.Timer(0.3, context.rows.cancel, [job]).start()
    changed = http.get(f"{url}?wait=30", headers=tag)
    assert changed.status_code == 200
    assert changed.json()["state"] == "cancelled"
    assert changed.headers["ETag"] != first.headers["ETag"]


def test_files_have_ranges_and_digests(context: Context, http: Any) -> None:
    put(http, "made")
    end(context, job_of(context, "made"), archive=b"0123456789")
    (listed,) = http.get("/v1/conversions/made/artefacts").json()
    assert listed["digest"] == f"sha256:{hashlib.sha256(b'0123456789').hexdigest()}"
    url = "/v1/conversions/made/artefacts/archive"
    whole = http.get(url)
    assert whole.content == b"0123456789"
    digest = base64.b64encode(hashlib.sha256(b"0123456789").digest()).decode()
    assert whole.headers["Repr-Digest"] == f"sha-256=:{digest}:"
    part = http.get(url, headers={"Range": "bytes=3-5"})
    assert (part.status_code, part.content) == (206, b"345")
    assert part.headers["Content-Range"] == "bytes 3-5/10"
    stale = http.get(url, headers={"Range": "bytes=3-5", "If-Range": '"another"'})
    assert (stale.status_code, stale.content) == (200, b"0123456789")
    assert http.get(url, headers={"Range": "bytes=99-"}).status_code == 416
    assert http.get("/v1/conversions/made/artefacts/report").status_code == 404


def test_a_report_is_a_page_that_may_do_nothing(context: Context, http: Any) -> None:
    put(http, "reported")
    end(context, job_of(context, "reported"), report=b"<script>alert(1)</script>")
    page = http.get("/v1/conversions/reported/artefacts/report")
    assert page.headers["content-type"].startswith("text/html")
    assert "sandbox" in page.headers["Content-Security-Policy"]
    assert page.headers["Content-Disposition"].startswith("attachment")


def test_the_same_request_is_the_same_conversion_and_another_is_a_conflict(http: Any) -> None:
    first = put(http, "once")
    assert put(http, "once") == first
    other = http.put("/v1/conversions/once", json={"source": uploaded(http), "target": "rvc4"})
    assert other.status_code == 409
    assert other.json()["code"] == "Conflict"


def test_it_is_the_same_conversion_also_when_the_operator_has_set_other_limits(tmp_path: Path) -> None:
    with service(tmp_path / "data") as context:
        first = put(client(context), "once")
    with service(tmp_path / "data", max_job_s=1.0, job_bounds={"cpu_s": 5}) as context:
        http = client(context)
        assert put(http, "once") == first
        put(http, "bound")
        limits = context.rows.get(job_of(context, "bound")).limits
        assert (limits.time_s, limits.most_cpu_s, limits.most_memory_bytes) == (1.0, 5, None)


def test_a_batch_is_all_or_nothing(http: Any) -> None:
    source = uploaded(http)
    good = {"source": source, **RVC2}
    wrong = good | {"options": {"rvc2.supperblob": True}}
    refused = http.post("/v1/batches", json={"conversions": {"b1": good, "b2": wrong}})
    assert refused.status_code == 422
    assert "rvc2.superblob" in refused.text
    assert http.get("/v1/conversions/b1").status_code == 404
    taken = http.post("/v1/batches", json={"conversions": {"b1": good, "b2": good}})
    assert [one["id"] for one in taken.json()] == ["b1", "b2"]
    conflict = {"b0": good, "b1": good | {"target": "rvc4"}}
    assert http.post("/v1/batches", json={"conversions": conflict}).status_code == 409
    assert http.get("/v1/conversions/b0").status_code == 404


def test_a_queued_conversion_ends_at_once_and_a_running_one_is_told_to(
    context: Context, http: Any
) -> None:
    put(http, "queued")
    assert http.delete("/v1/conversions/queued").json()["state"] == "cancelled"
    put(http, "running")
    job = job_of(context, "running")
    attempt = context.rows.claim(job, "double")
    assert attempt is not None
    assert http.delete("/v1/conversions/running").json()["state"] == "running"
    assert context.rows.cancelling() == [(job, attempt.number)]
    context.rows.lost(job, attempt.number, "double")
    assert http.get("/v1/conversions/running").json()["state"] == "cancelled"
    assert http.delete("/v1/conversions/running").status_code == 200  # now it goes
    assert http.get("/v1/conversions/running").status_code == 404


def test_pages_of_the_list(http: Any) -> None:
    own = http
    for number in range(5):
        put(own, f"page{number}")
    seen: list[str] = []
    after = 0
    while after is not None:
        answer = own.get(f"/v1/conversions?limit=2&after={after}").json()
        seen += [one["id"] for one in answer["conversions"]]
        after = answer["next"]
    assert len(seen) == len(set(seen))
    assert seen[:5] == [f"page{number}" for number in (4, 3, 2, 1, 0)]
    assert all(
        one["state"] == "queued"
        for one in own.get("/v1/conversions?state=queued").json()["conversions"]
    )
    assert own.get("/v1/conversions?state=nonsense").status_code == 422


def test_what_is_old_goes_and_what_a_job_names_stays(tmp_path: Path) -> None:
    with service(tmp_path / "data", keep_s=100) as context:
        http = client(context)
        put(http, "old")
        end(context, job_of(context, "old"), archive=b"old archive")
        put(http, "waits")
        made = context.rows.artefacts(job_of(context, "old"))["archive"].digest
        part = context.settings.data / "uploads" / "u_gone.part"
        part.parent.mkdir(exist_ok=True)
        part.write_bytes(b"x")
        assert tidy(context, now=time.time()) == 0
        assert http.get("/v1/conversions/old").status_code == 200
        # The files are young: the storage keeps them for whoever is about to name them.
        tidy(context, now=time.time() + 200)
        assert http.get("/v1/conversions/old").status_code == 404
        assert context.storage.has(made)
        assert not part.exists()
        context.storage.sweep(context.rows.digests(), grace_s=-1)
        assert not context.storage.has(made)
        job = context.rows.get(job_of(context, "waits"))
        assert job.state is State.QUEUED
        assert context.storage.has(str(job.request.source))


def test_models_and_variants_go_with_the_last_of_what_is_below_them(tmp_path: Path) -> None:
    with service(tmp_path / "data", keep_s=100) as context:
        http = client(context)
        hub_instance(http, name="old")
        kinds = [f"/models/api/v1/{kind}" for kind in ("modelInstances", "modelVersions", "models")]
        tidy(context, now=time.time() + 50)
        assert [len(http.get(kind).json()) for kind in kinds] == [1, 1, 1]
        # An instance that was used meanwhile keeps the others.
        with writing(context.engine) as rows:
            rows.execute(sa.update(HUB_INSTANCES).values(updated=time.time() + 150))
        tidy(context, now=time.time() + 200)
        assert [len(http.get(kind).json()) for kind in kinds] == [1, 1, 1]
        tidy(context, now=time.time() + 300)
        assert [len(http.get(kind).json()) for kind in kinds] == [0, 0, 0]


def test_bodies_wait_in_the_data_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nowhere = tmp_path / "nowhere"
    monkeypatch.setattr("tempfile.tempdir", str(nowhere))  # whoever opens a file there fails
    data = b"x" * (3 << 20)
    with service(tmp_path / "data") as context:
        http = client(context)
        hub_instance(http, file=data)
        assert uploaded(http, data, "large.onnx")
        left = [path for path in context.work.iterdir() if path.is_file()]
        assert not left


def test_several_servers_begin_on_one_database_at_once(tmp_path: Path) -> None:
    engines = [connect(str(tmp_path / "rows.sqlite")) for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(migrate, engines))
    with engines[0].connect() as rows:
        tables = {name for (name,) in rows.exec_driver_sql("SELECT name FROM sqlite_master")}
    assert {"service_keys", "hub_models", JOBS.table} <= tables
    for engine in engines:
        engine.dispose()


def test_a_poll_outlasts_a_database_that_is_away(
    context: Context, http: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(context.known, "_keep_s", 0.0)
    monkeypatch.setattr(context.known, "_accounts", {})  # of the tests before
    put(http, "patient")
    real, asked = access.account_of, []

    def away(engine: Any, key: str) -> Any:
        asked.append(key)
        if len(asked) < 3:
            raise DatabaseAway("The database does not answer.")
        return real(engine, key)

    monkeypatch.setattr(access, "account_of", away)
    assert http.get("/v1/conversions/patient").status_code == 200
    assert len(asked) == 3
    asked.clear()
    # What changes something is not repeated: the client is told, and when to try again.
    refused = http.delete("/v1/conversions/patient")
    assert refused.status_code == 503
    assert refused.headers["Retry-After"]
    monkeypatch.setattr(access, "account_of", real)


def test_a_database_that_stays_away_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(engine: Any, key: str) -> Any:
        raise DatabaseAway("The database does not answer.")

    with service(tmp_path / "data", wait_database_s=0.1) as context:
        http = client(context)
        monkeypatch.setattr(access, "account_of", away)
        assert http.get("/v1/conversions").status_code == 503
        assert http.get("/health").status_code == 200


def test_every_answer_has_the_headers_that_keep_pages_apart(http: Any) -> None:
    for url in ("/health", "/v1/conversions", "/nowhere"):
        answer = http.get(url)
        policy = answer.headers["Content-Security-Policy"]
        assert "default-src 'self'" in policy
        assert "unsafe-inline" not in policy.replace("style-src 'self' 'unsafe-inline'", "")
        assert "frame-ancestors 'none'" in policy
        assert answer.headers["X-Content-Type-Options"] == "nosniff"


def test_the_document_names_every_route_and_metrics_name_no_ids(context: Context, http: Any) -> None:
    paths = http.get("/openapi.json").json()["paths"]
    assert {"/v1/conversions/{name}", "/v1/plans", "/models/api/v1/models"} <= set(paths)
    put(http, "counted")
    http.get("/v1/conversions/counted")
    text = http.get("/metrics").text
    assert 'nnconvert_jobs{state="queued"}' in text
    assert 'route="/v1/conversions/{name}"' in text
    assert "counted" not in text


def test_an_upload_outlives_a_restart(tmp_path: Path) -> None:
    digest = f"sha256:{hashlib.sha256(BYTES).hexdigest()}"
    body = {"name": "net.onnx", "size": len(BYTES), "digest": digest}
    with service(tmp_path / "data") as context:
        http = client(context)
        upload = http.post("/v1/uploads", json=body).json()
        url = f"/v1/uploads/{upload['id']}"
        http.patch(url, content=BYTES[:4], headers={"Upload-Offset": "0"})
    with service(tmp_path / "data") as context:
        http = client(context)
        again = http.post("/v1/uploads", json=body).json()
        assert (again["id"], again["offset"]) == (upload["id"], 4)
        assert http.patch(url, content=BYTES[4:], headers={"Upload-Offset": "4"}).json()["complete"]
        with pytest.raises(Missing):
            context.storage.fetch(f"sha256:{'0' * 64}", tmp_path / "none")


@pytest.mark.parametrize(
    ("method", "url", "more"),
    [
        ("GET", f"/v1/conversions?after={1 << 64}", {}),
        (
            "POST",
            "/v1/uploads",
            {"json": {"name": "a", "size": 1 << 64, "digest": f"sha256:{'0' * 64}"}},
        ),
        ("PATCH", "/v1/uploads/u_1", {"headers": {"Upload-Offset": str(1 << 64)}}),
        ("PUT", "/v1/conversions/a%00b", {"json": {}}),
    ],
)
def test_a_number_that_no_database_holds_is_refused(
    http: Any, method: str, url: str, more: dict[str, Any]
) -> None:
    assert http.request(method, url, **more).status_code == 422


def test_a_name_stays_where_none_is_given(http: Any) -> None:
    models = "/models/api/v1/models"
    made = http.post(models, json={"name": "named"}).json()
    changed = http.patch(f"{models}/{made['id']}", json={"name": None, "description": "d"}).json()
    assert (changed["name"], changed["description"]) == ("named", "d")
    put(http, "position")
    http.delete("/v1/conversions/position")
    assert len(events(http, "position", "9" * 30)) == 2


def test_an_upload_s_name_is_never_a_path_also_where_it_is_planned(tmp_path: Path) -> None:
    with service(tmp_path / "a/b/c/data") as context:
        http = client(context)
        source = uploaded(http, name="../../../../evil/net.onnx")
        planned = http.post("/v1/plans", json={"source": source, **RVC2})
        assert planned.status_code == 422, planned.text
        assert planned.json()["exit_code"] in (3, 4)
        assert not list(tmp_path.rglob("*evil*"))
        assert list(context.work.iterdir()) == []
        put(http, "named")
        assert context.rows.get(job_of(context, "named")).request.source_name == "net.onnx"
        for name in ("..", "/", "a/..", "C:\\x\\.."):
            source = uploaded(http, data=name.encode(), name=name)
            found = http.post(
                "/v1/uploads", json={"name": "n", "size": len(name), "digest": source}
            ).json()
            assert found["complete"]
            assert set("/\\").isdisjoint(found["name"])
            assert found["name"] not in ("", ".", "..")
