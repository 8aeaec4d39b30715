"""The dispatcher with a double of an executor, which converts nothing and ends what the test says."""

from __future__ import annotations

import dataclasses
import itertools
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from converter.jobs.database import connect
from converter.jobs.dispatcher import Dispatcher
from converter.jobs.errors import DatabaseAway
from converter.jobs.executor import Lost, Place, Report, Started, Ticket, Told
from converter.jobs.leader import Leader
from converter.jobs.rows import Rows
from converter.jobs.states import ENDED, FOLLOWS, State
from converter.jobs.values import Artefact, Event, Limits, Outcome, Request, Submission

GB = 10**9
REQUEST = Request(source="sha256:" + 64 * "0", source_name="a", target="rvc2")
BIG = Limits(memory_bytes=8 * GB)
SMALL = Limits(memory_bytes=3 * GB)


class Double:
    """A double of an executor: it runs nothing."""

    def __init__(self, *places: Place) -> None:
        self.refusals: dict[str, str] = {}
        self.places = list(places)
        self.reports: deque[Report] = deque()
        self.tickets: dict[tuple[str, int], tuple[Ticket, str]] = {}
        self.cancelled: list[tuple[str, int]] = []
        self.begun: list[str] = []

    def room(self) -> Sequence[Place]:
        found = []
        for place in self.places:
            mine = [ticket for ticket, name in self.tickets.values() if name == place.name]
            taken = sum(ticket.memory_bytes for ticket in mine)
            found.append(
                dataclasses.replace(
                    place, free=place.free - len(mine), free_bytes=place.free_bytes - taken
                )
            )
        return found

    def start(self, ticket: Ticket) -> None:
        name = next(
            place.name
            for place in self.room()
            if place.free and place.free_bytes >= ticket.memory_bytes and ticket.labels <= place.labels
        )
        self.tickets[ticket.job_id, ticket.attempt] = (ticket, name)
        self.begun.append(ticket.job_id)
        self.reports.append(Started(job_id=ticket.job_id, attempt=ticket.attempt, worker=name))

    def cancel(self, job_id: str, attempt: int) -> None:
        self.cancelled.append((job_id, attempt))

    def finished(self, timeout_s: float) -> list[Report]:
        found = list(self.reports)
        self.reports.clear()
        return found

    def close(self) -> None:
        self.tickets.clear()

    # what the test lets happen

    def end(self, job_id: str, state: State = State.SUCCEEDED) -> None:
        key = next(key for key in self.tickets if key[0] == job_id)
        del self.tickets[key]
        self.reports.append(outcome(*key, state))

    def lose(self, job_id: str, *, counts: bool = True) -> None:
        key = next(key for key in self.tickets if key[0] == job_id)
        del self.tickets[key]
        self.reports.append(Lost(job_id=key[0], attempt=key[1], reason="killed", counts=counts))


def outcome(job_id: str, attempt: int, state: State) -> Outcome:
    made = Artefact(kind="log", digest=f"sha256:{attempt:064}", name="log", size_bytes=1)
    told = Event(attempt=0, number=1, at=0.0, kind="log", data={"text": "ended"})
    return Outcome(
        job_id=job_id,
        attempt=attempt,
        state=state,
        result={"by": attempt},
        artefacts=(made,),
        events=(told,),
    )


def place(name: str = "here", free: int = 2, size: int = 10 * GB, labels: str = "") -> Place:
    return Place(
        name=name, free=free, free_bytes=size, total_bytes=size, labels=frozenset(labels.split())
    )


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def rows(tmp_path: Path) -> Iterator[Rows]:
    engine = connect(str(tmp_path / "jobs.db"))
    yield Rows(engine)
    engine.dispose()


def submit(rows: Rows, name: str, limits: Limits = SMALL, labels: str = "", **more: int) -> None:
    rows.submit(
        Submission(id=name, request=REQUEST, limits=limits, labels=frozenset(labels.split()), **more)
    )


def dispatcher(rows: Rows, double: Double, clock: Clock, **more: float) -> Dispatcher:
    return Dispatcher(rows, double, poll_s=0.0, clock=clock, **more)  # type: ignore[arg-type]


def test_jobs_run_in_order_as_memory_and_places_allow(rows: Rows, clock: Clock) -> None:
    double = Double(place(free=2, size=7 * GB))
    one = dispatcher(rows, double, clock)
    for name in "abc":
        submit(rows, name)
    submit(rows, "urgent", priority=1)
    one.step()
    assert double.begun == ["urgent", "a"]
    double.end("a")
    one.step()
    assert double.begun == ["urgent", "a", "b"]
    assert rows.get("a").state is State.SUCCEEDED
    assert rows.get("a").result == {"by": 1}
    for name in ("urgent", "b"):
        double.end(name)
    one.step()
    double.end("c")
    one.run_until_idle()
    assert rows.count() == {State.SUCCEEDED: 4}


def test_memory_is_what_earlier_runs_took_or_a_guess_from_the_source(rows: Rows, clock: Clock) -> None:
    double = Double(place(free=1, size=10 * GB))
    one = dispatcher(rows, double, clock)
    submit(rows, "first", Limits(), source_bytes=GB // 10)
    one.step()
    guessed = double.tickets["first", 1][0].memory_bytes
    assert 1.0 * GB < guessed < 2 * GB
    double.reports.append(dataclasses.replace(outcome("first", 1, State.SUCCEEDED), peak_bytes=4 * GB))
    double.tickets.clear()
    submit(rows, "second", Limits(), source_bytes=GB // 10)
    one.step()
    assert double.tickets["second", 1][0].memory_bytes == pytest.approx(4.4 * GB)
    # A guess that is larger than the machine is no reason to refuse.
    double.tickets.clear()
    rows.submit(
        Submission(id="huge", request=dataclasses.replace(REQUEST, target="x"), source_bytes=9 * GB)
    )
    one.step()
    assert double.tickets["huge", 1][0].memory_bytes == 10 * GB


def test_a_big_job_does_not_starve_behind_small_ones(rows: Rows, clock: Clock) -> None:
    double = Double(place(free=4, size=10 * GB))
    one = dispatcher(rows, double, clock, patience_s=30)
    submit(rows, "small0")
    one.step()
    submit(rows, "big", BIG)
    for index in range(1, 4):
        submit(rows, f"small{index}")
    one.step()
    assert double.begun == ["small0", "small1", "small2"]
    clock.now = 31
    double.end("small0")
    one.step()
    assert "small3" not in double.begun
    for name in ("small1", "small2"):
        double.end(name)
    one.step()
    assert double.begun[-1] == "big"
    double.end("big")
    one.step()
    assert double.begun[-1] == "small3"


def test_a_big_job_keeps_one_place_free_and_not_the_others(rows: Rows, clock: Clock) -> None:
    double = Double(place("large", 2, 10 * GB), place("little", 1, 4 * GB))
    one = dispatcher(rows, double, clock, patience_s=30)
    for name in ("s1", "s2"):
        submit(rows, name)
    one.step()
    submit(rows, "big", BIG)
    one.step()
    clock.now = 31
    for name in ("s3", "s4"):
        submit(rows, name)
    double.end("s1")
    double.end("s2")
    one.step()
    assert "big" in double.begun
    assert double.tickets["big", 1][1] == "large"
    assert double.tickets["s3", 1][1] == "little"


def test_a_label_that_nobody_has_waits_with_the_reason_until_somebody_has_it(
    rows: Rows, clock: Clock
) -> None:
    double = Double(place(labels="rvc2/native"))
    one = dispatcher(rows, double, clock)
    submit(rows, "a", labels="engine rvc2/native")
    submit(rows, "b", labels="rvc2/native")
    one.step()
    assert double.begun == ["b"]
    assert rows.get("a").state is State.QUEUED
    assert rows.get("a").reason == "It waits for a worker that offers engine: there is none."
    double.places.append(place("other", labels="engine rvc2/native"))
    one.step()
    assert double.tickets["a", 1][1] == "other"
    assert rows.get("a").reason == ""


def test_without_workers_jobs_wait_with_the_reason(rows: Rows, clock: Clock) -> None:
    double = Double()
    one = dispatcher(rows, double, clock)
    submit(rows, "a")
    one.step()
    assert rows.get("a").reason == "It waits for a worker: there is none."
    double.places.append(place())
    one.step()
    assert rows.get("a").state is State.RUNNING


def test_a_job_that_no_worker_can_hold_is_refused_with_the_figures(rows: Rows, clock: Clock) -> None:
    double = Double(place(size=10 * GB), place("other", size=5 * GB, labels="engine"))
    one = dispatcher(rows, double, clock)
    submit(rows, "a", Limits(memory_bytes=40 * GB))
    submit(rows, "b", BIG, labels="engine")
    one.step()
    assert double.begun == []
    assert [rows.get(name).state for name in "ab"] == [State.FAILED] * 2
    assert rows.get("a").reason.startswith("The job needs 40.0 GB of memory, and the largest worker")
    assert "has 5.0 GB" in rows.get("b").reason


def test_lost_attempts_are_tried_again_within_the_bound_and_failures_are_not(
    rows: Rows, clock: Clock
) -> None:
    double = Double(place())
    one = dispatcher(rows, double, clock)
    submit(rows, "killer")
    submit(rows, "wrong")
    one.step()
    double.end("wrong", State.FAILED)
    double.lose("killer", counts=False)
    one.step()
    for _ in range(3):
        double.lose("killer")
        one.step()
    one.step()
    assert double.begun == ["killer", "wrong", "killer", "killer", "killer"]
    assert [rows.get(name).state for name in ("killer", "wrong")] == [State.FAILED] * 2
    assert rows.get("killer").reason == "Lost 3 times, the last time: killed"


def test_a_running_job_is_cancelled_by_its_executor_once(rows: Rows, clock: Clock) -> None:
    double = Double(place())
    one = dispatcher(rows, double, clock)
    submit(rows, "a")
    one.step()
    rows.cancel("a", "Not needed.")
    one.step()
    one.step()
    assert double.cancelled == [("a", 1)]
    double.end("a", State.CANCELLED)
    one.step()
    assert rows.get("a").state is State.CANCELLED


def test_a_cancelled_attempt_that_never_answers_is_given_up(rows: Rows, clock: Clock) -> None:
    double = Double(place())
    one = dispatcher(rows, double, clock)
    submit(rows, "a")
    one.step()
    rows.cancel("a")
    one.step()
    clock.now += 61
    one.step()
    assert rows.get("a").state is State.CANCELLED
    double.end("a")
    one.step()
    assert rows.get("a").state is State.CANCELLED
    assert one.running == 0


def test_an_attempt_that_outlives_its_time_fails_even_if_its_executor_is_silent(
    rows: Rows, clock: Clock
) -> None:
    double = Double(place())
    one = dispatcher(rows, double, clock)
    submit(rows, "a", Limits(time_s=100, memory_bytes=1))
    one.step()
    one.step()
    clock.now += 159
    one.step()
    assert rows.get("a").state is State.RUNNING
    clock.now += 2
    one.step()
    job = rows.get("a")
    assert (job.state, job.reason) == (
        State.FAILED,
        "The conversion did not end within 100 s. Give the job more time.",
    )
    assert ("a", 1) in double.cancelled


def test_an_attempt_that_is_not_the_job_s_any_more_is_ended(rows: Rows, clock: Clock) -> None:
    double = Double(place())
    one = dispatcher(rows, double, clock)
    submit(rows, "a")
    one.step()
    rows.lost("a", 1, "another dispatcher thought so", counts=False)
    late = Event(attempt=0, number=1, at=0.0, kind="log", data={})
    double.reports.append(Told(job_id="a", attempt=1, events=(late,)))
    one.step()
    assert ("a", 1) in double.cancelled
    assert [event.kind for event in rows.events("a")].count("log") == 0
    double.end("a")
    one.step()
    assert rows.get("a").attempt == 2
    assert rows.get("a").state is State.RUNNING


def test_the_next_dispatcher_queues_what_the_killed_one_ran(rows: Rows, clock: Clock) -> None:
    submit(rows, "a")
    dispatcher(rows, Double(place()), clock).step()
    assert rows.get("a").state is State.RUNNING
    double = Double(place())
    one = dispatcher(rows, double, clock)
    one.step()
    assert (rows.get("a").attempt, rows.get("a").losses) == (2, 0)
    assert rows.attempts("a")[0].reason == "The dispatcher was restarted."
    one.close()
    job = rows.get("a")
    assert (job.state, job.reason, job.losses) == (State.QUEUED, "The dispatcher was stopped.", 0)


def test_nothing_is_forgotten_while_the_database_is_away(
    rows: Rows, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    double = Double(place(free=2))
    one = dispatcher(rows, double, clock)
    submit(rows, "a")
    submit(rows, "b")
    one.step()
    is_away = [True]
    for name in ("finish", "claim", "lost", "running", "cancelling", "start"):
        real = getattr(rows, name)

        def away(*args: object, real: object = real, **more: object) -> object:
            if is_away[0]:
                raise DatabaseAway("away")
            return real(*args, **more)  # type: ignore[operator]

        monkeypatch.setattr(rows, name, away)
    double.end("a")
    double.lose("b")
    for _ in range(3):
        one.step()
    assert rows.get("a").state is State.RUNNING
    is_away[0] = False
    one.step()
    assert rows.get("a").state is State.SUCCEEDED
    assert (rows.get("b").attempt, rows.get("b").losses) == (2, 1)


def test_one_leads_and_another_one_follows_when_it_ends(rows: Rows) -> None:
    with Leader(rows.engine) as first, Leader(rows.engine) as second:
        assert first.try_lead()
        assert first.leads()
        assert not second.try_lead()
        assert not second.wait(timeout_s=0)
        first.close()
        assert not first.leads()
        assert second.try_lead()


# ------------------------------------------------------------ nothing lost, nothing twice


class Life(RuleBasedStateMachine):
    """Submit, cancel, end, lose, kill the dispatcher, in any order: every job ends exactly once."""

    folder: Path
    count = 0

    def __init__(self) -> None:
        super().__init__()
        Life.count += 1
        self.rows = Rows(connect(str(self.folder / f"{Life.count}.db")))
        self.clock = Clock()
        self.double = Double(place(free=3))
        self.one = dispatcher(self.rows, self.double, self.clock)
        self.submitted: list[str] = []
        self.ended: dict[str, State] = {}

    @rule(again=st.booleans())
    def submit(self, again: bool) -> None:
        name = self.submitted[-1] if again and self.submitted else str(len(self.submitted))
        submit(self.rows, name)
        if name not in self.submitted:
            self.submitted.append(name)

    @rule()
    def step(self) -> None:
        self.one.step()

    @precondition(lambda self: self.double.tickets)
    @rule(data=st.data(), state=st.sampled_from([State.SUCCEEDED, State.FAILED]))
    def end(self, data: st.DataObject, state: State) -> None:
        self.double.end(
            data.draw(st.sampled_from(sorted(key[0] for key in self.double.tickets))), state
        )

    @precondition(lambda self: self.double.tickets)
    @rule(data=st.data(), counts=st.booleans())
    def lose(self, data: st.DataObject, counts: bool) -> None:
        running = sorted(key[0] for key in self.double.tickets)
        self.double.lose(data.draw(st.sampled_from(running)), counts=counts)

    @precondition(lambda self: self.submitted)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        self.rows.cancel(data.draw(st.sampled_from(self.submitted)))

    @rule(orderly=st.booleans())
    def restart(self, orderly: bool) -> None:
        if orderly:
            self.one.close()
        self.double = Double(place(free=3))
        self.one = dispatcher(self.rows, self.double, self.clock)

    @precondition(lambda self: self.double.reports)
    @rule(data=st.data())
    def answer_twice(self, data: st.DataObject) -> None:
        self.double.reports.append(data.draw(st.sampled_from(list(self.double.reports))))

    @invariant()
    def what_ended_stays(self) -> None:
        for job in self.rows.all():
            if job.has_ended:
                assert self.ended.setdefault(job.id, job.state) is job.state
            told = [one for one in self.rows.events(job.id) if one.kind == "state"]
            states = [State(one.data["state"]) for one in told]
            assert all(after in FOLLOWS[before] for before, after in itertools.pairwise(states))
            assert states[-1] is job.state

    def teardown(self) -> None:
        for _ in range(100):
            self.one.step()
            for job_id, _ in list(self.double.tickets):
                self.double.end(job_id)
            if not self.double.tickets and not self.double.reports:
                break
        self.one.step()
        jobs = list(self.rows.all())
        assert [job.id for job in jobs] == self.submitted
        for job in jobs:
            assert job.state in ENDED
            ran = [one for one in self.rows.attempts(job.id) if one.state is State.SUCCEEDED]
            assert len(ran) == (job.state is State.SUCCEEDED)
            assert len(self.rows.attempts(job.id)) == job.attempt
            if job.state is State.SUCCEEDED:
                assert job.result == {"by": job.attempt}
                assert self.rows.artefacts(job.id)["log"].digest == f"sha256:{job.attempt:064}"
        self.rows.engine.dispose()


def test_every_job_ends_exactly_once_whatever_happens(tmp_path: Path) -> None:
    Life.folder = tmp_path
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        Life,
        settings=settings(
            max_examples=6,
            stateful_step_count=25,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
