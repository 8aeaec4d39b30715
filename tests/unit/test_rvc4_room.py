"""Ranges of 16-bit tensors reach further than what was seen, where anything can be further."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from targets.rvc4.quantization.room import of_16_bits, with_room
from tests.unit.test_rvc4_widths import SHAPE, F, model_of, node


def net() -> onnx.GraphProto:
    nodes = [
        node("Conv", "x w", "a"),
        node("Relu", "a", "r"),
        node("Sigmoid", "r", "s"),
        node("Transpose", "s", "t", perm=[0, 1, 3, 2]),
        node("Clip", "a low high", "c"),
        node("Clip", "a", "free"),
        node("Concat", "t c", "both", axis=1),
        node("Neg", "r", "n"),
        node("Transpose", "n", "m", perm=[0, 1, 3, 2]),
        node("MatMul", "a m", "y"),
    ]
    constants = {"w": np.ones((4, 4, 1, 1), F), "low": np.array(-1, F), "high": np.array(6, F)}
    return model_of(nodes, dict.fromkeys(("both", "free", "y"), SHAPE), constants).graph


@pytest.mark.parametrize(
    ("name", "seen", "wanted"),
    [
        ("a", (-3.0, 5.0), (-6.0, 10.0)),
        ("a", (1.0, 5.0), (1.0, 10.0)),
        ("r", (0.0, 5.0), (0.0, 10.0)),
        ("s", (0.5, 0.9), (0.5, 1.0)),
        ("t", (0.1, 0.2), (0.1, 0.4)),
        ("c", (-0.3, 4.0), (-0.6, 6.0)),
        ("free", (-0.3, 4.0), (-0.6, 8.0)),
        ("both", (-0.9, 5.0), (-1.0, 6.0)),
        # The HTP makes 8 bits of a product's second factor.
        ("m", (-5.0, 0.0), (-5.0, 0.0)),
        ("n", (-5.0, 0.0), (-5.0, 0.0)),
        ("x", (0.0, 255.0), (0.0, 255.0)),
    ],
)
def test_a_range_reaches_twice_as_far_up_to_the_operators_bounds(
    name: str, seen: tuple[float, float], wanted: tuple[float, float]
) -> None:
    assert with_room(net(), {name: seen}, {"x"}) == {name: wanted}


@given(low=st.floats(-100, 100), width=st.floats(0, 100), name=st.sampled_from("arstcmny"))
def test_what_was_seen_is_in_the_range_whatever_the_bounds(low: float, width: float, name: str) -> None:
    found = with_room(net(), {name: (low, low + width)}, ())[name]
    assert found[0] <= low <= low + width <= found[1]
    assert found[1] - found[0] <= 2 * max(abs(low), abs(low + width), width)


def test_in_16_bits_all_but_what_a_method_cuts_off_and_outputs_of_8_bits_have_room() -> None:
    ranges = {"min-max": {"a": (0.0, 2.0), "y": (0.0, 3.0)}, "mse": {"a": (0.0, 1.0), "y": (0.0, 3.0)}}
    whole = {"a": (0.0, 4.0), "y": (0.0, 6.0)}
    assert of_16_bits(ranges, whole, ["y"], is_narrow=False) == {
        "min-max": whole,
        "mse": {"a": (0.0, 1.0), "y": (0.0, 6.0)},
    }
    narrow = of_16_bits(ranges, whole, ["y"], is_narrow=True)
    assert narrow == {"min-max": {"a": (0.0, 4.0), "y": (0.0, 3.0)}, "mse": ranges["mse"]}
