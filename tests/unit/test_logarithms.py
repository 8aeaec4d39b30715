"""Logarithms of 16 bits whose argument the HTP would take for 0 or for infinity."""

from __future__ import annotations

import math

import numpy as np
import onnxruntime as ort
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper

from targets.rvc4.quantization.logarithms import bring_into_reach
from tests.sources import one_op_model
from tests.space import space

X = np.random.default_rng(0).uniform(0.01, 1, (2, 3)).astype(np.float32)


@space(40)
@given(exponent=st.floats(-12, 12))
def test_it_computes_the_same_within_reach(exponent: float) -> None:
    high = 10.0**exponent
    model = one_op_model("Log", {"x": X.shape})
    model.graph.node[0].name, y = "log", model.graph.output[0].name
    model.graph.value_info.extend(model.graph.input)
    ranges = {"x": (0.01 * high, high), y: (math.log(0.01 * high), math.log(high))}
    feeds = {"x": X * np.float32(high)}
    found, constants = bring_into_reach(model.graph, ranges, {"log"})
    assert bool(found) == (not 128 <= high <= 32768)
    for name in found:
        model.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, X.shape))
    made = ort.InferenceSession(model.SerializeToString()).run([*found, y], feeds)
    np.testing.assert_allclose(made[-1], np.log(feeds["x"]), atol=1e-5)
    for name, values in zip(found, made, strict=False):
        low, most = found[name]
        assert low - 1e-3 * abs(low) <= values.min() <= values.max() <= most * 1.001
    if found:
        assert 16384 * 0.999 <= found[f"{y}/scaled"][1] <= 32768 * 1.001
        assert model.graph.node[0].name == "log"  # it reads x, whose change of width may be planned
        assert len(constants) == 2


def test_what_is_not_wide_or_of_no_known_range_stays() -> None:
    model = one_op_model("Log", {"x": X.shape})
    model.graph.node[0].name, y = "log", model.graph.output[0].name
    whole = model.SerializeToString()
    assert bring_into_reach(model.graph, {"x": (0, 1), y: (-9, 0)}, ()) == ({}, [])
    assert bring_into_reach(model.graph, {y: (-9, 0)}, {"log"}) == ({}, [])
    assert model.SerializeToString() == whole
