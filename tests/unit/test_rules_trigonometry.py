"""Approximations, compared with NumPy: their errors in float32 and in float16 are those that they say."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tests.blob_models import one
from tests.rewriting import rewritten, run
from tests.space import space

# Where a function is defined; of the angles, where float16 has them to a hundredth.
RANGES = {
    "Acos": (-1, 1), "Acosh": (1, 60000), "Asin": (-1, 1), "Asinh": (-60000, 60000),
    "Atan": (-60000, 60000), "Atanh": (-0.9951171875, 0.9951171875), "Cos": (-25, 25), "Cosh": (-11, 11),
    "Sin": (-25, 25), "Sinh": (-11, 11), "Tan": (-12, 12),
}  # fmt: skip
FUNCTIONS = {
    "Acos": np.arccos, "Acosh": np.arccosh, "Asin": np.arcsin, "Asinh": np.arcsinh, "Atan": np.arctan,
    "Atanh": np.arctanh, "Cos": np.cos, "Cosh": np.cosh, "Sin": np.sin, "Sinh": np.sinh, "Tan": np.tan,
}  # fmt: skip
IN_SINGLE = {"Sin": 4e-6, "Cos": 8e-6, "Tan": 2e-5, "Sinh": 2e-6, "Cosh": 2e-6}


def error(op: str, x: np.ndarray, found: np.ndarray) -> float:
    """The largest difference over the function's value or over one, whichever is larger."""
    wanted = FUNCTIONS[op](x.astype(np.float64))
    return float((np.abs(found - wanted) / np.maximum(np.abs(wanted), 1)).max(initial=0))


@pytest.mark.parametrize("op", FUNCTIONS)
@space(20)
@given(data=st.data())
def test_an_approximation_in_float32(op: str, data: st.DataObject) -> None:
    low, high = RANGES[op]
    x = data.draw(hnp.arrays(np.float32, (40,), elements=st.floats(low, high, width=16)))
    x[20:] /= 1 + 100 * data.draw(st.booleans()) * (low < 1)
    (found,) = run(rewritten(one(op, [(40,)])), {"x0": x})
    assert error(op, x, found) < IN_SINGLE.get(op, 7e-5)


@pytest.mark.parametrize("op", FUNCTIONS)
def test_an_approximation_in_float16(op: str) -> None:
    """Every number of float16 in the range; every operation rounds to float16."""
    low, high = RANGES[op]
    every = np.arange(2**16, dtype=np.uint16).view(np.float16)
    x = every[np.isfinite(every) & (every >= low) & (every <= high)]
    after = rewritten(one(op, [x.shape]))
    half = onnx.ModelProto()
    half.CopyFrom(after)
    found = in_half(half, x)
    assert error(op, x, found.astype(np.float64)) < 3e-3


def in_half(model: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    """A graph of unary and binary operators, computed operator by operator in float16."""
    functions = {
        "Abs": np.abs, "Add": np.add, "Div": np.divide, "Exp": np.exp, "Floor": np.floor,
        "Greater": np.greater, "Less": np.less, "Log": np.log, "Max": np.maximum, "Min": np.minimum,
        "Mul": np.multiply, "Neg": np.negative, "Reciprocal": np.reciprocal, "Round": np.rint,
        "Sqrt": np.sqrt, "Sub": np.subtract, "Tanh": np.tanh, "Clip": np.clip,
        "Cast": lambda value: value, "Identity": lambda value: value,
    }  # fmt: skip
    graph = ir.from_proto(model).graph
    values = {name: value.const_value.numpy() for name, value in graph.initializers.items()
              if value.const_value is not None}  # fmt: skip
    values = {str(name): value.astype(np.float16) for name, value in values.items()}
    values["x0"] = x
    with np.errstate(all="ignore"):
        for node in graph:
            given = [values[str(value.name)].astype(np.float32) for value in node.inputs if value]
            values[str(node.outputs[0].name)] = functions[node.op_type](*given).astype(np.float16)
    return values["y0"]
