"""Comparisons, logic, signs and remainders written out, compared with ONNX Runtime on the source."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from onnx import helper, numpy_helper

from tests.blob_models import whole
from tests.rewriting import assert_same
from tests.space import space

F = np.float32
# Shapes that broadcast.
PAIRS = st.sampled_from(
    [((2, 3), (2, 3)), ((2, 3), (3,)), ((1, 4, 1), (2, 1, 3)), ((5,), ()), ((2, 2, 3, 2), (3, 1))]
)


def kind_of(dtype: Any) -> int:
    return helper.np_dtype_to_tensor_dtype(np.dtype(dtype))


def check(op: str, values: list[Any], constant: bool = False, **attributes: Any) -> None:
    """A node of one or two inputs, the second a constant on request."""
    names = ["a", "b"][: len(values)]
    given = dict(zip(names, values, strict=True))
    weights = [numpy_helper.from_array(given.pop("b"), "b")] if constant and len(names) > 1 else []
    opset = 16 if op in ("GreaterOrEqual", "LessOrEqual") else 14
    model = whole(
        [helper.make_node(op, names, ["y"], **attributes)],
        {name: (value.shape, kind_of(value.dtype)) for name, value in given.items()},
        weights, ["y"], opset,
    )  # fmt: skip
    assert_same(model, op, given)


@pytest.mark.parametrize("op", ["GreaterOrEqual", "LessOrEqual", "Or", "Xor"])
@space(25)
@given(data=st.data(), shapes=PAIRS, whole=st.booleans(), constant=st.booleans())
def test_a_comparison(op: str, data: st.DataObject, shapes: Any, whole: bool, constant: bool) -> None:
    if op in ("Or", "Xor"):
        elements: Any = hnp.arrays(bool, shapes[0]), hnp.arrays(bool, shapes[1])
    else:
        dtype = np.int64 if whole else F
        few = st.integers(-2, 2).map(dtype)
        elements = tuple(hnp.arrays(dtype, shape, elements=few) for shape in shapes)
    check(op, [data.draw(item) for item in elements], constant)


@space(25)
@given(
    values=hnp.arrays(F, (2, 4), elements=st.floats(width=32)),
    signs=st.tuples(st.integers(0, 1), st.integers(0, 1)),
)
def test_what_is_no_number(values: Any, signs: tuple[int, int]) -> None:
    check("IsNaN", [values])
    check("IsInf", [values], detect_negative=signs[0], detect_positive=signs[1])


@space(25)
@given(
    values=hnp.arrays(F, (2, 4), elements=st.floats(-65504, 65504, width=32))
    | hnp.arrays(np.int32, (2, 4))
    | hnp.arrays(np.int64, (3,), elements=st.integers(-5, 5))
)
def test_a_sign(values: Any) -> None:
    check("Sign", [values])


@space(60)
@given(
    data=st.data(),
    shapes=PAIRS,
    dtype=st.sampled_from([np.int32, np.int64]),
    fmod=st.integers(0, 1),
    constant=st.booleans(),
)
def test_a_remainder_of_whole_numbers(
    data: st.DataObject, shapes: Any, dtype: Any, fmod: int, constant: bool
) -> None:
    x = data.draw(hnp.arrays(dtype, shapes[0], elements=st.integers(-60, 60)))
    y = data.draw(hnp.arrays(dtype, shapes[1], elements=st.integers(-60, 60).filter(bool)))
    check("Mod", [x, y], constant, fmod=fmod)


@space(60)
@given(data=st.data(), shapes=PAIRS, constant=st.booleans())
def test_a_remainder_of_floats(data: st.DataObject, shapes: Any, constant: bool) -> None:
    """Quarters: what is exact in float32, so that nothing is at a wrap by rounding alone."""
    x = data.draw(hnp.arrays(np.int32, shapes[0], elements=st.integers(-400, 400)))
    y = data.draw(hnp.arrays(np.int32, shapes[1], elements=st.integers(-50, 50).filter(bool)))
    check("Mod", [(x / 4).astype(F), (y / 4).astype(F)], constant, fmod=1)
