"""Rows, on SQLite and on a real PostgreSQL: every change is fenced, kept once, and told."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from converter.errors import ToolchainError, UsageError
from converter.jobs import database
from converter.jobs import reading as jobs_reading
from converter.jobs import rows as jobs_rows
from converter.jobs.database import Kept, connect, reading, writing
from converter.jobs.errors import Conflict, DatabaseAway, Missing, OtherVersion
from converter.jobs.rows import Rows
from converter.jobs.schema import JOBS, METADATA
from converter.jobs.states import ENDED, FOLLOWS, State
from converter.jobs.values import (
    Artefact,
    Attachment,
    Event,
    Limits,
    Outcome,
    Request,
    Submission,
    limits_of,
)
from tests.documents import ROOT
from tests.postgres import Postgres, postgres

DIGEST = "sha256:" + 64 * "0"
OTHER = "sha256:" + 64 * "1"


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    with postgres() as found:
        yield found


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    if request.param == "sqlite":
        return str(tmp_path_factory.mktemp("rows") / "jobs.db")
    return str(request.getfixturevalue("server").database())


def test_a_database_without_an_encoding_answers_in_text(server: Postgres) -> None:
    """`initdb` in a container without a locale makes such ones."""
    engine = connect(server.database("ENCODING 'SQL_ASCII' TEMPLATE template0"))
    with engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT 'größer'").scalar() == "größer"
    engine.dispose()


class Clock:
    """A clock that the test moves."""

    now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def rows(url: str, clock: Clock) -> Iterator[Rows]:
    """Rows of a database that is empty."""
    engine = connect(url)
    with writing(engine) as connection:
        for table in reversed(METADATA.sorted_tables):
            connection.execute(sa.delete(table))
    yield Rows(engine, clock=clock)
    engine.dispose()


def request(**changes: object) -> Request:
    return replace(Request(source=DIGEST, source_name="a.tar.xz", target="rvc2"), **changes)


def submission(job_id: str = "a", **changes: object) -> Submission:
    return replace(Submission(id=job_id, request=request()), **changes)


def told(*numbers: int) -> list[Event]:
    return [Event(attempt=0, number=n, at=1.0, kind="log", data={"text": str(n)}) for n in numbers]


def outcome(attempt: int, state: State = State.SUCCEEDED, job_id: str = "a") -> Outcome:
    made = Artefact(kind="archive", digest=OTHER, name="a.rvc2.tar.xz", size_bytes=7)
    return Outcome(
        job_id=job_id,
        attempt=attempt,
        state=state,
        result={"exit_code": 0, "by": attempt},
        artefacts=(made,),
        peak_bytes=5,
    )


def states_told(rows: Rows, job_id: str = "a") -> list[str]:
    return [one.data["state"] for one in rows.events(job_id) if one.kind == "state"]


# ------------------------------------------------------------------ the database


def test_migrations_make_the_tables_that_the_code_names(rows: Rows) -> None:
    with reading(rows.engine) as connection:
        assert compare_metadata(MigrationContext.configure(connection), METADATA) == []
        found = sa.inspect(connection)
        for table in METADATA.sorted_tables:
            named = {index.name for index in table.indexes}
            assert named <= {one["name"] for one in found.get_indexes(table.name)}


def test_two_migrations_at_once_are_safe(
    tmp_path: Path, server: Postgres, subtests: pytest.Subtests
) -> None:
    for url in (str(tmp_path / "jobs.db"), server.database()):
        with subtests.test(url=url), ThreadPoolExecutor(4) as pool:
            for engine in [one.result() for one in [pool.submit(connect, url) for _ in range(4)]]:
                assert Rows(engine).find() == []
                engine.dispose()


def test_a_database_of_a_later_version_is_refused_by_name(rows: Rows, url: str) -> None:
    version = sa.text("UPDATE alembic_version SET version_num = :to")
    with writing(rows.engine) as connection:
        connection.execute(version, {"to": "0999"})
    try:
        with pytest.raises(OtherVersion, match=f"0999.*{database.JOBS.version}"):
            connect(url)
    finally:
        with writing(rows.engine) as connection:
            connection.execute(version, {"to": database.JOBS.version})


def test_what_is_no_database_for_jobs_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for url in ("sqlite://", "mysql://host/name", "sqlite:///:memory:", "://"):
        with pytest.raises(UsageError):
            connect(url)
    monkeypatch.setattr(database, "file_system_of", lambda path: "nfs4")
    with pytest.raises(UsageError, match=r"network disk \(nfs4\)"):
        connect(str(tmp_path / "jobs.db"))


def test_the_file_system_of_a_path_is_found(tmp_path: Path) -> None:
    assert database.file_system_of(Path("/proc/self")) == "proc"
    assert database.file_system_of(tmp_path / "not/there") not in ("", "proc")


def test_a_database_that_does_not_answer_is_waited_for(server: Postgres) -> None:
    url = server.database()
    server.kill()
    with pytest.raises(DatabaseAway):
        connect(url)
    waiting = ThreadPoolExecutor(1)
    found = waiting.submit(connect, url, wait_s=30)
    server.start()
    engine = found.result()
    rows, kept = Rows(engine), Kept(engine)
    rows.submit(submission())
    chosen = sa.select(JOBS.c.state)
    assert kept.rows(chosen, {}) == [(State.QUEUED,)]
    server.kill()
    with pytest.raises(DatabaseAway):
        rows.get("a")
    with pytest.raises(DatabaseAway):
        kept.rows(chosen, {})
    server.start()
    assert rows.get("a").state is State.QUEUED
    assert kept.rows(chosen, {}) == [(State.QUEUED,)]
    server.kill()
    server.start()
    assert kept.rows(chosen, {}) == [(State.QUEUED,)]  # it was lost, and is made again
    kept.close()
    engine.dispose()


def test_readers_are_not_kept_out_by_a_writer(rows: Rows) -> None:
    rows.submit(submission())
    with writing(rows.engine) as connection:
        connection.execute(sa.text("UPDATE jobs SET name = 'new'"))
        assert rows.get("a").name == ""
    assert rows.get("a").name == "new"


# ------------------------------------------------------------------ jobs come


def test_a_job_comes_back_as_it_was_submitted(rows: Rows, clock: Clock) -> None:
    attached = {"verify.data": Attachment(digest=OTHER, name="frames.zip")}
    one = submission(
        request=request(
            options={"a.b": [1, 2.5, None, "ü"]},
            attachments=attached,
            beside={"weights.bin": OTHER},
            report=False,
        ),
        limits=Limits(time_s=5, memory_bytes=1 << 40),
        labels=frozenset({"engine", "rvc4/native"}),
        priority=3,
        tenant="t",
        name="cell",
        batch="b",
        source_bytes=1 << 33,
    )
    job = rows.submit(one)
    assert (
        job == rows.get("a") == rows.find(tenant="t", states=[State.QUEUED], batch="b", name="cell")[0]
    )
    for name in ("request", "limits", "labels", "priority", "tenant", "name", "batch", "source_bytes"):
        assert getattr(job, name) == getattr(one, name), name
    assert (job.state, job.attempt, job.created_at, job.events) == (State.QUEUED, 0, clock.now, 1)
    assert Request.from_json(one.request.to_json()) == one.request
    assert limits_of({"time_s": 1.0, "of_a_later_version": 1}).time_s == 1


def test_the_same_job_twice_is_one_and_another_one_of_its_id_is_a_conflict(
    rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs_rows, "_CHUNK", 7)
    first = rows.submit(submission())
    rows.claim("a")
    assert rows.submit(submission()).number == first.number
    for other in (submission(request=request(target="rvc4")), submission(tenant="t")):
        with pytest.raises(Conflict):
            rows.submit(other)
    several = [submission(str(index)) for index in range(20)]
    with pytest.raises(Conflict):
        rows.submit_all([*several, submission(request=request(target="rvc4"))])
    assert [job.id for job in rows.all()] == ["a"]
    assert [job.id for job in rows.submit_all(several)] == [one.id for one in several]
    assert len(list(rows.all(states=[State.QUEUED]))) == 20
    assert rows.count() == {State.QUEUED: 20, State.RUNNING: 1}


def test_twenty_threads_that_submit_one_job_make_one(rows: Rows) -> None:
    with ThreadPoolExecutor(20) as pool:
        found = list(pool.map(lambda _: rows.submit(submission()).number, range(20)))
    assert len(set(found)) == 1
    assert states_told(rows) == ["queued"]


def test_a_job_waits_for_its_files_and_expires_without_them(rows: Rows, clock: Clock) -> None:
    wants = request(source=None, wants=("calibration", "verify.data"))
    for name in ("a", "b"):
        rows.submit(submission(name, request=wants, limits=Limits(wait_s=10)))
    assert rows.get("a").state is State.WAITING_INPUTS
    rows.give_inputs("a", {"source": DIGEST})
    rows.give_inputs("a", {"calibration": OTHER})
    assert rows.get("a").request.missing == ("verify.data",)
    assert rows.claim("a") is None
    clock.now += 9
    assert rows.expire() == []
    given = {"verify.data": Attachment(digest=OTHER, name="f.zip")}
    assert rows.give_inputs("a", given).state is State.QUEUED
    assert rows.give_inputs("a", given).state is State.QUEUED
    with pytest.raises(Conflict):
        rows.give_inputs("a", {"source": OTHER})
    clock.now += 2
    assert rows.expire() == ["b"]
    assert rows.get("b").state is State.EXPIRED
    assert rows.get("a").request.attachments == given
    assert states_told(rows, "b") == ["waiting_inputs", "expired"]
    with pytest.raises(Conflict):
        rows.give_inputs("b", {"source": DIGEST})


def test_a_held_job_goes_on_when_it_is_released(rows: Rows) -> None:
    rows.submit(submission(hold=True))
    rows.submit(submission("b", hold=True, request=request(source=None)))
    assert rows.claim("a") is None
    rows.give_inputs("b", {"source": DIGEST})
    assert [rows.get(one).state for one in "ab"] == [State.ACCEPTED, State.ACCEPTED]
    assert [rows.release(one).state for one in "ab"] == [State.QUEUED, State.QUEUED]
    assert rows.release("a").state is State.QUEUED


def test_the_queue_goes_by_priority_and_nobody_waits_for_ever(rows: Rows, clock: Clock) -> None:
    none: frozenset[str] = frozenset()
    rows.submit(submission("old"))
    rows.submit(submission("second"))
    clock.now += 500
    rows.submit(submission("urgent", priority=1))
    rows.submit(submission("labelled", priority=2, labels=frozenset({"engine"})))
    clock.now += 700
    rows.submit(submission("late", priority=1))
    assert [job.id for job in rows.queue([none], 9)] == ["urgent", "old", "second", "late"]
    assert [job.id for job in rows.queue([none, frozenset({"engine"})], 2)] == ["labelled", "urgent"]
    assert set(rows.wanted_labels()) == {none, frozenset({"engine"})}


# ------------------------------------------------------------------ jobs run


def test_a_claim_is_one_attempt_whoever_else_claims(rows: Rows) -> None:
    rows.submit(submission())
    with ThreadPoolExecutor(8) as pool:
        found = [one for one in pool.map(lambda _: rows.claim("a"), range(8)) if one]
    assert [one.number for one in found] == [1]
    assert [job.id for job in rows.running()] == ["a"]
    assert rows.claim("nobody") is None


def test_events_are_kept_once_and_in_order(rows: Rows) -> None:
    rows.submit(submission())
    rows.claim("a")
    assert rows.append_events("a", 1, told(1, 2))
    assert rows.append_events("a", 1, told(1, 2))
    assert rows.append_events("a", 1, told(2, 3))
    assert not rows.append_events("a", 2, told(4))
    assert rows.lost("a", 1, "gone") is not None
    rows.claim("a")
    assert not rows.append_events("a", 1, told(9))
    assert rows.append_events("a", 2, told(1))
    events = rows.events("a")
    assert [one.position for one in events] == [*range(1, rows.get("a").events + 1)]
    assert [(one.attempt, one.number) for one in events if one.kind == "log"] == [
        *((1, 1), (1, 2), (1, 3), (2, 1)),
    ]
    assert rows.events("a", after=3, limit=2) == events[3:5]


def test_a_finished_job_stays_as_it_finished(rows: Rows) -> None:
    rows.submit(submission())
    rows.claim("a", "w")
    rows.start("a", 1, "worker")
    assert rows.finish(replace(outcome(1), events=tuple(told(1))))
    assert rows.finish(outcome(1)), "carried out before: the answer was lost"
    assert not rows.finish(outcome(2))
    assert not rows.finish(outcome(1, State.FAILED))
    assert rows.lost("a", 1, "late") is None
    assert rows.cancel("a").state is State.SUCCEEDED
    assert not rows.start("a", 1, "other")
    assert rows.claim("a") is None
    job = rows.get("a")
    assert (job.state, job.result) == (State.SUCCEEDED, {"exit_code": 0, "by": 1})
    assert rows.artefacts("a") == {"archive": outcome(1).artefacts[0]}
    assert [(one.state, one.worker, one.peak_bytes) for one in rows.attempts("a")] == [
        (State.SUCCEEDED, "worker", 5)
    ]
    assert states_told(rows) == ["queued", "running", "succeeded"]
    assert rows.peaks({job.kind}) == {job.kind: 5}


def test_a_lost_attempt_cannot_finish_and_its_files_are_nobody_s(rows: Rows) -> None:
    rows.submit(submission())
    rows.claim("a")
    rows.lost("a", 1, "The worker died.")
    assert rows.get("a").reason == "The worker died."
    assert not rows.finish(outcome(1))
    rows.claim("a")
    assert not rows.finish(outcome(1))
    assert rows.artefacts("a") == {}
    assert OTHER not in rows.digests()
    assert DIGEST in rows.digests()
    assert rows.finish(outcome(2))
    assert rows.digests() == {OTHER}
    assert [one.state for one in rows.attempts("a")] == [None, State.SUCCEEDED]


def test_losses_that_count_are_bounded_and_outages_are_not(rows: Rows) -> None:
    rows.submit(submission())
    for attempt in range(1, 9):
        rows.claim("a")
        job = rows.lost("a", attempt, "The database was away.", counts=False)
        assert job is not None
        assert job.state is State.QUEUED
    for attempt in (9, 10, 11):
        rows.claim("a")
        job = rows.lost("a", attempt, "killed")
    assert job is not None
    assert (job.state, job.losses, job.attempt) == (State.FAILED, 3, 11)
    assert job.reason == "Lost 3 times, the last time: killed"
    assert job.result is not None
    assert job.result["error"]["class"] == "ToolError"
    assert [one.counts for one in rows.attempts("a")] == [False] * 8 + [True] * 3


def test_cancel_in_every_state(rows: Rows) -> None:
    held, waiting = submission("held", hold=True), submission("waiting", request=request(source=None))
    rows.submit_all([held, waiting, submission("queued"), submission("running")])
    rows.claim("running")
    for name in ("held", "waiting", "queued"):
        assert rows.cancel(name, "why").state is State.CANCELLED
        assert rows.cancel(name).reason == "why"
        assert rows.claim(name) is None
    assert rows.cancel("running").state is State.RUNNING
    assert rows.cancelling() == [("running", 1)]
    assert rows.cancel("running").cancelling
    job = rows.lost("running", 1, "gone")
    assert job is not None
    assert job.state is State.CANCELLED
    assert rows.cancelling() == []
    with pytest.raises(Missing):
        rows.cancel("nobody")


def test_success_that_races_with_cancel_ends_once(rows: Rows) -> None:
    for index in range(10):
        name = str(index)
        rows.submit(submission(name))
        rows.claim(name)
        both = threading.Barrier(2)

        def cancel(name: str = name, both: threading.Barrier = both) -> None:
            both.wait()
            rows.cancel(name)

        other = threading.Thread(target=cancel)
        other.start()
        both.wait()
        assert rows.finish(outcome(1, job_id=name))
        other.join()
        assert states_told(rows, name) == ["queued", "running", "succeeded"]


def test_a_job_that_cannot_run_is_refused_with_the_reason(rows: Rows) -> None:
    rows.submit(submission())
    assert rows.refuse("a", ToolchainError("It needs 40 GB."))
    assert not rows.refuse("a", ToolchainError("again"))
    job = rows.get("a")
    assert (job.state, job.reason) == (State.FAILED, "It needs 40 GB.")
    assert job.result is not None
    assert job.result["exit_code"] == 5


def test_why_jobs_wait_is_written_down(rows: Rows) -> None:
    labels = frozenset({"engine"})
    rows.submit_all([submission("a", labels=labels), submission("b")])
    rows.explain(labels, "no worker")
    assert [rows.get(one).reason for one in "ab"] == ["no worker", ""]
    rows.explain(labels, "")
    assert rows.get("a").reason == ""


def test_a_job_is_deleted_with_all_its_rows_when_it_has_ended(rows: Rows) -> None:
    rows.submit(submission())
    rows.claim("a")
    with pytest.raises(Conflict):
        rows.delete("a")
    rows.finish(outcome(1))
    number = rows.get("a").number
    rows.delete("a")
    with pytest.raises(Missing):
        rows.get("a")
    assert rows.digests() == set()
    assert rows.submit(submission()).number > number
    assert rows.artefacts("a") == {}


def test_tenants_do_not_see_each_other(rows: Rows) -> None:
    rows.submit_all([submission("a", tenant="one"), submission("b", tenant="two")])
    assert [job.id for job in rows.find(tenant="one")] == ["a"]
    assert rows.count(tenant="two") == {State.QUEUED: 1}
    assert rows.get("a", tenant="one").id == "a"
    with pytest.raises(Missing):
        rows.get("a", tenant="two")


def test_pages_go_forwards_and_backwards(rows: Rows) -> None:
    jobs = rows.submit_all([submission(str(index)) for index in range(7)])
    assert rows.find(after=jobs[2].number, limit=3) == jobs[3:6]
    assert rows.find(newest_first=True, limit=2) == jobs[:4:-1]
    assert rows.find(newest_first=True, after=jobs[5].number, limit=2) == jobs[4:2:-1]


def test_every_state_can_end_and_what_ended_stays(rows: Rows) -> None:
    assert set(FOLLOWS) == set(State)
    for state in State:
        assert (not FOLLOWS[state]) == (state in ENDED)


def test_values_are_loaded_without_a_database_s_libraries() -> None:
    code = "import sys, converter.jobs.child, converter.storage; print('sqlalchemy' in sys.modules)"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert said.stdout.strip() == "False", said.stderr


def test_every_name_of_the_package_is_where_it_says() -> None:
    from converter import jobs

    for name in jobs._WHERE:
        assert getattr(getattr(jobs, name), "__name__", name) == name


def test_what_the_dispatcher_asks_every_turn_reads_no_more_when_more_is_queued(tmp_path: Path) -> None:
    engine = connect(str(tmp_path / "plan.db"))
    with engine.connect() as connection:
        for statement in (*jobs_reading._LABELS["sqlite"], jobs_reading._QUEUE):
            compiled = statement.compile(engine)
            values = tuple(1 if name == "most" else "" for name in compiled.positiontup or ())
            plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {compiled}", values).fetchall()
            steps = [row[3] for row in plan]
            assert len(steps) == 1, steps  # no sorting
            assert "INDEX jobs_queued" in steps[0]
    engine.dispose()
