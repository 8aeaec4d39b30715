"""Whole conversions for RVC4: every mode, read back and compared, on the HTP emulator, on no camera."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

import converter
from converter.checks.lint import lint
from converter.errors import (
    ArchiveError,
    ConvertError,
    ModelError,
    ToolchainError,
    ToolError,
    UsageError,
    VerificationError,
)
from converter.events import Event, StageStarted, ignore
from converter.feeding import TargetInput
from converter.open_source import open_archive
from converter.preprocessing import Color
from converter.processes.run import Processes
from converter.run import plan
from targets.rvc4 import toolchain as toolchains
from targets.rvc4.dlc.check import bit_width_findings, checked
from targets.rvc4.dlc.read import Dlc, read_dlc, read_records, without_times
from targets.rvc4.parameters import Parameters
from targets.rvc4.prepare import prepare_file
from tests.nets import NETS
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
    one_op_model,
    write_folder,
)

F = np.float32
DATA = str(DIGITS / "calibration")
FP16 = {"rvc4.quantization_mode": "FP16_STANDARD"}
RANDOM = {"calibration.random": True, "calibration.max_images": 4}
FEW = {"calibration.path": DATA, "calibration.max_images": 12}


@pytest.fixture(scope="session", autouse=True)
def wheel() -> toolchains.Toolchain:
    """QNN in the cache; a machine that it is not made for skips, and says why."""
    if problem := toolchains.PINNED.problem_with_system():
        pytest.skip(problem)
    return toolchains.ensure(ignore)


def member_of(archive: Path, name: str) -> bytes:
    with tarfile.open(archive) as tar:
        file = tar.extractfile(name)
        assert file is not None
        return file.read()


def config_of(archive: Path) -> dict[str, Any]:
    return dict(json.loads(member_of(archive, "config.json")))


def record_of(archive: Path) -> dict[str, Any]:
    return dict(json.loads(member_of(archive, "buildinfo.json")))


def dlc_of(archive: Path) -> Dlc:
    return read_dlc(member_of(archive, config_of(archive)["model"]["metadata"]["path"]))


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The digits example, as a stranger converts it."""
    out = tmp_path_factory.mktemp("digits") / "digits.rvc4.tar.xz"
    converter.convert(DIGITS_ARCHIVE, "rvc4", output=out, options=FEW)
    return out


# ------------------------------------------------------------- the archive


def test_the_config_tells_the_truth_about_the_dlc(digits: Path) -> None:
    config, dlc = config_of(digits), dlc_of(digits)
    model = config["model"]
    assert (model["metadata"]["path"], model["metadata"]["precision"]) == ("digits.dlc", "int8")
    (item,) = model["inputs"]
    assert (item["dtype"], item["shape"], item["layout"]) == ("uint8", [1, 32, 32, 3], "NHWC")
    assert item["preprocessing"] == {
        "mean": [0.0, 0.0, 0.0],
        "scale": [1.0, 1.0, 1.0],
        "reverse_channels": False,
        "interleaved_to_planar": True,
        "dai_type": "BGR888i",
        "resize_mode": None,
    }
    (found,) = dlc.inputs
    assert (found.name, found.dtype, list(found.shape)) == ("image", item["dtype"], item["shape"])
    assert [(e.scale, e.offset) for e in found.encodings] == [(1.0, 0)]
    (scores,) = dlc.outputs
    assert [(o["name"], o["dtype"], o["shape"]) for o in model["outputs"]] == [
        (scores.name, scores.dtype, list(scores.shape))
    ]
    with open_archive(DIGITS_ARCHIVE) as source:
        assert model["heads"] == source.config["model"]["heads"]


def test_the_record_tells_of_the_calibration_and_of_the_check(digits: Path) -> None:
    record = record_of(digits)
    report = record["compiled"]["calibration"]
    assert (report["frames"], report["random"], report["method"]) == (12, False, "min-max")
    image = report["inputs"]["image"]
    assert image["names"][:2] == ["000.png", "001.png"]
    assert (image["color"], image["layout"], image["shape"]) == ("BGR", "NHWC", [1, 32, 32, 3])
    assert 0 <= image["min"] < image["max"] <= 255
    assert report["ranges"]["image"] == [0.0, 255.0]
    assert record["verification"]["status"] == "passed"
    assert "not on a camera" in record["verification"]["checked_on"]
    assert "HTP emulator of QAIRT" in record["verification"]["checked_on"]
    assert "2 of the calibration data" in record["verification"]["frames"]


def test_the_same_source_gives_the_same_bytes(digits: Path, tmp_path: Path) -> None:
    again = converter.convert(DIGITS_ARCHIVE, "rvc4", output=tmp_path / "again.tar.xz", options=FEW)
    assert again.output.read_bytes() == digits.read_bytes()
    assert again.sha256 == hashlib.sha256(digits.read_bytes()).hexdigest()


def test_only_the_times_of_making_are_taken_out(digits: Path) -> None:
    data = member_of(digits, "digits.dlc")
    assert b"1980-01-01 00:00:00 UTC" in data
    assert without_times(data) == data
    stamped = data.replace(b"1980-01-01 00:00:00 UTC", b"2026-11-22 21:15:36 UTC")
    assert without_times(stamped) == data
    one, other = (
        {name: bytes(record) for name, record in read_records(memoryview(item)).items()}
        for item in (stamped, data)
    )
    assert {name for name in one if one[name] != other[name]} == {
        name for name in one if name.startswith("dlc.metadata")
    }


def test_depthai_and_luxonis_ml_read_the_archive(digits: Path) -> None:
    import depthai as dai
    from luxonis_ml.nn_archive.config import Config

    archive = dai.NNArchive(str(digits))
    assert archive.getModelType() == dai.ModelType.DLC
    assert archive.getSupportedPlatforms() == [dai.Platform.RVC4]
    assert archive.getInputSize() == (32, 32)
    Config.model_validate(config_of(digits))
    assert lint(digits) == ()


# ------------------------------------------------------------------- modes

ALL_MODES = {
    "INT8_ACCURACY_FOCUSED": ("int8", "uint8", "int8"),
    "INT8_INT16_MIXED": ("int8", "uint16", "int8"),
    "INT8_INT16_MIXED_ACCURACY_FOCUSED": ("int8", "uint16", "int8"),
    "INT16_STANDARD": ("int16", "uint16", "int16"),
    "FP16_STANDARD": ("float16", "float16", "float16"),
    "CUSTOM": ("int8", "uint8", "int8"),
}


@pytest.mark.parametrize("mode", ALL_MODES)
def test_a_mode_has_the_bit_widths_of_its_name(mode: str, tmp_path: Path) -> None:
    weights, activations, word = ALL_MODES[mode]
    done = converter.convert(
        DIGITS_ARCHIVE,
        "rvc4",
        output=tmp_path / "o.tar",
        options={**FEW, "rvc4.quantization_mode": mode},
    )
    dlc = dlc_of(done.output)
    tensors = {tensor.name: tensor for tensor in dlc.tensors}
    kinds = {
        tensors[node.inputs[1]].dtype for node in dlc.nodes if node.op in ("Conv2d", "FullyConnected")
    }
    assert kinds == {weights}
    assert {t.dtype for t in dlc.tensors if t.kind == 3 and t.name != "image"} == {activations}
    assert (dlc.inputs[0].dtype, dlc.outputs[0].dtype) == ("uint8", activations)
    assert config_of(done.output)["model"]["metadata"]["precision"] == word
    assert config_of(done.output)["model"]["outputs"][0]["dtype"] == activations
    limit = 0.02 if weights == "int8" else 0.002
    assert done.verification["outputs"]["scores"]["rel_rmse"] < limit


def test_custom_takes_bit_widths_and_ranges_of_ones_own(tmp_path: Path) -> None:
    options = {
        **FEW,
        "rvc4.quantization_mode": "CUSTOM",
        "rvc4.weights_bitwidth": 16,
        "rvc4.act_bitwidth": 16,
        "rvc4.act_quantizer": "percentile",
        "rvc4.percentile": 99.9,
    }
    done = converter.convert(DIGITS_ARCHIVE, "rvc4", output=tmp_path / "o.tar", options=options)
    assert record_of(done.output)["compiled"]["calibration"]["method"] == "percentile"
    assert set(dlc_of(done.output).bit_widths()[0]) <= {"int16", "uint16"}
    with pytest.raises(UsageError, match="INT8_STANDARD decides that itself"):
        plan(DIGITS_ARCHIVE, "rvc4", options={**FEW, "rvc4.act_bitwidth": 16})
    wrong = {**options, "rvc4.act_bitwidth": 8}
    with pytest.raises(UsageError, match="nothing that the chip computes"):
        plan(DIGITS_ARCHIVE, "rvc4", options=wrong)


def test_a_smaller_percentile_gives_a_dlc_with_narrower_ranges(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "net", conv_model(), preprocessing=RGB)
    scales: dict[int, dict[str, float]] = {}
    for percentile in (100, 60):
        options = {
            **RANDOM,
            "rvc4.quantization_mode": "CUSTOM",
            "rvc4.act_quantizer": "percentile",
            "rvc4.percentile": percentile,
            "verify.enabled": False,
        }
        out = tmp_path / f"{percentile}.tar"
        done = converter.convert(folder, "rvc4", output=out, options=options, toolchain="native")
        scales[percentile] = {
            tensor.name.partition("_")[0]: tensor.encodings[0].scale  # QNN adds to the names
            for tensor in dlc_of(done.output).tensors
            if tensor.encodings
        }
    assert scales[60]["r1"] < 0.5 * scales[100]["r1"]
    assert scales[60]["map"] == scales[100]["map"]


def test_a_dlc_in_another_number_format_is_an_error(digits: Path) -> None:
    made = plan(DIGITS_ARCHIVE, "rvc4", options={**FEW, "rvc4.quantization_mode": "INT16_STANDARD"})
    assert isinstance(made.parameters, Parameters)
    with pytest.raises(ToolError, match="not what was asked for") as caught:
        checked(dlc_of(digits), made.parameters, [])
    told = " ".join(str(finding) for finding in caught.value.findings)
    assert "are int8 where INT16_STANDARD has int16/uint16" in told
    assert "are uint8 where INT16_STANDARD has" in told
    assert "scores: uint16 asked for, uint8 compiled" in told


# --------------------------------------------------------- what is computed


@pytest.mark.parametrize("mode", ["FP16_STANDARD", "INT16_STANDARD"])
@pytest.mark.parametrize("preprocess", ["embedded", "archive"])
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("dai_type", ["RGB888", "BGR888", "GRAY8"])
def test_the_network_on_the_emulator_sees_the_frame_as_the_source_does(
    tmp_path: Path, mode: str, preprocess: str, layout: str, dai_type: str
) -> None:
    """Asymmetric mean and scale, colourful frames, against ONNX Runtime on the source."""
    color = Color(dai_type.rstrip("8"))
    order = "" if color is Color.GRAY else "p" if layout == "NCHW" else "i"
    pre = {
        "mean": MEAN[: color.channels],
        "scale": SCALE[: color.channels],
        "dai_type": dai_type + order,
    }
    folder = write_folder(
        tmp_path / "a",
        conv_model(layout=layout, channels=color.channels),
        layout=layout,
        preprocessing=pre,
    )
    options = {"rvc4.quantization_mode": mode, "preprocess": preprocess, "verify.max_rel_rmse": 0.004}
    if mode != "FP16_STANDARD":
        options |= RANDOM
    done = converter.convert(folder, "rvc4", output=tmp_path / "o.tar", options=options)
    assert done.verification["status"] == "passed"
    assert "HTP emulator" in done.verification["checked_on"]
    (item,) = config_of(done.output)["model"]["inputs"]
    assert item["shape"] == [1, 12, 16, color.channels]
    given = item["preprocessing"]
    if preprocess == "embedded":
        expected = "GRAY8" if color is Color.GRAY else "BGR888i"
        assert (item["dtype"], given["dai_type"]) == ("uint8", expected)
        assert (set(given["mean"]), set(given["scale"])) == ({0.0}, {1.0})
    else:
        half = {"RGB": "RGBF16F16F16i", "BGR": "BGRF16F16F16i", "GRAY": "GRAYF16"}[color.value]
        assert (item["dtype"], given["dai_type"]) == ("float16", half)
        assert (given["mean"], given["scale"]) == (pre["mean"], pre["scale"])


@pytest.mark.parametrize("mode", ["FP16_STANDARD", "INT8_STANDARD"])
def test_swapped_colours_would_be_caught(
    tmp_path: Path, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fault planted into the embedding makes the verification fail, and nothing is written."""
    true_entry = TargetInput.to_entry

    def swapped(self: TargetInput) -> dict[str, Any]:
        entry = true_entry(self)
        entry["preprocessing"] = {**entry["preprocessing"], "color": "BGR"}
        return entry

    monkeypatch.setattr(TargetInput, "to_entry", swapped)
    out = tmp_path / "out.tar.xz"
    options = {**FEW, "rvc4.quantization_mode": mode}
    with pytest.raises(VerificationError, match="scores"):
        converter.convert(DIGITS_ARCHIVE, "rvc4", output=out, options=options)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(VerificationError) as caught:
        converter.convert(
            DIGITS_ARCHIVE, "rvc4", output=out, options=options, keep_work=tmp_path / "work"
        )
    report = json.loads((tmp_path / "work" / "verification.json").read_text())
    assert report == json.loads(caught.value.tool_text)
    assert report["status"] == "failed"


def test_several_inputs_of_different_kinds_keep_names_order_and_types(tmp_path: Path) -> None:
    weights = np.random.default_rng(2).normal(0, 0.3, (4, 3, 3, 3)).astype(F)
    nodes = [
        helper.make_node("Conv", ["z rgb", "w"], ["c"], pads=[1, 1, 1, 1], name="conv"),
        helper.make_node("Mul", ["c", "../gray"], ["m"], name="mul"),
        helper.make_node("GlobalAveragePool", ["m"], ["p"], name="pool"),
        helper.make_node("Flatten", ["p"], ["f"], name="flat"),
        helper.make_node("Add", ["f", "a,vector"], ["sum"], name="add"),
    ]
    inputs = {"z rgb": [1, 3, 10, 14], "../gray": [1, 1, 10, 14], "a,vector": [1, 4]}
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
    for options in (RANDOM, FP16):
        done = converter.convert(folder, "rvc4", output=tmp_path / "o.tar", options=options, force=True)
        written = config_of(done.output)["model"]["inputs"]
        assert [(i["name"], i["dtype"], i["preprocessing"].get("dai_type")) for i in written] == [
            ("z rgb", "uint8", "BGR888i"),
            ("../gray", "uint8", "GRAY8"),
            ("a,vector", "float32", None),
        ]
        assert done.verification["outputs"]["sum"]["rel_rmse"] < 0.05
    assert {path.name for path in tmp_path.iterdir()} == {"a", "o.tar"}


def test_a_model_of_half_precision_with_a_float_output_is_computed_as_it_is(tmp_path: Path) -> None:
    """QNN computes something else of a Cast between equal types: exporters end such models with one."""
    graph = helper.make_graph(
        [
            helper.make_node("Relu", ["x"], ["r"], name="relu"),
            helper.make_node("Cast", ["r"], ["y"], name="cast", to=TensorProto.FLOAT),
        ],
        "half",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT16, [1, 64])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 64])],
    )
    folder = write_folder(tmp_path / "a", make_model(graph), image=False)
    done = converter.convert(folder, "rvc4", output=tmp_path / "o.tar", options=RANDOM)
    assert done.verification["outputs"]["y"]["rel_rmse"] < 0.01


@pytest.mark.parametrize("options", [RANDOM, FP16], ids=["INT8", "FP16"])
def test_outputs_that_are_copies_keep_their_names(tmp_path: Path, options: Mapping[str, Any]) -> None:
    folder = write_folder(tmp_path / "a", copies_model(), image=False)
    done = converter.convert(folder, "rvc4", output=tmp_path / "o.tar", options=options)
    assert tuple(item["name"] for item in done.model["outputs"]) == COPIES


@pytest.mark.parametrize("options", [RANDOM, FP16], ids=["INT8", "FP16"])
@pytest.mark.parametrize("names", [["early", "late"], ["late", "early"]])
def test_outputs_keep_their_order(tmp_path: Path, options: Mapping[str, Any], names: list[str]) -> None:
    rng = np.random.default_rng(0)
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["images", "w"], ["early"], pads=[1, 1, 1, 1], name="one"),
            helper.make_node("Conv", ["early", "v"], ["late"], name="two"),
        ],
        "two",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, 8, 8])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 4, 8, 8]) for name in names],
        [
            numpy_helper.from_array(rng.normal(0, 0.3, (4, 3, 3, 3)).astype(F), "w"),
            numpy_helper.from_array(rng.normal(0, 0.3, (4, 4, 1, 1)).astype(F), "v"),
        ],
    )
    folder = write_folder(tmp_path / "a", make_model(graph), preprocessing=RGB)
    done = converter.convert(folder, "rvc4", output=tmp_path / "o.tar", options=options)
    assert [tensor.name for tensor in dlc_of(done.output).outputs] == names
    assert [item["name"] for item in config_of(done.output)["model"]["outputs"]] == names


# ------------------------------------------------------------------ faults


def net_of(
    nodes: list[onnx.NodeProto],
    constants: Mapping[str, Any] | None = None,
    *,
    opset: int = 17,
    first: bool = True,
) -> onnx.ModelProto:
    """A convolution `c` of the images, some nodes, and a convolution of their result `m`."""
    rng = np.random.default_rng(0)
    arrays = {"w": rng.normal(0, 0.3, (8, 3, 3, 3)), "w2": rng.normal(0, 0.2, (8, 8, 3, 3))}
    pads = {"pads": [1, 1, 1, 1]}
    whole = [
        helper.make_node("Conv", ["images", "w"], ["c"], name="first", **pads),
        *nodes,
        helper.make_node("Conv", ["m", "w2"], ["y"], name="last", **pads),
    ]
    graph = helper.make_graph(
        whole if first else nodes,
        "net",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, 16, 16])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [
            numpy_helper.from_array(
                np.asarray(v, F if np.asarray(v).dtype.kind == "f" else np.int64), name
            )
            for name, v in {**arrays, **(constants or {})}.items()
            if any(name in node.input for node in (whole if first else nodes))
        ],
    )
    return make_model(graph, opset)


def hard_sigmoid_gate() -> onnx.ModelProto:
    return net_of(
        [
            helper.make_node("HardSigmoid", ["c"], ["h"], alpha=1 / 6, beta=0.5, name="gate"),
            helper.make_node("Mul", ["c", "h"], ["m"], name="mul"),
        ],
        opset=13,
    )


def lone_erf() -> onnx.ModelProto:
    return net_of([helper.make_node("Erf", ["c"], ["m"], name="erf")])


def mish() -> onnx.ModelProto:
    """Of values beyond what float16 has exponentials of."""
    nodes = [
        helper.make_node("Mul", ["c", "far"], ["d"], name="far"),
        helper.make_node("Softplus", ["d"], ["s"], name="softplus"),
        helper.make_node("Tanh", ["s"], ["t"], name="tanh"),
        helper.make_node("Mul", ["d", "t"], ["m"], name="mish"),
    ]
    return net_of(nodes, {"far": 100.0})


def log_softmax() -> onnx.ModelProto:
    nodes = [
        helper.make_node("Mul", ["c", "far"], ["d"], name="far"),
        helper.make_node("LogSoftmax", ["d"], ["m"], name="logs", axis=1),
    ]
    return net_of(nodes, {"far": 100.0})


def small_scores() -> onnx.ModelProto:
    """Below the steps of the HTP's sigmoid in float16."""
    nodes = [
        helper.make_node("Conv", ["images", "w"], ["c"], name="first", pads=[1, 1, 1, 1]),
        helper.make_node("Mul", ["c", "narrow"], ["n"], name="narrow"),
        helper.make_node("Sub", ["n", "far"], ["d"], name="far"),
        helper.make_node("Sigmoid", ["d"], ["y"], name="scores"),
    ]
    return net_of(nodes, {"narrow": 0.3, "far": 8.0}, first=False)


def layer_norm_of_maps() -> onnx.ModelProto:
    scale = np.random.default_rng(2).normal(1, 0.1, (8, 16, 16))
    norm = helper.make_node("LayerNormalization", ["c", "scale"], ["m"], name="norm", axis=1)
    return net_of([norm], {"scale": scale})


def gelu_written_out() -> onnx.ModelProto:
    return net_of(
        [
            helper.make_node("Div", ["c", "root"], ["d"], name="div"),
            helper.make_node("Erf", ["d"], ["e"], name="erf"),
            helper.make_node("Add", ["e", "one"], ["a"], name="add"),
            helper.make_node("Mul", ["c", "a"], ["b"], name="mul"),
            helper.make_node("Mul", ["b", "half"], ["m"], name="halve"),
        ],
        {"root": np.sqrt(2), "one": 1.0, "half": 0.5},
    )


def edge_padding() -> onnx.ModelProto:
    """By itself, over numbers: behind a convolution, in the HTP's own layout, it is right."""
    pads = np.array([0, 0, 1, 1, 0, 0, 1, 1])
    return one_op_model("Pad", {"x": (1, 3, 8, 8)}, constants={"p": pads}, opset=17, mode="edge")


def batch_normalization() -> onnx.ModelProto:
    values = {name: np.linspace(0.5, 1.5, 3) * k for k, name in enumerate("sbtv", 1)}
    nodes = [helper.make_node("BatchNormalization", ["images", *values], ["y"], name="normalize")]
    return net_of(nodes, values, first=False)


def silu() -> onnx.ModelProto:
    return net_of(
        [
            helper.make_node("Sigmoid", ["c"], ["s"], name="sigmoid"),
            helper.make_node("Mul", ["c", "s"], ["m"], name="mul"),
        ]
    )


def soft_plus() -> onnx.ModelProto:
    return net_of([helper.make_node("Softplus", ["c"], ["m"], name="soft")])


def grouped_upsampling() -> onnx.ModelProto:
    """Channels of unlike size, which one scale for all would lose."""
    weights = np.random.default_rng(1).normal(0, 0.3, (8, 4, 3, 3))
    weights *= np.array([0.2, 1, 2, 0.3])[None, :, None, None]
    attributes: dict[str, Any] = {"group": 2, "strides": [2, 2], "dilations": [2, 2]}
    nodes = [helper.make_node("ConvTranspose", ["c", "k", "b"], ["m"], name="up", **attributes)]
    return net_of(nodes, {"k": weights, "b": np.linspace(-1, 1, 8)})


def odd_halving() -> onnx.ModelProto:
    return net_of(
        [
            helper.make_node("MaxPool", ["c"], ["p"], kernel_shape=[2, 2], name="pool"),
            helper.make_node("Resize", ["p", "", "s"], ["m"], mode="linear", name="half"),
        ],
        {"s": np.array([1, 1, 0.5, 0.5])},
    )


def far_padding() -> onnx.ModelProto:
    nodes = [helper.make_node("Pad", ["c", "p", "v"], ["m"], name="pad")]
    return net_of(nodes, {"p": np.array([0, 0, 1, 1, 0, 0, 1, 1]), "v": 20.0})


def scattered() -> onnx.ModelProto:
    """Two channels of another size are written over what a convolution made."""
    nodes = [helper.make_node("ScatterND", ["c", "i", "u"], ["m"], name="scatter")]
    updates = np.random.default_rng(1).normal(0, 20, (2, 16, 16))
    return net_of(nodes, {"i": np.array([[0, 1], [0, 2]]), "u": updates})


def average_of_ceil() -> onnx.ModelProto:
    attributes: dict[str, Any] = {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1}
    return net_of([helper.make_node("AveragePool", ["c"], ["m"], name="pool", **attributes)])


FAULTS: dict[str, tuple[Callable[[], onnx.ModelProto], str]] = {
    "hard sigmoid gate": (hard_sigmoid_gate, "FP16_STANDARD"),
    "erf": (lone_erf, "INT8_INT16_MIXED"),
    "gelu written out": (gelu_written_out, "INT8_INT16_MIXED"),
    "edge padding": (edge_padding, "FP16_STANDARD"),
    "silu in 16 bits": (silu, "INT8_INT16_MIXED"),
    "softplus in 16 bits": (soft_plus, "INT8_INT16_MIXED"),
    "batch normalization": (batch_normalization, "INT8_STANDARD"),
    "grouped transposed convolution": (grouped_upsampling, "INT8_INT16_MIXED"),
    "linear resize to half of an odd size": (odd_halving, "INT8_STANDARD"),
    "padding beyond the range": (far_padding, "INT8_STANDARD"),
    "scattering beyond the range": (scattered, "INT8_STANDARD"),
    "average pool with ceil_mode": (average_of_ceil, "INT8_STANDARD"),
    "mish": (mish, "FP16_STANDARD"),
    "log softmax": (log_softmax, "FP16_STANDARD"),
    "small scores": (small_scores, "FP16_STANDARD"),
    "layer normalization of maps": (layer_norm_of_maps, "INT8_STANDARD"),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("rewritten", [True, False])
def test_a_known_fault_is_rewritten_away_and_shows_without_the_rewrite(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str, rewritten: bool
) -> None:
    make, mode = FAULTS[fault]
    if not rewritten:
        monkeypatch.setattr("targets.rvc4.htp_rules.table.groups", lambda *_, **__: ())
        real = Processes.call

        def call(self: Processes, function: str, arguments: Any, **rest: Any) -> Any:
            if function == "targets.rvc4.prepare:prepare_file":
                return prepare_file(**arguments)  # here, where the rules are gone
            return real(self, function, arguments, **rest)

        monkeypatch.setattr(Processes, "call", call)
    raw = fault == "edge padding"
    folder = write_folder(tmp_path / "a", make(), preprocessing=None if raw else RGB, image=not raw)
    # The sigmoid's fault shows in the emulator's mode 1; in others only on maps of some sizes.
    options = {"rvc4.quantization_mode": mode, "verify.emulator_optimization": 1}
    options |= {} if mode == "FP16_STANDARD" else RANDOM
    if rewritten:
        done = converter.convert(folder, "rvc4", output=tmp_path / "o.tar", options=options)
        assert all(row["rel_rmse"] < 0.03 for row in done.verification["outputs"].values())
    elif fault == "scattering beyond the range":  # then QNN keeps the node in floating point
        done = converter.convert(folder, "rvc4", output=tmp_path / "o.tar", options=options)
        assert any("floating point" in text and "'scatter'" in text for text in done.warnings)
    else:
        with pytest.raises((VerificationError, ModelError, ToolError)):
            converter.convert(folder, "rvc4", output=tmp_path / "o.tar", options=options)


@pytest.mark.parametrize(
    "options", [{"rvc4.quantization_mode": "INT8_INT16_MIXED"}, {"rvc4.wide": "log,m,c,y"}]
)
def test_a_wide_logarithm_is_right_on_the_emulator(tmp_path: Path, options: dict[str, Any]) -> None:
    """Its argument is below 64, which the HTP takes for 0."""
    nodes = [
        helper.make_node("Abs", ["c"], ["a"], name="abs"),
        helper.make_node("Add", ["a", "k"], ["d"], name="add"),
        helper.make_node("Log", ["d"], ["m"], name="log"),
    ]
    net = net_of(nodes, {"k": np.array(1.0)})
    folder = write_folder(tmp_path / "a", net, preprocessing=RGB)
    done = converter.convert(folder, "rvc4", output=tmp_path / "o.tar", options={**RANDOM, **options})
    assert done.verification["outputs"]["y"]["rel_rmse"] < 0.05


@pytest.mark.parametrize("mode", ["INT8_STANDARD", "FP16_STANDARD"])
def test_indices_come_out_wherever_the_axis_is(tmp_path: Path, mode: str) -> None:
    """QNN writes int64 only where ArgMax itself is the output: here it would be transposed or reshaped."""
    outputs = {"one": [1, 1, 16, 16], "last": [1, 8, 16], "volume": [1, 2, 1, 16, 16]}
    net = net_of(
        [
            helper.make_node("Conv", ["images", "w"], ["c"], name="first", pads=[1] * 4),
            helper.make_node("ArgMax", ["c"], ["one"], axis=1, keepdims=1, name="one"),
            helper.make_node("ArgMax", ["c"], ["last"], axis=3, keepdims=0, name="last"),
            helper.make_node("Reshape", ["c", "five"], ["v"], name="five"),
            helper.make_node("ArgMin", ["v"], ["volume"], axis=2, keepdims=1, name="volume"),
        ],
        {"five": np.array([1, 2, 4, 16, 16])},
        first=False,
    )
    del net.graph.output[:]
    for name, shape in outputs.items():
        net.graph.output.append(helper.make_tensor_value_info(name, TensorProto.INT64, shape))
    folder = write_folder(tmp_path / "a", net, preprocessing=RGB)
    options = {"rvc4.quantization_mode": mode, **({} if mode == "FP16_STANDARD" else RANDOM)}
    done = converter.convert(folder, "rvc4", output=tmp_path / "o.tar", options=options)
    assert done.verification["status"] == "passed"
    assert set(done.verification["outputs"]) == set(outputs)


def test_constant_nodes_and_shared_weights_are_one_partition(tmp_path: Path) -> None:
    kernel = np.random.default_rng(1).normal(0, 0.2, (3, 3, 3, 3)).astype(F)
    nodes = [
        helper.make_node("Constant", [], ["k"], value=numpy_helper.from_array(kernel), name="constant"),
        helper.make_node("Conv", ["images", "k"], ["a"], pads=[1, 1, 1, 1], name="one"),
        helper.make_node("Relu", ["a"], ["r"], name="relu"),
        helper.make_node("Conv", ["r", "k"], ["y"], pads=[1, 1, 1, 1], name="two"),
    ]
    folder = write_folder(tmp_path / "a", net_of(nodes, first=False), preprocessing=RGB)
    for options in (RANDOM, {**RANDOM, "onnx_simplification": False}):
        done = converter.convert(folder, "rvc4", output=tmp_path / "o.tar", options=options, force=True)
        assert done.verification["status"] == "passed"


# --------------------------------------------------------------- encodings


def encodings(
    activations: Mapping[str, Any], weights: Mapping[str, Any], version: str
) -> dict[str, Any]:
    """AIMET's file: per tensor (bits, scale, offset), per channel lists of them."""

    def old(rows: Any) -> list[dict[str, Any]]:
        return [{"bitwidth": b, "dtype": "int", "scale": s, "offset": o, "is_symmetric": "False"}
                for b, s, o in rows]  # fmt: skip

    if version == "0.6.1":
        return {
            "version": version,
            "activation_encodings": {name: old(rows) for name, rows in activations.items()},
            "param_encodings": {name: old(rows) for name, rows in weights.items()},
        }

    def new(name: str, rows: Any) -> dict[str, Any]:
        return {"name": name, "dtype": "INT", "bw": rows[0][0], "is_sym": False,
                "scale": [s for _, s, _ in rows], "offset": [o for _, _, o in rows]}  # fmt: skip

    return {
        "version": version,
        "activation_encodings": [new(name, rows) for name, rows in activations.items()],
        "param_encodings": [new(name, rows) for name, rows in weights.items()],
    }


@pytest.mark.parametrize("version", ["0.6.1", "1.0.0"])
@pytest.mark.parametrize("place", ["archive", "option"])
def test_given_encodings_win_over_measured_ranges(tmp_path: Path, version: str, place: str) -> None:
    given = encodings(
        {"map": [(8, 0.125, -100)], "gone": [(8, 0.5, 0)]},
        {"w2": [(8, 0.01 * (index + 1), -128) for index in range(4)]},
        version,
    )
    folder = write_folder(tmp_path / "a", conv_model(), preprocessing=RGB)
    path = (folder if place == "archive" else tmp_path) / "encodings.json"
    path.write_text(json.dumps(given))
    options = {**RANDOM, "verify.min_cosine": -1, "verify.max_rel_rmse": 100}
    if place == "option":
        options["rvc4.encodings"] = str(path)
    done = converter.convert(folder, "rvc4", output=tmp_path / "o.tar", options=options)
    tensors = {tensor.name: tensor for tensor in dlc_of(done.output).tensors}
    (encoding,) = tensors["map"].encodings
    assert (encoding.scale, encoding.offset) == (0.125, -100)
    channels = tensors["w2_quantized"].encodings
    assert [round(item.scale, 6) for item in channels] == [0.01, 0.02, 0.03, 0.04]
    assert any("'gone'" in warning for warning in done.warnings)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{}", "not an AIMET encodings file"),
        ("[1", "not JSON"),
        ({"activation_encodings": {"map": [{"bitwidth": 8}]}, "param_encodings": {}}, "no 'scale'"),
        (encodings({"of another model": [(8, 0.1, 0)]}, {}, "0.6.1"), "No encoding can be used"),
    ],
)  # fmt: skip
def test_encodings_that_cannot_be_used_say_why(tmp_path: Path, content: Any, words: str) -> None:
    folder = write_folder(tmp_path / "a", conv_model(), preprocessing=RGB)
    path = tmp_path / "e.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    options = {**RANDOM, "rvc4.encodings": str(path)}
    with pytest.raises(UsageError, match=words):
        converter.convert(folder, "rvc4", output=tmp_path / "o.tar", options=options)


# ---------------------------------------------------------------- refusals


def test_a_mode_that_needs_data_names_three_ways_out() -> None:
    with pytest.raises(UsageError, match="needs calibration data") as caught:
        plan(DIGITS_ARCHIVE, "rvc4")
    for way in ("calibration.path", "calibration/", "FP16_STANDARD", "calibration.random=true"):
        assert way in str(caught.value)


def test_random_data_is_marked_in_the_archive(tmp_path: Path) -> None:
    done = converter.convert(DIGITS_ARCHIVE, "rvc4", output=tmp_path / "o.tar", options=RANDOM)
    assert any("generated frames" in warning for warning in done.warnings)
    record = record_of(done.output)
    assert record["compiled"]["calibration"]["random"] is True
    assert any("generated frames" in warning for warning in record["warnings"])


def test_an_archive_that_carries_its_data_needs_no_options(tmp_path: Path) -> None:
    folder = tmp_path / "digits"
    with open_archive(DIGITS_ARCHIVE) as archive:
        shutil.copytree(archive.root, folder)
    (folder / "calibration").mkdir()
    for path in sorted(Path(DATA).iterdir())[:4]:
        shutil.copy(path, folder / "calibration")
    done = converter.convert(folder, "rvc4", output=tmp_path / "o.tar")
    assert record_of(done.output)["compiled"]["calibration"]["frames"] == 4


def test_every_node_that_is_refused_is_named_with_its_reason(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Det", ["images"], ["d1"], name="first_culprit"),
        helper.make_node("Relu", ["d1"], ["r"], name="fine"),
        helper.make_node("Transpose", ["images"], ["turned"], perm=[0, 1, 3, 2], name="turn"),
        helper.make_node("Exp", ["turned"], ["other"], name="exp"),
        helper.make_node("Det", ["other"], ["d2"], name="second_culprit"),
        helper.make_node("Add", ["r", "d2"], ["y"], name="sum"),
    ]
    graph = helper.make_graph(
        nodes,
        "det",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 3])],
    )
    folder = write_folder(tmp_path / "a", make_model(graph), preprocessing=RGB)
    for options in (RANDOM, FP16):
        with pytest.raises(ModelError) as caught:
            converter.convert(folder, "rvc4", output=tmp_path / "o.tar", options=options)
        told = [str(finding) for finding in caught.value.findings]
        assert any("'first_culprit' (Det)" in line for line in told)
        assert any("'second_culprit' (Det)" in line for line in told)
        assert not any("'fine'" in line for line in told)
        assert caught.value.exit_code == 4
    assert {path.name for path in tmp_path.iterdir()} == {"a"}


def test_an_output_that_is_a_constant_is_refused_by_name(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Conv", ["images", "w"], ["y"], pads=[1, 1, 1, 1], name="conv"),
        helper.make_node("Constant", [], ["anchors"], value=numpy_helper.from_array(np.ones(3, F))),
    ]
    model = net_of(nodes, first=False)
    model.graph.output.append(helper.make_tensor_value_info("anchors", TensorProto.FLOAT, [3]))
    folder = write_folder(tmp_path / "a", model, preprocessing=RGB)
    with pytest.raises(ModelError, match="output 'anchors': it is a constant"):
        converter.convert(folder, "rvc4", output=tmp_path / "o.tar", options=FP16)


def test_a_network_of_several_partitions_is_refused(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Conv", ["images", "w"], ["c"], pads=[1, 1, 1, 1], name="front"),
        helper.make_node("Det", ["c"], ["d"], name="culprit"),
        helper.make_node("Relu", ["d"], ["y"], name="back"),
    ]
    folder = write_folder(tmp_path / "a", net_of(nodes, first=False), preprocessing=RGB)
    with pytest.raises(ModelError, match="culprit"):
        converter.convert(folder, "rvc4", output=tmp_path / "o.tar", options=FP16)


def test_a_dynamic_shape_is_refused_or_frozen_never_left_to_the_cpu(tmp_path: Path) -> None:
    model = conv_model()
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "batch"
    config = config_for(conv_model(), preprocessing=RGB)
    folder = write_folder(tmp_path / "a", model, config)
    done = converter.convert(folder, "rvc4", output=tmp_path / "o.tar", options=FP16)
    assert list(dlc_of(done.output).inputs[0].shape) == [1, 12, 16, 3]
    config["model"]["inputs"][0]["shape"] = None
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ArchiveError, match="shape"):
        plan(folder, "rvc4", options=FP16)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"rvc4.htp_socs": "sm8650"}, "cannot be had with the native toolchain"),
        ({"rvc4.quantization_mode": "INT4"}, "not one of the choices"),
        ({"inputs.image.data_type": "float16"}, "a frame comes in as uint8"),
        ({**FP16, "rvc4.encodings": "e.json"}, "no encodings"),
    ],
)
def test_options_that_cannot_be_had_are_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        plan(DIGITS_ARCHIVE, "rvc4", options={**FEW, **options})


def test_a_step_that_takes_too_long_is_stopped(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "net", NETS["vit"]())
    with pytest.raises(ToolError, match="did not end within"):
        converter.convert(
            folder,
            "rvc4",
            output=tmp_path / "o.tar",
            options={**FP16, "rvc4.compile_timeout_s": 0.1},
        )
    assert [path.name for path in tmp_path.iterdir()] == ["net"]


def test_a_machine_without_qnn_plans_and_is_told_before_anything_is_made(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    here = plan(DIGITS_ARCHIVE, "rvc4", options=FP16)
    monkeypatch.setattr("platform.machine", lambda: "riscv64")
    assert plan(DIGITS_ARCHIVE, "rvc4", options=FP16).hash == here.hash
    events: list[Event] = []
    with pytest.raises(ToolchainError, match="this is Linux riscv64") as caught:
        converter.convert(
            DIGITS_ARCHIVE, "rvc4", output=tmp_path / "o.tar", options=FP16, on_event=events.append
        )
    assert caught.value.exit_code == 5
    assert not [event for event in events if isinstance(event, StageStarted)]


def test_a_damaged_picture_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a.png").write_bytes(b"no picture")
    with pytest.raises(UsageError, match=r"calibration file a\.png"):
        converter.convert(
            DIGITS_ARCHIVE,
            "rvc4",
            output=tmp_path / "o.tar",
            options={"calibration.path": str(tmp_path / "data")},
        )
    assert {path.name for path in tmp_path.iterdir()} == {"data"}


def test_numbers_that_overflow_float16_are_not_written(tmp_path: Path) -> None:
    model = one_op_model("Mul", {"x": (1, 4)}, constants={"k": np.full(4, 1e6, F)})
    folder = write_folder(tmp_path / "a", model, image=False)
    with pytest.raises(VerificationError, match="y0"):
        converter.convert(folder, "rvc4", output=tmp_path / "o.tar", options=FP16)


# ------------------------------------------------------------------ verify


def test_an_archive_is_verified_later_without_its_calibration_data(digits: Path) -> None:
    record = converter.verify_archive(digits, DIGITS_ARCHIVE, data=DATA, options={"verify.frames": 5})
    assert record["status"] == "passed"
    assert record["frames"] == "5 of verify.data"
    assert record["outputs"]["scores"]["top1"] == 1.0
    assert record["sha256"] == hashlib.sha256(member_of(digits, "digits.dlc")).hexdigest()


def test_an_archive_that_was_changed_or_is_of_another_source_is_told(
    digits: Path, tmp_path: Path
) -> None:
    changed = tmp_path / "changed"
    with open_archive(digits) as archive:
        shutil.copytree(archive.root, changed)
    data = bytearray((changed / "digits.dlc").read_bytes())
    data[200] ^= 1
    (changed / "digits.dlc").write_bytes(bytes(data))
    with pytest.raises(ArchiveError, match="was changed"):
        converter.verify_archive(changed, DIGITS_ARCHIVE)
    other = write_folder(tmp_path / "a", conv_model(name="image"), preprocessing=RGB)
    with pytest.raises(ConvertError, match="not the source"):
        converter.verify_archive(digits, other)
    with pytest.raises(ArchiveError, match="not made by this converter"):
        converter.verify_archive(DIGITS_ARCHIVE, DIGITS_ARCHIVE)
    with pytest.raises(UsageError, match="verified as it was made"):
        converter.verify_archive(digits, DIGITS_ARCHIVE, options={"rvc4.quantization_mode": "CUSTOM"})


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("verify.min_cosine", -1),
        ("container.engine", "unix:///of/somebody.sock"),
        ("online.url", "https://example.com"),
        ("rvc4.encodings", "/etc/passwd"),
        ("rvc4.compile_timeout_s", 1e9),
    ],
)
def test_a_record_cannot_say_how_it_is_looked_at(
    digits: Path, tmp_path: Path, key: str, value: Any
) -> None:
    """An archive may be anybody's: limits, engines, services and paths are the caller's to say."""
    forged = tmp_path / "forged"
    with open_archive(digits) as archive:
        shutil.copytree(archive.root, forged)
    record = json.loads((forged / "buildinfo.json").read_text())
    record["options"][key] = value
    (forged / "buildinfo.json").write_text(json.dumps(record))
    with pytest.raises(ArchiveError, match=f"no build record sets {key}"):
        converter.verify_archive(forged, DIGITS_ARCHIVE)


@pytest.mark.parametrize(
    ("key", "value"),
    [("rvc4.snpe_dlc_quant_args", "--verbose"), ("rvc4.use_per_row_quantization", True)],
)
def test_what_only_snpe_has_is_never_dropped(key: str, value: Any) -> None:
    options = {**FP16, key: value}
    with pytest.raises(UsageError, match="only SNPE has that"):
        converter.plan(DIGITS_ARCHIVE, "rvc4", options=options, toolchain="native")
    with pytest.raises(ToolchainError):  # not converted with another tool either
        converter.plan(DIGITS_ARCHIVE, "rvc4", options=options)


def test_a_file_that_the_tools_do_not_make_again_is_not_vouched_for(
    digits: Path, tmp_path: Path
) -> None:
    """Whoever changes the file and the record alike is found out: the source gives another file."""
    forged = tmp_path / "forged"
    with open_archive(digits) as archive:
        shutil.copytree(archive.root, forged)
    data = bytearray((forged / "digits.dlc").read_bytes())
    data[-3000] ^= 1
    (forged / "digits.dlc").write_bytes(bytes(data))
    record = json.loads((forged / "buildinfo.json").read_text())
    record["compiled"]["sha256"] = hashlib.sha256(bytes(data)).hexdigest()
    (forged / "buildinfo.json").write_text(json.dumps(record))
    with pytest.raises(VerificationError, match="another file"):
        converter.verify_archive(forged, DIGITS_ARCHIVE)


def test_zipped_calibration_is_streamed(tmp_path: Path) -> None:
    import zipfile

    packed = tmp_path / "images.zip"
    with zipfile.ZipFile(packed, "w") as archive:
        for index in range(3):
            buffer = io.BytesIO()
            Image.new("RGB", (32, 32), (index * 80, 10, 200)).save(buffer, "png")
            archive.writestr(f"{index}.png", buffer.getvalue())
    options = {"calibration.path": str(packed), "verify.enabled": False}
    done = converter.convert(DIGITS_ARCHIVE, "rvc4", output=tmp_path / "o.tar", options=options)
    assert record_of(done.output)["compiled"]["calibration"]["inputs"]["image"]["names"] == [
        "0.png",
        "1.png",
        "2.png",
    ]


# ------------------------------------------- operators that want care, each on the emulator


def volume_pool() -> onnx.ModelProto:
    return one_op_model(
        "MaxPool", {"x": (1, 2, 5, 6, 7)}, opset=17, kernel_shape=[2, 3, 2], strides=[2, 1, 2],
        pads=[1, 1, 0, 0, 1, 1],
    )  # fmt: skip


def volume_normalization() -> onnx.ModelProto:
    values = {name: np.linspace(0.5, 1.5, 3).astype(F) * k for k, name in enumerate("sbmv", 1)}
    return one_op_model(
        "BatchNormalization", {"x": (1, 3, 4, 5, 6)}, constants=values, opset=17, epsilon=0.01
    )


def product_of_inputs() -> onnx.ModelProto:
    return one_op_model(
        "Gemm", {"a": (4, 6), "b": (5, 6), "c": (4, 5)}, opset=17, transB=1, alpha=0.5, beta=2.0
    )


def layer_norm() -> onnx.ModelProto:
    values = {"s": np.array([-1.0, 0.5, 2, 1], F), "b": np.array([0.1, 0, -1, 2], F)}
    return one_op_model("LayerNormalization", {"x": (1, 6, 4)}, constants=values, opset=17)


def broad_softmax() -> onnx.ModelProto:
    return one_op_model("Softmax", {"x": (1, 1000)}, opset=17, axis=1)


def split_volume() -> onnx.ModelProto:
    nodes = [
        helper.make_node("Split", ["x"], ["a", "b"], axis=4, name="split"),
        helper.make_node("Mul", ["b", "k"], ["scaled"], name="mul"),
        helper.make_node("Concat", ["a", "scaled"], ["y"], axis=4, name="concat"),
    ]
    graph = helper.make_graph(
        nodes,
        "split",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 2, 3, 3, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 2, 3, 3, 8])],
        [numpy_helper.from_array(np.array(20.0, F), "k")],
    )
    return make_model(graph, 17)


def masked_attention() -> onnx.ModelProto:
    """Half of the scores are hidden: by -inf in a constant, and by a comparison."""
    rng = np.random.default_rng(0)
    keep = np.tril(np.ones((6, 6)))
    constants = {
        "w": rng.normal(0, 0.5, (8, 8)).astype(F),
        "mask": np.where(keep > 0, 0, -np.inf).astype(F),
        "kept": keep > 0,
        "low": np.array(np.finfo(F).min, F),
    }
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["q"], name="query"),
        helper.make_node("Transpose", ["x"], ["t"], perm=[0, 2, 1], name="turn"),
        helper.make_node("MatMul", ["q", "t"], ["s"], name="scores"),
        helper.make_node("Add", ["s", "mask"], ["a"], name="add"),
        helper.make_node("Where", ["kept", "a", "low"], ["b"], name="where"),
        helper.make_node("Max", ["b", "low"], ["m"], name="max"),
        helper.make_node("Softmax", ["m"], ["p"], axis=-1, name="softmax"),
        helper.make_node("MatMul", ["p", "x"], ["y"], name="context"),
    ]
    graph = helper.make_graph(
        nodes,
        "attention",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 6, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 6, 8])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    return make_model(graph, 17)


def norms_of_large_numbers() -> onnx.ModelProto:
    """Written out over axis 1, and with ReduceL2: the squares of thousands leave float16."""
    nodes = [
        helper.make_node("Mul", ["x", "large"], ["z"], name="large"),
        helper.make_node("Mul", ["z", "z"], ["q"], name="square"),
        helper.make_node("ReduceMean", ["q"], ["m"], axes=[1], name="mean"),
        helper.make_node("Add", ["m", "e"], ["v"], name="add"),
        helper.make_node("Sqrt", ["v"], ["r"], name="root"),
        helper.make_node("Div", ["z", "r"], ["one"], name="rms"),
        helper.make_node("ReduceL2", ["z"], ["n"], axes=[2], name="norm"),
        helper.make_node("Div", ["z", "n"], ["other"], name="unit"),
        helper.make_node("Add", ["one", "other"], ["y"], name="both"),
    ]
    graph = helper.make_graph(
        nodes,
        "norms",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 8, 6])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 8, 6])],
        [
            numpy_helper.from_array(np.array(3000, F), "large"),
            numpy_helper.from_array(np.array(1e-6, F), "e"),
        ],
    )
    return make_model(graph, 17)


CARE = {
    "norms of large numbers": norms_of_large_numbers,
    "grouped transposed convolution of volumes": lambda: one_op_model(
        "ConvTranspose",
        {"x": (1, 4, 3, 4, 3)},
        constants={"w": np.linspace(-1, 1, 96).astype(F).reshape(4, 3, 2, 2, 2)},
        opset=17,
        group=2,
        strides=[2, 2, 2],
    ),
    "masked attention": masked_attention,
    "where of a constant": lambda: one_op_model(
        "Where",
        {"x": (1, 4, 5)},
        constants={"k": np.arange(20).reshape(1, 4, 5) % 3 > 0, "c": np.full((1, 4, 5), 0.5, F)},
        order=["k", "x", "c"],
        opset=17,
    ),
    "gemm with a bias for each row": lambda: one_op_model(
        "Gemm",
        {"x": (4, 6)},
        constants={"w": np.eye(6, 5, dtype=F), "c": np.array([[1], [2], [-1], [0]], F)},
        opset=17,
    ),
    "dilated max pool": lambda: one_op_model(
        "MaxPool",
        {"x": (1, 2, 9, 9)},
        opset=17,
        kernel_shape=[3, 3],
        dilations=[2, 2],
        pads=[2, 2, 2, 2],
    ),
    "mean variance normalization": lambda: one_op_model(
        "MeanVarianceNormalization", {"x": (1, 3, 6, 5)}, opset=17
    ),
    "max pool of volumes": volume_pool,
    "batch normalization of volumes": volume_normalization,
    "gemm of computed matrices": product_of_inputs,
    "layer normalization": layer_norm,
    "softmax of a thousand": broad_softmax,
    "split of five axes": split_volume,
    "sum of three": lambda: one_op_model(
        "Sum", {"a": (1, 4, 5), "b": (1, 4, 5), "c": (1, 1, 5)}, opset=17
    ),
    "selu": lambda: one_op_model("Selu", {"x": (1, 4, 5)}, opset=17),
    "pooling that comes first": lambda: one_op_model(
        "AveragePool", {"x": (1, 2, 8, 8)}, opset=17, kernel_shape=[2, 2], strides=[2, 2]
    ),
}


@pytest.mark.parametrize("net", CARE)
@pytest.mark.parametrize("options", [RANDOM, FP16], ids=["INT8", "FP16"])
def test_an_operator_that_wants_care_is_right(
    tmp_path: Path, net: str, options: Mapping[str, Any]
) -> None:
    folder = write_folder(tmp_path / "a", CARE[net](), image=False)
    done = converter.convert(folder, "rvc4", output=tmp_path / "o.tar", options=options)
    names = [item["name"] for item in config_of(done.output)["model"]["inputs"]]
    with open_archive(folder) as archive:
        assert names == [item["name"] for item in archive.config["model"]["inputs"]]
    for row in done.verification["outputs"].values():
        # The emulator's Softmax of 8 bits is 0.065 off on tones, where its network on ONNX Runtime is 0.012.
        assert row["rel_rmse"] < (0.003 if options is FP16 else 0.08)


def test_what_qnn_computes_in_floating_point_is_said(tmp_path: Path) -> None:
    """A scatter to computed places: with integers the HTP writes other numbers. The user is told."""
    nodes = [
        helper.make_node("ArgMax", ["x"], ["places"], axis=1, name="places"),
        helper.make_node("ScatterElements", ["x", "places", "u"], ["y"], axis=1, name="scatter"),
    ]
    graph = helper.make_graph(
        nodes,
        "scatter",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 6, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 6, 4])],
        [numpy_helper.from_array(np.linspace(-1, 1, 4, dtype=F).reshape(1, 1, 4), "u")],
    )
    folder = write_folder(tmp_path / "a", make_model(graph, 17), image=False)
    done = converter.convert(folder, "rvc4", output=tmp_path / "o.tar", options=RANDOM)
    assert done.verification["outputs"]["y"]["rel_rmse"] < 0.02
    assert any("'scatter' (ScatterElements)" in warning for warning in done.warnings)
    made = plan(folder, "rvc4", options=RANDOM)
    assert isinstance(made.parameters, Parameters)
    (finding,) = bit_width_findings(dlc_of(done.output), made.parameters, [])
    assert "are float32 where INT8_STANDARD has" in finding.message


# ------------------------------------------------ what an independent review found


def test_a_config_that_was_changed_is_not_vouched_for(digits: Path, tmp_path: Path) -> None:
    for change in ("dai_type", "shape"):
        folder = tmp_path / change
        with open_archive(digits) as archive:
            shutil.copytree(archive.root, folder)
        config = json.loads((folder / "config.json").read_text())
        (item,) = config["model"]["inputs"]
        if change == "dai_type":
            item["preprocessing"]["dai_type"] = "RGB888i"
        else:
            config["model"]["outputs"][0]["shape"] = [9]
        (folder / "config.json").write_text(json.dumps(config))
        with pytest.raises(ArchiveError, match=rf"model\..*{change}"):
            converter.verify_archive(folder, DIGITS_ARCHIVE, options={"verify.emulator": False})


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (["options"], []),
        (["plan"], None),
        (["compiled", "calibration"], "x"),
        (["compiled", "calibration", "ranges"], {"image": "wide"}),
        (["compiled", "calibration", "encodings"], {"activations": 5}),
        (["compiled", "calibration", "method"], {}),
    ],
)
def test_a_forged_record_is_an_error_not_a_fault(
    digits: Path, tmp_path: Path, path: list[str], value: Any
) -> None:
    folder = tmp_path / "forged"
    with open_archive(digits) as archive:
        shutil.copytree(archive.root, folder)
    record = json.loads((folder / "buildinfo.json").read_text())
    place = record
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    (folder / "buildinfo.json").write_text(json.dumps(record))
    with pytest.raises(ArchiveError, match="not this converter's"):
        converter.verify_archive(folder, DIGITS_ARCHIVE)


def attention() -> onnx.ModelProto:
    rng = np.random.default_rng(4)
    nodes = [
        helper.make_node("MatMul", ["x", "q"], ["queries"], name="queries"),
        helper.make_node("MatMul", ["x", "k"], ["keys"], name="keys"),
        helper.make_node("Transpose", ["keys"], ["turned"], perm=[0, 2, 1], name="turn"),
        helper.make_node("MatMul", ["queries", "turned"], ["logits"], name="logits"),
        helper.make_node("Softmax", ["logits"], ["weights"], axis=-1, name="softmax"),
        helper.make_node("MatMul", ["weights", "x"], ["y"], name="mix"),
    ]
    graph = helper.make_graph(
        nodes,
        "attention",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 9, 16])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 9, 16])],
        [numpy_helper.from_array(rng.normal(0, 0.3, (16, 16)).astype(F), name) for name in "qk"],
    )
    return make_model(graph, 17)


@pytest.mark.parametrize("mode", ["INT8_STANDARD", "INT8_INT16_MIXED", "INT16_STANDARD"])
def test_attention_is_converted_and_what_qnn_narrows_is_said(tmp_path: Path, mode: str) -> None:
    folder = write_folder(tmp_path / "a", attention(), image=False)
    options = {**RANDOM, "rvc4.quantization_mode": mode}
    done = converter.convert(folder, "rvc4", output=tmp_path / "o.tar", options=options)
    assert done.verification["outputs"]["y"]["rel_rmse"] < 0.05
    told = any("8 bits" in warning for warning in done.warnings)
    assert told is (mode != "INT8_STANDARD")


@pytest.mark.parametrize(
    ("activations", "weights", "words"),
    [
        ({"r1": [(8, 0.1, 0)] * 5}, {}, "weights of Conv and Gemm"),
        ({}, {"w2": [(8, 0.1, -128)] * 3}, r"\[4, 5, 1, 1\] have 4 channels"),
        ({}, {"w2": [(8, 0.1, -100)] * 4}, "symmetric"),
        ({"images": [(8, 1.0, 0)]}, {}, "a frame's code is the pixel's value"),
    ],
)
def test_encodings_that_a_tensor_cannot_have_are_refused_by_its_name(
    tmp_path: Path, activations: Any, weights: Any, words: str
) -> None:
    folder = write_folder(tmp_path / "a", conv_model(), preprocessing=RGB)
    (folder / "encodings.json").write_text(json.dumps(encodings(activations, weights, "0.6.1")))
    with pytest.raises(UsageError, match=words):
        converter.convert(folder, "rvc4", output=tmp_path / "o.tar", options=RANDOM)


def test_first_weights_keep_encodings_that_they_were_given(tmp_path: Path) -> None:
    """They would have scale and colours folded in, were they not given encodings."""
    given = encodings(
        {"r1": [(8, 0.05, 0)]}, {"w1": [(8, 0.01 * (index + 1), -128) for index in range(5)]}, "0.6.1"
    )
    folder = write_folder(tmp_path / "a", conv_model(), preprocessing=RGB)
    (folder / "encodings.json").write_text(json.dumps(given))
    done = converter.convert(folder, "rvc4", output=tmp_path / "o.tar", options=RANDOM)
    tensors = {tensor.name: tensor for tensor in dlc_of(done.output).tensors}
    assert [round(item.scale, 6) for item in tensors["w1_quantized"].encodings] == [
        0.01, 0.02, 0.03, 0.04, 0.05,
    ]  # fmt: skip


def test_inputs_that_the_chip_does_not_take_are_refused_before_the_work(tmp_path: Path) -> None:
    graph = helper.make_graph(
        [helper.make_node("Cast", ["x"], ["y"], to=TensorProto.FLOAT, name="cast")],
        "cast",
        [helper.make_tensor_value_info("x", TensorProto.UINT64, [1, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 4])],
    )
    folder = write_folder(tmp_path / "a", make_model(graph), image=False)
    with pytest.raises(ModelError, match="the chip takes no"):
        plan(folder, "rvc4", options=RANDOM)


def test_names_that_the_quantizer_would_use_are_free(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Relu", ["c"], ["r"], name="relu"),
        helper.make_node("Mul", ["r", "r_scale"], ["r_QuantizeLinear_Output"], name="mul"),
        helper.make_node("Sigmoid", ["r_QuantizeLinear_Output"], ["m"], name="sigmoid"),
    ]
    model = net_of(nodes, {"r_scale": np.array(3.0)})
    folder = write_folder(tmp_path / "a", model, preprocessing=RGB)
    done = converter.convert(folder, "rvc4", output=tmp_path / "o.tar", options=RANDOM)
    assert done.verification["status"] == "passed"


def test_weights_that_are_no_numbers_are_named(tmp_path: Path) -> None:
    model = net_of(
        [helper.make_node("Add", ["c", "bad"], ["m"], name="add")], {"bad": np.array(np.nan)}
    )
    folder = write_folder(tmp_path / "a", model, preprocessing=RGB)
    with pytest.raises(ModelError, match="weight 'bad': holds 1 values that are NaN"):
        converter.convert(folder, "rvc4", output=tmp_path / "o.tar", options=RANDOM)


def test_a_file_name_that_is_no_text_is_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    shutil.copy(sorted(Path(DATA).iterdir())[0], bytes(tmp_path / "data") + b"/\xff.png")
    options = {"calibration.path": str(tmp_path / "data"), "verify.enabled": False}
    done = converter.convert(DIGITS_ARCHIVE, "rvc4", output=tmp_path / "o.tar", options=options)
    names = record_of(done.output)["compiled"]["calibration"]["inputs"]["image"]["names"]
    assert names == ["?.png"]


def test_wider_weights_than_the_mode_has_are_an_error_too(tmp_path: Path) -> None:
    """Between 16-bit activations, 16-bit weights would pass for 8-bit ones unless they are looked at."""
    options = {**FEW, "rvc4.quantization_mode": "INT16_STANDARD", "verify.enabled": False}
    done = converter.convert(DIGITS_ARCHIVE, "rvc4", output=tmp_path / "o.tar", options=options)
    made = plan(DIGITS_ARCHIVE, "rvc4", options={**FEW, "rvc4.quantization_mode": "INT8_INT16_MIXED"})
    assert isinstance(made.parameters, Parameters)
    with pytest.raises(ToolError, match="weights: 4 are int16 where INT8_INT16_MIXED has int8/uint8"):
        checked(dlc_of(done.output), made.parameters, [])
