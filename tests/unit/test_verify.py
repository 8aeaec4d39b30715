"""The figures and the verdict of a comparison, and the model of float16."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import converter
from converter.calibration.synthetic import camera_frames
from converter.errors import VerificationError
from converter.events import Event, Warned
from converter.processes.run import Processes
from converter.verification import compare as verify
from converter.verification.compare import Limits
from converter.verification.reference import run
from targets.rvc2.myriad.toolchain import Toolchain
from tests.sources import conv_model, make_model, write_folder

LIMITS = Limits(min_cosine=0.999, max_rel_rmse=0.01)


def record(reference: np.ndarray, actual: np.ndarray) -> dict[str, object]:
    figures = verify.compare([{"y": reference}], [{"y": actual}])
    return verify.judge(figures, LIMITS, checked_on="a test", frames="1", source_format="ONNX")


def test_equal_outputs_pass_and_different_ones_fail_with_their_figures() -> None:
    values = np.random.default_rng(0).normal(size=(1, 50))
    passed = record(values, values)
    assert passed["status"] == "passed"
    verify.require(passed)
    failed = record(values, values[:, ::-1])
    assert failed["status"] == "failed"
    with pytest.raises(VerificationError, match="'y' \\(cosine"):
        verify.require(failed)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_finite_fails(bad: float) -> None:
    values = np.ones((1, 5))
    broken = values.copy()
    broken[0, 2] = bad
    assert record(values, broken)["status"] == "failed"


def test_an_output_that_fell_silent_fails_and_two_silent_ones_agree() -> None:
    assert record(np.ones((1, 5)), np.zeros((1, 5)))["status"] == "failed"
    assert record(np.zeros((1, 5)), np.zeros((1, 5)))["status"] == "passed"


def test_a_scaled_output_fails_though_its_cosine_is_one() -> None:
    values = np.random.default_rng(0).normal(size=(1, 50))
    assert record(values, values * 1.5)["status"] == "failed"


def test_the_best_class_is_compared_where_there_are_scores() -> None:
    figures = verify.compare(
        [{"s": np.array([[0.0, 1.0]])}, {"s": np.array([[0.0, 1.0]])}],
        [{"s": np.array([[0.0, 1.0]])}, {"s": np.array([[1.0, 0.0]])}],
    )
    assert figures["s"]["top1"] == 0.5


def test_generated_frames_are_colourful_and_always_the_same(tmp_path: Path) -> None:
    model = converter.plan(write_folder(tmp_path / "a", conv_model()), "rvc2").model
    first, again = (camera_frames(model.inputs, 2) for _ in range(2))
    frame = first[0]["images"]
    assert frame.dtype == np.uint8
    np.testing.assert_array_equal(frame, again[0]["images"])
    levels = frame[0].reshape(3, -1).mean(1)
    assert min(abs(levels[i] - levels[j]) for i, j in ((0, 1), (0, 2), (1, 2))) > 1


def loud_model(gain: float) -> onnx.ModelProto:
    """y = (x * gain) / gain: exact in float32, whatever the gain."""
    nodes = [
        helper.make_node("Mul", ["x", "gain"], ["loud"], name="mul"),
        helper.make_node("Sigmoid", ["loud"], ["s"], name="sigmoid"),
        helper.make_node("Mul", ["s", "loud"], ["m"], name="again"),
        helper.make_node("Div", ["m", "gain"], ["y"], name="div"),
    ]
    shape = [1, 3, 8, 8]
    graph = helper.make_graph(
        nodes,
        "loud",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(np.array(gain, np.float32), "gain")],
    )
    return make_model(graph)


@pytest.mark.parametrize(("gain", "finite"), [(10.0, True), (60000.0, False)])
def test_the_float16_model_shows_overflow(tmp_path: Path, gain: float, finite: bool) -> None:
    onnx.save(loud_model(gain), tmp_path / "m.onnx")
    feeds = [{"x": np.random.default_rng(0).normal(0, 3, (1, 3, 8, 8)).astype(np.float32)}]
    (found,) = run(
        tmp_path / "m.onnx", feeds, ["y"], processes=Processes(), work=tmp_path, timeout_s=60, half=True
    )
    assert bool(np.isfinite(found["y"]).all()) is finite


def test_a_user_is_warned_of_an_output_that_float16_cannot_hold(
    tmp_path: Path, toolchain: Toolchain
) -> None:
    folder = write_folder(tmp_path / "a", loud_model(60000.0), image=False)
    events: list[Event] = []
    done = converter.convert(folder, "rvc2", output=tmp_path / "o.tar", on_event=events.append)
    assert done.verification["status"] == "passed"
    assert done.verification["float16"]["outputs"]["y"]["not_finite"]
    assert [event for event in events if isinstance(event, Warned) and "65504" in event.text]
    assert any("65504" in warning for warning in done.warnings)
