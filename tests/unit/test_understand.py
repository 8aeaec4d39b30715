"""A config is checked against the schema, the graph, the files and itself; all problems at once."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx import TensorProto, helper

from converter.config.read import understand
from converter.errors import ArchiveError, ModelError, UsageError
from converter.findings import Finding
from converter.model import SourceModel
from converter.open_source import open_archive
from converter.options.resolve import Layer, Options, resolve
from converter.preprocessing import Color
from tests.sources import RGB, config_for, conv_model, one_op_model, write_folder

Config = dict[str, Any]


def read(
    folder: Path, config: Config | None = None, model: onnx.ModelProto | None = None, **values: Any
) -> tuple[SourceModel, tuple[Finding, ...]]:
    model = model or conv_model()
    write_folder(folder, model, preprocessing=RGB)
    if config is not None:
        (folder / "config.json").write_text(json.dumps(config))
    chosen = resolve([Layer(origin="test", values=values)])
    with open_archive(folder) as archive:
        return understand(archive, chosen)


def changed(*changes: Callable[[Config], Any]) -> Config:
    config = copy.deepcopy(config_for(conv_model(), preprocessing=RGB))
    for change in changes:
        change(config)
    return config


def image(config: Config) -> Config:
    result: Config = config["model"]["inputs"][0]
    return result


def refused(tmp_path: Path, config: Config) -> list[str]:
    with pytest.raises((ArchiveError, ModelError)) as caught:
        read(tmp_path, config)
    return [str(finding) for finding in caught.value.findings] or [str(caught.value)]


def test_a_truthful_config_is_understood(tmp_path: Path) -> None:
    source, warnings = read(tmp_path)
    item = source.inputs[0]
    assert (item.name, item.dtype, item.shape, item.layout) == (
        "images",
        "float32",
        (1, 3, 12, 16),
        "NCHW",
    )
    assert item.preprocessing.color is Color.RGB
    assert item.preprocessing.mean == (110.0, 70.0, 30.0)
    assert [output.name for output in source.outputs] == ["map", "scores"]
    assert not warnings


def test_a_null_config_version_is_read_as_1_0(tmp_path: Path) -> None:
    source, _ = read(tmp_path, changed(lambda c: c.update(config_version=None)))
    assert source.config["config_version"] == "1.0"


def test_heads_and_unknown_metadata_stay_as_they_stand(tmp_path: Path) -> None:
    head = {"parser": "YOLO", "metadata": {"skeleton_edges": [[0, 1]], "n_classes": 1}, "odd": None}
    config = changed(
        lambda c: c["model"].update(heads=[head]),
        lambda c: c["model"]["metadata"].update(license="MIT"),
    )
    source, _ = read(tmp_path, config)
    assert source.config["model"]["heads"] == [head]
    assert source.config["model"]["metadata"]["license"] == "MIT"


CASES: list[tuple[str, Callable[[Config], Any], str]] = [
    ("version", lambda c: c.update(config_version="2.0"), r"config_version: '2\.0'"),
    ("unknown key", lambda c: image(c).update(dtpye="x"), r"inputs\[0\]\.dtpye.*'dtype'"),
    ("missing key", lambda c: c["model"].pop("heads"), r'model\.heads: is missing.*"heads": \[\]'),
    ("wrong type", lambda c: image(c).update(shape="big"), r"inputs\[0\]\.shape: 'big' is not valid"),
    ("dtype word", lambda c: image(c).update(dtype="float"), r"inputs\[0\]\.dtype: 'float'"),
    ("model missing", lambda c: c["model"]["metadata"].update(path="modle.onnx"), r"'model\.onnx'"),
    ("path out", lambda c: c["model"]["metadata"].update(path="../model.onnx"), "leads out"),
    ("input name", lambda c: image(c).update(name="image"), r"inputs\[0\]\.name.*'images'"),
    ("twice", lambda c: c["model"]["inputs"].append(copy.deepcopy(image(c))), "is there twice"),
    ("output missing", lambda c: c["model"]["outputs"].pop(), r"outputs: .*'scores' is not described"),
    ("output name", lambda c: c["model"]["outputs"][0].update(name="mop"), r"outputs\[0\].*'map'"),
    (
        "rank",
        lambda c: image(c).update(shape=[1, 3, 12], layout="NCH"),
        r"shape: .*3 axes.*\[1, 3, 12, 16\]",
    ),
    (
        "size",
        lambda c: image(c).update(shape=[1, 3, 16, 12]),
        r"\[1, 3, 16, 12\] is not.*\[1, 3, 12, 16\]",
    ),
    ("output size", lambda c: c["model"]["outputs"][1].update(shape=[1, 7]), r"outputs\[1\]\.shape"),
    ("dtype", lambda c: image(c).update(dtype="float16"), r"dtype: 'float16'.*float32.*Write"),
    (
        "layout",
        lambda c: image(c).update(layout="NHWC"),
        r"layout: 'NHWC'.*16 channels.*inputs\.images\.layout",
    ),
    ("letters", lambda c: image(c).update(layout="NCH"), "3 letters.*4 axes"),
    (
        "layout twice",
        lambda c: image(c).update(layout="NCCW"),
        "does not have one letter for each axis",
    ),
    ("batch last", lambda c: image(c).update(layout="CHWN"), "not in front"),
    (
        "no positive",
        lambda c: image(c).update(shape=[0, 3, 12, 16]),
        r"not positive.*inputs\.images\.shape",
    ),
    ("mean", lambda c: image(c)["preprocessing"].update(mean=[1.0, 2.0]), r"mean: has 2 values for 3"),
    (
        "zero scale",
        lambda c: image(c)["preprocessing"].update(scale=[1.0, 0.0, 1.0]),
        "divides by zero",
    ),
    ("dai_type", lambda c: image(c)["preprocessing"].update(dai_type="rgb888p"), "'RGB888p'"),
    (
        "dai order",
        lambda c: image(c)["preprocessing"].update(dai_type="RGB888i"),
        "interleaved.*'NCHW'.*RGB888p",
    ),
    ("dai gray", lambda c: image(c)["preprocessing"].update(dai_type="GRAY8"), "one channel.*has 3"),
    (
        "flag",
        lambda c: image(c).update(preprocessing={"interleaved_to_planar": True}),
        "interleaved_to_planar: true.*'NCHW'",
    ),
    ("resize", lambda c: image(c)["preprocessing"].update(resize_mode="ZOOM"), "resize_mode: 'ZOOM'"),
    (
        "number",
        lambda c: image(c)["preprocessing"].update(reverse_channels=0),
        "reverse_channels: 0 is not valid",
    ),
    (
        "word",
        lambda c: image(c)["preprocessing"].update(reverse_channels="no"),
        "reverse_channels: 'no'",
    ),
    (
        "text",
        lambda c: image(c)["preprocessing"].update(mean=["1", "2", "3"]),
        r"mean\[0\]: '1' is not valid",
    ),
    ("true", lambda c: image(c).update(shape=[True, 3, 12, 16]), r"shape\[0\]: True is not valid"),
    ("float", lambda c: image(c).update(shape=[1.5, 3, 12, 16]), r"shape\[0\]: 1\.5 is not valid"),
    ("null", lambda c: c["model"].update(inputs=[None]), "inputs|model"),
    ("huge", lambda c: image(c).update(shape=[1, 3, 10**6, 10**6]), "elements|is not"),
    (
        "output layout",
        lambda c: c["model"]["outputs"][0].update(layout="NCCC"),
        "does not have one letter for each axis",
    ),
    ("empty path", lambda c: c["model"]["metadata"].update(path=""), "path"),
    ("heads", lambda c: c["model"].update(heads={}), "model.heads: is not a list"),
    ("no parser", lambda c: c["model"].update(heads=[{"metadata": {}}]), r"heads\[0\]\.parser"),
    (
        "head output",
        lambda c: c["model"].update(heads=[{"parser": "P", "metadata": {}, "outputs": ["score"]}]),
        r"heads\[0\]\.outputs\[0\].*'scores'",
    ),
    (
        "classes",
        lambda c: c["model"].update(
            heads=[{"parser": "P", "metadata": {"classes": ["a"], "n_classes": 2}}]
        ),
        "n_classes: 2 is not the number",
    ),
    (
        "postprocessor",
        lambda c: c["model"].update(
            heads=[{"parser": "P", "metadata": {"postprocessor_path": "p.onnx"}}]
        ),
        r"postprocessor_path: 'p\.onnx' is not in the archive",
    ),
]


@pytest.mark.parametrize(
    ("change", "said"), [case[1:] for case in CASES], ids=[case[0] for case in CASES]
)
def test_a_problem_is_named_with_its_field_and_what_to_write(
    tmp_path: Path, change: Callable[[Config], Any], said: str
) -> None:
    import re

    findings = refused(tmp_path, changed(change))
    assert any(re.search(said, finding) for finding in findings), findings


def test_all_problems_are_reported_at_once(tmp_path: Path) -> None:
    config = changed(
        lambda c: image(c).update(dtype="uint8"),
        lambda c: image(c)["preprocessing"].update(scale=[0.0]),
        lambda c: c["model"]["outputs"][1].update(shape=[1, 5]),
        lambda c: c["model"].update(heads=[{"parser": "P", "metadata": {}, "outputs": ["nothing"]}]),
    )
    assert len(refused(tmp_path, config)) >= 3


def test_a_contradiction_is_settled_by_an_option(tmp_path: Path) -> None:
    config = changed(lambda c: image(c)["preprocessing"].update(dai_type="RGB888i"))
    source, _ = read(tmp_path, config, **{"inputs.images.dai_type": "RGB888p"})
    assert source.inputs[0].preprocessing.color is Color.RGB
    config = changed(lambda c: image(c).update(layout="NHWC"))
    source, _ = read(tmp_path, config, **{"inputs.images.layout": "NCHW"})
    assert source.inputs[0].layout == "NCHW"


def test_an_option_for_a_tensor_that_is_not_there_is_refused_with_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="'images'"):
        read(tmp_path, **{"inputs.imags.layout": "NCHW"})


def test_a_dynamic_shape_takes_the_configs_or_the_options_value(tmp_path: Path) -> None:
    model = conv_model()
    for axis in (0, 2, 3):
        model.graph.input[0].type.tensor_type.shape.dim[axis].dim_param = f"d{axis}"
    config = changed()
    source, _ = read(tmp_path / "a", config, model)
    assert source.inputs[0].shape == (1, 3, 12, 16)
    image(config)["shape"] = [-1, 3, -1, -1]
    with pytest.raises(ArchiveError, match="not positive"):
        read(tmp_path / "b", config, model)
    source, _ = read(tmp_path / "b", config, model, **{"inputs.images.shape": "1,3,20,24"})
    assert source.inputs[0].shape == (1, 3, 20, 24)


@pytest.mark.parametrize(
    ("preprocessing", "channels", "color"),
    [
        ({"dai_type": "RGB888p"}, 3, Color.RGB),
        ({"dai_type": "BGR888p"}, 3, Color.BGR),
        ({"dai_type": "BGRF16F16F16p"}, 3, Color.BGR),
        ({"dai_type": "BGR888p", "reverse_channels": True}, 3, Color.BGR),
        ({"reverse_channels": True}, 3, Color.RGB),
        ({"reverse_channels": False}, 3, Color.BGR),
        ({}, 3, Color.RGB),
        ({}, 1, Color.GRAY),
        ({"dai_type": "GRAY8"}, 1, Color.GRAY),
        ({"dai_type": "GRAY888p"}, 1, Color.GRAY),
        ({"reverse_channels": True}, 1, Color.GRAY),
    ],
)
def test_the_colour_follows_the_rules_in_their_order(
    tmp_path: Path, preprocessing: Config, channels: int, color: Color
) -> None:
    model = conv_model(channels=channels)
    source, _ = read(tmp_path, config_for(model, preprocessing=preprocessing), model)
    assert source.inputs[0].preprocessing.color is color


def test_one_mean_stands_for_all_channels_and_null_for_none(tmp_path: Path) -> None:
    config = changed(lambda c: image(c).update(preprocessing={"mean": [127.5], "scale": None}))
    source, _ = read(tmp_path, config)
    assert source.inputs[0].preprocessing.mean == (127.5,) * 3
    assert source.inputs[0].preprocessing.scale == ()


def test_a_missing_layout_is_guessed_by_the_formats_rule_and_said(tmp_path: Path) -> None:
    source, warnings = read(tmp_path, changed(lambda c: image(c).pop("layout")))
    assert source.inputs[0].layout == "NCHW"
    assert [warning.code for warning in warnings] == ["input.layout-guessed"]


def test_a_missing_external_data_file_is_named(tmp_path: Path) -> None:
    model = conv_model()
    folder = write_folder(tmp_path, model, changed())
    onnx.save(
        model, folder / "model.onnx", save_as_external_data=True, location="w.bin", size_threshold=0
    )
    with open_archive(folder) as archive:
        source, _ = understand(archive, Options({}))
        assert set(source.files) == {"model.onnx", "w.bin"}
    (folder / "w.bin").unlink()
    with (
        pytest.raises(ArchiveError, match=r"'w\.bin', which is not in the archive"),
        open_archive(folder) as archive,
    ):
        understand(archive, Options({}))


@pytest.mark.parametrize("location", ["../../etc/passwd", "/etc/passwd"])
def test_external_data_outside_the_archive_is_never_opened(tmp_path: Path, location: str) -> None:
    model = conv_model()
    tensor = model.graph.initializer[0]
    tensor.data_location = TensorProto.EXTERNAL
    tensor.ClearField("raw_data")
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", location
    with pytest.raises(ArchiveError, match="not in the archive"):
        read(tmp_path, changed(), model)


def test_a_file_that_is_no_onnx_model_is_told_so(tmp_path: Path) -> None:
    folder = write_folder(tmp_path, conv_model(), changed())
    (folder / "model.onnx").write_bytes(b"not a model at all")
    with (
        pytest.raises(ArchiveError, match=r"model\.onnx is not an ONNX model"),
        open_archive(folder) as archive,
    ):
        understand(archive, Options({}))


@pytest.mark.parametrize(
    ("path", "said"),
    [("m.blob", "compiled already"), ("m.bin", r"its \.xml is"), ("m.pt", r"a \.pt file")],
)
def test_other_kinds_of_models_are_told_so(tmp_path: Path, path: str, said: str) -> None:
    config = changed(lambda c: c["model"]["metadata"].update(path=path))
    with pytest.raises(ModelError, match=said):
        read(tmp_path, config)


def test_faces_that_no_compiler_takes_are_refused_at_once(tmp_path: Path) -> None:
    model = conv_model()
    model.graph.input.append(helper.make_tensor_value_info("unused", TensorProto.FLOAT, [1]))
    with pytest.raises(ModelError, match="unused: no node"):
        read(tmp_path / "a", None, model)
    model = conv_model()
    model.graph.output.append(model.graph.input[0])
    with pytest.raises(ModelError, match="images: is an input and an output"):
        read(tmp_path / "b", None, model)
    model = conv_model()
    model.opset_import[0].version = 99
    with pytest.raises(ModelError, match="opset 99"):
        read(tmp_path / "c", None, model)


def test_mean_and_scale_on_a_model_of_bytes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ArchiveError, match="takes uint8"):
        read(tmp_path, None, conv_model(dtype=TensorProto.UINT8))


def test_external_data_in_an_attribute_counts_as_a_file_of_the_model(tmp_path: Path) -> None:
    model = conv_model()
    tensor = helper.make_tensor("c", TensorProto.FLOAT, [1], [1.0])
    tensor.data_location = TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "elsewhere.bin"
    model.graph.node.append(helper.make_node("Constant", [], ["c"], value=tensor))
    with pytest.raises(ArchiveError, match=r"elsewhere\.bin"):
        read(tmp_path, None, model)


def test_a_config_of_any_json_gives_findings_and_no_traceback(tmp_path: Path) -> None:
    for index, config in enumerate(
        [{}, {"model": None}, {"model": []}, {"model": {"inputs": 3}}, {"model": {"metadata": "x"}}]
    ):
        folder = tmp_path / str(index)
        folder.mkdir()
        (folder / "config.json").write_text(json.dumps(config))
        with pytest.raises(ArchiveError), open_archive(folder) as archive:
            understand(archive, Options({}))


@pytest.mark.parametrize("count", [2, 3, 4, 5])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("mean", "scale"), [(0, 1), (127.5, 58)])
def test_values_that_exporters_write_by_habit_are_warnings(
    tmp_path: Path, count: int, channels: int, mean: float, scale: float
) -> None:
    model = one_op_model("Relu", {"x": (1, channels, 8, 8)})
    block = {"mean": [float(mean)] * count, "scale": [float(scale)] * count, "dai_type": "RGB888p"}
    config = config_for(model, preprocessing=block)
    folder = write_folder(tmp_path / "net", model, config)
    means_nothing = (mean, scale) == (0, 1)
    with open_archive(folder) as archive:
        if count != channels and channels == 3 and not means_nothing:
            with pytest.raises(ArchiveError) as caught:
                understand(archive, Options({}))
            told = [finding.message for finding in caught.value.findings]
            assert told == [f"has {count} values for 3 channels."] * 2
            return
        source, warnings = understand(archive, Options({}))
    codes = {finding.code for finding in warnings}
    assert ({"input.mean", "input.scale"} <= codes) == (count != channels)
    assert ("input.dai-type-channels" in codes) == (channels == 1)
    read = source.inputs[0].preprocessing
    assert read.mean == (float(mean),) * channels
    assert read.scale == (float(scale),) * channels
