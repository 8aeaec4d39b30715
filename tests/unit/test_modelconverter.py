"""ModelConverter's files, keys and flags: they mean here what they mean there, or are refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from converter.cli import modelconverter as command_line
from converter.errors import ConvertError, ModelError, UsageError
from converter.modelconverter.keys import KEYS, translated
from converter.options.files import from_file
from converter.options.resolve import Options, from_arguments, is_declared, resolve
from converter.plans import Plan
from converter.run import convert, plan
from targets.rvc2.myriad.toolchain import Toolchain
from tests import modelconv
from tests.sources import MEAN, RGB, SCALE, config_for, conv_model, make_model, write_folder
from tests.unit.test_cli import nnconvert

# Keys that its validators replace before there is a model: what a stage says for all of its inputs, and
# those of older releases.
SHORTHANDS = {
    *("shape", "layout", "data_type", "mean_values", "scale_values", "disable_calibration"),
    *("encoding", "encoding.from", "encoding.to", "yolo_input_shape"),
    *("disable_onnx_simplification", "disable_onnx_optimizations"),
    *(key for key in KEYS if key.split(".")[0] == "calibration"),
}


@pytest.fixture(scope="session")
def modelconverter() -> Path:
    """The Python of an environment with ModelConverter."""
    return modelconv.python()


@pytest.fixture
def net(tmp_path: Path) -> Path:
    """A model with an image input of 12 × 16 pixels."""
    path = tmp_path / "net.onnx"
    onnx.save(conv_model(), path)
    return path


def write(path: Path, document: dict[str, Any]) -> Path:
    is_json = path.suffix == ".json"
    path.write_text(json.dumps(document) if is_json else yaml.safe_dump(document, sort_keys=False))
    return path


def stage(**more: Any) -> dict[str, Any]:
    """A stage that describes the fixture's model."""
    return {
        "input_model": "net.onnx",
        "inputs": [{"name": "images", "shape": [1, 3, 12, 16], "layout": "NCHW"}],
        "mean_values": MEAN,
        "scale_values": SCALE,
        "encoding": {"from": "RGB", "to": "BGR"},
    } | more


def facts(made: Plan) -> dict[str, Any]:
    """What a plan does, without the archive's own name and metadata."""
    model = made.model.to_json()
    return {
        "inputs": model["inputs"],
        "outputs": model["outputs"],
        "parameters": made.parameters.to_json(),
        "steps": [step.to_json() for step in made.steps],
    }


def said(error: ConvertError) -> str:
    return " ".join(map(str, error.findings)) or str(error)


# ------------------------------------------------------------------ the table


@pytest.mark.network
def test_every_key_of_modelconverters_has_its_rule(modelconverter: Path) -> None:
    assert modelconv.fields(modelconverter) ^ set(KEYS) == SHORTHANDS


@pytest.mark.network
def test_every_flag_of_modelconverters_is_taken_or_answered(modelconverter: Path) -> None:
    for flag in modelconv.flags(modelconverter):
        try:
            words = command_line.translated(["convert", "rvc2", flag, "nn_archive"])
        except UsageError as error:
            assert flag in str(error)
            assert error.remedy
        else:
            assert flag not in words


@pytest.mark.network
def test_modelconverter_takes_the_shorthands_too(modelconverter: Path, net: Path) -> None:
    document = stage(shape=[1, 3, 12, 16], layout="NCHW", data_type="float32", calibration="random")
    del document["inputs"]
    old = {"disable_onnx_simplification": True, "disable_onnx_optimizations": True}
    files = [
        write(net.with_name(f"{index}.yaml"), document | more)
        for index, more in enumerate([{}, old, {"disable_calibration": True}])
    ]
    for loaded in modelconv.load(modelconverter, *files):
        assert "error" not in loaded
    assert modelconv.load(modelconverter, write(files[0], document | {"shap": 1}))[0]["error"]


def test_every_option_that_the_table_names_is_declared() -> None:
    for key in KEYS:
        meant = translated(key, "x")
        assert meant is not None
        for ours in meant.values:
            assert is_declared(ours), key
        for note in meant.notes:
            assert note.message, key


# -------------------------------------------------------------- its documents


def test_a_document_means_what_the_archive_means(net: Path, tmp_path: Path) -> None:
    archive = write_folder(tmp_path / "net", conv_model(), preprocessing=RGB)
    expected = facts(plan(archive, "rvc2"))
    flat = write(tmp_path / "flat.yaml", stage())
    staged = write(tmp_path / "staged.yaml", {"name": "net", "stages": {"main": stage()}})
    shared = {key: value for key, value in stage().items() if key != "input_model"}
    beside = {"stages": {"main": {"input_model": "net.onnx"}}, **shared}
    for file in (flat, staged, write(tmp_path / "beside.json", beside)):
        made = facts(plan(file, "rvc2"))
        for step in expected["steps"]:
            step["needs"] = [need.replace("model.onnx", "net.onnx") for need in step["needs"]]
        assert made == expected
    assert plan(staged, "rvc2").model.archive_name == "net"
    assert plan(flat, "rvc2").model.archive_name == "net"


def test_an_open_batch_is_one(tmp_path: Path) -> None:
    onnx.save(conv_model(), tmp_path / "net.onnx")
    file = write(tmp_path / "a.yaml", {"input_model": "net.onnx", "shape": [0, 3, 12, 16]})
    assert plan(file, "rvc2").model.inputs[0].shape == (1, 3, 12, 16)


def test_what_a_stage_says_holds_for_each_input_that_has_none_of_its_own(tmp_path: Path) -> None:
    write_two(tmp_path)
    file = write(
        tmp_path / "two.yaml",
        {
            "input_model": "two.onnx",
            "mean_values": "imagenet",
            "encoding": "BGR",
            "inputs": [{"name": "left", "scale_values": 2.0}, {"name": "right", "mean_values": 7}],
        },
    )
    left, right = plan(file, "rvc2").model.inputs
    assert left.preprocessing.mean == (123.675, 116.28, 103.53)
    assert left.preprocessing.scale == (2.0, 2.0, 2.0)
    assert right.preprocessing.mean == (7.0, 7.0, 7.0)
    assert {left.preprocessing.color, right.preprocessing.color} == {"BGR"}
    second = plan(file, "rvc2", options={"inputs.1.mean_values": "1,2,3"}).model.inputs[1]
    assert second.preprocessing.mean == (1.0, 2.0, 3.0)


def write_two(folder: Path) -> Path:
    """A model with two image inputs."""
    shape = [1, 3, 8, 8]
    graph = helper.make_graph(
        [helper.make_node("Add", ["left", "right"], ["sum"])],
        "two",
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, shape) for n in ("left", "right")],
        [helper.make_tensor_value_info("sum", TensorProto.FLOAT, shape)],
    )
    onnx.save(make_model(graph), folder / "two.onnx")
    return folder / "two.onnx"


def test_options_that_are_given_win_over_the_document(net: Path) -> None:
    file = write(net.with_name("a.yaml"), stage(rvc2={"superblob": False, "number_of_shaves": 4}))
    made = plan(file, "rvc2", options={"rvc2.number_of_shaves": 6, "encoding.from": "BGR"})
    assert made.origins["rvc2.number_of_shaves"] == {"value": 6, "origin": "options"}
    assert made.origins["rvc2.superblob"] == {"value": False, "origin": "file a.yaml"}
    assert made.model.inputs[0].preprocessing.color == "BGR"


def test_a_document_beside_an_archive_brings_its_options(net: Path, tmp_path: Path) -> None:
    archive = write_folder(tmp_path / "net", conv_model())
    layer = from_file(write(net.with_name("a.yaml"), stage(rvc2={"number_of_shaves": 5})))
    made = plan(archive, "rvc2", options=resolve([layer]))
    assert made.model.inputs[0].preprocessing.mean == tuple(MEAN)
    assert made.parameters.to_json()["number_of_shaves"] == 5
    assert any("input_model" in str(warning) for warning in made.warnings)


def test_a_bare_model_is_a_source_and_options_describe_it(net: Path) -> None:
    made = plan(net, "rvc2", options={"mean_values": 9, "inputs.images.encoding.from": "BGR"})
    assert made.model.inputs[0].preprocessing.mean == (9.0,) * 3
    assert made.model.inputs[0].preprocessing.color == "BGR"


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"rvc2": {"mo_args": ["--scale", "2"]}}, "rvc2.mo_args"),
        ({"rvc2": {"compile_tool_args": ["-ip", "FP16"]}}, "rvc2.compile_tool_args"),
        ({"inputs": [{"name": "images", "frozen_value": "x"}]}, "inputs.images.frozen_value"),
        ({"calibration": {"stage": "a", "output": "b"}}, "calibration.stage"),
        ({"calibration": "images"}, "'images' is neither random"),
        ({"calibration": {"path": "s3://bucket/images"}}, "Download it"),
        ({"calibration": {"path": "coco:train"}}, "LDF"),
        ({"rvc4": {"encodings": {"activation_encodings": {}}}}, "JSON file"),
        ({"mean_value": [1]}, "Perhaps you meant mean_values"),
        ({"rvc2": {"number_of_shave": 4}}, "Perhaps you meant rvc2.number_of_shaves"),
        ({"outputs": [{"name": "map"}, {"name": "score"}]}, "Perhaps you meant 'scores'"),
        ({"outputs": [{"name": "map", "dtype": "x"}]}, "Perhaps you meant outputs.NAME.data_type"),
        ({"inputs": [{"shape": [1]}]}, "list of entries with names"),
        ({"inputs": [{"name": "images"}] * 2}, "twice"),
        ({"encoding": {"from": "BGR", "to": "RGB"}}, "encoding.to"),
        ({"encoding": "GRAY"}, "one channel"),
        ({"input_model": "gs://bucket/net.onnx"}, "Download it"),
        ({"name": "../x"}, "cannot be a file name"),
        ({"input_model": "~nobody-here/net.onnx"}, "not a path here"),
        ({"input_model": "n" * 300 + ".onnx"}, "not a path here"),
        ({"calibration": {"path": "~nobody-here/x"}}, "not a path here"),
        ({"onnx_simplification": "onnxfast"}, "onnx_simplification"),
        ({"rvc2": 5}, "not a section"),
        ({"yolo_input_shape": [640, 640]}, "PyTorch"),
    ],
)
def test_what_cannot_be_had_is_refused_with_a_way_out(
    net: Path, more: dict[str, Any], told: str
) -> None:
    # Calibration data are looked at for a target that has a use for them.
    with pytest.raises(UsageError) as caught:
        plan(write(net.with_name("a.yaml"), stage(**more)), "rvc4" if "calibration" in more else "rvc2")
    assert told in said(caught.value)


def test_another_platforms_section_refuses_nothing(net: Path) -> None:
    sections = {
        "rvc3": {"mo_args": ["--x"]},
        "hailo": {"alls": ["x"]},
        "rvc4": {"optimization_level": 3},
    }
    made = plan(write(net.with_name("a.yaml"), stage(**sections)), "rvc2")
    assert not any("mo_args" in str(warning) or "hailo" in str(warning) for warning in made.warnings)


def test_keys_that_decide_nothing_are_told_and_their_usual_values_are_not(net: Path) -> None:
    usual = {"keep_intermediate_outputs": True, "rich_logging": True, "onnx_optimizations": "all"}
    quiet = plan(write(net.with_name("a.yaml"), stage(**usual, data_type="float32")), "rvc2")
    told = stage(
        output_remote_url="s3://x", rvc2={"n_workers": 3, "superblob": False}, data_type="float16"
    )
    loud = plan(write(net.with_name("a.yaml"), told), "rvc2")
    where = {warning.where for warning in loud.warnings} - {warning.where for warning in quiet.warnings}
    assert where == {"output_remote_url", "rvc2.n_workers", "data_type"}


def test_of_several_stages_one_is_chosen(net: Path) -> None:
    stages = {"one": stage(), "two": stage(mean_values=[1, 2, 3], calibration={"stage": "one"})}
    file = write(net.with_name("a.yaml"), {"name": "both", "stages": stages})
    with pytest.raises(UsageError, match="'one', 'two'") as caught:
        plan(file, "rvc2")
    assert "--main-stage one" in caught.value.remedy
    made = plan(file, "rvc2", options={"main_stage": "two"})
    assert made.model.inputs[0].preprocessing.mean == (1.0, 2.0, 3.0)
    assert made.model.archive_name == "both-two"
    assert any("'one'" in str(warning) for warning in made.warnings)
    with pytest.raises(UsageError, match="no stage 'tow'") as caught:
        plan(file, "rvc2", options={"main_stage": "tow"})
    assert "'two'" in caught.value.remedy


# Its shipped configurations, with the small model in place of theirs: what they name is in a bucket.
RESNET: dict[str, Any] = {
    "input_model": "s3://bucket/resnet18.onnx",
    "mean_values": "imagenet",
    "scale_values": "imagenet",
    "data_type": "float32",
    "shape": [1, 3, 12, 16],
    "encoding": {"from": "RGB", "to": "BGR"},
    "calibration": {"path": "s3://bucket/coco128.zip", "max_images": 20},
    "hailo": {"optimization_level": 3, "compression_level": 3, "batch_size": 4},
}
YOLO: dict[str, Any] = {
    "input_model": "s3://bucket/yolov6n.onnx",
    "mean_values": [0, 0, 0],
    "scale_values": [255, 255, 255],
    "keep_intermediate_outputs": True,
    "calibration": {"path": "gs://bucket/calib.zip", "max_images": 20},
    "inputs": [{"name": "images", "shape": [1, 3, 12, 16], "layout": "NCHW"}],
    "outputs": [{"name": "map", "layout": "NCHW"}, {"name": "scores"}],
}
DEFAULTS: dict[str, Any] = {
    "name": None,
    "rich_logging": True,
    "stages": {
        "stage_name": {
            "input_model": None,
            "encoding": {"from": "RGB", "to": "BGR"},
            "calibration": {"path": None, "max_images": -1, "resize_method": "RESIZE"},
            **dict.fromkeys(("scale_values", "mean_values", "shape", "layout", "output_remote_url")),
            "onnx_simplification": "onnxsim",
            "onnx_optimizations": {"substitute_sub_with_add": True, "fuse_add_mul_to_bn": True},
            "inputs": [],
            "outputs": [],
            "hailo": {"force_onnx_names": True, "alls": [], "hw_arch": "hailo8"},
            "rvc2": {"number_of_shaves": 8, "mo_args": [], "superblob": True, "n_workers": None},
            "rvc3": {"pot_target_device": "VPU", "mo_args": [], "compile_tool_args": []},
            "rvc4": {"snpe_dlc_quant_args": [], "htp_socs": ["sm8550"], "encodings": None},
        }
    },
}
SEG: dict[str, Any] = {
    "name": "seg",
    "stages": {
        "main": YOLO,
        "mult": {
            "input_model": "s3://bucket/mult.onnx",
            "encoding": "NONE",
            "inputs": [
                {"name": "images", "calibration": {"stage": "main", "script": "s3://bucket/x.py"}}
            ],
        },
    },
}


@pytest.mark.parametrize("target", ["rvc2", "rvc4"])
@pytest.mark.parametrize(
    ("document", "options"),
    [
        (RESNET, {}),
        (YOLO, {}),
        (DEFAULTS, {}),
        (SEG, {"main_stage": "main"}),
        (SEG, {"main_stage": "mult"}),
    ],
    ids=["resnet18", "yolov6n", "defaults", "yolov8n_seg", "yolov8n_seg-mult"],
)
def test_its_configurations_run_with_files_that_exist(
    net: Path, document: dict[str, Any], options: dict[str, Any], target: str
) -> None:
    images = net.with_name("images")
    images.mkdir()
    np.save(images / "0.npy", np.zeros((1, 3, 12, 16), np.float32))
    file = write(net.with_name("a.yaml"), document)
    given = {"input_model": str(net), **options}
    if target == "rvc4":
        given["calibration.path"] = str(images)
    made = plan(file, target, options=given)
    assert made.model.inputs[0].shape == (1, 3, 12, 16)
    if target == "rvc4":
        assert made.parameters.to_json()["calibration"]["frames"] == 1
    else:
        told = [str(warning) for warning in made.warnings if warning.where == "calibration"]
        assert len(told) == (document is not DEFAULTS)
        assert all("nothing is calibrated for rvc2" in text for text in told)


def test_what_is_given_wins_before_the_file_is_read(net: Path) -> None:
    file = write(net.with_name("a.yaml"), stage(mean_values="x", rvc2={"number_of_shaves": 99}))
    with pytest.raises(UsageError):
        plan(file, "rvc2")
    words = ["mean_values=1", "rvc2.number_of_shaves=4"]
    made = plan(file, "rvc2", options=resolve([from_arguments(words)]))
    assert made.model.inputs[0].preprocessing.mean == (1.0,) * 3
    for key in ("input_model", "main_stage"):
        with pytest.raises(UsageError, match="no file of ModelConverter"):
            plan(net, "rvc2", options={key: "x"})


def test_numbered_inputs_may_be_named(tmp_path: Path) -> None:
    two = write_two(tmp_path)
    words = ["inputs.0.name", "right", "inputs.0.mean_values", "1", "inputs.1.name=left"]
    words += ["inputs.1.mean_values=2"]
    left, right = plan(two, "rvc2", options=resolve([from_arguments(words)])).model.inputs
    assert (left.preprocessing.mean, right.preprocessing.mean) == ((2.0,) * 3, (1.0,) * 3)
    with pytest.raises(UsageError, match="no input 'rigth'") as caught:
        plan(two, "rvc2", options={"inputs.0.name": "rigth"})
    assert "'right'" in caught.value.remedy
    with pytest.raises(UsageError, match="keep their names"):
        plan(two, "rvc2", options={"inputs.left.name": "right"})


def test_a_model_of_another_kind_is_read_as_what_it_is(net: Path) -> None:
    ir = net.with_name("net.xml")
    ir.write_text("<net/>")
    for source in (ir, write(net.with_name("a.yaml"), stage(input_model="net.xml"))):
        with pytest.raises(ModelError, match=r"an OpenVINO IR of version \?"):
            plan(source, "rvc2")


def test_paths_are_meant_beside_the_file(net: Path, here: Path) -> None:
    images = net.with_name("images")
    images.mkdir()
    np.save(images / "0.npy", np.zeros((1, 3, 12, 16), np.float32))
    file = write(net.with_name("a.yaml"), stage(calibration={"path": "images", "max_images": 7}))
    data = plan(file, "rvc4").parameters.to_json()["calibration"]
    assert (data["frames"], data["random"]) == (1, False)
    shutil.copytree(images, here / "images")
    with pytest.raises(UsageError, match="absolute path"):
        plan(file, "rvc4")
    file = write(file, stage(calibration={"path": str(images), "max_images": 7}))
    assert plan(file, "rvc4").parameters.to_json()["calibration"] == data


def test_random_calibration_is_ours_and_says_so(net: Path) -> None:
    for block in ("random", {"max_images": 3}, {"mean": 100.0, "std": 9, "max_images": 3}):
        made = plan(write(net.with_name("a.yaml"), stage(calibration=block)), "rvc4")
        assert made.parameters.to_json()["calibration"]["random"]
        assert any(warning.code == "calibration.random" for warning in made.warnings)
    assert made.parameters.to_json()["calibration"]["frames"] == 3
    assert {"calibration.mean", "calibration.std"} <= {warning.where for warning in made.warnings}
    images = net.with_name("frames")
    images.mkdir()
    np.save(images / "0.npy", np.zeros((1, 3, 12, 16), np.float32))
    chosen = plan(net.with_name("a.yaml"), "rvc4", options={"calibration.path": images})
    assert not chosen.parameters.to_json()["calibration"]["random"]


def test_no_calibration_means_floating_point(net: Path) -> None:
    file = write(net.with_name("a.yaml"), stage(disable_calibration=True))
    assert plan(file, "rvc3", toolchain="online").parameters.to_json()["precision"] == "float16"
    file = write(net.with_name("a.yaml"), stage(rvc4={"disable_calibration": True}))
    assert plan(file, "rvc4").parameters.to_json()["quantization_mode"] == "FP16_STANDARD"


def test_quantization_overrides_among_snpes_arguments_are_encodings(net: Path) -> None:
    encodings = {"activation_encodings": {}, "param_encodings": {}}
    net.with_name("e.json").write_text(json.dumps(encodings))
    for words in (["--quantization_overrides", "e.json"], ["--quantization_overrides=e.json"]):
        section = {"snpe_onnx_to_dlc_args": words}
        file = write(net.with_name("a.yaml"), stage(rvc4=section, calibration="random"))
        assert plan(file, "rvc4").parameters.to_json()["encodings"]["activations"] == 0


_ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.floats(0, 2) | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["name", "path", "from", "to", "a"]), inner, max_size=3)
    ),
    max_leaves=5,
)
_NAMES = [*{key.split(".")[0] for key in KEYS}, "verify", "calibration.path", "a"]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(st.sampled_from(sorted(_NAMES)), _ANYTHING, max_size=4))
def test_a_hostile_document_is_an_error_and_no_crash(net: Path, more: dict[str, Any]) -> None:
    file = write(net.with_name("a.yaml"), stage(**more))
    try:
        plan(file, "rvc2")
    except ConvertError as error:
        assert "\n" not in str(error)


# ---------------------------------------------------------------- encoding


@pytest.mark.parametrize("encoding", ["RGB", "BGR", {"from": "RGB", "to": "BGR"}])
def test_the_frames_are_of_the_colour_that_the_camera_is_asked_for(
    net: Path, here: Path, toolchain: Toolchain, encoding: Any
) -> None:
    """Mean, scale and frames are colourful: with a wrong order the comparison fails."""
    file = write(net.with_name("a.yaml"), stage(encoding=encoding, rvc2={"superblob": False}))
    done = convert(file, "rvc2")
    assert done.output.name == "net.rvc2.tar.xz"
    asked = encoding if isinstance(encoding, str) else "BGR"
    assert done.model["inputs"][0]["dai_type"] == f"{asked}888p"
    assert done.verification["status"] == "passed"
    rows = done.verification["outputs"].values()
    assert min(row["cosine"] for row in rows) > 0.9999


def test_an_rgb_camera_is_fed_rgb_on_rvc4(net: Path, here: Path) -> None:
    file = write(net.with_name("a.yaml"), stage(encoding="RGB", calibration="random"))
    done = convert(file, "rvc4", options={"verify.emulator": False})
    assert done.model["inputs"][0]["dai_type"] == "RGB888i"
    assert done.verification["status"] == "passed"


# ------------------------------------------------------------- command line


def test_modelconverters_command_is_ours_in_other_words() -> None:
    ours = command_line.translated(
        [
            *("convert", "RVC4", "--path", "a.yaml", "--archive-preprocess", "--tool-version=2.41.0"),
            *("--to", "nn_archive", "--memory", "8g", "--no-gpu", "rvc4.optimization_level", "3"),
        ]
    )
    assert ours == [
        *("convert", "a.yaml", "--preprocess", "archive", "rvc4.optimization_level", "3"),
        *("--target", "rvc4", "rvc4.tool_version=2.41.0", "container.memory=8g"),
    ]
    older = ["convert", "oak-d", "input_model", "a.onnx", "stages.one.mean_values", "1"]
    assert command_line.translated([*older, "--main-stage", "one", "--output-dir", "new"]) == [
        *("convert", "a.onnx", "mean_values", "1", "--output", "new/"),
        *("--target", "oak-d", "main_stage=one"),
    ]
    untouched = ["convert", "rvc4", "-t", "rvc2", "rvc2.superblob", "true"]
    assert command_line.translated(untouched) == untouched
    assert command_line.translated(["inspect", "rvc2"]) == ["inspect", "rvc2"]


def test_modelconverters_command_runs(net: Path) -> None:
    write(net.with_name("a.yaml"), stage(rvc2={"superblob": False}))
    words = ["plan", "rvc2", "--path", "a.yaml", "rvc2.number_of_shaves", "5", "--json"]
    done = nnconvert(*words, cwd=net.parent)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["parameters"]["number_of_shaves"] == 5
    for words, told in (
        (["convert", "hailo", "--path", "a.yaml"], "rvc2, rvc3, rvc4"),
        (["convert", "rvc2", "--path", "a.yaml", "--to", "native"], "only writes archives"),
        (["convert", "rvc2", "--path", "s3://x/a.yaml"], "Download it"),
        (["convert", "rvc2", "--path"], "value is missing"),
    ):
        done = nnconvert(*words, cwd=net.parent)
        assert (done.returncode, "Traceback" in done.stderr) == (2, False)
        assert told in done.stderr


def test_an_archive_takes_modelconverters_keys_on_the_command_line(tmp_path: Path) -> None:
    archive = write_folder(tmp_path / "net", conv_model(), config_for(conv_model(), preprocessing=RGB))
    words = ["inputs.0.mean_values", "1,2,3", "encoding.from", "BGR", "scale_values", "imagenet"]
    chosen = resolve([from_arguments(words)])
    pre = plan(archive, "rvc2", options=chosen).model.inputs[0].preprocessing
    assert (pre.mean, pre.color) == ((1.0, 2.0, 3.0), "BGR")
    assert pre.scale == (58.395, 57.12, 57.375)


def test_the_command_line_wins_before_a_file_beside_an_archive_is_checked(tmp_path: Path) -> None:
    """--config with data in the cloud: what the command line replaces is not looked for."""
    from converter.cli.commands import layers
    from converter.options.resolve import Layer

    file = write(
        tmp_path / "net.yaml",
        stage(calibration={"path": "s3://bucket/frames"}, rvc2={"number_of_shaves": 5}),
    )

    def read(*words: str) -> Options:
        return layers(words, file, None, None, Layer(origin="command line", values={}), verify=True)

    with pytest.raises(UsageError, match="calibration"):
        read()
    frames = tmp_path / "frames"
    options = read("calibration.path", str(frames))
    assert options.text("calibration.path") == str(frames)
    assert options.settings["rvc2.number_of_shaves"].value == 5


def test_a_fact_is_printed_as_a_note(tmp_path: Path) -> None:
    from tests.yolo_models import Net, ultralytics

    onnx.save(ultralytics(Net()), tmp_path / "net.onnx")
    (cut,) = (
        found for found in plan(tmp_path / "net.onnx", "rvc2").warnings if found.code == "init.cut"
    )
    assert cut.said.startswith("note: model.outputs")
