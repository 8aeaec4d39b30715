"""The config and the build record that are written: what the source says is kept, the rest is read back."""

from __future__ import annotations

import copy
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

import converter.archive.write as archives
from converter import plan
from converter.archive.write import destination, write_archive
from converter.artifact import Artifact, CompiledInput
from converter.errors import UsageError
from converter.model import Tensor
from converter.plans import Plan
from converter.preprocessing import Color, Preprocessing
from converter.target_archive import buildinfo, entries, target_config
from tests.archives import HEAD
from tests.sources import RGB, config_for, conv_model, write_folder

SECOND_HEAD = {"name": None, "parser": "SegmentationParser", "metadata": {"classes": ["x"]}}


@pytest.fixture
def made(tmp_path: Path) -> Plan:
    """The plan of a source with two outputs and two heads, of which one names no outputs."""
    model = conv_model()
    config = config_for(model, preprocessing=RGB | {"resize_mode": "LETTERBOX"})
    config["model"]["heads"] = [copy.deepcopy(HEAD), copy.deepcopy(SECOND_HEAD)]
    config["model"]["metadata"]["license"] = "MIT"
    options = {"calibration.random": True, "calibration.max_images": 2}
    return plan(
        write_folder(tmp_path / "net", model, config), "rvc4", options=options, toolchain="native"
    )


def compiled(tmp_path: Path, **more: Any) -> Artifact:
    """A double of a compiled file whose tensors come in another order than the alphabet's."""
    path = tmp_path / "model.dlc"
    path.write_bytes(b"DOUBLE")
    image = CompiledInput(
        name="images",
        dtype="uint8",
        shape=(1, 12, 16, 3),
        layout="NHWC",
        preprocessing=Preprocessing(
            color=Color.BGR, mean=(0.0,) * 3, scale=(1.0,) * 3, resize_mode="LETTERBOX"
        ),
        dai_type="BGR888i",
    )
    scores = Tensor(name="scores", dtype="uint8", shape=(1, 6), layout="NC")
    mask = Tensor(name="map", dtype="uint16", shape=(1, 12, 16, 4), layout="NHWC")
    values: dict[str, Any] = {"precision": "int8", "outputs": (scores, mask)} | more
    return Artifact(path=path, suffix=".dlc", inputs=(image,), facts={}, tools={"qairt": "2"}, **values)


def test_heads_and_names_and_further_metadata_are_the_sources(made: Plan, tmp_path: Path) -> None:
    config = target_config(made.model, compiled(tmp_path))
    first, second = config["model"]["heads"]
    assert first == HEAD
    assert second == {**SECOND_HEAD, "outputs": ["scores", "map"]}
    metadata = config["model"]["metadata"]
    assert metadata == {"name": "net", "path": "model.dlc", "precision": "int8", "license": "MIT"}


def test_tensors_are_those_of_the_compiled_file_in_its_order(made: Plan, tmp_path: Path) -> None:
    model = target_config(made.model, compiled(tmp_path))["model"]
    assert [(o["name"], o["dtype"], o["shape"], o["layout"]) for o in model["outputs"]] == [
        ("scores", "uint8", [1, 6], "NC"),
        ("map", "uint16", [1, 12, 16, 4], "NHWC"),
    ]
    (item,) = model["inputs"]
    assert (item["name"], item["dtype"], item["shape"], item["layout"], item["input_type"]) == (
        "images", "uint8", [1, 12, 16, 3], "NHWC", "image",
    )  # fmt: skip
    assert item["preprocessing"] == {
        "mean": [0.0] * 3,
        "scale": [1.0] * 3,
        "reverse_channels": False,
        "interleaved_to_planar": True,
        "dai_type": "BGR888i",
        "resize_mode": "LETTERBOX",
    }


@pytest.mark.parametrize("precision", ["int8", "int16", "float16"])
def test_the_precision_is_what_the_weights_became(made: Plan, tmp_path: Path, precision: str) -> None:
    config = target_config(made.model, compiled(tmp_path, precision=precision))
    assert config["model"]["metadata"]["precision"] == precision


def test_the_sources_own_config_is_left_as_it_is(made: Plan, tmp_path: Path) -> None:
    before = json.dumps(made.model.config)
    target_config(made.model, compiled(tmp_path))
    assert json.dumps(made.model.config) == before


def test_the_record_keeps_the_warnings_of_the_plan_and_of_the_run(made: Plan, tmp_path: Path) -> None:
    told = buildinfo(made, compiled(tmp_path, warnings=("the tool says so",)))["warnings"]
    assert any("generated frames" in text for text in told)
    assert told[-1] == "the tool says so"


def test_the_config_comes_first_and_the_model_under_the_name_that_it_says(
    made: Plan, tmp_path: Path
) -> None:
    artifact = compiled(tmp_path)
    members = entries(made, artifact)
    assert [name for name, _ in members] == ["config.json", "buildinfo.json", "model.dlc"]
    out = tmp_path / "o.tar"
    write_archive(out, members, force=False)
    with tarfile.open(out) as tar:
        assert tar.getnames() == ["config.json", "buildinfo.json", "model.dlc"]
        file = tar.extractfile("model.dlc")
        assert file is not None
        assert file.read() == b"DOUBLE"


# ------------------------------------------------------- an existing output


def test_an_existing_file_is_refused_before_the_work_unless_force_is_given(tmp_path: Path) -> None:
    out = tmp_path / "o.tar"
    out.write_bytes(b"precious")
    with pytest.raises(UsageError, match=r"exists.*--force"):
        destination(out, "name", force=False)
    assert destination(out, "name", force=True) == out


@pytest.mark.parametrize("links", [True, False], ids=["hard links", "no hard links"])
def test_a_file_that_somebody_made_during_the_work_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool
) -> None:
    """A conversion takes minutes: what was free when it began may be taken when it ends."""
    out = destination(tmp_path / "o.tar", "name", force=False)
    out.write_bytes(b"precious")
    if not links:

        def refuse(*_: Any) -> None:
            raise OSError(1, "no hard links here")

        monkeypatch.setattr(archives.os, "link", refuse)
    with pytest.raises(UsageError, match="exists"):
        write_archive(out, [("config.json", b"{}")], force=False)
    assert out.read_bytes() == b"precious"
    assert [path.name for path in tmp_path.iterdir()] == ["o.tar"]
    write_archive(out, [("config.json", b"{}")], force=True)
    assert out.read_bytes() != b"precious"
