"""The figures and the verdict of a comparison, and the model of float16."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import converter
from converter.calibration.synthetic import camera_frames
from converter.errors import VerificationError
from converter.events import Event, Warned
from converter.options.resolve import Layer, resolve
from converter.processes.run import Processes
from converter.verification import compare as verify
from converter.verification import verdict
from converter.verification.limits import Limits
from converter.verification.reference import run
from targets.rvc2.myriad.toolchain import Toolchain
from targets.rvc2.verify import limits as rvc2_limits
from targets.rvc3.steps import limits as rvc3_limits
from targets.rvc4.quantization.modes import MODES
from targets.rvc4.verify import limits as rvc4_limits
from tests.sources import conv_model, make_model, write_folder

LIMITS = Limits(min_cosine=0.999, max_rel_rmse=0.01)


def record(reference: np.ndarray, actual: np.ndarray) -> dict[str, object]:
    figures = verify.compare([{"y": reference}], [{"y": actual}])
    return verdict.judge(figures, LIMITS, checked_on="a test", frames="1", source_format="ONNX")


def test_equal_outputs_pass_and_different_ones_fail_with_their_figures() -> None:
    values = np.random.default_rng(0).normal(size=(1, 50))
    passed = record(values, values)
    assert passed["status"] == "passed"
    verdict.require(passed)
    failed = record(values, values[:, ::-1])
    assert failed["status"] == "failed"
    with pytest.raises(VerificationError, match=r"'y': relative RMSE 1\.354 is above 0\.01; cosine"):
        verdict.require(failed)


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


def figures_of(reference: list[list[float]], actual: list[list[float]]) -> dict[str, float]:
    """The figures of one output, one inner list a frame."""
    return verify.compare(
        [{"y": np.array([frame])} for frame in reference],
        [{"y": np.array([frame])} for frame in actual],
    )["y"]


@pytest.mark.parametrize(
    ("reference", "actual", "cosine", "rel_rmse", "max_abs"),
    [
        # (3 · 4 + 4 · 3) / (5 · 5); √(1 + 1) / √(9 + 16)
        ([[3, 4]], [[4, 3]], 24 / 25, (2 / 25) ** 0.5, 1),
        # Twice as large: the error is measured in the reference's size, not in the result's.
        ([[3, 4]], [[6, 8]], 1, 1, 4),
        # The opposite sign, and a constant that is added: the mean is not taken out first.
        ([[3, 4]], [[-3, -4]], -1, 2, 8),
        ([[1, 0]], [[2, 1]], 2 / 5**0.5, 2**0.5, 1),
        # Two frames count together: (1 + 2) / (√2 · √5); √1 / √2.
        ([[1, 0], [0, 1]], [[1, 0], [0, 2]], 3 / 10**0.5, 0.5**0.5, 1),
    ],
)
def test_the_figures_are_these_numbers(
    reference: list[list[float]],
    actual: list[list[float]],
    cosine: float,
    rel_rmse: float,
    max_abs: float,
) -> None:
    """Worked out by hand from the definitions in the docstring of `compare`."""
    found = figures_of(reference, actual)
    assert found["cosine"] == pytest.approx(cosine, abs=1e-5)
    assert found["rel_rmse"] == pytest.approx(rel_rmse, abs=1e-5)
    assert found["max_abs"] == max_abs


RVC3 = SimpleNamespace(precision="int8")
TARGETS = {
    "rvc2": rvc2_limits,
    "rvc3": lambda options: rvc3_limits(cast("Any", RVC3), options),
    "rvc4": lambda options: rvc4_limits(MODES["INT8_STANDARD"], options),
}


def limits_with(target: str, **values: float) -> Limits:
    found = TARGETS[target](resolve([Layer(origin="test", values=values)]))
    assert isinstance(found, Limits)
    return found


def status_of(limits: Limits, cosine: float, rel_rmse: float) -> str:
    figures = {"y": {"cosine": cosine, "rel_rmse": rel_rmse}}
    judged = verdict.judge(figures, limits, checked_on="a test", frames="1", source_format="ONNX")
    if judged["status"] == "failed":
        with pytest.raises(VerificationError, match="'y'"):
            verdict.require(judged)
    else:
        verdict.require(judged)
    return str(judged["status"])


@pytest.mark.parametrize("target", list(TARGETS))
def test_loosened_limits_let_through_what_the_defaults_refuse_and_tightened_ones_the_reverse(
    target: str,
) -> None:
    assert status_of(limits_with(target), cosine=1.0, rel_rmse=0.9) == "failed"
    loose = limits_with(target, **{"verify.max_rel_rmse": 0.91})
    assert status_of(loose, cosine=1.0, rel_rmse=0.9) == "passed"
    assert status_of(loose, cosine=1.0, rel_rmse=0.92) == "failed"
    assert status_of(limits_with(target), cosine=0.9, rel_rmse=0.0) == "failed"
    loose = limits_with(target, **{"verify.min_cosine": 0.89})
    assert status_of(loose, cosine=0.9, rel_rmse=0.0) == "passed"
    assert status_of(loose, cosine=0.88, rel_rmse=0.0) == "failed"
    assert status_of(limits_with(target), cosine=0.99999, rel_rmse=1e-4) == "passed"
    tight = limits_with(target, **{"verify.max_rel_rmse": 1e-5})
    assert status_of(tight, cosine=0.99999, rel_rmse=1e-4) == "failed"
    tight = limits_with(target, **{"verify.min_cosine": 0.999999})
    assert status_of(tight, cosine=0.99999, rel_rmse=1e-4) == "failed"


def test_loosening_one_limit_leaves_the_other_in_force() -> None:
    loose = limits_with("rvc4", **{"verify.max_rel_rmse": 9})
    assert status_of(loose, cosine=0.5, rel_rmse=0.0) == "failed"
    loose = limits_with("rvc4", **{"verify.min_cosine": -1})
    assert status_of(loose, cosine=1.0, rel_rmse=0.9) == "failed"


def test_one_output_that_is_off_fails_the_whole() -> None:
    good, bad = {"cosine": 1.0, "rel_rmse": 0.0}, {"cosine": 0.1, "rel_rmse": 0.9}
    judged = verdict.judge(
        {"a": good, "b": bad, "c": good}, LIMITS, checked_on="", frames="", source_format="ONNX"
    )
    assert judged["status"] == "failed"
    with pytest.raises(VerificationError) as caught:
        verdict.require(judged)
    assert "'b'" in str(caught.value)
    assert "'a'" not in str(caught.value)


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


def test_an_output_that_float16_cannot_hold_fails_and_the_warning_says_why(
    tmp_path: Path, toolchain: Toolchain
) -> None:
    folder = write_folder(tmp_path / "a", loud_model(60000.0), image=False)
    events: list[Event] = []
    with pytest.raises(VerificationError) as caught:
        converter.convert(folder, "rvc2", output=tmp_path / "o.tar", on_event=events.append)
    record = json.loads(caught.value.tool_text)
    assert record["failed"] == ["y"]
    assert record["float16"]["outputs"]["y"]["not_finite"]
    assert [event for event in events if isinstance(event, Warned) and "65504" in event.text]
    assert not (tmp_path / "o.tar").exists()
