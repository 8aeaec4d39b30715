"""What the rounding of weights adds to a channel's mean is taken out of the bias."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from converter.sources.onnx_session import session_of
from targets.rvc4.quantization.bias_correction import correct, encoded, mean_shifts
from targets.rvc4.quantization.quantize import quantize_file
from tests.sources import make_model, write_folder
from tests.unit.test_rvc4_quantization import quantized

RNG = np.random.default_rng(5)


def layer(kind: str, channels: int, *, biased: bool, opset: int = 17, **attributes: Any) -> Any:
    """A net of one layer whose weights, a row of ones, lose much to 8 bits: the largest has its own."""
    groups = attributes.get("group", 1)
    shapes = {
        "Conv": [channels, 4 // groups, *attributes.get("kernel_shape", [3, 3])],
        "ConvTranspose": [4, channels // groups, *attributes.get("kernel_shape", [3, 3])],
        "Gemm": [channels, 4] if attributes.get("transB") else [4, channels],
    }
    shape = shapes[kind]
    weights = np.where(RNG.random(shape) < 0.2, 1.0, 0.0047).astype(np.float32)
    x = [3, 4] if kind == "Gemm" else [1, 4, *[7] * (len(shape) - 2)]
    inits = [numpy_helper.from_array(weights, "w")]
    if biased:
        inits.append(numpy_helper.from_array(RNG.normal(size=channels).astype(np.float32), "b"))
    node = helper.make_node(kind, ["x", "w", *(["b"] if biased else [])], ["y"], "layer", **attributes)
    graph = helper.make_graph(
        [node],
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, x)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        inits,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)
    return onnx.shape_inference.infer_shapes(model)


def means(path: Path, codes: Any, feeds: list[dict[str, Any]]) -> np.ndarray:
    """The mean of each channel of the output, over frames and positions."""
    session = session_of(str(path), exact=True)
    found = [session.run(None, feed)[0].astype(np.float64) for feed in feeds]
    if codes:
        found = [(values - codes["y"]["zero_point"]) * codes["y"]["scale"] for values in found]
    return np.mean([np.moveaxis(values, 1, 0).reshape(values.shape[1], -1) for values in found], (0, 2))


@settings(max_examples=20, deadline=None)
@given(
    kind=st.sampled_from(["Conv", "Conv", "ConvTranspose", "Gemm"]),
    biased=st.booleans(),
    group=st.sampled_from([1, 2, 4]),
    rank=st.sampled_from([1, 2]),
    opset=st.sampled_from([17, 18, 20]),
    activations=st.sampled_from([8, 16]),
    turned=st.integers(0, 1),
    pad=st.integers(0, 2),
    stride=st.integers(1, 2),
)
def test_a_corrected_layers_channels_have_the_means_of_the_float_layer(
    tmp_path_factory: pytest.TempPathFactory, kind: str, biased: bool, group: int, rank: int, opset: int,
    activations: int, turned: int, pad: int, stride: int,
) -> None:  # fmt: skip
    """Of every kind, rank and width, with and without a bias, per channel and not, however padded."""
    folder = tmp_path_factory.mktemp("layer")
    attributes: dict[str, Any] = {"transB": turned}
    if kind != "Gemm":
        attributes = {"group": group, "strides": [stride] * rank, "kernel_shape": [3] * rank}
        attributes |= {"pads": [pad] * rank * 2}
    model = layer(kind, 8, biased=biased, opset=opset, **attributes)
    onnx.save(model, folder / "float.onnx")
    shape = [item.dim_value for item in model.graph.input[0].type.tensor_type.shape.dim]
    feeds = [{"x": RNG.uniform(0, 1, shape).astype(np.float32)} for _ in range(3)]
    expected = means(folder / "float.onnx", None, feeds)
    session = session_of(str(folder / "float.onnx"))
    reach = np.stack([session.run(None, feed)[0] for feed in feeds])
    ranges = {"x": (0.0, 1.0), "y": (float(reach.min()) - 1, float(reach.max()) + 1)}
    made = quantize_file(
        str(folder / "float.onnx"), str(folder / "n.onnx"), {"min-max": ranges}, 8, activations, True,
        None, None, [], [], "uint16" if activations == 16 else "auto", {},
    )  # fmt: skip
    before = np.abs(means(folder / "n.onnx", made["outputs"], feeds) - expected)
    network = ir.load(folder / "n.onnx")
    shifts = mean_shifts(str(folder / "float.onnx"), network, feeds)
    correct(network, shifts)
    ir.save(network, folder / "corrected.onnx")
    after = np.abs(means(folder / "corrected.onnx", made["outputs"], feeds) - expected)
    read = {value.name for node in network.graph for value in node.inputs if value is not None}
    read |= {value.name for value in network.graph.outputs}
    assert all(node.outputs[0].name in read for node in network.graph)
    step = made["outputs"]["y"]["scale"]
    assert after.max() <= 0.02 * np.abs(shifts.get("layer", [0.0])).max() + 0.6 * step
    assert after.mean() <= before.mean() + 0.6 * step


@pytest.fixture
def biased_down(tmp_path: Path) -> Path:
    """A convolution and a ReLU on numbers, most of whose weights round to a third less."""
    weights = np.full([4, 8, 1, 1], 0.0047, np.float32)
    weights[:, 0] = 1.0
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["v", "w"], ["c"], name="conv"),
            helper.make_node("Relu", ["c"], ["y"], name="relu"),
        ],
        "net",
        [helper.make_tensor_value_info("v", TensorProto.FLOAT, [1, 8, 4, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 4, 4, 4])],
        [numpy_helper.from_array(weights, "w")],
    )
    folder = write_folder(tmp_path / "net", make_model(graph), image=False)
    (folder / "calibration").mkdir()
    for index in range(3):
        frame = RNG.uniform(0.5, 1, [1, 8, 4, 4]).astype(np.float32)
        np.save(folder / "calibration" / f"{index}.npy", frame)
    return folder


def test_a_correction_is_recorded_and_made_again_without_the_data(
    biased_down: Path, tmp_path: Path
) -> None:
    options = {"rvc4.quantization_mode": "INT8_INT16_MIXED"}
    network, _ = quantized(biased_down, tmp_path / "first", **options)
    assert network.report is not None
    record = network.report["bias_correction"]
    assert record["kept"]
    assert record["frames"] == 3
    assert record["error"]["with"] < 0.1 * record["error"]["without"]
    assert [len(values) for values in record["shifts"].values()] == [4]
    again, parameters = quantized(
        biased_down, tmp_path / "again", record={"compiled": {"calibration": network.report}}, **options
    )
    assert parameters.calibration is None
    assert _graph(again.path) == _graph(network.path)


def _graph(path: Path) -> bytes:
    model = onnx.load(path)
    return bytes(model.graph.SerializeToString(deterministic=True))


def test_a_correction_can_be_switched_off(biased_down: Path, tmp_path: Path) -> None:
    network, _ = quantized(biased_down, tmp_path / "work", **{"rvc4.bias_correction": False})
    assert network.report is not None
    assert network.report["bias_correction"] is None


def test_generated_frames_correct_no_bias(biased_down: Path, tmp_path: Path) -> None:
    for path in (biased_down / "calibration").iterdir():
        path.unlink()
    (biased_down / "calibration").rmdir()
    options = {"calibration.random": True, "calibration.max_images": 2}
    network, _ = quantized(biased_down, tmp_path / "work", **options)
    assert network.report is not None
    assert network.report["bias_correction"] is None


def test_weights_with_given_encodings_keep_their_bias(biased_down: Path, tmp_path: Path) -> None:
    """Their rounding was trained, or chosen by somebody."""
    encodings = {"activations": {}, "weights": {"w": {}}, "unused": {"b": "a bias"}}
    assert encoded(encodings) == {"w", "b"}
    onnx.save(layer("Conv", 8, biased=True), tmp_path / "float.onnx")
    frame = {"x": RNG.uniform(0, 1, [1, 4, 7, 7]).astype(np.float32)}
    quantize_file(
        str(tmp_path / "float.onnx"), str(tmp_path / "n.onnx"), {"min-max": {"x": (0, 1), "y": (-9, 9)}},
        8, 8, True, None, None, [], [], "auto", {},
    )  # fmt: skip
    network = ir.load(tmp_path / "n.onnx")
    assert mean_shifts(str(tmp_path / "float.onnx"), network, [frame])
    for name in ("w", "b"):
        assert not mean_shifts(str(tmp_path / "float.onnx"), network, [frame], {name})
