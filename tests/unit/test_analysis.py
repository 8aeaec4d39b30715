"""What each layer of a converted network loses, and what is told of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from converter.analysis.layer import Analysis, Channel, Histogram, Layer, Remedy
from converter.analysis.measure import Sums
from converter.analysis.page import page
from converter.analysis.table import lines
from converter.verification.reference import Tensors
from targets.rvc2.blob.layer_errors import Found, _notes
from targets.rvc4.quantization.layer_errors import measure_files
from targets.rvc4.quantization.quantize import quantize_file
from tests.sources import make_model
from tests.unit.test_report_page import check_page

RNG = np.random.default_rng(11)
X = [1, 4, 6, 6]


def one_loud_channel(folder: Path) -> tuple[Path, dict[str, tuple[float, float]], np.ndarray]:
    """Two convolutions; channel 2 between them reaches far, and the second hardly reads it."""
    first = RNG.normal(0, 0.3, [8, 4, 1, 1]).astype(np.float32)
    first[2] *= 60
    second = RNG.normal(0, 0.5, [3, 8, 1, 1]).astype(np.float32)
    second[:, 2] *= 0.001
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["x", "w1"], ["c"], name="first"),
            helper.make_node("Relu", ["c"], ["r"], name="relu"),
            helper.make_node("Conv", ["r", "w2"], ["y"], name="second"),
        ],
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, X)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 3, 6, 6])],
        [numpy_helper.from_array(first, "w1"), numpy_helper.from_array(second, "w2")],
    )
    path = folder / "float.onnx"
    onnx.save(make_model(graph, opset=17), path)
    x = RNG.uniform(0, 1, X).astype(np.float32)
    hidden = np.maximum(np.einsum("oi,bihw->bohw", first[:, :, 0, 0], x), 0)
    y = np.einsum("oi,bihw->bohw", second[:, :, 0, 0], hidden)
    ranges = {
        "x": (0.0, 1.0),
        "c": (-30.0, float(hidden.max())),
        "r": (0.0, float(hidden.max())),
        "y": (float(y.min()), float(y.max())),
    }
    return path, ranges, x


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("layers")
    path, ranges, x = one_loud_channel(folder)
    network = folder / "network.onnx"
    quantize_file(
        str(path), str(network), {"min-max": ranges}, 8, 8, True, None, None, [], [], "auto", {}
    )
    tensors = Tensors(["x"])
    # The second frame is beyond the range.
    jobs = [str(tensors.write(folder / f"{i}.npz", {"x": x * (i + 1)})) for i in range(2)]
    found = measure_files(str(path), str(network), jobs, ["x"], tensors.keys)
    return json.loads(json.dumps(found))  # type: ignore[no-any-return]


def test_each_layer_is_measured_under_the_name_of_the_node_with_weights(
    measured: dict[str, Any],
) -> None:
    layers = {item["tensor"]: Layer.from_json(item) for item in measured["layers"]}
    assert [(layer.node, layer.operator) for layer in layers.values()] == [
        ("first", "Conv"),
        ("second", "Conv"),
    ]
    hidden = layers["r"]
    assert hidden.channels[0].index == 2
    assert hidden.channels[0].largest > 6 * hidden.usual
    assert hidden.clipped > 0
    assert hidden.histogram is not None
    assert sum(hidden.histogram.source) == sum(hidden.histogram.result) == 2 * 8 * 36
    assert hidden.weights is not None
    assert 0 < hidden.weights < 0.02
    assert hidden.sqnr_db == pytest.approx(-20 * np.log10(hidden.alone), abs=0.01)


def test_a_layers_remedies_are_those_that_the_outputs_gain_from(measured: dict[str, Any]) -> None:
    layers = {item["tensor"]: Layer.from_json(item) for item in measured["layers"]}
    said = {item.said.split(" ")[0].rstrip(":"): item.brings for item in layers["r"].remedies}
    assert said["rvc4.wide=r"] is not None
    assert 0 < said["rvc4.wide=r"] <= measured["simulated"]
    assert said["calibration"] is None


def test_no_mode_of_16_bits_is_told_to_widen(tmp_path: Path) -> None:
    path, ranges, x = one_loud_channel(tmp_path)
    network = tmp_path / "network.onnx"
    quantize_file(
        str(path), str(network), {"min-max": ranges}, 8, 8, True, None, None, [], [], "auto", {}
    )
    tensors = Tensors(["x"])
    jobs = [str(tensors.write(tmp_path / "0.npz", {"x": x}))]
    found = measure_files(str(path), str(network), jobs, ["x"], tensors.keys, widens=False)
    assert "rvc4.wide" not in json.dumps(found)


def layer(**changes: Any) -> Layer:
    known: dict[str, Any] = {
        "tensor": "<t>",
        "node": "/a<b>",
        "operator": "Conv",
        "accumulated": 0.2,
        "alone": 0.1,
        "bits": 8,
        "limits": (0.0, 10.0),
        "seen": (1.0, 6.0),
        "channels": (Channel(index=3, largest=9.0),),
        "usual": 1.0,
        "histogram": Histogram(low=0.0, high=10.0, source=(1, 2), result=(2, 1)),
        "remedies": (Remedy(said="rvc4.wide=t", brings=0.05), Remedy(said="other")),
    }
    return Layer(**{**known, **changes})


def test_a_layer_is_the_same_behind_json_and_tells_what_of_its_range_is_used() -> None:
    one = layer(accumulated=float("inf"), outputs=None)
    assert Layer.from_json(json.loads(json.dumps(one.to_json(), allow_nan=False))) == one
    assert one.used == pytest.approx(0.5)
    assert one.sqnr_db == pytest.approx(20)
    assert layer(limits=None).used is None


def test_the_worst_are_those_that_the_outputs_lose_most_with() -> None:
    rows = [layer(tensor=str(index), outputs=value) for index, value in enumerate([0.1, 0.3, 0.0])]
    analysis = Analysis(layers=rows, on="a test", frames=1)
    assert [item.tensor for item in analysis.worst()] == ["1", "0"]


def test_table_and_page_show_what_helps_and_escape_names() -> None:
    analysis = Analysis(
        layers=[layer(), layer(tensor="u", alone=0.0)],
        on="a test",
        frames=2,
        simulated=0.3,
        said=["Mode."],
    )
    stage = analysis.to_json()
    text = "\n".join(lines(stage))
    assert "'/a<b>' (Conv)" in text
    assert "rvc4.wide=t: the outputs' error falls by 0.05." in text
    assert "other (not tried)." in text
    assert "3 (to 9)" in text
    assert "50 %" in text
    document = {
        "archive": "<x>.tar",
        "verification": {"status": "passed", "message": ""},
        "stages": {"model.onnx": stage},
    }
    seen = check_page(page(document))
    assert seen.found.count("details") == 2
    assert seen.found.count("svg") == 2
    assert "'/a<b>' (Conv)" in seen.text


def test_an_error_that_is_not_finite_is_told() -> None:
    sums = Sums(0.0, 1.0)
    values = np.ones(4, np.float32)
    sums.see(values)
    sums.differ("result", values, np.full(4, np.inf))
    assert sums.error("result") == np.inf
    (found,) = Analysis(layers=[layer(accumulated=np.inf, alone=None)], on="", frames=1).to_json()[
        "layers"
    ]
    assert found["accumulated"] == "inf"


def test_what_float16_does_to_values_and_weights_is_noted() -> None:
    values = np.array([1e5, 1.0, 1e-6, 0.0], np.float32)
    weights = np.array([1e-6, 1e-7, 1.0], np.float32)
    said = [note.partition(":")[0] for note in _notes(values, [weights])]
    assert said == ["overflow", "underflow", "small weights"]
    assert not list(_notes(np.ones(3, np.float32), [np.ones(3, np.float32)]))


def test_a_tensor_is_found_in_memory_by_its_values() -> None:
    class Memory:
        def view(self, buffer: Any) -> Any:
            return buffer.values

    class Buffer:
        order = "NCHW"

        def __init__(self, values: Any) -> None:
            self.values = values

    class Running:
        memory = Memory()

        def __init__(self, *buffers: Buffer) -> None:
            self.reads, self.writes = (), buffers

    one, other = np.arange(1, 9, dtype=np.float32), -np.arange(1, 9, dtype=np.float32)
    found = Found({"one": one, "other": other, "large": np.ones(9, np.float32)})
    found.see(Running(Buffer(one * 1.01), Buffer(one * 1.001)))  # type: ignore[arg-type]
    assert found.errors == {"one": pytest.approx(0.001, rel=0.01)}
