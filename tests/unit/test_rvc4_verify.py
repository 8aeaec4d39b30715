"""The emulator's figures beside those of the same network on ONNX Runtime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from targets.rvc4.quantization.modes import MODES
from targets.rvc4.quantization.network import Network
from targets.rvc4.verify import hold_against, resolutions


def record(error: float, **more: Any) -> dict[str, Any]:
    return {"status": "passed", "outputs": {"y": {"cosine": 1.0, "rel_rmse": error, **more}}}


@pytest.mark.parametrize(
    ("emulated", "quantized", "told", "failed"),
    [
        (0.014, 0.005, False, False),
        (0.0084, 0.0001, True, False),  # Mish in float16
        (0.0651, 0.0124, True, False),  # a Softmax of a thousand classes
        (0.114, 0.015, True, True),  # a grouped ConvTranspose that QNN got wrong
        (0.31, 0.3, False, False),
    ],
)
def test_what_is_much_further_off_on_the_emulator_fails(
    emulated: float, quantized: float, told: bool, failed: bool
) -> None:
    whole = record(emulated)
    said = hold_against(whole, record(quantized), "quantized")
    assert (whole["status"] == "failed") == failed
    assert bool(said) == (told and not failed)
    if failed:
        assert "QNN computes something else" in whole["reasons"]["y"][0]


def test_what_an_output_cannot_tell_is_not_held_against_it() -> None:
    one_step = record(0.5, beyond_floor={"cosine": 1.0, "rel_rmse": 0.0})
    assert hold_against(one_step, record(0.001), "quantized") == ()
    assert one_step["status"] == "passed"
    small_scores = record(0.109, beyond_bounds=0.0)
    (said,) = hold_against(small_scores, record(0.004), "quantized")
    assert "less exactly" in said
    assert small_scores["status"] == "passed"


def test_wrong_indices_are_held_against_each_other() -> None:
    whole = {"status": "passed", "outputs": {"i": {"agreement": 0.5, "wrong": 0.4}}}
    other = {"status": "passed", "outputs": {"i": {"agreement": 1.0, "wrong": 0.0}}}
    hold_against(whole, other, "quantized")
    assert whole["status"] == "failed"


def test_an_output_has_the_steps_of_the_type_that_it_leaves_in() -> None:
    network = Network(
        path=Path("n.onnx"),
        codes={"wide": {"scale": 0.01, "zero_point": 0}, "usual": {"scale": 2.0, "zero_point": 0}},
        types={"wide": "uint16"},
    )
    found = resolutions(MODES["INT8_STANDARD"], network, ["wide", "usual", "float"])
    assert (found["wide"].levels, found["wide"].step) == (65535, 0.01)
    assert (found["usual"].levels, found["usual"].step) == (255, 2.0)
    assert found["float"].step == 0
    half = resolutions(MODES["FP16_STANDARD"], network, ["wide"])["wide"]
    assert (half.levels, half.step) == (None, 2.0**-14)
