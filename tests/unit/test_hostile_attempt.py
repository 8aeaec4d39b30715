"""A conversion's child that hostile input took over: a DOUBLE of it, in this process, leaves its files."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import socket
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from converter.errors import ModelError, ToolError
from converter.jobs.attempt import Working
from converter.jobs.child import EVENTS, LOG, OUTPUT, REPORT
from converter.jobs.executor import Lost, Ticket
from converter.jobs.results import checked, error_json, failed
from converter.jobs.states import State
from converter.jobs.tail import Tail
from converter.jobs.values import Outcome, Request
from converter.processes import said, untrusted
from converter.processes.run import Processes
from converter.storage import Storage

SECRET = b"another tenant's model"
Document = dict[str, Any]
Attempt = Callable[[Callable[[Path], Any]], Outcome | Lost]


def document(data: bytes = SECRET, name: str = "net.tar") -> Document:
    """What a child says of a result with these bytes."""
    return {"exit_code": 0, "output": name, "sha256": hashlib.sha256(data).hexdigest()}


def output(folder: Path) -> Path:
    (folder / OUTPUT).mkdir(exist_ok=True)
    return folder / OUTPUT / "net.tar"


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return Storage(tmp_path / "storage")


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """A file of the server's, outside the attempt's folder."""
    path = tmp_path / "service.sqlite"
    path.write_bytes(SECRET)
    return path


@pytest.fixture
def attempt(storage: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Attempt:
    """Runs an attempt whose child is the double that is given."""

    def run(child: Callable[[Path], Any]) -> Outcome | Lost:
        folder = tmp_path / "attempt"
        folder.mkdir()
        monkeypatch.setattr(Processes, "call", lambda *_, **__: child(folder))
        request = Request(source=storage.put(b"model"), source_name="net.onnx", target="rvc2")
        ticket = Ticket(
            job_id="a",
            attempt=1,
            request=request,
            labels=frozenset(),
            time_s=60,
            memory_bytes=1,
            bounds={"file_bytes": 1000},
        )
        return Working(ticket, storage, folder).run()

    return run


def failed_by(outcome: Outcome | Lost, storage: Storage) -> str:
    """The reason of an attempt that failed as a tool's error, and gave nothing of the secret away."""
    assert isinstance(outcome, Outcome)
    assert outcome.state is State.FAILED
    assert outcome.result["exit_code"] == 6
    assert not storage.has(f"sha256:{hashlib.sha256(SECRET).hexdigest()}")
    assert "archive" not in {one.kind for one in outcome.artefacts}
    return outcome.reason


def test_a_result_is_stored_as_the_child_says(attempt: Attempt, storage: Storage) -> None:
    def child(folder: Path) -> Document:
        output(folder).write_bytes(SECRET)
        (folder / LOG).write_text("line\n")
        return document(name=str(output(folder)))

    outcome = attempt(child)
    assert isinstance(outcome, Outcome)
    assert (outcome.state, outcome.result["output"]) == (State.SUCCEEDED, "net.tar")
    assert {one.kind: one.size_bytes for one in outcome.artefacts} == {"archive": 22, "log": 5}
    assert all(storage.verify(one.digest) for one in outcome.artefacts)


@pytest.mark.parametrize(
    "kind", ["path", "link", "hard link", "folder's link", "pipe", "socket", "device"]
)
@pytest.mark.parametrize("what", [OUTPUT, REPORT, LOG])
def test_no_other_file_than_the_attempt_s_is_stored(
    attempt: Attempt, storage: Storage, secret: Path, kind: str, what: str
) -> None:
    def child(folder: Path) -> Document:
        place = output(folder) if what == OUTPUT else folder / what
        if what != OUTPUT:
            output(folder).write_bytes(b"")
        match kind:
            case "link":
                place.symlink_to(secret)
            case "hard link":
                place.hardlink_to(secret)
            case "folder's link":
                (folder / "elsewhere").symlink_to(secret.parent)
                (folder / OUTPUT).rename(folder / "old")
                (folder / OUTPUT).symlink_to("elsewhere")
            case "pipe":
                os.mkfifo(place)
            case "socket":
                with socket.socket(socket.AF_UNIX) as one:
                    one.bind(str(place))
            case "device":
                place.symlink_to("/dev/zero")
        name = str(secret) if kind == "path" else secret.name if "folder" in kind else "net.tar"
        return document(SECRET if what == OUTPUT else b"", name)

    assert failed_by(attempt(child), storage)


@pytest.mark.parametrize(
    "name", ["", "..", "../service.sqlite", "/", ".", "a\0b", "x" * 5000, "a\nb", "a\\b", "\ud800"]
)
def test_a_name_that_is_a_path_is_none(
    attempt: Attempt, storage: Storage, secret: Path, name: str
) -> None:
    assert secret.exists()
    assert failed_by(attempt(lambda _: document(name=name)), storage)


def test_what_is_too_large_is_refused(attempt: Attempt, storage: Storage) -> None:
    def child(folder: Path) -> Document:
        with output(folder).open("wb") as file:
            file.truncate(10**12)
        return document()

    assert "1,000,000,000,000 bytes" in failed_by(attempt(child), storage)


def test_a_file_that_grows_while_it_is_read_is_bounded(tmp_path: Path) -> None:
    path = tmp_path / "grows"
    path.write_bytes(b"0123456789")
    with untrusted.opened(tmp_path, "grows", most_bytes=12) as file:
        assert file.read(10) == b"0123456789"
        with path.open("ab") as more:
            more.write(b"0123456789")
        with pytest.raises(ToolError, match="more than 12 bytes"):
            while file.read(8):
                pass
    assert untrusted.read(tmp_path, "grows", most_bytes=12, offset=5, cuts=True) == b"5678901"


def test_another_file_than_the_child_says_is_refused(attempt: Attempt, storage: Storage) -> None:
    def child(folder: Path) -> Document:
        output(folder).write_bytes(b"other")
        return document()

    assert "another net.tar than it says" in failed_by(attempt(child), storage)


DEEP: Any = {}
for _ in range(40):
    DEEP = {"a": DEEP}
ERROR = error_json(ModelError("It fails."))


@pytest.mark.parametrize(
    "answer",
    [
        None,
        [],
        "exit_code",
        {},
        {"exit_code": True},
        {"exit_code": "0"},
        {"exit_code": 10**30},
        {"exit_code": 0},
        {"exit_code": 0, "output": 5, "sha256": ""},
        {**document(), "warnings": "no list"},
        {**document(), "verification": DEEP},
        {**document(), "peak_bytes": {"compile": "much"}},
        {**document(), "peak_bytes": {"compile": 10**300}},
        {"exit_code": 6},
        {"exit_code": 6, "error": "text"},
        {"exit_code": 6, "error": {**ERROR, "message": 5}},
        {"exit_code": 6, "error": {**ERROR, "findings": ["one"]}},
        {"exit_code": 6, "error": {**ERROR, "findings": [{"code": []}]}},
    ],
)
def test_a_result_that_is_none_fails_the_attempt(
    attempt: Attempt, storage: Storage, answer: Any
) -> None:
    assert "a result that is none" in failed_by(attempt(lambda _: answer), storage)


def test_results_of_the_converter_are_taken() -> None:
    for one in (failed(ModelError("It fails.")), {"exit_code": 4, "error": ERROR}):
        assert checked(one) == one
    assert checked(document()) == document()


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"[",
        b"[]",
        b"null",
        b"{}",
        b"[" * 100_000,
        b'{"result": \xff}',
        b'{"error": {}}',
        b'{"error": {"kind": "SystemExit"}}',
        json.dumps({"error": {**ERROR, "kind": "ToolError", "message": 5}}).encode(),
        json.dumps({"error": {**ERROR, "kind": "ToolError", "findings": [{"code": 1}]}}).encode(),
        json.dumps({"result": "x" * 2000}).encode(),
    ],
)
def test_an_answer_that_is_none_is_a_tool_s_error(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "call.answer").write_bytes(text)
    with pytest.raises(ToolError):
        said.answer(tmp_path, "call.answer", "The conversion", 1000)


def test_an_answer_is_not_read_through_a_link_or_a_pipe(tmp_path: Path, secret: Path) -> None:
    (tmp_path / "link.answer").symlink_to(secret)
    os.mkfifo(tmp_path / "pipe.answer")
    for name in ("link.answer", "pipe.answer"):
        with pytest.raises(ToolError, match="is not taken"):
            said.answer(tmp_path, name, "It", 1000)


def test_what_a_child_prints_without_end_is_bounded(tmp_path: Path) -> None:
    with (tmp_path / "said").open("w") as file:
        file.truncate(40 << 20)
    kept: deque[str] = deque(maxlen=said.KEPT_LINES)
    said.drain((tmp_path / "said").open(encoding="utf-8", errors="replace"), kept, None)
    assert 0 < sum(map(len, kept)) <= 16 << 20


LINE: Document = {"number": 1, "at": 1.0, "kind": "log", "data": {"text": "told"}}


def test_half_a_line_of_events_is_left_for_later(tmp_path: Path) -> None:
    path = tmp_path / EVENTS
    tail = Tail(tmp_path, EVENTS)
    assert tail.read() == ()
    lines = [json.dumps({**LINE, "number": number}) + "\n" for number in (1, 2)]
    path.write_text(lines[0] + lines[1][:20])
    assert [one.number for one in tail.read()] == [1]
    with path.open("a") as file:
        file.write(lines[1][20:])
    assert [one.number for one in tail.read()] == [2]


WRONG: list[Document] = [
    {"number": 0},
    {"number": True},
    {"number": 2**31},
    {"number": "1"},
    {"at": "now"},
    {"at": float("nan")},
    {"kind": "state"},
    {"kind": []},
    {"data": []},
    {"data": {}},
    {"data": {"text": 5}},
    {"data": {"text": "a", "more": DEEP}},
    {"data": {"text": "a", "more": 10**400}},
    {"data": {"text": "a", "more": float("inf")}},
    {"data": {"text": "a", **dict.fromkeys(map(str, range(50)))}},
    {"kind": "progress", "data": {"stage": "a", "done": 1.5, "total": 2}},
    {"data": {"text": "x" * 100_000}},
    {"job_id": "another"},
]


@pytest.mark.parametrize(
    "line",
    [
        "",
        "{",
        "[" * 50_000,
        "null",
        "{}",
        '{"number": 1}',
        *(json.dumps(LINE | wrong) for wrong in WRONG),
    ],
)
def test_a_line_that_is_no_event_is_left_out(tmp_path: Path, line: str) -> None:
    last = json.dumps({**LINE, "number": 7})
    # The number counts up: what was told before is not told again.
    (tmp_path / EVENTS).write_text(f"{line}\n{last}\n{last}\n{json.dumps(LINE)}\n")
    assert [one.number for one in Tail(tmp_path, EVENTS).read()] == [7]


@pytest.mark.parametrize("kind", ["link", "pipe", "endless"])
def test_events_of_another_file_are_not_read(tmp_path: Path, kind: str) -> None:
    path = tmp_path / EVENTS
    match kind:
        case "link":
            (tmp_path / "other").write_text(json.dumps(LINE) + "\n")
            path.symlink_to("other")
        case "pipe":
            os.mkfifo(path)
        case "endless":
            with path.open("wb") as file:
                file.truncate(10**12)
    tail = Tail(tmp_path, EVENTS)
    assert tail.read() == ()
    path.unlink()
    path.write_text(json.dumps(LINE) + "\n")
    assert tail.read() == ()


def test_an_attempt_with_events_that_are_none_still_ends(attempt: Attempt) -> None:
    def child(folder: Path) -> Document:
        output(folder).write_bytes(SECRET)
        (folder / EVENTS).write_text(f"{{\n{json.dumps(LINE)}\n\0")
        return document()

    outcome = attempt(child)
    assert isinstance(outcome, Outcome)
    assert outcome.state is State.SUCCEEDED
    assert [one.data for one in outcome.events] == [{"text": "told"}]
    assert dataclasses.replace(outcome, events=()).artefacts
