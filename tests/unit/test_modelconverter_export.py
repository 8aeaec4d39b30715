"""A plan written for ModelConverter: its own loader takes it, and read back it is the same plan."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import yaml

from converter.modelconverter.export import text
from converter.plans import Plan
from converter.run import convert, plan
from targets.rvc2.myriad.toolchain import Toolchain
from tests import modelconv
from tests.sources import DIGITS_ARCHIVE, MEAN, SCALE, conv_model, write_folder
from tests.unit.test_cli import nnconvert
from tests.unit.test_modelconverter import facts, modelconverter, write_two

__all__ = ["modelconverter"]

BGR_NHWC = {"mean": MEAN, "scale": SCALE, "dai_type": "BGR888i"}
RGB_NCHW = {"mean": MEAN, "scale": SCALE, "dai_type": "RGB888p"}


def frames(folder: Path, *shape: int) -> Path:
    folder.mkdir(parents=True)
    for index in range(2):
        np.save(folder / f"{index}.npy", np.full(shape, index, np.float32))
    return folder


def sources(folder: Path) -> dict[str, tuple[Path, str, dict[str, Any]]]:
    """A source, a target and options for each thing that must survive."""
    rgb = write_folder(folder / "rgb", conv_model(), preprocessing=RGB_NCHW)
    nhwc = write_folder(
        folder / "nhwc", conv_model(layout="NHWC"), layout="NHWC", preprocessing=BGR_NHWC
    )
    gray = write_folder(
        folder / "gray", conv_model(channels=1), preprocessing={"mean": [9.0], "dai_type": "GRAY8"}
    )
    raw = write_folder(folder / "raw", conv_model(channels=5), image=False)
    bare = folder / "bare.onnx"
    onnx.save(conv_model(), bare)
    data = frames(folder / "frames", 1, 3, 12, 16)
    two = frames(folder / "both" / "left", 1, 3, 8, 8).parent
    frames(two / "right", 1, 3, 8, 8)
    packed = frames(rgb / "calibration", 1, 3, 12, 16).parent
    return {
        "planar": (packed, "rvc2", {"rvc2.number_of_shaves": 5, "onnx_simplification": False}),
        "superblob": (rgb, "rvc2", {"rvc2.superblob": True}),
        "interleaved": (nhwc, "rvc2", {}),
        "gray": (gray, "rvc2", {}),
        "numbers": (raw, "rvc2", {}),
        "bare": (bare, "rvc2", {"encoding": "RGB", "mean_values": "1,2,3", "scale_values": 4}),
        "folder": (
            nhwc,
            "rvc4",
            {"calibration.random": True, "rvc4.quantization_mode": "INT16_STANDARD"},
        ),
        "calibrated": (rgb, "rvc4", {"calibration.path": data, "calibration.max_images": 1}),
        "packed": (packed, "rvc4", {}),
        "two": (write_two(folder), "rvc4", {"calibration.path": two, "encoding.from": "BGR"}),
        "half": (rgb, "rvc4", {"rvc4.quantization_mode": "FP16_STANDARD"}),
    }


CASES = (
    *("planar", "superblob", "interleaved", "gray", "numbers", "bare"),
    *("folder", "calibrated", "packed", "two", "half"),
)


@pytest.fixture
def written(tmp_path: Path) -> dict[str, tuple[Plan, Path]]:
    """Each case's plan, and the file that was written of it."""
    made = {}
    for name, (source, target, options) in sources(tmp_path / "sources").items():
        planned = plan(source, target, options=options)
        file = tmp_path / f"{name}.yaml"
        file.write_text(text(planned, source))
        made[name] = (planned, file)
    assert tuple(made) == CASES
    return made


def test_read_back_it_is_the_same_plan(written: dict[str, tuple[Plan, Path]]) -> None:
    for name, (planned, file) in written.items():
        again = plan(file, planned.target)
        expected, found = facts(planned), facts(again)
        assert found == expected, name
        assert again.model.archive_name == planned.model.archive_name
        # Metadata apart, which such a file does not have, the whole plan: written again it has its hash.
        file.write_text(text(again, file))
        assert plan(file, planned.target).hash == again.hash


@pytest.mark.network
def test_modelconverters_own_loader_takes_it(
    modelconverter: Path, written: dict[str, tuple[Plan, Path]]
) -> None:
    loaded = modelconv.load(modelconverter, *(file for _, file in written.values()))
    for (name, (planned, _)), result in zip(written.items(), loaded, strict=True):
        assert "error" not in result, (name, result)
        ((_, stage),) = result["config"]["stages"].items()
        assert result["config"]["name"] == planned.model.archive_name
        for theirs, item in zip(stage["inputs"], planned.model.inputs, strict=True):
            pre = item.preprocessing
            assert (theirs["name"], theirs["shape"]) == (item.name, list(item.shape))
            assert theirs["layout"] == item.layout
            assert theirs["data_type"] == item.dtype
            assert theirs["encoding"]["from"] == (pre.color or "NONE")
            camera = "RGB" if name == "bare" else "BGR" if pre.color in ("RGB", "BGR") else pre.color
            assert theirs["encoding"]["to"] == (camera or "NONE")
            assert tuple(theirs["mean_values"] or ()) == pre.mean
            assert tuple(theirs["scale_values"] or ()) == pre.scale
        assert [out["name"] for out in stage["outputs"]] == [out.name for out in planned.model.outputs]
        if name in ("calibrated", "packed", "two"):
            assert all(Path(entry["calibration"]["path"]).is_dir() for entry in stage["inputs"])
        section, parameters = stage[planned.target], planned.parameters.to_json()
        if planned.target == "rvc4":
            assert section["quantization_mode"] == parameters["quantization_mode"]
        else:
            assert section["superblob"] == parameters["superblob"]
            assert section["number_of_shaves"] == parameters["number_of_shaves"]
        assert bool(stage["onnx_simplification"]) is planned.options.flag("onnx_simplification")


def test_what_it_has_no_words_for_stands_at_the_top(here: Path) -> None:
    words = ["--preprocess", "archive", "rvc2.number_of_cmx_slices=4", "verify.frames=3"]
    done = nnconvert("plan", "-t", "rvc2", DIGITS_ARCHIVE, "--format", "modelconverter", *words)
    assert done.returncode == 0, done.stderr
    comments = [line for line in done.stdout.splitlines() if line.startswith("#")]
    assert comments[0] == "# modelconverter convert rvc2 --path THIS_FILE --archive-preprocess"
    assert "# not said: rvc2.number_of_cmx_slices 4" in comments
    assert any("no heads" in line for line in comments)
    assert not any("verify" in line for line in comments)
    # As the comment says: unpacked beside the file, the paths in it are those of the members.
    with tarfile.open(DIGITS_ARCHIVE) as tar:
        tar.extractall(here, filter="data")
    (here / "digits.yaml").write_text(done.stdout)
    words = words[:3]
    again, first = plan(here / "digits.yaml", "rvc2"), plan(DIGITS_ARCHIVE, "rvc2")
    assert facts(again) == facts(first)


def test_names_that_yaml_could_take_for_something_else_survive(tmp_path: Path) -> None:
    for index, name in enumerate(("yes", "1.0", "a: b", "x # y", "é\u2028")):
        folder = write_folder(tmp_path / str(index), conv_model(name=name), preprocessing=RGB_NCHW)
        planned = plan(folder, "rvc2")
        written = text(planned, folder)
        ((_, stage),) = yaml.safe_load(written)["stages"].items()
        assert stage["inputs"][0]["name"] == name
        (tmp_path / "a.yaml").write_text(written, encoding="utf-8")
        assert facts(plan(tmp_path / "a.yaml", "rvc2")) == facts(planned)


# ------------------------------------------------------------ build record


def test_the_build_record_has_the_keys_that_readers_of_modelconverters_know(
    here: Path, toolchain: Toolchain
) -> None:
    done = convert(DIGITS_ARCHIVE, "rvc2", options={"rvc2.number_of_shaves": 6})
    with tarfile.open(done.output) as tar:
        member = tar.extractfile("buildinfo.json")
        assert member is not None
        record = json.load(member)
    assert record["target_devices"] == ["MYRIAD"]
    assert (record["is_superblob"], record["number_of_shaves"]) == (False, 6)
    assert record["number_of_cmx_slices"] == 6
    # No tool of ModelConverter's was run, and none is named.
    assert record["cmd_info"] == {}
    versions = ("modelconverter_version", "model_optimizer_version", "compile_tool_version")
    assert {record[key] for key in versions} == {None}
    # As luxonis_ml shows it; the words are wrapped, so only pieces can be looked for.
    code = "from luxonis_ml.nn_archive.__main__ import app; app()"
    shown = subprocess.run(
        [sys.executable, "-c", code, "inspect", "-b", done.output],
        capture_output=True,
        text=True,
        env=os.environ | {"COLUMNS": "200"},
    )
    assert "Build Info" in shown.stdout, shown.stderr
    assert "'target_devices': ['MYRIAD']" in shown.stdout
    assert "'number_of_shaves': 6" in shown.stdout


def test_a_cut_is_told_where_the_file_cannot_make_it(tmp_path: Path) -> None:
    """The outputs of a cut detector are in no file that ModelConverter would read."""
    from tests.yolo_models import Net, ultralytics

    source = tmp_path / "net.onnx"
    onnx.save(ultralytics(Net()), source)
    assert "# The plan cuts the model, and the outputs output1_yolov8" in text(
        plan(source, "rvc2"), source
    )
    whole = plan(source, "rvc2", options={"cut": False})
    assert "cuts the model" not in text(whole, source)
