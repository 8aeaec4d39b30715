"""Ranges measured frame by frame are those that ONNX Runtime's calibrators find with all of it in memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationMethod, create_calibrator

from targets.rvc4.quantization.observers import Observer, measure
from tests.sources import conv_model, make_model, write_folder
from tests.unit.test_rvc4_quantization import quantized


def feeds(count: int = 6) -> list[dict[str, NDArray[Any]]]:
    rng = np.random.default_rng(3)
    return [{"images": rng.standard_normal((1, 3, 12, 16)).astype(np.float32)} for _ in range(count)]


class Reader:
    def __init__(self) -> None:
        self.rest = feeds()

    def get_next(self) -> dict[str, NDArray[Any]] | None:
        return self.rest.pop(0) if self.rest else None

    def set_range(self, start_index: int, end_index: int) -> None: ...


@pytest.mark.parametrize("percentile", [None, 99.999, 99.0, 90.0])
def test_ranges_are_those_of_onnx_runtimes_calibrators(
    tmp_path: Path, percentile: float | None, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "m.onnx"
    onnx.save(conv_model(), path)
    method = CalibrationMethod.MinMax if percentile is None else CalibrationMethod.Percentile
    extra = {} if percentile is None else {"percentile": percentile, "symmetric": False}
    theirs = create_calibrator(
        path, None, str(tmp_path / "a.onnx"), calibrate_method=method, extra_options=extra
    )
    theirs.collect_data(Reader())
    expected = {
        name: tuple(float(np.ravel(x)[0]) for x in data.range_value)
        for name, data in theirs.compute_data().items()
    }
    seen = measure(str(path), iter(feeds()), 6, percentile=percentile)
    compared = 0
    for name, (low, high) in expected.items():
        found = seen[name].min_max() if percentile is None else seen[name].percentile(percentile)
        assert found == pytest.approx((low, high), rel=1e-5, abs=1e-6), name
        compared += 1
    assert compared >= 6


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    tails=st.floats(0.3, 4),
    shift=st.floats(-2, 2),
    relu=st.booleans(),
    frames=st.integers(1, 5),
)
def test_the_least_error_is_no_larger_than_that_of_the_whole_range(
    seed: int, tails: float, shift: float, relu: bool, frames: int
) -> None:
    """Measured by quantizing the values themselves, not by the histogram's own estimate."""
    rng = np.random.default_rng(seed)
    values = (np.sign(z := rng.standard_normal((frames, 500))) * np.abs(z) ** tails + shift).astype(
        np.float32
    )
    values = np.maximum(values, 0) if relu else values
    observer = Observer(histogram=True)
    for row in values:
        observer.see(row)

    def error(low: float, high: float) -> float:
        low, high = min(low, 0.0), max(high, 0.0)
        scale = max(high - low, 1e-9) / 255
        zero = round(-low / scale)
        codes = np.clip(np.round(values / scale) + zero, 0, 255)
        return float(np.mean((values - (codes - zero) * scale) ** 2))

    whole, chosen = error(*observer.min_max()), error(*observer.least_error(8))
    assert chosen <= whole * 1.15 + 1e-12


def test_an_outlier_is_clipped_where_that_costs_less() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(0, 1, 1_000_000).astype(np.float32)
    values[7] = 20.0
    observer = Observer(histogram=True)
    observer.see(values)
    low, high = observer.least_error(8)
    assert observer.min_max()[1] == 20.0
    assert 3 < high < 10
    assert -6 < low < -3


def test_a_histogram_that_grows_counts_every_value() -> None:
    observer = Observer(histogram=True)
    total = 0
    for exponent in range(-6, 12):
        values = np.linspace(-(2.0**exponent), 2.0**exponent, 301).astype(np.float32)
        observer.see(values)
        total += values.size
    assert observer._counts is not None
    assert observer._counts.sum() == total


def test_values_that_are_not_finite_say_nothing_of_a_range() -> None:
    observer = Observer(tail=3, histogram=True)
    observer.see(np.array([1.0, np.nan, -2.0, np.inf], np.float32))
    assert observer.min_max() == (-2.0, 1.0)
    nothing = Observer(tail=3)
    nothing.see(np.array([np.nan], np.float32))
    assert (nothing.min_max(), nothing.percentile(99)) == ((0.0, 0.0), (0.0, 0.0))


def test_large_tensors_are_watched_a_few_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "m.onnx"
    onnx.save(conv_model(), path)
    whole = measure(str(path), iter(feeds()), 6, histogram=True)
    monkeypatch.setattr("targets.rvc4.quantization.observers._CHUNK_BYTES", 100)
    parts = measure(str(path), iter(feeds()), 6, histogram=True)
    assert {n: o.min_max() for n, o in whole.items()} == {n: o.min_max() for n, o in parts.items()}


def test_integers_are_not_watched(tmp_path: Path) -> None:
    graph = helper.make_graph(
        [
            helper.make_node("ArgMax", ["x"], ["i"], name="arg"),
            helper.make_node("Cast", ["i"], ["y"], to=TensorProto.FLOAT, name="cast"),
        ],
        "ints",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
    )
    model = onnx.shape_inference.infer_shapes(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    )
    onnx.save(model, tmp_path / "m.onnx")
    seen = measure(str(tmp_path / "m.onnx"), [{"x": np.ones((1, 4), np.float32)}], 1)
    assert set(seen) == {"x", "y"}


def test_masks_of_minus_infinity_hide_no_range(tmp_path: Path) -> None:
    """In the cheap way to find minimum and maximum, one infinite value would be all that is seen."""
    mask = np.array([[0.0, -np.inf, 0.0, -np.inf]], np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("Add", ["x", "mask"], ["masked"], name="add"),
            helper.make_node("Softmax", ["masked"], ["y"], axis=-1, name="softmax"),
        ],
        "mask",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 4])],
        [onnx.numpy_helper.from_array(mask, "mask")],
    )
    model = onnx.shape_inference.infer_shapes(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    )
    onnx.save(model, tmp_path / "m.onnx")
    feed = {"x": np.array([[-3.0, 1.0, 5.0, 2.0]], np.float32)}
    seen = measure(str(tmp_path / "m.onnx"), [feed, feed], 2)
    assert seen["masked"].min_max() == (-3.0, 5.0)


def peaks_that_matter_and_others(folder: Path) -> Path:
    """One of `y` keeps its peak, of the other nothing beyond 3 is seen, so that no one way is right for both."""
    graph = helper.make_graph(
        [
            helper.make_node("Tanh", ["v"], ["t"], name="tanh"),
            helper.make_node("Mul", ["t", "loud"], ["cut"], name="loud"),
            helper.make_node("Mul", ["t", "quiet"], ["kept"], name="quiet"),
            helper.make_node("Tanh", ["cut"], ["flat"], name="flat"),
            helper.make_node("Neg", ["flat"], ["y"], name="neg"),
            helper.make_node("Neg", ["kept"], ["z"], name="neg2"),
        ],
        "net",
        [helper.make_tensor_value_info("v", TensorProto.FLOAT, [1, 4096])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 4096]) for name in "yz"],
        [
            numpy_helper.from_array(np.where(np.arange(4096) == 7, 500, 1).astype(np.float32), "loud"),
            numpy_helper.from_array(np.where(np.arange(4096) == 7, 50, 1).astype(np.float32), "quiet"),
        ],
    )
    source = write_folder(folder, make_model(graph), image=False)
    (source / "calibration").mkdir()
    for index in range(4):
        values = np.random.default_rng(index).normal(size=[1, 4096]).astype(np.float32)
        np.save(source / "calibration" / f"{index}.npy", values)
    return source


def test_tensors_get_unlike_ways_where_the_outputs_gain(tmp_path: Path) -> None:
    source = peaks_that_matter_and_others(tmp_path / "source")
    mode = {"rvc4.quantization_mode": "INT8_ACCURACY_FOCUSED", "rvc4.percentile": 99.9}
    network, _ = quantized(source, tmp_path / "first", **mode)
    assert network.report is not None
    record = network.report
    errors = record["errors"]
    assert record["method"] == "per-tensor"
    assert errors["per-tensor"] < 0.9 * min(errors[way] for way in ("min-max", "percentile", "mse"))
    assert record["ranges"]["cut"][1] < 5
    assert record["ranges"]["kept"][1] > 10
    assert "cut" in record["methods"] or "kept" in record["methods"]
    again, parameters = quantized(
        source, tmp_path / "again", record={"compiled": {"calibration": record}}, **mode
    )
    assert parameters.calibration is None
    assert onnx.load(again.path).graph == onnx.load(network.path).graph


def test_what_a_user_chooses_is_the_way_for_all_tensors(tmp_path: Path) -> None:
    source = peaks_that_matter_and_others(tmp_path / "source")
    options = {"rvc4.quantization_mode": "CUSTOM", "rvc4.act_quantizer": "mse"}
    network, _ = quantized(source, tmp_path / "work", **options)
    assert network.report is not None
    assert (network.report["method"], network.report["errors"]) == ("mse", {})
