"""Archives of two stages: both models are converted, compared and found again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from converter import convert, open_archive, plan, verify_archive
from converter.errors import ArchiveError, ConvertError, ModelError, UsageError
from tests.sources import RGB, conv_model, make_model, write_folder

FP16 = {"rvc4.quantization_mode": "FP16_STANDARD", "verify.emulator": False}


def second_model(name: str = "map", shape: tuple[Any, ...] = (1, 4, 12, 16)) -> onnx.ModelProto:
    """A convolution over the first stage's map."""
    rng = np.random.default_rng(3)
    weights = numpy_helper.from_array(rng.normal(0, 0.4, (2, 4, 3, 3)).astype(np.float32), "w")
    graph = helper.make_graph(
        [
            helper.make_node("Conv", [name, "w"], ["c"], pads=[1, 1, 1, 1], name="second_conv"),
            helper.make_node("Sigmoid", ["c"], ["masks"], name="sigmoid"),
        ],
        "post",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("masks", TensorProto.FLOAT, [1, 2, 12, 16])],
        [weights],
    )
    return make_model(graph)


def staged(
    folder: Path, second: onnx.ModelProto | None = None, path: str = "post/second.onnx", heads: int = 1
) -> Path:
    """An archive of two stages; its first head has none where there are two."""
    head: dict[str, Any] = {
        "parser": "Mine",
        "metadata": {"postprocessor_path": path},
        "outputs": ["map"],
    }
    plain = {"parser": "Other", "metadata": {}, "outputs": ["scores"]}
    model = conv_model()
    write_folder(folder, model, preprocessing=RGB, heads=[plain] * (heads - 1) + [head])
    file = folder / path
    file.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(second or second_model(), file)
    return folder


@pytest.mark.parametrize("heads", [1, 2])
def test_both_stages_are_converted_and_the_path_is_that_of_the_member(here: Path, heads: int) -> None:
    done = convert(staged(here / "net", heads=heads), "rvc4", options=FP16)
    assert done.verification["status"] == "passed"
    second = done.verification["postprocessor"]
    assert second["status"] == "passed"
    assert "first stage's outputs" in second["frames"]
    assert second["outputs"]["masks"]["cosine"] > 0.999
    assert done.model["postprocessor"]["outputs"][0]["name"] == "masks"
    with open_archive(done.output) as archive:
        head = archive.config["model"]["heads"][-1]
        path = head["metadata"]["postprocessor_path"]
        assert path == "post/second.dlc"
        assert archive.member(path) is not None
        assert archive.member("model.dlc") is not None
        record = json.loads(archive.path("buildinfo.json").read_text())
        assert record["postprocessor"]["compiled"]["sha256"] == archive.member(path).sha256
    record = verify_archive(done.output, here / "net")
    assert record["postprocessor"]["status"] == "passed"


def test_rvc2_compiles_both(here: Path, toolchain: object) -> None:
    done = convert(staged(here / "net"), "rvc2")
    assert done.verification["postprocessor"]["outputs"]["masks"]["rel_rmse"] < 1e-3
    with open_archive(done.output) as archive:
        assert archive.member("post/second.blob")


def test_the_second_stage_is_calibrated_on_what_the_first_one_gives(here: Path) -> None:
    folder = staged(here / "net")
    data = here / "frames"
    data.mkdir()
    for index in range(6):
        frame = np.random.default_rng(index).integers(0, 255, (1, 3, 12, 16), np.uint8)
        np.save(data / f"{index}.npy", frame)
    options = {"calibration.path": str(data), "verify.emulator": False}
    done = convert(folder, "rvc4", options=options)
    with open_archive(done.output) as archive:
        record = json.loads(archive.path("buildinfo.json").read_text())
    report = record["postprocessor"]["compiled"]["calibration"]
    assert report["first_stage"] == {"map": "map"}
    assert report["frames"] == 6
    # The range of the second stage's input is that of the first one's output.
    import onnxruntime as ort

    session = ort.InferenceSession(folder / "model.onnx")
    mean, scale = (np.array(RGB[key], np.float32).reshape(1, 3, 1, 1) for key in ("mean", "scale"))
    seen = [
        session.run(["map"], {"images": (np.load(file)[:, ::-1].astype(np.float32) - mean) / scale})[0]
        for file in sorted(data.iterdir())
    ]
    low, high = report["inputs"]["map"]["min"], report["inputs"]["map"]["max"]
    assert np.isclose(low, np.min(seen), rtol=1e-4)
    assert np.isclose(high, np.max(seen), rtol=1e-4)
    assert done.verification["postprocessor"]["outputs"]["masks"]["cosine"] > 0.99
    # Its ranges are those of noise, which drawn pictures leave.
    assert verify_archive(done.output, folder, data=data)["postprocessor"]["status"] == "passed"


def test_data_of_its_own_is_for_all_of_its_inputs_or_for_none(here: Path) -> None:
    nodes = [helper.make_node("Add", ["map", "more"], ["masks"], name="add")]
    face = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 4, 12, 16])
        for name in ("map", "more", "masks")
    ]
    second = make_model(helper.make_graph(nodes, "second", face[:2], face[2:]))
    (here / "own").mkdir()
    np.save(here / "own" / "0.npy", np.zeros((1, 4, 12, 16), np.float32))
    options = {
        "calibration.random": True,
        "inputs.more.calibration.output": "map",
        "inputs.more.calibration.path": str(here / "own"),
    }
    with pytest.raises(UsageError, match=r"The inputs 'map' of .* have no calibration.path"):
        plan(staged(here / "net", second), "rvc4", options=options)


def test_an_option_says_what_feeds_an_input_of_another_name(here: Path) -> None:
    folder = staged(here / "net", second_model("features"))
    options = {"calibration.random": True}
    with pytest.raises(UsageError, match=r"inputs\.features\.calibration\.output"):
        plan(folder, "rvc4", options=options)
    options["inputs.features.calibration.output"] = "map"
    made = plan(folder, "rvc4", options=options)
    assert made.second is not None
    assert made.second.to_json()["parameters"]["calibration"]["first_stage"] == {"features": "map"}
    options["inputs.features.calibration.output"] = "scores"
    with pytest.raises(ConvertError, match=r"\[1, 6\].*takes \[1, 4, 12, 16\]"):
        plan(folder, "rvc4", options=options)
    options["inputs.features.calibration.output"] = "maps"
    with pytest.raises(ConvertError, match=r"no output 'maps'.*'map'"):
        plan(folder, "rvc4", options=options)


def test_a_dynamic_second_stage_takes_the_shape_of_what_feeds_it(here: Path) -> None:
    folder = staged(here / "net", second_model(shape=("n", 4, "h", "w")))
    made = plan(folder, "rvc4", options=FP16)
    assert made.second is not None
    assert made.second.model.inputs[0].shape == (1, 4, 12, 16)


def test_stages_of_one_stem_keep_files_of_their_own(here: Path) -> None:
    folder = staged(here / "net", path="model.ONNX")
    done = convert(folder, "rvc4", options=FP16)
    with open_archive(done.output) as archive:
        names = {member.name for member in archive.members}
        assert {"model.dlc", "model-postprocessor.dlc"} <= names
        head = archive.config["model"]["heads"][0]
    assert head["metadata"]["postprocessor_path"] == "model-postprocessor.dlc"


def test_what_is_wrong_with_a_second_stage_is_told(here: Path) -> None:
    folder = staged(here / "a")
    (folder / "post/second.onnx").unlink()
    with pytest.raises(ArchiveError, match=r"postprocessor_path: 'post/second.onnx' is not in"):
        plan(folder, "rvc4", options=FP16)
    folder = staged(here / "b", path="post/second.pt")
    with pytest.raises(ModelError, match="is no model"):
        plan(folder, "rvc4", options=FP16)
    folder = staged(here / "c")
    (folder / "post/second.onnx").write_bytes(b"no model")
    with pytest.raises(ArchiveError, match=r"second\.onnx is not an ONNX"):
        plan(folder, "rvc4", options=FP16)
    folder = staged(here / "d", heads=2)
    config = json.loads((folder / "config.json").read_text())
    config["model"]["heads"][0]["metadata"]["postprocessor_path"] = "other.onnx"
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match="two stages at most"):
        plan(folder, "rvc4", options=FP16)


def test_a_changed_second_stage_is_found_out(here: Path) -> None:
    from converter.archive import tar

    done = convert(staged(here / "net"), "rvc4", options=FP16)
    with open_archive(done.output) as archive:
        members = [(member.name, archive.path(member.name).read_bytes()) for member in archive.members]
    changed = [(n, data[:-1] + b"?" if n == "post/second.dlc" else data) for n, data in members]
    with (here / "changed.tar").open("wb") as file:
        tar.write(file, changed, "")
    with pytest.raises(ArchiveError, match=r"post/second\.dlc.*was changed"):
        verify_archive(here / "changed.tar", here / "net")


def test_what_is_said_of_the_first_stage_or_of_every_input_does_not_reach_the_second(
    here: Path,
) -> None:
    folder = staged(here / "net")
    options = {**FP16, "inputs.*.mean_values": [7], "inputs.*.scale_values": [3]}
    made = plan(folder, "rvc4", options=options)
    assert made.model.inputs[0].preprocessing.mean == (7.0, 7.0, 7.0)
    assert made.second is not None
    assert not made.second.model.inputs[0].preprocessing.normalizes
    # A second stage whose input is called as the first one's: the options are the first one's.
    folder = staged(here / "same", second_model("images"))
    data = here / "frames"
    data.mkdir()
    np.save(data / "0.npy", np.random.default_rng(0).integers(0, 255, (1, 3, 12, 16), np.uint8))
    options = {
        "inputs.images.mean_values": [1, 2, 3],
        "inputs.images.calibration.path": str(data),
        "inputs.images.calibration.output": "map",
    }
    made = plan(folder, "rvc4", options=options, toolchain="native")
    assert made.model.inputs[0].preprocessing.mean == (1.0, 2.0, 3.0)
    assert made.second is not None
    report = made.second.to_json()["parameters"]["calibration"]
    assert report["first_stage"] == {"images": "map"}
    assert not made.second.model.inputs[0].preprocessing.normalizes


def test_figures_of_both_stages_are_printed(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from converter.cli.commands import print_figures, verification_line

    done = convert(staged(here / "net"), "rvc4", options=FP16)
    print_figures(done.verification)
    assert "second stage, masks: cosine" in capsys.readouterr().out
    worse = {
        **done.verification,
        "postprocessor": {"outputs": {"masks": {"cosine": 0.5, "rel_rmse": 1}}},
    }
    assert "cosine ≥ 0.500000" in verification_line(worse)


def test_no_modelconverter_file_drops_a_stage(here: Path) -> None:
    from converter.modelconverter.export import text

    folder = staged(here / "net")
    with pytest.raises(UsageError, match="second stage, post/second"):
        text(plan(folder, "rvc4", options=FP16), folder)
