"""Whole conversions to RVC2 with the real compiler, read back by DepthAI and luxonis-ml."""

from __future__ import annotations

import hashlib
import json
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

import converter
from converter.checks.lint import lint
from converter.errors import ArchiveError, ModelError, ToolError, VerificationError
from converter.feeding import TargetInput, network_feeds
from converter.open_source import open_archive
from converter.preprocessing import Color, Preprocessing
from converter.processes.run import Processes
from converter.run import plan
from converter.verification.reference import run as run_reference
from targets.rvc2.blob.read import read_blob
from targets.rvc2.blob.run import run_blob
from targets.rvc2.blob.superblob import read_superblob
from targets.rvc2.myriad.toolchain import Toolchain
from targets.rvc2.parameters import Parameters
from tests.sources import (
    COPIES,
    DIGITS,
    DIGITS_ARCHIVE,
    MEAN,
    RGB,
    SCALE,
    config_for,
    conv_model,
    copies_model,
    make_model,
    write_folder,
)

pytestmark = pytest.mark.usefixtures("toolchain")


def config_of(path: Path) -> dict[str, Any]:
    with tarfile.open(path) as archive:
        member = archive.extractfile("config.json")
        assert member is not None
        return dict(json.load(member))


def member_of(path: Path, name: str) -> bytes:
    with tarfile.open(path) as archive:
        member = archive.extractfile(name)
        assert member is not None
        return member.read()


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory, toolchain: Toolchain) -> Path:
    """The example, converted once."""
    out = tmp_path_factory.mktemp("digits") / "digits.rvc2.tar.xz"
    converter.convert(DIGITS_ARCHIVE, "rvc2", output=out)
    return out


def test_the_target_archive_tells_the_truth(digits: Path) -> None:
    with tarfile.open(digits) as archive:
        assert archive.getnames() == ["config.json", "buildinfo.json", "digits.blob"]
    model = config_of(digits)["model"]
    assert model["metadata"] == {"name": "digits", "path": "digits.blob", "precision": "float16"}
    (item,) = model["inputs"]
    assert (item["dtype"], item["shape"], item["layout"]) == ("uint8", [1, 3, 32, 32], "NCHW")
    assert item["preprocessing"] == {
        "mean": [0.0, 0.0, 0.0],
        "scale": [1.0, 1.0, 1.0],
        "reverse_channels": False,
        "interleaved_to_planar": False,
        "dai_type": "BGR888p",
        "resize_mode": None,
    }
    assert model["outputs"] == [
        {"name": "scores", "dtype": "float16", "shape": [1, 10], "layout": "NC"}
    ]
    with open_archive(DIGITS_ARCHIVE) as source:
        assert model["heads"] == source.config["model"]["heads"]


def test_buildinfo_records_plan_tools_and_figures_and_no_time(digits: Path) -> None:
    record = json.loads(member_of(digits, "buildinfo.json"))
    assert record["plan"]["hash"] == plan(DIGITS_ARCHIVE, "rvc2").hash
    assert record["verification"]["status"] == "passed"
    assert "not on a camera" in record["verification"]["checked_on"]
    assert record["compiled"]["sha256"] == hashlib.sha256(member_of(digits, "digits.blob")).hexdigest()
    assert "2022.2" in record["tools"]["openvino"]
    assert "seconds" not in json.dumps(record)
    assert "origins" not in record["plan"]


def test_who_set_an_option_does_not_change_the_bytes(digits: Path, tmp_path: Path) -> None:
    options = {"rvc2.number_of_shaves": 8}
    said = converter.convert(DIGITS_ARCHIVE, "rvc2", output=tmp_path / "a.tar.xz", options=options)
    assert said.output.read_bytes() == digits.read_bytes()


def gather_model(dtype: int) -> onnx.ModelProto:
    table = np.random.default_rng(0).normal(size=(5000, 8)).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("Gather", ["table", "index"], ["y"], name="gather")],
        "gather",
        [helper.make_tensor_value_info("index", dtype, [1, 6])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 6, 8])],
        [numpy_helper.from_array(table, "table")],
    )
    return make_model(graph)


@pytest.mark.parametrize("dtype", [TensorProto.INT64, TensorProto.INT32])
def test_integer_inputs_stay_integers(tmp_path: Path, dtype: int) -> None:
    """As float16 an index above 2048 would become another one."""
    folder = write_folder(tmp_path / "a", gather_model(dtype), image=False)
    done = converter.convert(folder, "rvc2", output=tmp_path / "o.tar")
    assert config_of(done.output)["model"]["inputs"][0]["dtype"] == "int32"
    assert done.warnings == ()
    assert read_blob(member_of(done.output, "model.blob")).inputs[0].dtype == "int32"


@pytest.mark.parametrize("dai_type", ["RGB888p", "BGR888p"])
def test_models_of_bytes_and_of_float16_are_converted(tmp_path: Path, dai_type: str) -> None:
    for name, dtype in (("uint8", TensorProto.UINT8), ("float16", TensorProto.FLOAT16)):
        pre: dict[str, Any] = {"dai_type": dai_type}
        if name == "float16":
            pre |= {"mean": MEAN, "scale": SCALE}
        folder = write_folder(tmp_path / name, conv_model(dtype=dtype), preprocessing=pre)
        done = converter.convert(
            folder, "rvc2", output=tmp_path / f"{name}.tar", options={"verify.max_rel_rmse": 0.01}
        )
        assert done.model["inputs"][0]["dtype"] == "uint8"


def test_a_decomposed_operator_in_float16_is_converted(tmp_path: Path) -> None:
    shape = [1, 3, 8, 8]
    graph = helper.make_graph(
        [helper.make_node("HardSwish", ["x"], ["y"], name="hard")],
        "half",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT16, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT16, shape)],
    )
    folder = write_folder(tmp_path / "a", make_model(graph, 14), image=False)
    done = converter.convert(folder, "rvc2", output=tmp_path / "o.tar")
    assert done.model["inputs"][0]["dtype"] == "float16"


def test_outputs_that_are_copies_keep_their_names(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "a", copies_model(), image=False)
    done = converter.convert(folder, "rvc2", output=tmp_path / "o.tar")
    assert tuple(item["name"] for item in done.model["outputs"]) == COPIES


@pytest.mark.parametrize("last", ["ArgMax", "Cast", "Reshape", "Transpose"])
def test_whole_numbers_that_are_moved_at_the_end_come_out(tmp_path: Path, last: str) -> None:
    node = {
        "ArgMax": helper.make_node("ArgMax", ["x"], ["y"], name="best", axis=1, keepdims=0),
        "Cast": helper.make_node("Cast", ["i"], ["y"], name="cast", to=TensorProto.INT64),
        "Reshape": helper.make_node("Reshape", ["i", "shape"], ["y"], name="reshape"),
        "Transpose": helper.make_node("Transpose", ["i"], ["y"], name="transpose", perm=[0, 2, 3, 1]),
    }[last]
    before = helper.make_node("Cast", ["x"], ["i"], name="whole", to=TensorProto.INT32)
    dtype = TensorProto.INT64 if last in ("ArgMax", "Cast") else TensorProto.INT32
    shape = {"ArgMax": [1, 4, 6], "Reshape": [1, 72], "Transpose": [1, 4, 6, 3]}.get(last, [1, 3, 4, 6])
    graph = helper.make_graph(
        [node] if last == "ArgMax" else [before, node],
        "whole",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 4, 6])],
        [helper.make_tensor_value_info("y", dtype, shape)],
        [numpy_helper.from_array(np.array([1, 72]), "shape")],
    )
    folder = write_folder(tmp_path / "a", make_model(graph), image=False)
    (output,) = converter.convert(folder, "rvc2", output=tmp_path / "o.tar").model["outputs"]
    assert (output["name"], output["dtype"], output["shape"]) == ("y", "float32", shape)


def dynamic_model() -> onnx.ModelProto:
    """`conv_model` with an open height and width."""
    model = conv_model()
    for value in (model.graph.input[0], model.graph.output[0]):
        for dim, letter in zip(value.type.tensor_type.shape.dim[2:], "hw", strict=True):
            dim.dim_param = letter
    return model


def test_another_shape_by_option_is_the_outputs_too(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "a", dynamic_model(), config_for(conv_model()))
    options = {"inputs.images.shape": [1, 3, 20, 24]}
    done = converter.convert(folder, "rvc2", output=tmp_path / "o.tar", options=options)
    assert done.model["outputs"][0]["shape"] == [1, 4, 20, 24]


def test_a_dynamic_output_without_a_shape_is_no_scalar(tmp_path: Path) -> None:
    config = config_for(conv_model())
    config["model"]["outputs"][0].pop("shape", None)
    config["model"]["outputs"][0].pop("layout", None)
    folder = write_folder(tmp_path / "a", dynamic_model(), config)
    shape = converter.convert(folder, "rvc2", output=tmp_path / "o.tar").model["outputs"][0]["shape"]
    assert len(shape) == 4


def min_max_model(*, keep: bool) -> onnx.ModelProto:
    """(x - min) / (max - min), as exporters write it; or min alone, a scalar, as the output."""
    shape = [1, 3, 8, 8]
    nodes = [helper.make_node("ReduceMin", ["x"], ["low"], name="low", keepdims=0)]
    if keep:
        nodes += [
            helper.make_node("ReduceMax", ["x"], ["high"], name="high", keepdims=0),
            helper.make_node("Sub", ["high", "low"], ["range"], name="range"),
            helper.make_node("Sub", ["x", "low"], ["over"], name="over"),
            helper.make_node("Div", ["over", "range"], ["y"], name="divide"),
        ]
    output = ("y", shape) if keep else ("low", [])
    graph = helper.make_graph(
        nodes,
        "normal",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(output[0], TensorProto.FLOAT, output[1])],
    )
    return make_model(graph)


def test_a_reduction_to_a_scalar_inside_the_graph_is_converted(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "a", min_max_model(keep=True), image=False)
    done = converter.convert(folder, "rvc2", output=tmp_path / "o.tar")
    assert done.model["outputs"][0]["shape"] == [1, 3, 8, 8]


def test_a_scalar_as_an_output_is_refused_by_its_name(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "a", min_max_model(keep=False), image=False)
    with pytest.raises(ModelError, match=r"low: is a scalar.*keepdims=1"):
        converter.convert(folder, "rvc2", output=tmp_path / "o.tar")


def test_control_flow_is_refused_by_node(tmp_path: Path) -> None:
    inner = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["r"], name="inner")],
        "branch",
        [],
        [helper.make_tensor_value_info("r", TensorProto.FLOAT, [1, 4])],
    )
    graph = helper.make_graph(
        [
            helper.make_node("ReduceSum", ["x"], ["s"], keepdims=0, name="sum"),
            helper.make_node("Cast", ["s"], ["c"], to=TensorProto.BOOL, name="cast"),
            helper.make_node("If", ["c"], ["y"], then_branch=inner, else_branch=inner, name="choice"),
        ],
        "branches",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 4])],
    )
    folder = write_folder(tmp_path / "a", make_model(graph), image=False)
    with pytest.raises(ModelError, match=r"'choice' \(If\)"):
        converter.convert(folder, "rvc2", output=tmp_path / "o.tar")


def test_a_models_own_functions_are_inlined(tmp_path: Path) -> None:
    model = conv_model()
    relu = helper.make_node("Relu", ["a"], ["b"])
    function = helper.make_function(
        "local", "MyRelu", ["a"], ["b"], [relu], [helper.make_opsetid("", 13)]
    )
    model.functions.append(function)
    model.opset_import.append(helper.make_opsetid("local", 1))
    for node in model.graph.node:
        if node.op_type == "Relu":
            node.op_type, node.domain = "MyRelu", "local"
    folder = write_folder(tmp_path / "a", model, preprocessing=RGB)
    assert (
        converter.convert(folder, "rvc2", output=tmp_path / "o.tar").verification["status"] == "passed"
    )


def test_truncated_external_data_is_a_damaged_archive(tmp_path: Path) -> None:
    model = conv_model()
    folder = write_folder(tmp_path / "a", model, preprocessing=RGB)
    onnx.save(
        model, folder / "model.onnx", save_as_external_data=True, location="w.bin", size_threshold=0
    )
    (folder / "w.bin").write_bytes((folder / "w.bin").read_bytes()[:40])
    with pytest.raises(ArchiveError, match="damaged"):
        converter.convert(folder, "rvc2", output=tmp_path / "o.tar")


def test_the_same_source_gives_the_same_bytes(digits: Path, tmp_path: Path) -> None:
    again = converter.convert(DIGITS_ARCHIVE, "rvc2", output=tmp_path / "again.tar.xz")
    assert again.output.read_bytes() == digits.read_bytes()
    assert again.sha256 == hashlib.sha256(digits.read_bytes()).hexdigest()


def test_depthai_and_luxonis_ml_read_the_archive(digits: Path) -> None:
    import depthai as dai
    from luxonis_ml.nn_archive.config import Config

    archive = dai.NNArchive(str(digits))
    assert archive.getModelType() == dai.ModelType.BLOB
    assert dai.Platform.RVC2 in archive.getSupportedPlatforms()
    assert archive.getInputSize() == (32, 32)
    blob = archive.getBlob()
    assert (blob.numShaves, blob.numSlices) == (8, 8)
    assert list(blob.networkInputs) == ["image"]
    assert blob.networkInputs["image"].dataType == dai.TensorInfo.DataType.U8F
    assert blob.networkOutputs["scores"].dataType == dai.TensorInfo.DataType.FP16
    Config.model_validate(config_of(digits))


def test_our_reader_and_depthais_agree_on_a_blob(digits: Path, tmp_path: Path) -> None:
    import depthai as dai

    data = member_of(digits, "digits.blob")
    (tmp_path / "m.blob").write_bytes(data)
    theirs, ours = dai.OpenVINO.Blob(tmp_path / "m.blob"), read_blob(data)
    assert (ours.shaves, ours.cmx_slices, ours.stages) == (
        theirs.numShaves,
        theirs.numSlices,
        theirs.stageCount,
    )
    for tensors, infos in ((ours.inputs, theirs.networkInputs), (ours.outputs, theirs.networkOutputs)):
        assert {item.name: item.shape for item in tensors} == {
            name: tuple(reversed(info.dims)) for name, info in infos.items()
        }


def test_a_superblob_gives_every_shave_count_to_the_bit(tmp_path: Path) -> None:
    import depthai as dai

    done = converter.convert(
        DIGITS_ARCHIVE, "rvc2", output=tmp_path / "s.tar.xz", options={"rvc2.superblob": True}
    )
    archive = dai.NNArchive(str(done.output))
    assert archive.getModelType() == dai.ModelType.SUPERBLOB
    data = member_of(done.output, "digits.superblob")
    (tmp_path / "m.superblob").write_bytes(data)
    theirs, ours = dai.OpenVINO.SuperBlob(str(tmp_path / "m.superblob")), read_superblob(data)
    for shaves in range(1, 17):
        single = converter.convert(
            DIGITS_ARCHIVE,
            "rvc2",
            output=tmp_path / f"{shaves}.tar",
            options={"rvc2.number_of_shaves": shaves, "verify.enabled": False},
        )
        plain = member_of(single.output, "digits.blob")
        assert ours.blob(shaves) == plain
        assert bytes(theirs.getBlobWithNumShaves(shaves).data) == plain
        assert read_blob(plain).shaves == shaves
        assert archive.getSuperBlob().getBlobWithNumShaves(shaves).numShaves == shaves


def test_what_we_write_passes_lint(digits: Path) -> None:
    assert lint(digits) == ()


# ------------------------------------------------- what is computed, end to end


def blob_outputs(
    source: Path, work: Path, frames: Sequence[Mapping[str, NDArray[Any]]], **options: Any
) -> list[dict[str, NDArray[Any]]]:
    """What the blob in the archive gives for camera frames, executed."""
    made = plan(source, "rvc2", options=options)
    assert isinstance(made.parameters, Parameters)
    work.mkdir(exist_ok=True)
    out = work / "out.tar"
    converter.convert(source, "rvc2", output=out, options={**options, "verify.enabled": False})
    with open_archive(out) as archive:
        found = run_blob(
            archive.path(archive.config["model"]["metadata"]["path"]),
            [network_feeds(made.model.inputs, made.parameters.inputs, frame) for frame in frames],
            processes=Processes(),
            work=work,
            timeout_s=120,
        )
    assert found.not_compared == {}
    return [dict(row) for row in found.frames]


@pytest.mark.parametrize("preprocess", ["embedded", "archive"])
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize(
    ("color", "dai_type"), [(Color.RGB, "RGB888"), (Color.BGR, "BGR888"), (Color.GRAY, "GRAY8")]
)
def test_the_compiled_network_sees_the_frame_as_the_source_does(
    tmp_path: Path, toolchain: Toolchain, preprocess: str, layout: str, color: Color, dai_type: str
) -> None:
    """Asymmetric mean and scale, colourful frames, against ONNX Runtime on the source."""
    order = "" if color is Color.GRAY else "p" if layout == "NCHW" else "i"
    model = conv_model(layout=layout, channels=color.channels)
    pre = {
        "mean": MEAN[: color.channels],
        "scale": SCALE[: color.channels],
        "dai_type": dai_type + order,
    }
    folder = write_folder(tmp_path / "a", model, layout=layout, preprocessing=pre)
    sizes = {"N": 1, "C": color.channels, "H": 12, "W": 16}
    frame = np.random.default_rng(5).integers(0, 256, [sizes[a] for a in layout]).astype(np.uint8)
    reference = Preprocessing(
        color=color, mean=tuple(MEAN[: color.channels]), scale=tuple(SCALE[: color.channels])
    )
    work = tmp_path / "ref"
    work.mkdir()
    (expected,) = run_reference(
        folder / "model.onnx",
        [{"images": reference.apply(frame, layout.index("C"))}],
        ["map", "scores"],
        processes=Processes(),
        work=work,
        timeout_s=60,
    )
    (found,) = blob_outputs(folder, tmp_path / "w", [{"images": frame}], preprocess=preprocess)
    for name, values in expected.items():
        # float16 all the way: a wrong colour, mean or scale is off by a tenth and more.
        assert float(np.abs(found[name] - values).max()) <= 4e-3 * float(np.abs(values).max())


@pytest.mark.usefixtures("toolchain")
def test_the_digits_are_told_apart_as_well_as_by_the_source(tmp_path: Path) -> None:
    stored = np.load(DIGITS / "held_out.npz")
    images, labels = stored["images"][:60], stored["labels"][:60]
    frames = [{"image": image[None, :, :, ::-1].transpose(0, 3, 1, 2)} for image in images]
    results = blob_outputs(DIGITS_ARCHIVE, tmp_path / "w", frames)
    right = sum(
        int(result["scores"].argmax() == label) for result, label in zip(results, labels, strict=True)
    )
    assert right / len(labels) >= 0.95


def test_swapped_colours_would_be_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault planted into the embedding makes the verification fail, and nothing is written."""
    true_entry = TargetInput.to_entry

    def swapped(self: TargetInput) -> dict[str, Any]:
        entry = true_entry(self)
        entry["preprocessing"] = {**entry["preprocessing"], "color": "BGR"}
        return entry

    monkeypatch.setattr(TargetInput, "to_entry", swapped)
    out = tmp_path / "out.tar.xz"
    with pytest.raises(VerificationError, match="scores"):
        converter.convert(DIGITS_ARCHIVE, "rvc2", output=out)
    assert list(tmp_path.iterdir()) == []


def test_several_inputs_of_different_kinds(tmp_path: Path) -> None:
    weights = np.random.default_rng(2).normal(0, 0.3, (4, 3, 3, 3)).astype(np.float32)
    nodes = [
        helper.make_node("Conv", ["rgb", "w"], ["c"], pads=[1, 1, 1, 1], name="conv"),
        helper.make_node("Mul", ["c", "gray"], ["m"], name="mul"),
        helper.make_node("GlobalAveragePool", ["m"], ["p"], name="pool"),
        helper.make_node("Flatten", ["p"], ["f"], name="flat"),
        helper.make_node("Add", ["f", "vector"], ["sum"], name="add"),
    ]
    inputs = {"rgb": [1, 3, 10, 14], "gray": [1, 1, 10, 14], "vector": [1, 4]}
    graph = helper.make_graph(
        nodes,
        "mixed",
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in inputs.items()],
        [helper.make_tensor_value_info("sum", TensorProto.FLOAT, [1, 4])],
        [numpy_helper.from_array(weights, "w")],
    )
    model = make_model(graph)
    config = config_for(model, image=False)
    for index, pre in ((0, RGB), (1, {"mean": [100.0], "scale": [30.0], "dai_type": "GRAY8"})):
        config["model"]["inputs"][index] |= {
            "input_type": "image",
            "layout": "NCHW",
            "preprocessing": pre,
        }
    folder = write_folder(tmp_path / "a", model, config)
    done = converter.convert(folder, "rvc2", output=tmp_path / "out.tar.xz")
    written = config_of(done.output)["model"]["inputs"]
    assert [(i["name"], i["dtype"], i["preprocessing"].get("dai_type")) for i in written] == [
        ("rgb", "uint8", "BGR888p"),
        ("gray", "uint8", "GRAY8"),
        ("vector", "float32", None),
    ]
    assert done.verification["outputs"]["sum"]["rel_rmse"] < 1e-3


def test_a_shape_that_looks_like_another_layout_is_kept(tmp_path: Path) -> None:
    """ModelConverter labels [1, 80, 40, 80] by matching sizes; the axes here are what was declared."""
    node = helper.make_node("Relu", ["x"], ["y"], name="relu")
    shape = [1, 20, 20, 20]
    graph = helper.make_graph(
        [node],
        "cube",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
    )
    model = make_model(graph)
    config = config_for(model, image=False)
    config["model"]["outputs"][0]["layout"] = "NHWC"
    done = converter.convert(
        write_folder(tmp_path / "a", model, config), "rvc2", output=tmp_path / "o.tar"
    )
    assert config_of(done.output)["model"]["outputs"][0]["layout"] == "NHWC"


def test_names_paths_and_versions_survive(tmp_path: Path) -> None:
    """The name in the metadata, folders, dots in names; nothing is taken from the file's stem."""
    config = config_for(
        conv_model(), path="nets/v1.0/yolo.v8.onnx", preprocessing={**RGB, "resize_mode": "CROP"}
    )
    config["model"]["metadata"] |= {"name": "my model", "license": "MIT"}
    config["model"]["heads"] = [
        {"parser": "P", "metadata": {"classes": ["map", "scores"]}, "outputs": None}
    ]
    folder = write_folder(tmp_path / "yolov8n.v1.0", conv_model(), config)
    done = converter.convert(folder, "rvc2", output=tmp_path)
    assert done.output.name == "yolov8n.v1.0.rvc2.tar.xz"
    model = config_of(done.output)["model"]
    assert model["metadata"] == {
        "name": "my model",
        "path": "nets/v1.0/yolo.v8.blob",
        "precision": "float16",
        "license": "MIT",
    }
    assert model["inputs"][0]["preprocessing"]["resize_mode"] == "CROP"
    assert model["heads"][0]["metadata"] == {"classes": ["map", "scores"]}
    assert model["heads"][0]["outputs"] == ["map", "scores"]


def test_an_input_named_like_a_path_writes_nowhere(tmp_path: Path) -> None:
    name = "../../evil"
    model = conv_model(name=name)
    work = tmp_path / "work"
    done = converter.convert(
        write_folder(tmp_path / "a", model, preprocessing=RGB),
        "rvc2",
        output=tmp_path / "out.tar",
        keep_work=work,
    )
    assert config_of(done.output)["model"]["inputs"][0]["name"] == name
    assert {path.name for path in tmp_path.iterdir()} == {"a", "out.tar", "work"}
    assert not list(tmp_path.rglob("*evil*"))


def test_two_archives_of_one_name_do_not_share_anything(tmp_path: Path) -> None:
    made = []
    for index, channels in enumerate((1, 3)):
        model = conv_model(channels=channels)
        pre = {"mean": [1.0 + index], "scale": [2.0]}
        folder = write_folder(tmp_path / str(index) / "same", model, preprocessing=pre)
        made.append(converter.convert(folder, "rvc2", output=tmp_path / f"{index}.tar"))
    assert [item.model["inputs"][0]["shape"][1] for item in made] == [1, 3]


def test_an_unknown_operator_is_named_with_its_node(tmp_path: Path) -> None:
    graph = helper.make_graph(
        [
            helper.make_node("Relu", ["x"], ["r"], name="fine"),
            helper.make_node("Det", ["r"], ["y"], name="the_culprit"),
        ],
        "det",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])],
    )
    folder = write_folder(tmp_path / "a", make_model(graph), image=False)
    with pytest.raises(ModelError, match=r"^node 'the_culprit' \(Det\).* 'r'"):
        converter.convert(folder, "rvc2", output=tmp_path / "out.tar")
    assert not (tmp_path / "out.tar").exists()


def test_custom_operators_are_refused_before_the_compiler(tmp_path: Path) -> None:
    model = conv_model()
    model.graph.node[0].domain = "com.microsoft"
    folder = write_folder(tmp_path / "a", model, preprocessing=RGB)
    with pytest.raises(ModelError, match=r"com\.microsoft\.Conv"):
        converter.convert(folder, "rvc2", output=tmp_path / "out.tar")


def test_a_compile_that_takes_too_long_is_stopped(tmp_path: Path) -> None:
    with pytest.raises(ToolError, match="did not end within"):
        converter.convert(
            write_folder(tmp_path / "a", conv_model(), preprocessing=RGB),
            "rvc2",
            output=tmp_path / "out.tar",
            options={"rvc2.compile_timeout_s": 0.2, "verify.enabled": False, "rvc2.superblob": True},
        )
    assert {path.name for path in tmp_path.iterdir()} == {"a"}


def test_external_weights_are_converted(tmp_path: Path) -> None:
    model = conv_model()
    folder = write_folder(tmp_path / "a", model, preprocessing=RGB)
    plain = converter.convert(folder, "rvc2", output=tmp_path / "plain.tar")
    onnx.save(
        model, folder / "model.onnx", save_as_external_data=True, location="w.bin", size_threshold=0
    )
    done = converter.convert(folder, "rvc2", output=tmp_path / "external.tar")
    assert member_of(done.output, "model.blob") == member_of(plain.output, "model.blob")


@pytest.mark.parametrize("suffix", [".tar.xz", ".tar.gz", ".tar.bz2", ".tar"])
def test_the_outputs_name_chooses_its_compression(tmp_path: Path, suffix: str) -> None:
    folder = write_folder(tmp_path / "a", conv_model(), preprocessing=RGB)
    done = converter.convert(folder, "rvc2", output=tmp_path / f"out{suffix}")
    assert config_of(done.output)["model"]["metadata"]["path"] == "model.blob"


def test_an_archive_is_verified_later_on_data_of_ones_own(digits: Path) -> None:
    record = converter.verify_archive(digits, DIGITS_ARCHIVE, data=DIGITS / "calibration")
    assert (record["status"], record["frames"]) == ("passed", "20 of verify.data")
    assert record["sha256"] == hashlib.sha256(member_of(digits, "digits.blob")).hexdigest()
    assert record["outputs"]["scores"]["top1"] == 1.0
