"""Hostile jobs through the service, all at once: each fails with its reason, and others are answered."""

from __future__ import annotations

import dataclasses
import gzip
import io
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from onnx import TensorProto, helper

from converter.jobs import attempt, isolation
from converter.jobs.isolation import Isolation
from converter.processes import sandbox
from converter.service.context import Context
from converter.service.server import Place, working
from tests import hostile_child
from tests.sources import DIGITS_ARCHIVE
from tests.unit.service import client, service, uploaded

TIME_S = 8.0
FORK_BOMB, ENDLESS = b"deed:fork bomb\n", b"deed:endless\n"


@pytest.fixture
def context(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Context]:
    found, said = sandbox.find(
        "auto", hidden=[tmp_path / "data"], packages=("converter", "targets", "tests")
    )
    assert found is not None, said
    monkeypatch.setattr(attempt, "FUNCTION", f"{hostile_child.NAME}:convert")
    # What converts imports it by itself: most of these do not.
    monkeypatch.setattr(isolation, "CONVERSION", ())
    monkeypatch.setattr(isolation, "modules_called", lambda _: ())
    with service(tmp_path / "data") as made:
        yield dataclasses.replace(made, isolation=Isolation(found))


def bomb() -> bytes:
    """An archive whose one member has 32 GiB of nothing, of which the first part is there."""
    head = tarfile.TarInfo("model.onnx")
    head.size = 32 << 30
    return gzip.compress(head.tobuf(tarfile.PAX_FORMAT) + bytes(8 << 20))


def nested(levels: int) -> bytes:
    """A model of one `If` within another: by hand, for protobuf itself writes none that is so deep."""

    def varint(number: int) -> bytes:
        head, rest = number & 0x7F, number >> 7
        return bytes([head | 0x80]) + varint(rest) if rest else bytes([head])

    def field(number: int, data: bytes) -> bytes:
        return varint(number << 3 | 2) + varint(len(data)) + data

    def info(name: str, kind: int, shape: list[int]) -> bytes:
        return helper.make_tensor_value_info(name, kind, shape).SerializeToString()  # type: ignore[no-any-return]

    output = field(12, info("y", TensorProto.FLOAT, [1, 3, 4, 4]))
    node = helper.make_node("Identity", ["x"], ["y"]).SerializeToString()
    for _ in range(levels):
        graph = field(1, node) + field(2, b"inner") + output
        branch = field(6, graph) + varint(20 << 3) + varint(5)  # type: GRAPH
        # One branch: two would double with each level.
        then = field(5, field(1, b"then_branch") + branch)
        node = field(1, b"c") + field(2, b"y") + field(4, b"If") + then
    inputs = field(11, info("x", TensorProto.FLOAT, [1, 3, 4, 4])) + field(
        11, info("c", TensorProto.BOOL, [])
    )
    model = varint(1 << 3) + varint(8) + field(8, varint(2 << 3) + varint(17))
    return model + field(7, field(1, node) + field(2, b"whole") + inputs + output)


def out_of_the_folder() -> bytes:
    """An archive with a member whose name is a path out of it."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:gz") as tar:
        member = tarfile.TarInfo("../../../service.sqlite")
        member.size = 4
        tar.addfile(member, io.BytesIO(b"gone"))
    return data.getvalue()


def test_hostile_jobs_fail_and_the_service_answers_others(context: Context, tmp_path: Path) -> None:
    http = client(context)
    settings = dataclasses.replace(context.settings, max_job_s=TIME_S)
    hurried = client(dataclasses.replace(context, settings=settings), "mallory")
    database = context.settings.data / "service.sqlite"
    before = database.read_bytes()[:16]

    def put(who: Any, name: str, data: bytes, file: str = "net.onnx") -> None:
        body = {"target": "rvc2", "source": uploaded(who, data, file)}
        answer = who.put(f"/v1/conversions/{name}", json=body)
        assert answer.status_code == 201, answer.text

    put(hurried, "forks", FORK_BOMB)
    put(hurried, "endless", ENDLESS)
    put(http, "database", b"deed:database\n" + str(database).encode())
    put(http, "bomb", bomb(), "net.tar.gz")
    put(http, "nested", nested(100))
    put(http, "path", out_of_the_folder(), "../../../net.tar.gz")
    put(http, "good", DIGITS_ARCHIVE.read_bytes(), DIGITS_ARCHIVE.name)

    names = {"forks": hurried, "endless": hurried}
    names |= dict.fromkeys(("database", "bomb", "nested", "path", "good"), http)
    slowest, ended = 0.0, dict[str, Any]()
    with working(context, Place()):
        until = time.monotonic() + 300
        while len(ended) < len(names) and time.monotonic() < until:
            for name, who in names.items():
                begun = time.monotonic()
                answer = who.get(f"/v1/conversions/{name}").json()
                slowest = max(slowest, time.monotonic() - begun)
                if answer["state"] in ("succeeded", "failed"):
                    ended[name] = answer
            time.sleep(0.2)
        assert http.get("/health").json() == {"status": "ok"}
    said = {name: (one["state"], one["reason"]) for name, one in ended.items()}
    assert ended["good"]["state"] == "succeeded", said
    for name in ("forks", "endless"):
        assert f"did not end within {TIME_S:g} s" in ended[name]["reason"], said
    for name in names.keys() - {"good"}:
        assert ended[name]["state"] == "failed", said
        assert ended[name]["attempt"] == 1, said
    codes = {name: ended[name]["error"]["exit_code"] for name in ("database", "bomb", "nested", "path")}
    assert codes == {"database": 6, "bomb": 3, "nested": 3, "path": 3}, said
    # Nothing of the database is in what the job left, and it is the same.
    kept = [context.storage.path(one) for one in context.storage.digests()]
    assert not [path for path in kept if path and path.read_bytes()[:16] == before]
    assert database.read_bytes()[:16] == before
    # Not a bound on seconds of this machine: that it answers at all while the others work.
    assert slowest < 60
