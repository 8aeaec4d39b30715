"""Number formats of single tensors: wide ends, chosen outputs, islands, 16-bit and AIMET's encodings.

Read back from the DLC and compared on the HTP emulator, on no camera.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import converter
from converter.run import Conversion
from tests.convert.test_rvc4_convert import RANDOM, config_of, dlc_of, record_of, wheel
from tests.quantized import Net
from tests.sources import DIGITS_ARCHIVE, RGB, conv_model, make_model, write_folder

__all__ = ["wheel"]
F = np.float32
CASES = Path(__file__).parents[1] / "data" / "cases" / "rvc4"


def convert_case(name: str, out: Path, mode: str, **options: Any) -> Conversion:
    """One of people's cases, as they convert it."""
    values = {
        "calibration.path": str(CASES / name / "calib"),
        "rvc4.quantization_mode": mode,
        **options,
    }
    return converter.convert(
        CASES / name / "source", "rvc4", output=out, options=values, toolchain="native"
    )


def node(op: str, inputs: str, output: str, **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(
        op, inputs.split(), output.split(), name=f"n_{output.split()[0]}", **attributes
    )


def net_of(
    nodes: list[onnx.NodeProto], outputs: dict[str, list[int]], constants: dict[str, Any]
) -> onnx.ModelProto:
    """Nodes behind frames of 16 by 16."""
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, 16, 16])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, s) for name, s in outputs.items()],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    return make_model(graph)


def weights(*shape: int, size: float = 1.0) -> np.ndarray:
    rng = np.random.default_rng(sum(shape))
    return (rng.normal(0, size, shape) / np.sqrt(np.prod(shape[1:]))).astype(F)


def levels() -> onnx.ModelProto:
    """Two levels of boxes, objectness and classes: joined twice, reshaped, transposed; plus the scores."""
    nodes = [
        node("Conv", "images w", "f0", pads=[1] * 4),
        node("Relu", "f0", "f"),
        node("MaxPool", "f", "g", kernel_shape=[2, 2], strides=[2, 2]),
    ]
    constants: dict[str, Any] = {"w": weights(8, 3, 3, 3, size=0.05)}
    for source, stride, size in (("f", 8, 16), ("g", 16, 8)):
        nodes += [
            node("Conv", f"{source} {source}wb", f"{source}b0"),
            node("Add", f"{source}b0 {source}grid", f"{source}b1"),
            node("Mul", f"{source}b1 {source}stride", f"{source}b"),
            node("Conv", f"{source} {source}ws", f"{source}s0"),
            node("Sigmoid", f"{source}s0", f"{source}s"),
            node("Concat", f"{source}b {source}s", f"{source}c", axis=1),
            node("Reshape", f"{source}c {source}shape", f"{source}r"),
        ]
        constants |= {
            f"{source}wb": weights(4, 8, 1, 1),
            f"{source}ws": weights(3, 8, 1, 1, size=3),
            f"{source}grid": (np.arange(4 * size * size).reshape(1, 4, size, size) % size).astype(F),
            f"{source}stride": np.array(stride, F),
            f"{source}shape": np.array([1, 7, size * size]),
        }
    nodes += [node("Concat", "fr gr", "all", axis=2), node("Transpose", "all", "out", perm=[0, 2, 1])]
    return net_of(nodes, {"out": [1, 320, 7], "fs": [1, 3, 16, 16]}, constants)


# -------------------------------------------------------------- wide ends


def test_scores_beside_boxes_are_kept_in_8_bit_modes(tmp_path: Path) -> None:
    done = convert_case("yolo-concat-boxes-scores", tmp_path / "o.tar", "INT8_ACCURACY_FOCUSED")
    (output,) = dlc_of(done.output).outputs
    assert output.dtype == config_of(done.output)["model"]["outputs"][0]["dtype"] == "uint16"
    assert done.verification["status"] == "passed"
    scores = next(p for p in done.verification["outputs"]["output0"]["parts"] if p["name"] == "scores")
    assert scores["found"][1] == pytest.approx(scores["range"][1], abs=0.05)
    assert any("'s1'" in text and "DepthAI 3.9" in text for text in done.warnings)
    wide = record_of(done.output)["compiled"]["calibration"]["wide"]
    assert wide["unlike_parts"]["output0"][0]["part"] == "s1"
    assert {"pixels", "ss", "cat", "flat"} == set(wide["nodes"])


def test_levels_of_boxes_and_scores_are_wide_from_their_producers_on_and_nothing_else(
    tmp_path: Path,
) -> None:
    folder = write_folder(tmp_path / "a", levels(), preprocessing=RGB)
    done = converter.convert(folder, "rvc4", output=tmp_path / "o.tar", options=RANDOM)
    dlc = dlc_of(done.output)
    assert [(item.name, item.dtype) for item in dlc.outputs] == [("out", "uint16"), ("fs", "uint8")]
    made = {t.name.partition("_QuantizeLinear")[0]: t.dtype for t in dlc.tensors if t.kind == 3}
    assert {made[name] for name in ("fb", "gb", "gs", "fc", "gc", "all")} == {"uint16"}
    assert {made[name] for name in ("f", "g", "fb1", "gb1")} == {"uint8"}
    for part in done.verification["outputs"]["out"]["parts"]:
        assert part["state"] == "fine"
        assert part["error"] < 0.1


@pytest.mark.parametrize(
    ("mode", "chosen", "compiled"),
    [
        ("INT8_STANDARD", "uint16", "uint16"),
        ("INT8_STANDARD", "float32", "float32"),
        ("INT8_INT16_MIXED", "uint8", "uint8"),
    ],
)
def test_an_output_leaves_in_the_type_that_is_chosen(
    tmp_path: Path, mode: str, chosen: str, compiled: str
) -> None:
    options = {**RANDOM, "rvc4.quantization_mode": mode, "rvc4.output_type": chosen}
    done = converter.convert(DIGITS_ARCHIVE, "rvc4", output=tmp_path / "o.tar", options=options)
    assert [item.dtype for item in dlc_of(done.output).outputs] == [compiled]
    assert done.model["outputs"][0]["dtype"] == compiled
    assert done.verification["status"] == "passed"


# ---------------------------------------------------------------- islands


@pytest.mark.parametrize(
    ("nodes", "shape", "constants", "told"),
    [
        (
            [node("TopK", "t k", "v i", axis=1), node("Transpose", "v", "y", perm=[0, 2, 1])],
            [1, 4, 5],
            {"k": np.array([5])},
            "TopK",
        ),
        (
            [node("Greater", "c ten", "b"), node("Cast", "b", "y", to=TensorProto.FLOAT)],
            [1, 4, 16, 16],
            {"ten": np.array(10, F)},
            "Cast",
        ),
    ],
    ids=["TopK behind moves", "Cast of booleans"],
)
def test_what_qnn_keeps_in_floating_point_is_told_by_its_onnx_name(
    tmp_path: Path, nodes: list[onnx.NodeProto], shape: list[int], constants: Any, told: str
) -> None:
    around = [
        node("Conv", "images w", "c"),
        node("Transpose", "c", "c1", perm=[0, 2, 3, 1]),
        node("Reshape", "c1 flat", "t"),
    ]
    made = {**constants, "w": weights(4, 3, 1, 1), "flat": np.array([1, 256, 4])}
    folder = write_folder(
        tmp_path / "a", net_of([*around, *nodes], {"y": shape}, made), preprocessing=RGB
    )
    options = {**RANDOM, "verify.enabled": False}
    done = converter.convert(folder, "rvc4", output=tmp_path / "o.tar", options=options)
    (line,) = [text for text in done.warnings if "floating point whatever the mode" in text]
    assert f"'n_{nodes[-1 if told == 'Cast' else 0].output[0]}' ({told})" in line
    assert "Reshape" not in line


# ------------------------------------------------------ quantized sources


@pytest.mark.parametrize("data", [True, False], ids=["calibrated", "without data"])
def test_a_quantized_source_keeps_its_weights_and_ranges(tmp_path: Path, data: bool) -> None:
    name = "source-qdq-perchannel"
    if data:
        done = convert_case(name, tmp_path / "o.tar", "INT8_STANDARD")
    else:
        folder = CASES / name / "source"
        done = converter.convert(folder, "rvc4", output=tmp_path / "o.tar", toolchain="native")
        assert any("its own ranges are taken" in text for text in done.warnings)
    given = {
        tensor.name: numpy_helper.to_array(tensor)
        for tensor in onnx.load(CASES / name / "source" / "model.onnx").graph.initializer
    }
    tensors = {tensor.name: tensor for tensor in dlc_of(done.output).tensors}
    scales = [item.scale for item in tensors["w2_quantized"].encodings]
    np.testing.assert_allclose(scales, given["w2_scale"], rtol=1e-6)
    assert tensors["r_QuantizeLinear"].encodings[0].scale == pytest.approx(given["r_scale"].item())
    assert tensors["y"].encodings[0].scale == pytest.approx(given["y_scale"].item())
    assert done.verification["outputs"]["y"]["rel_rmse"] < 1e-4
    assert "w2" in record_of(done.output)["compiled"]["calibration"]["from_source"]


def test_a_quantized_source_becomes_float16(tmp_path: Path) -> None:
    done = convert_case("source-qdq-perchannel", tmp_path / "o.tar", "FP16_STANDARD")
    assert {item.dtype for item in dlc_of(done.output).outputs} == {"float16"}
    assert done.verification["status"] == "passed"


def test_a_relu_stays_where_the_source_has_signed_codes_behind_it(tmp_path: Path) -> None:
    """Symmetric int8 codes of a Relu do not end at 0: without the Relu they keep negative numbers."""
    net, rng = Net(), np.random.default_rng(0)
    x = net.pair("x", 0.03, np.array(0, np.int8))
    w = net.op("DequantizeLinear", rng.integers(-90, 90, (4, 3, 3, 3), np.int8), F(0.004), np.int8(0))
    relu = net.op("Relu", net.op("Conv", x, w, pads=[1, 1, 1, 1]))
    net.pair(relu, 0.05, np.array(0, np.int8), out="y")
    folder = write_folder(tmp_path / "a", net.model([1, 3, 8, 8], [1, 4, 8, 8]), image=False)
    done = converter.convert(folder, "rvc4", output=tmp_path / "o.tar", options=RANDOM)
    assert done.verification["outputs"]["y"]["rel_rmse"] < 0.02


# -------------------------------------------------------------- encodings


def test_encodings_of_biases_are_skipped_with_a_note(tmp_path: Path) -> None:
    done = convert_case(
        "aimet-with-bias", tmp_path / "o.tar", "INT8_STANDARD", **{"verify.enabled": False}
    )
    (line,) = [text for text in done.warnings if "encodings" in text]
    assert "'b' (32 bits are a bias's" in line
    tensors = {tensor.name: tensor for tensor in dlc_of(done.output).tensors}
    assert tensors["y"].encodings[0].scale == pytest.approx(0.01)
    assert len(tensors["w_quantized"].encodings) == 8


def test_an_activation_of_16_bits_in_an_8_bit_mode_is_wide_where_it_is_read(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "a", conv_model(), preprocessing=RGB)
    rows = {
        "r1": [{"bitwidth": 16, "scale": 1e-4, "offset": 0}],
        "w2": [{"bitwidth": 4, "scale": 0.1, "offset": -8}],
    }
    given = {"activation_encodings": {"r1": rows["r1"]}, "param_encodings": {"w2": rows["w2"]}}
    (folder / "encodings.json").write_text(json.dumps(given))
    options = {**RANDOM, "verify.min_cosine": -1, "verify.max_rel_rmse": 100}
    done = converter.convert(folder, "rvc4", output=tmp_path / "o.tar", options=options)
    tensors = {tensor.name: tensor for tensor in dlc_of(done.output).tensors}
    wide = [tensor for name, tensor in tensors.items() if name.startswith("r1_")]
    assert [tensor.dtype for tensor in wide] == ["uint16"]
    assert wide[0].encodings[0].scale == pytest.approx(1e-4)
    (row,) = tensors["w2_quantized"].encodings
    assert (tensors["w2_quantized"].dtype, row.scale) == ("int8", pytest.approx(0.1 / 16))
    assert {tensor.dtype for tensor in dlc_of(done.output).outputs} <= {"uint8", "uint16"}
