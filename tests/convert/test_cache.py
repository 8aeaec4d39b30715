"""The cache of results: only the same plan, packed the same way, is the same result."""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from converter import convert, plan
from converter.cache import key as keys
from converter.cache import results, store
from converter.cache.key import key_of
from converter.cache.stages import Stages
from converter.errors import ArchiveError, UsageError
from converter.events import Notice, StageStarted, Warned, ignore
from converter.pinned_wheel import cache_root
from targets.rvc4.toolchain import ensure
from tests.sources import DIGITS, DIGITS_ARCHIVE, RGB, conv_model, make_model, write_folder
from tests.unit.test_cache_key import pictures

OPTIONS = {
    "rvc4.quantization_mode": "FP16_STANDARD",
    "verify.emulator": False,
    "cache.enabled": True,
}


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache without results, but with the toolchains: fetching them is not what is tested here."""
    ensure(ignore)
    toolchains = cache_root() / "toolchains"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    cache_root().mkdir(parents=True)
    (cache_root() / "toolchains").symlink_to(toolchains)
    return tmp_path / "cache"


def made(output: Path, **more: Any) -> tuple[Any, list[Any]]:
    events: list[Any] = []
    done = convert(
        DIGITS_ARCHIVE, "rvc4", output=output, options={**OPTIONS, **more}, on_event=events.append
    )
    return done, events


def files_of_cache() -> tuple[list[Path], list[Path]]:
    """The files and the documents of results in the cache, without those of stages."""
    found = [path for path in store.folder().rglob("*") if path.is_file()]
    documents = {path: path.read_text() for path in found if path.suffix == ".json"}
    stages = [text for text in documents.values() if '"stage": ' in text]
    files = [path for path in found if path not in documents]
    return (
        [path for path in files if not any(path.name in text for text in stages)],
        [path for path, text in documents.items() if text not in stages],
    )


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


def test_stages_of_another_conversion_are_taken_and_change_no_byte(tmp_path: Path) -> None:
    """The same network is compared on other frames: everything before is there."""
    int8 = {"rvc4.quantization_mode": "INT8_STANDARD", "calibration.path": str(DIGITS / "calibration")}
    made(tmp_path / "a.tar", **int8)
    other = {**int8, "verify.frames": 3}
    taken, events = made(tmp_path / "b.tar", **other)
    assert not taken.cached
    told = [one.text for one in events if isinstance(one, Notice) and "cache" in one.text]
    assert told == [
        f"Taken from the cache: {name}." for name in ("prepared graph", "ranges", "quantized network")
    ]
    made(tmp_path / "c.tar", **other, **{"cache.enabled": False})
    assert (tmp_path / "b.tar").read_bytes() == (tmp_path / "c.tar").read_bytes()


def test_a_damaged_entry_is_made_anew(tmp_path: Path) -> None:
    made(tmp_path / "a.tar.gz")
    (archive,), (document,) = files_of_cache()
    with archive.open("r+b") as file:
        file.seek(100)
        file.write(b"damage")
    done, _ = made(tmp_path / "b.tar.gz")
    assert not done.cached
    assert (tmp_path / "a.tar.gz").read_bytes() == (tmp_path / "b.tar.gz").read_bytes()
    document.write_text(json.dumps([]))
    assert not made(tmp_path / "c.tar.gz")[0].cached
    assert made(tmp_path / "d.tar.gz")[0].cached


def test_a_document_that_lacks_something_is_damage(tmp_path: Path) -> None:
    first, _ = made(tmp_path / "a.tar.gz")
    _, (document,) = files_of_cache()
    whole = json.loads(document.read_text())
    document.write_text(json.dumps({**whole, "document": {"sha256": first.sha256}}))
    assert not made(tmp_path / "b.tar.gz")[0].cached
    assert made(tmp_path / "c.tar.gz")[0].cached


def test_an_entry_that_another_run_removes_is_still_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made(tmp_path / "a.tar.gz")
    find = results.find

    def find_and_lose(where: store.Store, key: str) -> results.Entry | None:
        entry = find(where, key)
        shutil.rmtree(store.folder())
        return entry

    monkeypatch.setattr(results, "find", find_and_lose)
    assert made(tmp_path / "b.tar.gz")[0].cached
    assert (tmp_path / "b.tar.gz").read_bytes() == (tmp_path / "a.tar.gz").read_bytes()


def test_warnings_are_those_of_the_run_and_of_the_new_name(tmp_path: Path) -> None:
    """Beside 400 float16 has steps of a quarter: enough to be told, and not too much to pass."""
    nodes = [
        helper.make_node("Add", ["x", "k"], ["far"], name="far"),
        helper.make_node("Relu", ["far"], ["still"], name="still"),
        helper.make_node("Sub", ["still", "k"], ["y"], name="back"),
    ]
    graph = helper.make_graph(
        nodes,
        "over",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 3, 8, 8])],
        [numpy_helper.from_array(np.float32(400), "k")],
    )
    folder = write_folder(tmp_path / "over", make_model(graph), image=False)

    def warned(name: str, hit: bool) -> list[str]:
        events: list[Any] = []
        done = convert(
            folder,
            "rvc2",
            output=tmp_path / name,
            options={"cache.enabled": True},
            on_event=events.append,
        )
        told = [event.text for event in events if isinstance(event, Warned)]
        assert (done.cached, list(done.warnings)) == (hit, told)
        return told

    first = warned("a.rvc2.tar", False)
    assert any("float16" in text for text in first)
    assert warned("b.rvc2.tar", True) == first
    (more,) = set(warned("c.rvc4.tar", True)) - set(first)
    assert "the archive's name says rvc4" in more


def test_a_source_that_changes_meanwhile_is_neither_kept_nor_written(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "net", conv_model())
    model = folder / "model.onnx"
    other = conv_model(padded=True)
    other.graph.initializer[0].CopyFrom(
        numpy_helper.from_array(numpy_helper.to_array(other.graph.initializer[0]) * 2, "w1")
    )

    def change(event: Any) -> None:
        if isinstance(event, StageStarted) and event.stage == "prepare":
            model.write_bytes(other.SerializeToString())

    with pytest.raises(ArchiveError, match="was changed while it was converted"):
        convert(
            folder,
            "rvc2",
            output=tmp_path / "o.tar",
            options={"cache.enabled": True},
            on_event=change,
        )
    assert not (tmp_path / "o.tar").exists()
    assert files_of_cache() == ([], [])


@pytest.mark.parametrize("gone", [False, True], ids=["another file", "no folder"])
def test_calibration_data_that_change_meanwhile_are_told(tmp_path: Path, gone: bool) -> None:
    data = tmp_path / "frames"
    shutil.copytree(DIGITS / "calibration", data)

    def change(event: Any) -> None:
        if isinstance(event, StageStarted) and event.stage == "pack":
            if gone:
                shutil.rmtree(data)
            else:
                one, other = sorted(data.iterdir())[:2]
                one.write_bytes(other.read_bytes())

    options = {"calibration.path": str(data), "verify.emulator": False}
    with pytest.raises(UsageError, match="were changed while they were used"):
        convert(DIGITS_ARCHIVE, "rvc4", output=tmp_path / "o.tar", options=options, on_event=change)
    assert not (tmp_path / "o.tar").exists()


def test_what_the_plan_says_is_part_of_the_key(tmp_path: Path) -> None:
    data = tmp_path / "frames"
    shutil.copytree(DIGITS / "calibration", data)
    (data / "notes.txt").touch()
    options = {"calibration.path": str(data), "cache.enabled": True}
    with_notes = plan(DIGITS_ARCHIVE, "rvc4", options=options)
    (data / "notes.txt").unlink()
    without = plan(DIGITS_ARCHIVE, "rvc4", options=options)
    assert with_notes.hash == without.hash
    assert key_of(with_notes, ".tar") != key_of(without, ".tar")


def test_another_calibration_picture_of_the_same_name_is_another_result(tmp_path: Path) -> None:
    """As many pictures, under the same names, with other pixels: the ranges are others."""
    source = write_folder(tmp_path / "net", conv_model(), preprocessing=RGB)
    data = pictures(tmp_path / "frames", 100, 140)
    options = {"calibration.path": str(data), "verify.enabled": False, "cache.enabled": True}

    def converted(name: str) -> tuple[bool, bytes]:
        done = convert(source, "rvc4", output=tmp_path / name, options=options, toolchain="native")
        return done.cached, done.output.read_bytes()

    first = converted("a.tar")
    assert converted("b.tar") == (True, first[1])
    pictures(data, 100, 20)
    is_cached, content = converted("c.tar")
    assert not is_cached
    assert content != first[1]


def test_other_code_is_another_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made_plan = plan(DIGITS_ARCHIVE, "rvc2")
    before = key_of(made_plan, ".tar")
    assert before == key_of(made_plan, ".tar")
    (tmp_path / "target_of_theirs.py").write_text("MAGIC = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(keys, "package_of", lambda _name: "target_of_theirs")
    one = key_of(made_plan, ".tar")
    (tmp_path / "target_of_theirs.py").write_text("MAGIC = 2 \n")
    assert len({before, one, key_of(made_plan, ".tar")}) == 3


def test_an_interrupt_while_it_is_kept_leaves_the_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_args: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("converter.storage._copied", interrupted)
        patched.setattr(Stages, "_keep", lambda *_: None)
        assert made(tmp_path / "a.tar.gz")[0].output.is_file()
    assert [path for path in store.folder().rglob("*") if path.is_file()] == []


def test_what_is_none_of_its_own_and_what_killed_runs_left_does_not_stop_it(tmp_path: Path) -> None:
    files = store.folder() / "sha256"
    files.mkdir(parents=True)
    (store.folder() / "README").touch()
    for name, hours in (("old", 48), ("young", 0.5)):
        part = files / f".{name}.part"
        part.touch()
        os.utime(part, times=(time.time() - hours * 3600,) * 2)
    made(tmp_path / "a.tar.gz", **{"cache.max_gb": 0})
    left = {path.name for path in store.folder().rglob("*") if path.is_file()}
    assert left == {"README", ".young.part"}


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
    assert files_of_cache() == ([], [])


def test_a_cache_that_cannot_be_written_to_is_none(tmp_path: Path) -> None:
    store.folder().write_text("a file where the folder should be")
    assert not made(tmp_path / "a.tar.gz")[0].cached
    assert (tmp_path / "a.tar.gz").is_file()
