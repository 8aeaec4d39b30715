"""The key of the cache covers whatever decides a result: each ingredient by itself gives another key."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from converter import plan
from converter.cache import key as keys
from converter.cache.key import files_of_tools, key_of
from converter.options.resolve import Layer, resolve
from converter.plans import Plan
from tests.sources import RGB, conv_model, write_folder

QUANTIZED = {"rvc4.quantization_mode": "INT8_STANDARD"}


def pictures(folder: Path, *levels: int) -> Path:
    """One picture of 16 by 12 for each level of gray, in files of the same names."""
    folder.mkdir(parents=True, exist_ok=True)
    for index, level in enumerate(levels):
        Image.fromarray(np.full((12, 16, 3), level, np.uint8)).save(folder / f"{index}.png")
    return folder


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A source archive with two calibration pictures beside it, in `frames`."""
    pictures(tmp_path / "frames", 10, 200)
    return write_folder(tmp_path / "net", conv_model(), preprocessing=RGB)


def planned(source: Path, **more: Any) -> Plan:
    options = {**QUANTIZED, "calibration.path": str(source.parent / "frames"), **more}
    return plan(source, "rvc4", options=options, toolchain="native")


def key(source: Path, suffix: str = ".tar.xz", **more: Any) -> str:
    found = key_of(planned(source, **more), suffix)
    assert found is not None
    return found


def test_the_same_question_has_the_same_key(source: Path, tmp_path: Path) -> None:
    before = key(source)
    assert key(source) == before
    elsewhere = pictures(tmp_path / "another place", 10, 200)
    assert key(source, **{"calibration.path": str(elsewhere)}) == before


@pytest.mark.parametrize("where", ["beside", "inside"], ids=["calibration.path", "in the archive"])
def test_another_calibration_picture_of_the_same_name_and_count_is_another_key(
    source: Path, where: str
) -> None:
    """The DLC's ranges come from the pictures' pixels, so a key of their count gave a stale DLC."""
    folder = source.parent / "frames" if where == "beside" else source / "calibration"
    options = {} if where == "beside" else {"calibration.path": None}
    pictures(folder, 10, 200)
    before = planned(source, **options)
    pictures(folder, 10, 201)
    after = planned(source, **options)
    assert before.parameters.to_json()["calibration"]["frames"] == 2
    assert after.parameters.to_json()["calibration"]["frames"] == 2
    assert before.hash != after.hash
    assert key_of(before, ".tar") != key_of(after, ".tar")


def test_pictures_in_another_order_are_another_key(source: Path) -> None:
    before = key(source)
    pictures(source.parent / "frames", 200, 10)
    assert key(source) != before


@pytest.mark.parametrize(
    ("base", "more"),
    [
        ({}, {"rvc4.quantization_mode": "INT8_INT16_MIXED"}),
        ({}, {"rvc4.quantization_mode": "INT8_ACCURACY_FOCUSED"}),
        ({}, {"rvc4.use_per_channel_quantization": False}),
        ({}, {"calibration.max_images": 1}),
        ({}, {"calibration.resize_method": "CROP"}),
        ({}, {"calibration.npy_color": "RGB"}),
        ({}, {"preprocess": "archive"}),
        ({}, {"inputs.images.encoding.from": "BGR"}),
        ({}, {"inputs.images.mean_values": [1, 2, 3]}),
        ({}, {"inputs.images.scale_values": [1, 2, 3]}),
        ({}, {"onnx_simplification": False}),
        ({}, {"verify.frames": 3}),
        ({}, {"verify.enabled": False}),
        (
            {"rvc4.quantization_mode": "CUSTOM", "rvc4.act_quantizer": "percentile"},
            {"rvc4.percentile": 90},
        ),
        ({"rvc4.quantization_mode": "CUSTOM"}, {"rvc4.act_bitwidth": 16}),
        ({"rvc4.quantization_mode": "CUSTOM"}, {"rvc4.act_quantizer": "mse"}),
    ],
    ids=lambda value: next(reversed(value), "default"),
)
def test_an_option_that_changes_the_result_is_another_key(
    source: Path, base: dict[str, Any], more: dict[str, Any]
) -> None:
    assert key(source, **base) != key(source, **{**base, **more})


def test_other_weights_another_config_and_another_packing_are_other_keys(source: Path) -> None:
    keys = {key(source), key(source, ".tar")}
    config = json.loads((source / "config.json").read_text())
    # The compiled file is the same, the archive around it is not.
    config["model"]["heads"] = [{"parser": "MyParser", "metadata": {}, "outputs": ["scores"]}]
    (source / "config.json").write_text(json.dumps(config))
    keys.add(key(source))
    model = conv_model()
    model.graph.initializer[0].raw_data = bytes(len(model.graph.initializer[0].raw_data))
    write_folder(source, model, config)
    keys.add(key(source))
    assert len(keys) == 4


def change_code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys, "code_of", lambda package: f"other code of {package}")


def change_library(monkeypatch: pytest.MonkeyPatch) -> None:
    true = keys._libraries()
    assert {"numpy", "onnx", "onnx-ir", "onnxruntime", "onnxslim", "pillow"} <= {*map(str.lower, true)}
    monkeypatch.setattr(keys, "_libraries", lambda: {**true, "onnxruntime": "0.0"})


@pytest.mark.parametrize("change", [change_code, change_library])
def test_other_code_and_other_libraries_are_another_key(
    source: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[[pytest.MonkeyPatch], None]
) -> None:
    made = planned(source)
    before = key_of(made, ".tar")
    change(monkeypatch)
    assert key_of(made, ".tar") != before


def test_another_compiler_is_another_key(source: Path) -> None:
    made = planned(source)
    other = dataclasses.replace(made, backend=dataclasses.replace(made.backend, version="0.0"))
    assert key_of(made, ".tar") != key_of(other, ".tar")


def test_other_frames_of_the_users_own_to_compare_on_are_another_key(source: Path) -> None:
    """Their figures are in the build record."""
    folder = pictures(source.parent / "own", 30, 60)
    before = key(source, **{"verify.data": str(folder)})
    assert before == key(source, **{"verify.data": str(folder)}) != key(source)
    pictures(folder, 30, 61)
    assert key(source, **{"verify.data": str(folder)}) != before


@pytest.mark.parametrize("form", ["{}", "--config={}", "a:{}", "{},other"])
@pytest.mark.parametrize("inside", ["", "deep/ops.json"], ids=["file", "folder"])
def test_what_a_tools_own_argument_names_is_part_of_the_key(
    source: Path, tmp_path: Path, form: str, inside: str
) -> None:
    """The argument is the same text, the file behind it has another byte."""
    named = tmp_path / "ops"
    file = named / inside if inside else named
    file.parent.mkdir(parents=True, exist_ok=True)
    more = {"rvc4.snpe_onnx_to_dlc_args": ["--op", form.format(named)]}
    options = resolve([Layer(origin="options", values=more)])
    made = dataclasses.replace(planned(source), options=options)
    found = []
    for content in (b"a", b"b", b"a"):
        file.write_bytes(content)
        found.append(key_of(made, ".tar"))
    assert found[0] == found[2] != found[1]
    file.unlink()
    assert key_of(made, ".tar") != found[0]


def test_an_argument_that_is_the_current_folder_has_no_key(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may name the whole disk: it is neither read nor left out."""
    monkeypatch.chdir(tmp_path)
    for word in (".", str(tmp_path), "/"):
        options = resolve(
            [Layer(origin="options", values={"rvc4.snpe_onnx_to_dlc_args": ["--op", word]})]
        )
        assert files_of_tools(options) is None
        assert key_of(dataclasses.replace(planned(source), options=options), ".tar") is None
