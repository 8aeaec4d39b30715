"""Stages in the cache: another byte of anything that decides a result is a miss, damage as well."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, external_data_helper, helper, numpy_helper, save

from converter.cache import key as keys
from converter.cache import stages as module
from converter.cache.stages import Stages
from converter.cache.store import Store
from converter.calibration.dataset import Calibration
from converter.calibration.files import InputData
from converter.errors import ModelError
from converter.processes.pure import Pure

FUNCTION = "some.module:function"
LARGE = 10**12


def model(path: Path, weight: float = 1.0) -> Path:
    """A model that adds a weight, which lies in `PATH.data`."""
    tensor = numpy_helper.from_array(np.full(4, weight, np.float32), "w")
    value = partial(helper.make_tensor_value_info, elem_type=TensorProto.FLOAT, shape=[4])
    node = helper.make_node("Add", ["x", "w"], ["y"])
    made = helper.make_model(helper.make_graph([node], "g", [value("x")], [value("y")], [tensor]))
    external_data_helper.convert_model_to_external_data(
        made, location=f"{path.name}.data", size_threshold=0
    )
    save(made, path)
    return path


class Bench:
    """A call that copies its source with another weight, its cache, and how often it was made."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = Store(str(folder / "cache"))
        self.told: list[str] = []
        self.made = 0
        self.target_name = "rvc4"
        (folder / "frames").mkdir()
        (folder / "frames/a.npy").write_bytes(b"frame")
        model(folder / "source.onnx")
        self.arguments: dict[str, Any] = {
            "source": str(folder / "source.onnx"),
            "target": "",
            "calibration": None,
            "percentile": 99.9,
            "inputs": [{"name": "x", "shape": [4]}],
        }
        self.function = FUNCTION
        self.name = "made.onnx"

    def data(self) -> Calibration:
        files = InputData(
            input="x",
            root=str(self.folder / "frames"),
            files=("a.npy",),
            sha256="of the plan",
            resize_method="RESIZE",
        )
        return Calibration(inputs=(files,), frames=1)

    def stages(self) -> Stages:
        return Stages(self.store, self.target_name, max_bytes=LARGE, tell=self.told.append)

    def call(self, stages: Stages | None = None) -> tuple[Any, tuple[bytes, bytes]]:
        """The call's result, and the bytes that it wrote; a folder of its own each time."""
        work = self.folder / f"work-{time.monotonic_ns()}"
        work.mkdir()
        target = work / self.name
        data = self.data()
        arguments = {
            **self.arguments,
            "target": str(target),
            "calibration": data.to_call(self.folder / "source.onnx"),
        }

        def make() -> Any:
            self.made += 1
            model(target, self.arguments["percentile"])
            return {"warnings": ["one"], "ranges": {"x": [0.1, self.arguments["percentile"] / 3]}}

        pure = Pure(
            stage="ranges",
            reads=("source",),
            writes="target",
            meant={"calibration": partial(data.to_content, self.folder / "source.onnx")},
        )
        result = (stages or self.stages()).recall(pure, self.function, arguments, make)
        assert {path.name for path in work.iterdir()} == {self.name, f"{self.name}.data"}
        return result, (target.read_bytes(), target.with_name(f"{self.name}.data").read_bytes())


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_the_same_call_is_made_once_and_gives_the_same_result_and_bytes(bench: Bench) -> None:
    first, second = bench.call(), bench.call()
    assert first == second
    assert bench.made == 1
    assert bench.told == ["Taken from the cache: ranges."]
    told = bench.store.info()
    assert told.results == 0
    assert told.stages["ranges"][0] == 1
    assert told.stages["ranges"][1] == told.size_bytes > 0


def change_weights(bench: Bench, _: pytest.MonkeyPatch) -> None:
    path = bench.folder / "source.onnx.data"
    data = bytearray(path.read_bytes())
    data[0] ^= 1
    path.write_bytes(data)


def change_source(bench: Bench, _: pytest.MonkeyPatch) -> None:
    path = bench.folder / "source.onnx"
    path.write_bytes(path.read_bytes().replace(b"g", b"h", 1))


def change_frame(bench: Bench, _: pytest.MonkeyPatch) -> None:
    """The digest in the plan is the one of before: the file is read again."""
    (bench.folder / "frames/a.npy").write_bytes(b"frame"[:-1] + b"E")


def change_argument(bench: Bench, _: pytest.MonkeyPatch) -> None:
    bench.arguments["percentile"] = 99.8


def change_inner_argument(bench: Bench, _: pytest.MonkeyPatch) -> None:
    bench.arguments["inputs"][0]["shape"] = [5]


def change_function(bench: Bench, _: pytest.MonkeyPatch) -> None:
    bench.function = f"{FUNCTION}s"


def change_name(bench: Bench, _: pytest.MonkeyPatch) -> None:
    bench.name = "other.onnx"


def change_code(_: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys, "code_of", lambda package: f"other code of {package}")


def change_library(_: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    true = keys._libraries()
    monkeypatch.setattr(keys, "_libraries", lambda: {**true, "onnxruntime": "0.0"})


@pytest.mark.parametrize(
    "change",
    [
        *(change_weights, change_source, change_frame, change_argument, change_inner_argument),
        *(change_function, change_name, change_code, change_library),
    ],
)
def test_another_byte_of_anything_is_a_miss(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, change: Callable[[Bench, pytest.MonkeyPatch], None]
) -> None:
    bench.call()
    change(bench, monkeypatch)
    bench.call()
    assert (bench.made, bench.told) == (2, [])
    bench.call()
    assert bench.made == 2


def test_another_place_of_the_same_files_is_a_hit(bench: Bench, tmp_path: Path) -> None:
    bench.call()
    moved = tmp_path / "moved"
    moved.mkdir()
    for name in ("source.onnx", "source.onnx.data"):
        (tmp_path / name).rename(moved / name)
    bench.arguments["source"] = str(moved / "source.onnx")
    (tmp_path / "frames").rename(moved / "frames")
    bench.folder = moved
    bench.call()
    assert bench.made == 1


def test_a_path_that_nobody_reads_for_the_key_is_never_a_hit(bench: Bench) -> None:
    """A new argument that names a file, and that was forgotten in `Pure`, costs time alone."""
    bench.arguments["forgotten"] = {"deep": [str(bench.folder / "frames/a.npy")]}
    bench.call()
    bench.call()
    assert bench.made == 2
    assert bench.store.info().stages == {}


def test_a_source_that_changes_meanwhile_is_not_kept(bench: Bench) -> None:
    real = module._meant
    asked = []

    def meant(pure: Pure, arguments: Any) -> Any:
        asked.append(1)
        if len(asked) == 2:
            change_weights(bench, pytest.MonkeyPatch())
        return real(pure, arguments)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(module, "_meant", meant)
        bench.call()
    assert bench.store.info().stages == {}


def test_every_damaged_file_is_a_miss_and_is_made_again(bench: Bench) -> None:
    whole = bench.call()
    files = sorted(path for path in (bench.folder / "cache").rglob("*") if path.is_file())
    assert len(files) == 4  # the graph, its weights, the result, and the record
    for count, file in enumerate(files, 2):
        data = bytearray(file.read_bytes())
        data[len(data) // 2] ^= 1
        file.write_bytes(data)
        assert bench.call() == whole, file
        assert bench.made == count, file
        assert bench.call() == whole
        assert bench.made == count


@pytest.mark.parametrize("swapped", ["result", "file0", "file1"])
def test_a_record_of_other_files_is_dropped(bench: Bench, swapped: str) -> None:
    """A record has no digest of its own: it may not mix the files of two calls."""
    found = {}
    for percentile in (1, 2):
        bench.arguments["percentile"] = percentile
        found[percentile] = bench.call()
    one, other = list(bench.store.records())
    for record, strange in ((one, other), (other, one)):
        files = {**record.files, swapped: strange.files[swapped]}
        bench.store.keep([record.key], files, record.document)
    # The graph itself is the same: its weights are beside it.
    is_same = one.files[swapped] == other.files[swapped]
    for percentile, whole in found.items():
        bench.arguments["percentile"] = percentile
        assert bench.call() == whole
    assert bench.made == (2 if is_same else 4)


def test_a_call_that_fails_keeps_nothing(bench: Bench) -> None:
    def fail() -> Any:
        raise ModelError("no")

    with pytest.raises(ModelError):
        bench.stages().recall(Pure(stage="ranges"), FUNCTION, {}, fail)
    assert bench.store.info().stages == {}


def test_a_conversion_that_fails_later_leaves_the_cache_bounded(bench: Bench) -> None:
    for bound, left in ((LARGE, 1), (0, 0)):
        stages = Stages(bench.store, "rvc4", max_bytes=bound, tell=bench.told.append)
        with pytest.raises(ModelError), stages:
            bench.arguments["percentile"] = bound
            bench.call(stages)
            raise ModelError("no")
        assert bench.store.info().stages.get("ranges", (0, 0))[0] == left


def test_a_store_that_cannot_be_written_to_is_no_error(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> str:
        raise OSError("no space left on device")

    monkeypatch.setattr(type(bench.store.storage), "put", full)
    assert bench.call() == bench.call()
    assert bench.made == 2


def test_stages_take_a_quarter_and_results_go_last(bench: Bench) -> None:
    """Forty stages of 100 bytes and a result of 1,000 that was used longest ago."""
    store, file = bench.store, bench.folder / "file"
    file.write_bytes(bytes(1000))
    store.keep(["f" * 64], {"archive": file}, {"told": 1})
    entry = bench.folder / "cache/entries/ff" / f"{'f' * 64}.json"
    os.utime(entry, times=(0, 0))
    for index in range(40):
        file.write_bytes(bytes([index]) * 100)
        store.keep([f"{index:064x}"], {"result": file}, {"stage": "ranges"})
    left = store.prune(4000)
    assert (left.results, left.stages) == (1, {"ranges": (10, 1000)})


WORK = """
import sys
from pathlib import Path
from tests.unit.test_cache_stages import Bench
from converter.cache.store import Store
folder = Path(sys.argv[1]) / sys.argv[2]
folder.mkdir()
bench = Bench(folder)
bench.store = Store(str(Path(sys.argv[1]) / "cache"))
seen = {}
for turn in range(15):
    bench.arguments["percentile"] = turn % 3
    whole = bench.call()
    assert seen.setdefault(turn % 3, whole) == whole
    if turn % 5 == int(sys.argv[2]):
        bench.store.prune(0)
print("well", bench.made)
"""


def test_many_processes_share_a_folder(tmp_path: Path) -> None:
    """Some empty the cache meanwhile: every call has its result and its files."""
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", WORK, str(tmp_path), str(index)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for index in range(3)
    ]
    for worker in workers:
        out, err = worker.communicate(timeout=120)
        assert out.startswith("well"), err
