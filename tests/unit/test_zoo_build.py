"""Building a zoo with a double of the executor: what the cache has, what fails, what is left behind."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Mapping
from datetime import date, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from converter.cache import key as keys
from converter.cache.store import Store
from converter.errors import Cancelled, ConvertError, UsageError
from converter.zoo import build
from converter.zoo import index as indices
from converter.zoo import plan as plans
from converter.zoo.events import CellEnded, CellStarted, CellTold
from converter.zoo.index import Status
from converter.zoo.output import Output
from tests.sources import DIGITS, DIGITS_ARCHIVE
from tests.zoo import TARGETS, Pretended, built, manifest, pretended

WANTED = {"model", "target", "mode", "status", "cached", "archive", "sha256", "seconds", "verification"}


@pytest.fixture(autouse=True)
def double(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pretended:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return pretended(monkeypatch)


def files(folder: Path) -> dict[str, bytes]:
    found = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


def test_the_index_has_every_cell_with_what_others_rely_on(tmp_path: Path) -> None:
    index, events = built(manifest(tmp_path), tmp_path / "out")
    document = json.loads((tmp_path / "out/index.json").read_text())
    assert document == index.to_json() == indices.read(tmp_path / "out").to_json()
    assert [cell["mode"] for cell in document["cells"]] == ["default", "INT8_STANDARD", "FP16_STANDARD"]
    for cell in document["cells"]:
        assert {*cell} >= WANTED
        assert (cell["status"], cell["cached"], cell["seconds"]) == ("succeeded", False, 1.5)
        content = (tmp_path / "out" / cell["archive"]).read_bytes()
        assert content.startswith(b"an archive of ")
        assert cell["sha256"] == keys.hashlib.sha256(content).hexdigest()
    assert {type(event) for event in events} >= {CellStarted, CellEnded}


def test_cells_of_one_model_are_apart_so_that_later_ones_take_the_stages_of_the_first(
    tmp_path: Path, double: Pretended
) -> None:
    models = [{"name": name, "source": str(DIGITS_ARCHIVE)} for name in "ab"]
    options = {"calibration.random": True}
    index, _ = built(manifest(tmp_path, models=models, options=options), tmp_path / "out")
    cells = ["rvc2/default", "rvc4/INT8_STANDARD", "rvc4/FP16_STANDARD"]
    assert double.cells == [cell for cell in cells for _ in models]
    assert [cell.id for cell in index.cells] == [f"{name}/{cell}" for name in "ab" for cell in cells]


def test_a_rerun_converts_nothing_and_tells_the_same(tmp_path: Path, double: Pretended) -> None:
    first, _ = built(manifest(tmp_path), tmp_path / "out")
    before = files(tmp_path / "out")
    second, _ = built(manifest(tmp_path), tmp_path / "out")
    assert len(double.converted) == 3
    assert all(cell.cached for cell in second.cells)
    for one, other in zip(first.cells, second.cells, strict=True):
        assert {**one.to_json(), "cached": True} == other.to_json()
        assert other.warnings == ("a warning",)
    del before["index.json"]
    assert {**files(tmp_path / "out"), "index.json": b""} == {**before, "index.json": b""}
    third, _ = built(manifest(tmp_path), tmp_path / "elsewhere")
    assert all(cell.cached for cell in third.cells)
    assert {*files(tmp_path / "elsewhere")} == {*files(tmp_path / "out")}


def test_a_model_that_changes_is_converted_and_its_old_files_go(
    tmp_path: Path, double: Pretended
) -> None:
    source = tmp_path / "model.tar.xz"
    shutil.copyfile(DIGITS_ARCHIVE, source)
    path = manifest(tmp_path, models=[{"name": "one", "source": source.name}], targets=[TARGETS[0]])
    old, _ = built(path, tmp_path / "out")
    source.write_bytes(source.read_bytes() + b"\0")
    new, _ = built(path, tmp_path / "out")
    assert len(double.converted) == 2
    assert new.cells[0].archive != old.cells[0].archive
    assert {*files(tmp_path / "out")} == {"index.json", new.cells[0].archive, new.cells[0].log}


def test_a_damaged_result_is_dropped_and_made_again(tmp_path: Path, double: Pretended) -> None:
    index, _ = built(manifest(tmp_path), tmp_path / "out")
    whole = files(tmp_path / "out")
    broken = index.cells[1]
    store = Store()
    place = store.storage.path(f"sha256:{broken.sha256}")
    assert place is not None
    place.write_bytes(b"damage")
    shutil.rmtree(tmp_path / "out")
    again, _ = built(manifest(tmp_path), tmp_path / "out")
    assert [cell.cached for cell in again.cells] == [True, False, True]
    assert double.cells[3:] == ["rvc4/INT8_STANDARD"]
    assert {*files(tmp_path / "out")} == {*whole}
    (tmp_path / "out" / str(broken.archive)).write_bytes(b"damage in the folder")
    mended, _ = built(manifest(tmp_path), tmp_path / "out")
    assert all(cell.cached for cell in mended.cells)
    del whole["index.json"]
    assert {**whole, "index.json": b""} == {**files(tmp_path / "out"), "index.json": b""}


def test_the_others_go_on_where_one_fails_and_what_repeats_itself_is_not_tried_again(
    tmp_path: Path, double: Pretended
) -> None:
    def act(ticket: Any) -> Any:
        mode = ticket.request.options.get("rvc4.quantization_mode")
        code = {"INT8_STANDARD": 4, "FP16_STANDARD": 6}.get(str(mode))
        return None if code is None else double.failure(ticket, code)

    double.act = act
    index, _ = built(manifest(tmp_path), tmp_path / "out")
    assert [cell.status.value for cell in index.cells] == ["succeeded", "failed", "failed"]
    error = index.cells[1].error
    assert error is not None
    assert (error["kind"], error["exit_code"], error["stage"]) == ("ModelError", 4, "prepare")
    again, _ = built(manifest(tmp_path), tmp_path / "out")
    assert [cell.cached for cell in again.cells] == [True, True, False]
    assert [cell.status for cell in again.cells] == [cell.status for cell in index.cells]


@pytest.mark.parametrize(
    ("days", "exit_code", "status"),
    [
        (0, None, Status.EXPECTED_FAILURE),
        (30, 4, Status.EXPECTED_FAILURE),
        (30, 6, Status.FAILED),
        (-1, None, Status.FAILED),
    ],
    ids=["until today", "of that kind", "of another kind", "until yesterday"],
)
def test_a_failure_that_is_expected_is_good_until_its_day(
    tmp_path: Path, double: Pretended, days: int, exit_code: int | None, status: Status
) -> None:
    until = (date.today() + timedelta(days=days)).isoformat()
    expected = {"target": "rvc4", "mode": "INT8*", "reason": "no Foo", "until": until}
    if exit_code is not None:
        expected["exit_code"] = exit_code
    models = [{"name": "m", "source": str(DIGITS_ARCHIVE), "expected_failures": [expected]}]
    double.act = lambda ticket: (
        double.failure(ticket, 4)
        if ticket.request.options.get("rvc4.quantization_mode") == "INT8_STANDARD"
        else None
    )
    index, _ = built(manifest(tmp_path, models=models), tmp_path / "out")
    cells = {cell.mode: cell for cell in index.cells}
    assert cells["INT8_STANDARD"].status is status
    assert cells["FP16_STANDARD"].status is Status.SUCCEEDED
    assert (cells["INT8_STANDARD"].expected, cells["FP16_STANDARD"].expected) != (None, None)
    error = cells["INT8_STANDARD"].error
    assert error is not None
    assert ("expected to fail until" in error["remedy"]) == (days < 0)


def test_a_lost_worker_is_told_and_its_cell_is_tried_again(tmp_path: Path, double: Pretended) -> None:
    double.act = lambda ticket: double.lost(ticket) if ticket.attempt == 1 else None
    index, events = built(manifest(tmp_path, targets=[TARGETS[0]]), tmp_path / "out")
    assert [cell.status for cell in index.cells] == [Status.SUCCEEDED]
    assert [one.attempt for one in double.converted] == [1, 2]
    assert any("The worker is gone" in one.text for one in events if isinstance(one, CellTold))


def test_a_model_that_kills_its_workers_ends(tmp_path: Path, double: Pretended) -> None:
    double.act = double.lost
    path = manifest(tmp_path, targets=[TARGETS[0]], limits={"retries": 1})
    index, _ = built(path, tmp_path / "out")
    assert [cell.status for cell in index.cells] == [Status.FAILED]
    assert index.cells[0].error is not None
    assert "gone" in index.cells[0].error["message"]
    assert len(double.converted) == 2


def test_a_cancelled_build_changes_nothing_and_the_next_one_goes_on(
    tmp_path: Path, double: Pretended
) -> None:
    built(manifest(tmp_path, targets=[TARGETS[0]]), tmp_path / "out")
    before = files(tmp_path / "out")
    double.act = lambda ticket: (
        KeyboardInterrupt()
        if ticket.request.options.get("rvc4.quantization_mode") == "FP16_STANDARD"
        else None
    )
    with pytest.raises(Cancelled, match=r"is as it was. 2 of 3 cells are done and in the cache"):
        built(manifest(tmp_path), tmp_path / "out")
    assert files(tmp_path / "out") == before
    with pytest.raises(Cancelled):
        built(manifest(tmp_path), tmp_path / "new/out")
    assert not (tmp_path / "new").exists()
    double.act = lambda _ticket: None
    index, _ = built(manifest(tmp_path), tmp_path / "out")
    assert [cell.cached for cell in index.cells] == [True, True, False]


def test_only_what_is_chosen_is_built(tmp_path: Path, double: Pretended) -> None:
    path = manifest(tmp_path, selectors={"quick": ["*/rvc2", "digits/*/fp16*"]})
    index, _ = built(path, tmp_path / "out", only=["quick"])
    assert [cell.id for cell in index.cells] == ["digits/rvc2/default", "digits/rvc4/FP16_STANDARD"]
    assert index.build.only == ("quick",)
    with pytest.raises(UsageError, match=r"--only digts chooses no cell. Perhaps you meant 'digits'"):
        built(path, tmp_path / "out", only=["digts"])


def test_a_folder_that_no_build_wrote_is_left_alone(tmp_path: Path, double: Pretended) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/letter.txt").write_text("dear")
    (tmp_path / "file").touch()
    for name in ("mine", "file"):
        with pytest.raises(UsageError, match="--out"):
            built(manifest(tmp_path), tmp_path / name)
    assert double.converted == []
    assert files(tmp_path / "mine") == {"letter.txt": b"dear"}


def test_what_changes_during_the_build_is_neither_kept_nor_green(
    tmp_path: Path, double: Pretended
) -> None:
    data = tmp_path / "data"
    shutil.copytree(DIGITS / "calibration", data)
    models = [{"name": "m", "source": str(DIGITS_ARCHIVE), "calibration": "data"}]
    path = manifest(tmp_path, models=models, targets=[TARGETS[0]])

    def act(_ticket: Any) -> None:
        (data / "one more.png").write_bytes(b"1")

    double.act = act
    index, _ = built(path, tmp_path / "out")
    assert [cell.status for cell in index.cells] == [Status.FAILED]
    assert index.cells[0].error is not None
    assert "was changed during the build" in index.cells[0].error["message"]
    assert Store().info().results == 0


def test_without_the_cache_everything_is_converted_each_time(tmp_path: Path, double: Pretended) -> None:
    path = manifest(tmp_path, options={"cache.enabled": False}, targets=[TARGETS[0]])
    for _ in range(2):
        index, _ = built(path, tmp_path / "out")
        assert not index.cells[0].cached
    assert len(double.converted) == 2
    assert (
        "cache.enabled" not in double.converted[0].request.options
        or not (double.converted[0].request.options["cache.enabled"])
    )


# ------------------------------------------------------------ never a stale hit


def key_of_cell(path: Path) -> str:
    (cell,) = plans.make_plan(path, only=["*/rvc4/INT8_STANDARD"]).cells
    assert cell.error is None
    assert cell.key is not None
    return cell.key


def one_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def other_version(monkeypatch: pytest.MonkeyPatch) -> None:
    from targets.rvc4 import toolchain

    monkeypatch.setattr(toolchain, "TOOL", toolchain.TOOL + "1")


def other_code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys, "code_of", lambda package: f"{package} with another byte")


def other_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys, "_libraries", lambda: {"onnx": "0.0"})


def other_declarations(monkeypatch: pytest.MonkeyPatch) -> None:
    one_byte_more = keys.configs().joinpath("options.yaml").read_bytes() + b"#"
    folder = Path(tempfile.mkdtemp())
    (folder / "options.yaml").write_bytes(one_byte_more)
    monkeypatch.setattr(keys, "configs", lambda: folder)


def other_python(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys, "platform", SimpleNamespace(machine=lambda: "riscv64"))


@pytest.mark.parametrize(
    "change", [other_version, other_code, other_library, other_declarations, other_python]
)
def test_other_tools_are_another_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: Any
) -> None:
    path = manifest(tmp_path)
    before = key_of_cell(path)
    assert key_of_cell(path) == before
    change(monkeypatch)
    assert key_of_cell(path) != before


def test_another_image_is_another_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from converter.backend import Backend

    def made_of(image: str) -> str:
        backend = Backend(toolchain="container", tool="SNPE", version="2.41", image=image)
        monkeypatch.setattr(plans, "backend_of", lambda *_args: backend)
        monkeypatch.setattr(plans, "toolchains_on", lambda *_args: ["container"])
        return key_of_cell(manifest(tmp_path))

    assert made_of("sha256:1") == made_of("sha256:1") != made_of("sha256:2")


def test_another_byte_of_any_file_is_another_key(tmp_path: Path) -> None:
    source, data, labels = tmp_path / "m.tar.xz", tmp_path / "data", tmp_path / "labels.csv"
    shutil.copyfile(DIGITS_ARCHIVE, source)
    shutil.copytree(DIGITS / "calibration", data)
    labels.write_text("1.png,1\n")
    model = {"name": "m", "source": source.name, "calibration": "data"}
    model |= {"labels": {"labels": labels.name, "data": "data"}}  # type: ignore[dict-item]
    path = manifest(tmp_path, models=[model])
    seen = {key_of_cell(path)}
    for file in (source, sorted(data.iterdir())[0], labels):
        one_byte(file)
        seen.add(key_of_cell(path))
    (data / "another.png").write_bytes(b"")
    seen.add(key_of_cell(path))
    sorted(data.glob("*.png"))[-1].rename(data / "zzz.png")
    seen.add(key_of_cell(path))
    assert len(seen) == 6


def test_another_byte_of_a_file_that_a_tools_argument_names_is_another_key(tmp_path: Path) -> None:
    named = tmp_path / "io.yaml"
    named.write_text("a: 1")
    options = {"rvc4.snpe_onnx_to_dlc_args": ["--io_config", str(named)]}
    cells = (plans.make_plan(manifest(tmp_path, options=options)).cells[0] for _ in range(2))
    before = next(cells)
    one_byte(named)
    after = next(cells)
    assert before.key is not None
    assert before.key != after.key


@pytest.mark.parametrize(
    "more",
    [
        {"options": {"rvc4.act_bitwidth": 16}},
        {"options": {"verify.frames": 3}},
        {"options": {"calibration.max_images": 5}},
        {"options": {"onnx_simplification": False}},
        {"targets": [{"target": "rvc4", "modes": ["INT8_STANDARD"], "toolchain": "auto"}]},
        {
            "targets": [
                {
                    "target": "rvc4",
                    "toolchain": "native",
                    "modes": [{"name": "INT8_STANDARD", "quantization": "INT16_STANDARD"}],
                }
            ]
        },
    ],
    ids=lambda more: json.dumps(more)[:60],
)
def test_another_option_is_another_key(tmp_path: Path, more: Mapping[str, Any]) -> None:
    assert key_of_cell(manifest(tmp_path)) != key_of_cell(manifest(tmp_path, **more))


@pytest.mark.parametrize(
    "more",
    [
        {"options": {"verify.timeout_s": 5}},
        {"limits": {"retries": 0}},
        {"options": {"cache.max_gb": 1}},
    ],
    ids=str,
)
def test_what_changes_no_result_is_the_same_key(tmp_path: Path, more: Mapping[str, Any]) -> None:
    assert key_of_cell(manifest(tmp_path)) == key_of_cell(manifest(tmp_path, **more))


def test_a_second_build_into_the_same_folder_is_refused_and_the_first_goes_on(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with Output(out):
        with pytest.raises(UsageError, match="another zoo build writes to it"):
            built(manifest(tmp_path), out)
        assert out.is_dir()
    built(manifest(tmp_path), out)  # the lock is gone with the first


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConvertError, match=r"Building .* failed"), Output(tmp_path / "file" / "out"):
        pass


def test_a_file_of_a_tools_argument_that_changes_meanwhile_fails_the_cell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its result would else be kept under the key of the old file."""
    monkeypatch.setattr(plans, "files_of_tools", lambda _options: {"args ops.json": "1"})
    monkeypatch.setattr(build, "files_of_tools", lambda _options: {"args ops.json": "2"})
    index, _ = built(manifest(tmp_path), tmp_path / "out")
    assert {cell.status for cell in index.cells} == {Status.FAILED}
    for cell in index.cells:
        assert cell.error is not None
        assert "args ops.json was changed during the build" in cell.error["message"]
    monkeypatch.setattr(build, "files_of_tools", lambda _options: {"args ops.json": "1"})
    again, _ = built(manifest(tmp_path), tmp_path / "out")
    assert not any(cell.cached for cell in again.cells)
