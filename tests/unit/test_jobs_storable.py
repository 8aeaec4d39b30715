"""What a stranger's model makes a conversion say must not end the dispatcher."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from converter.jobs.database import connect
from converter.jobs.dispatcher import Dispatcher
from converter.jobs.executor import Place, Report, Started, Ticket
from converter.jobs.rows import Rows
from converter.jobs.states import State
from converter.jobs.storable import storable
from converter.jobs.values import Event, Outcome, Request, Submission

DIGEST = "sha256:" + 64 * "0"


class Failing:
    """An executor whose attempts end at once with words of a stranger."""

    def __init__(self, reason: str, result: Mapping[str, Any]) -> None:
        self.refusals: dict[str, str] = {}
        self._told = reason, result
        self._reports: list[Report] = []

    def room(self) -> Sequence[Place]:
        return [Place(name="p", free=9, free_bytes=1 << 40, total_bytes=1 << 40, labels=frozenset())]

    def start(self, ticket: Ticket) -> None:
        reason, result = self._told
        said = Event(number=1, at=0.0, kind="log", data={"text": reason, "stage": ""}, attempt=0)
        self._reports.append(Started(job_id=ticket.job_id, attempt=1, worker="p"))
        self._reports.append(
            Outcome(
                job_id=ticket.job_id,
                attempt=ticket.attempt,
                state=State.FAILED,
                result=result,
                reason=reason,
                events=(said,),
            )
        )

    def cancel(self, job_id: str, attempt: int) -> None: ...

    def finished(self, timeout_s: float) -> list[Report]:
        found, self._reports = self._reports, []
        return found

    def close(self) -> None: ...


@pytest.mark.parametrize(
    ("reason", "result", "kept"),
    [
        ("inputs.\ud800: no\0such", {"error": {"message": "\ud800", "x": float("nan")}}, True),
        ("fine", {"error": {"message": object()}}, False),  # whatever else a database refuses
    ],
)
def test_words_that_no_database_holds_end_their_own_job_alone(
    tmp_path: Path, reason: str, result: Mapping[str, Any], kept: bool
) -> None:
    rows = Rows(connect(str(tmp_path / "jobs.db")))
    for name in ("a", "b"):
        request = Request(source=DIGEST, source_name="net.onnx", target="rvc4")
        rows.submit(Submission(id=name, request=request))
    dispatcher = Dispatcher(rows, Failing(reason, result), poll_s=0.0)
    for _ in range(3):
        dispatcher.step()
    assert [rows.get(name).state for name in ("a", "b")] == [State.FAILED, State.FAILED]
    job = rows.get("a")
    said = "inputs.?: no\ufffdsuch" if kept else "could not be written down"
    assert said in job.reason
    f"{job}{rows.events('a')}".encode()


def test_what_can_be_stored_stays_as_it_is() -> None:
    value = {"a": [1, 2.5, None, True, "ü"], "b": {"c": "\U0001f600"}}
    assert storable(value) == value
