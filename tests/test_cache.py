"""The cache of results: only the same plan, packed the same way, is the same result."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from converter import cache, convert
from converter.errors import UsageError
from converter.events import Notice, StageStarted
from tests.sources import DIGITS_ARCHIVE

OPTIONS = {
    "rvc4.quantization_mode": "FP16_STANDARD",
    "verify.emulator": False,
    "cache.enabled": True,
}


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


def made(output: Path, **more: Any) -> tuple[Any, list[Any]]:
    events: list[Any] = []
    done = convert(
        DIGITS_ARCHIVE, "rvc4", output=output, options={**OPTIONS, **more}, on_event=events.append
    )
    return done, events


def test_the_same_plan_is_carried_out_once_and_gives_the_same_bytes(tmp_path: Path) -> None:
    first, _ = made(tmp_path / "a.tar.gz")
    second, events = made(tmp_path / "b.tar.gz")
    assert (first.cached, second.cached) == (False, True)
    assert not [event for event in events if isinstance(event, StageStarted)]
    assert [event for event in events if isinstance(event, Notice) and "cache" in event.text]
    assert (tmp_path / "a.tar.gz").read_bytes() == (tmp_path / "b.tar.gz").read_bytes()
    left, right = first.to_json(), second.to_json()
    same = ("sha256", "size_bytes", "plan_hash", "model", "verification", "warnings")
    assert {key: left[key] for key in same} == {key: right[key] for key in same}
    assert right["cache"] == {"hit": True}


def test_another_plan_packing_or_verification_is_another_result(tmp_path: Path) -> None:
    made(tmp_path / "a.tar.gz")
    for name, more in (
        ("b.tar", {}),
        ("c.tar.gz", {"preprocess": "archive"}),
        ("d.tar.gz", {"verify.frames": 3}),
        ("e.tar.gz", {"cache.enabled": False}),
    ):
        assert not made(tmp_path / name, **more)[0].cached, name


def test_a_damaged_entry_is_made_anew(tmp_path: Path) -> None:
    made(tmp_path / "a.tar.gz")
    (entry,) = cache.folder().iterdir()
    with (entry / "archive").open("r+b") as file:
        file.seek(100)
        file.write(b"damage")
    done, _ = made(tmp_path / "b.tar.gz")
    assert not done.cached
    assert (tmp_path / "a.tar.gz").read_bytes() == (tmp_path / "b.tar.gz").read_bytes()
    (entry / "result.json").write_text(json.dumps([]))
    assert not made(tmp_path / "c.tar.gz")[0].cached
    assert made(tmp_path / "d.tar.gz")[0].cached


def test_an_existing_output_is_refused_from_the_cache_too(tmp_path: Path) -> None:
    made(tmp_path / "a.tar.gz")
    (tmp_path / "b.tar.gz").write_bytes(b"mine")
    with pytest.raises(UsageError, match="exists"):
        made(tmp_path / "b.tar.gz")
    assert (tmp_path / "b.tar.gz").read_bytes() == b"mine"


def test_what_was_used_longest_ago_goes_first(tmp_path: Path) -> None:
    first, _ = made(tmp_path / "a.tar.gz")
    made(tmp_path / "b.tar.gz", **{"preprocess": "archive", "cache.max_gb": first.size_bytes * 1.5e-9})
    assert not made(tmp_path / "c.tar.gz", **{"cache.max_gb": 0})[0].cached
    assert list(cache.folder().iterdir()) == []


def test_a_cache_that_cannot_be_written_to_is_none(tmp_path: Path, own_cache: Path) -> None:
    own_cache.write_text("a file where the folder should be")
    assert not made(tmp_path / "a.tar.gz")[0].cached
    assert (tmp_path / "a.tar.gz").is_file()
