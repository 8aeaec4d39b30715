"""Files by their content: whole or not there, checked as they are read, in a folder and in an object store."""

from __future__ import annotations

import hashlib
import io
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from converter.errors import ToolError, UsageError
from converter.jobs import storage as storage_module
from converter.jobs.errors import Corrupt, Missing
from converter.storage import Storage

DATA = bytes(range(256)) * 9000
DIGEST = f"sha256:{hashlib.sha256(DATA).hexdigest()}"


@pytest.fixture(params=["folder", "memory"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    """A folder, and fsspec's store in memory, which stands for object stores."""
    return Storage(tmp_path / "files" if request.param == "folder" else f"memory://{tmp_path.name}")


def damage(storage: Storage, digest: str, data: bytes) -> None:
    path = storage.path(digest)
    if path is not None:
        path.write_bytes(data)
    else:
        with storage._fs.open(storage._remote(digest), "wb") as file:
            file.write(data)


def test_what_is_put_comes_back(storage: Storage, tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(DATA)
    assert {storage.put(one) for one in (DATA, tmp_path / "in", io.BytesIO(DATA))} == {DIGEST}

    class Pipe(io.RawIOBase):
        """A stream that cannot be read twice."""

        def __init__(self) -> None:
            self.left = io.BytesIO(DATA)

        def read(self, size: int = -1) -> bytes:
            return self.left.read(size)

    assert storage.put(Pipe()) == DIGEST  # type: ignore[arg-type]
    assert (storage.has(DIGEST), storage.size(DIGEST)) == (True, len(DATA))
    assert list(storage.digests()) == [DIGEST]
    storage.fetch(DIGEST, tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == DATA
    with storage.open(DIGEST) as file:
        file.seek(5)
        assert file.read(3) == DATA[5:8]
    storage.delete(DIGEST)
    storage.delete(DIGEST)
    assert not storage.has(DIGEST)


@pytest.mark.parametrize("data", [b"", DATA[:-1], b"x" + DATA[1:]], ids=["empty", "cut", "changed"])
def test_a_damaged_file_is_dropped_and_told_and_can_be_put_again(
    storage: Storage, tmp_path: Path, data: bytes
) -> None:
    storage.put(DATA)
    damage(storage, DIGEST, data)
    with pytest.raises(Corrupt, match=DIGEST):
        storage.fetch(DIGEST, tmp_path / "out")
    assert {path.name for path in tmp_path.iterdir()} <= {"files"}
    with pytest.raises(Missing):
        storage.fetch(DIGEST, tmp_path / "out")
    storage.put(DATA)
    assert storage.verify(DIGEST)
    damage(storage, DIGEST, data)
    storage.put(DATA)
    assert storage.verify(DIGEST), "putting it again mends it"
    damage(storage, DIGEST, data)
    assert not storage.verify(DIGEST)
    assert not storage.verify(DIGEST)


@pytest.mark.parametrize(
    "name", ["", "../../etc/passwd", "sha256:..", f"md5:{64 * '0'}", f"{DIGEST}/x"]
)
def test_nothing_but_a_digest_names_a_file(storage: Storage, name: str) -> None:
    for call in (storage.has, storage.size, storage.delete, storage.verify):
        with pytest.raises(Missing):
            call(name)
            raise Missing("verify says so")


def test_twenty_writers_of_one_file_leave_one(storage: Storage, tmp_path: Path) -> None:
    with ThreadPoolExecutor(20) as pool:
        assert set(pool.map(lambda _: storage.put(DATA), range(20))) == {DIGEST}
    assert storage.verify(DIGEST)
    if storage.path(DIGEST):
        assert [path.name for path in (tmp_path / "files" / "sha256").rglob(".*")] == []


def test_a_full_disk_is_told_and_leaves_nothing(small_disk: Path) -> None:
    storage = Storage(small_disk / "files")
    with pytest.raises(ToolError, match="disk is full"):
        storage.put(DATA)
    assert [path for path in small_disk.rglob("*") if path.is_file()] == []
    assert storage.has(storage.put(b"small"))


def test_sweeping_keeps_what_is_named_and_what_is_young(storage: Storage, tmp_path: Path) -> None:
    named, other = storage.put(b"named"), storage.put(b"other")
    assert storage.sweep({named}) == 0
    if storage.path(named) is None:
        assert storage.sweep({named}, grace_s=-1) == 5
    else:
        (tmp_path / "files/sha256/.half.part").touch()
        for path in (tmp_path / "files").rglob("*"):
            os.utime(path, (0, time.time() - 7200))
        young = storage.put(b"named again, by a job that is about to be")
        assert storage.put(b"other") == other, "put again: it is young now"
        assert storage.sweep({named}) == 0
        os.utime(storage.path(other), (0, time.time() - 7200))  # type: ignore[arg-type]
        assert storage.sweep({named}) == 5
        assert storage.has(young)
        assert not (tmp_path / "files/sha256/.half.part").exists()
    assert (storage.has(named), storage.has(other)) == (True, False)


def test_what_is_no_store_is_refused() -> None:
    with pytest.raises(UsageError):
        Storage("nothing-of-the-kind://x")


def test_a_killed_writer_leaves_no_half_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = Storage(tmp_path)

    class Killed(BaseException):
        pass

    def kill(*_: object) -> None:
        raise Killed

    monkeypatch.setattr(storage_module.os, "fsync", kill)
    with pytest.raises(Killed):
        storage.put(DATA)
    assert not storage.has(DIGEST)
