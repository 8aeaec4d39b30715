"""The store of results: whole or not there, bounded, and safe under many processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from converter.cache.store import Record, Store
from converter.cli import app as cli
from converter.errors import UsageError

KEYS = [f"{index:064x}" for index in range(8)]


@pytest.fixture(params=["folder", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    if request.param == "folder":
        return Store(str(tmp_path / "cache"))
    return Store(f"memory://cache-{os.getpid()}-{time.monotonic_ns()}")


def keep(store: Store, tmp_path: Path, index: int, content: bytes | None = None) -> Record:
    file = tmp_path / "file"
    file.write_bytes(content if content is not None else bytes([index]) * 100)
    return store.keep([KEYS[index]], {"archive": file}, {"told": index})


def content_of(store: Store, key: str) -> bytes | None:
    record = store.look(key)
    file = None if record is None else store.open(record)
    if file is None:
        return None
    with file:
        return file.read()


def overwrite(store: Store, place: str, content: bytes) -> None:
    """Damage a file of a store."""
    if store.storage.fs is None:
        Path(place).write_bytes(content)
    else:
        store.storage.fs.pipe_file(place, content)


def places(store: Store) -> list[str]:
    """The paths of all files."""
    if store.storage.fs is not None:
        return sorted(store.storage.fs.find(store.storage.root))
    return sorted(str(path) for path in Path(store.storage.root).rglob("*") if path.is_file())


def test_what_was_kept_is_found_with_all_that_was_told(store: Store, tmp_path: Path) -> None:
    assert store.look(KEYS[0]) is None
    kept = keep(store, tmp_path, 0)
    found = store.look(KEYS[0])
    assert found == kept
    assert found is not None
    assert found.document == {"told": 0}
    assert content_of(store, KEYS[0]) == bytes(100)
    assert store.fetch(found, "archive", tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == bytes(100)
    assert (store.info().results, store.info().size_bytes) == (1, 100)


def test_several_keys_share_a_file(store: Store, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"same")
    store.keep(KEYS[:2], {"archive": tmp_path / "file"}, {})
    keep(store, tmp_path, 2, b"same")
    assert (store.info().results, store.info().size_bytes) == (3, 4)
    assert [content_of(store, key) for key in KEYS[:3]] == [b"same"] * 3


@pytest.mark.parametrize("damage", [b"", b"other", bytes(99)], ids=["empty", "other", "shorter"])
def test_a_damaged_file_is_a_miss_and_is_dropped(store: Store, tmp_path: Path, damage: bytes) -> None:
    keep(store, tmp_path, 0)
    keep(store, tmp_path, 1)
    (file,) = [place for place in places(store) if "/sha256/" in place and _is_of(store, place, 0)]
    overwrite(store, file, damage)
    assert content_of(store, KEYS[0]) is None
    assert store.look(KEYS[0]) is None
    assert file not in places(store)
    assert content_of(store, KEYS[1]) == b"\1" * 100
    keep(store, tmp_path, 0)
    assert content_of(store, KEYS[0]) == bytes(100)


def _is_of(store: Store, place: str, index: int) -> bool:
    record = store.look(KEYS[index])
    assert record is not None
    return place.endswith(record.files["archive"].removeprefix("sha256:"))


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        json.dumps({"key": KEYS[1], "files": {}, "sizes": {}, "document": {}}).encode(),
        json.dumps({"key": KEYS[0], "files": {"archive": "x"}, "sizes": {}, "document": {}}).encode(),
        json.dumps({"key": KEYS[0], "files": {}, "sizes": {}, "document": []}).encode(),
        json.dumps({"key": KEYS[0], "files": 3, "sizes": {}, "document": {}}).encode(),
    ],
)
def test_a_damaged_document_is_a_miss_and_is_dropped(store: Store, tmp_path: Path, text: bytes) -> None:
    keep(store, tmp_path, 0)
    (document,) = [place for place in places(store) if place.endswith(".json")]
    overwrite(store, document, text)
    assert store.look(KEYS[0]) is None
    assert document not in places(store)
    assert list(store.records()) == []


def test_verify_reads_everything_and_drops_what_is_damaged(store: Store, tmp_path: Path) -> None:
    for index in range(3):
        keep(store, tmp_path, index)
    (file,) = [place for place in places(store) if "/sha256/" in place and _is_of(store, place, 1)]
    overwrite(store, file, b"x")
    found = store.verify()
    assert (found.results, list(found.damaged)) == (2, [KEYS[1]])
    assert store.verify().damaged == []
    assert [content_of(store, key) is None for key in KEYS[:3]] == [False, True, False]


def test_what_was_used_longest_ago_goes_first(tmp_path: Path) -> None:
    store = Store(str(tmp_path / "cache"))
    for index in range(4):
        keep(store, tmp_path, index)
    for age, key in enumerate([KEYS[1], KEYS[3], KEYS[0], KEYS[2]]):  # the youngest first
        path = tmp_path / "cache/entries" / key[:2] / f"{key}.json"
        os.utime(path, times=(time.time() - 1000 * (age + 1),) * 2)
    assert content_of(store, KEYS[2]) is not None  # it is used now
    left = store.prune(250)
    assert (left.results, left.size_bytes) == (2, 200)
    assert [store.look(key) is not None for key in KEYS[:4]] == [False, True, True, False]
    assert len([place for place in places(store) if "/sha256/" in place]) == 2
    assert store.prune(0).results == 0
    assert places(store) == []


def test_a_file_that_two_results_share_stays_with_the_one_that_is_left(tmp_path: Path) -> None:
    store = Store(str(tmp_path / "cache"))
    keep(store, tmp_path, 0, b"shared")
    keep(store, tmp_path, 1, b"shared")
    path = tmp_path / "cache/entries" / KEYS[0][:2] / f"{KEYS[0]}.json"
    os.utime(path, times=(0, 0))
    keep(store, tmp_path, 2, b"more")
    os.utime(path, times=(0, 0))
    store.drop(store.look(KEYS[0]) or pytest.fail())
    assert content_of(store, KEYS[1]) == b"shared"
    assert store.prune(10).results == 2


def test_prune_on_an_object_store_is_bounded_too(tmp_path: Path) -> None:
    store = Store(f"memory://pruned-{time.monotonic_ns()}")
    for index in range(4):
        keep(store, tmp_path, index)
    assert store.prune(250).results == 2
    assert store.prune(0).results == 0
    assert [place for place in places(store) if place.endswith(".json")] == []


def test_a_store_that_cannot_be_reached_is_an_empty_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(f"memory://gone-{time.monotonic_ns()}")
    keep(store, tmp_path, 0)

    def away(*_args: Any) -> bytes:
        raise OSError("no route to host")

    monkeypatch.setattr(type(store.storage.fs), "cat_file", away)
    assert store.look(KEYS[0]) is None
    monkeypatch.undo()
    assert store.look(KEYS[0]) is not None


def test_a_store_of_an_unknown_kind_is_refused() -> None:
    with pytest.raises(UsageError):
        Store("nosuchthing://bucket/cache")


WORK = """
import random, sys
from pathlib import Path
from converter.cache.store import Store
seed, folder = int(sys.argv[1]), Path(sys.argv[2])
chance, store = random.Random(seed), Store(str(folder / "cache"))
file = folder / f"file{seed}"
for turn in range(120):
    index = chance.randrange(6)
    key, content = f"{index:064x}", bytes([index]) * 1000
    what = chance.random()
    record = store.look(key)
    if record is None:
        file.write_bytes(content)
        store.keep([key], {"archive": file}, {"told": index})
    elif what < 0.2:
        store.drop(record)
    elif what < 0.3:
        store.prune(2500)
    elif (opened := store.open(record)) is not None:
        with opened:
            assert opened.read() == content, key
        assert record.document == {"told": index}
print("well")
"""


def test_many_processes_share_a_folder(tmp_path: Path) -> None:
    """Each keeps, reads, drops and prunes at random: nobody ever reads another result, or fails."""
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", WORK, str(seed), str(tmp_path)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for seed in range(4)
    ]
    for worker in workers:
        out, err = worker.communicate(timeout=120)
        assert (out.strip(), err) == ("well", "")
    assert Store(str(tmp_path / "cache")).verify().damaged == []


def test_the_command_shows_checks_and_prunes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = Store(str(tmp_path / "cache"))
    for index in range(2):
        keep(store, tmp_path, index)

    def told(*words: str) -> Any:
        call = ["cache", *words, "--url", str(tmp_path / "cache"), "--json"]
        assert cli.app(call, exit_on_error=False, result_action="return_value") == 0
        return json.loads(capsys.readouterr().out)

    assert told("info") == {
        "url": str(tmp_path / "cache"),
        "results": 2,
        "size_bytes": 200,
        "stages": {},
        "damaged": [],
    }
    (file,) = [place for place in places(store) if "/sha256/" in place and _is_of(store, place, 1)]
    Path(file).write_bytes(b"")
    assert told("verify")["damaged"] == [KEYS[1]]
    assert told("prune")["results"] == 1
    assert told("prune", "--max-gb", "0")["results"] == 0
