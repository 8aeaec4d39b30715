"""Reductions, running sums, norms and places of the largest, compared with ONNX Runtime."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tests.blob_models import ints, one
from tests.rewriting import assert_same
from tests.space import space

SHAPES = st.lists(st.integers(1, 5), min_size=1, max_size=5)


def drawn(shape: Any, seed: int = 0, spread: float = 1.0) -> Any:
    return np.random.default_rng(seed).normal(0, spread, shape).astype(np.float32)


@pytest.mark.parametrize("kind", ["L1", "L2", "LogSum", "LogSumExp", "Prod", "SumSquare"])
@space(30)
@given(data=st.data(), shape=SHAPES, keepdims=st.integers(0, 1), opset=st.sampled_from([13, 17, 18]))
def test_reductions(
    kind: str, data: st.DataObject, shape: list[int], keepdims: int, opset: int
) -> None:
    rank = len(shape)
    axes = data.draw(st.lists(st.integers(0, rank - 1), max_size=rank, unique=True))
    axes = [axis - rank if data.draw(st.booleans()) else axis for axis in axes]
    more: dict[str, Any] = {"keepdims": keepdims}
    constants = []
    if axes and opset >= 18:
        constants = [ints(*axes)]
    elif axes:
        more["axes"] = axes
    x = drawn(shape, spread=30.0 if kind == "LogSumExp" else 1.0)
    x = np.abs(x) + np.float32(0.1) if kind == "LogSum" else x
    model = one(f"Reduce{kind}", [shape], constants, opset=opset, **more)
    assert_same(model, f"Reduce{kind}", {"x0": x})


@pytest.mark.parametrize("kind", ["L2", "LogSum", "LogSumExp"])
@pytest.mark.parametrize("keepdims", [0, 1])
def test_roots_and_logarithms_of_whole_numbers(kind: str, keepdims: int) -> None:
    x = np.random.default_rng(0).integers(1, 9, (3, 4)).astype(np.int32)
    model = one(f"Reduce{kind}", [(3, 4)], dtypes=[6], axes=[1], keepdims=keepdims)
    assert_same(model, f"Reduce{kind}", {"x0": x})


@space(60)
@given(
    data=st.data(),
    shape=SHAPES | st.sampled_from([[2, 600], [513, 2], [1025]]),
    exclusive=st.integers(0, 1),
    reverse=st.integers(0, 1),
    whole=st.booleans(),
    scalar=st.booleans(),
)
def test_running_sums(
    data: st.DataObject, shape: list[int], exclusive: int, reverse: int, whole: bool, scalar: bool
) -> None:
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    x = drawn(shape) if not whole else np.random.default_rng(0).integers(-3, 4, shape).astype(np.int32)
    model = one(
        "CumSum", [shape], [np.int64(axis) if scalar else ints(axis)], opset=14,
        dtypes=[6] if whole else [], exclusive=exclusive, reverse=reverse,
    )  # fmt: skip
    assert_same(model, "CumSum", {"x0": x})


@space(40)
@given(
    lead=st.lists(st.integers(1, 3), max_size=3),
    size=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    k=st.none() | st.integers(-6, 6),
    upper=st.integers(0, 1),
    dtype=st.sampled_from([np.float32, np.int64]),
)
def test_triangles(lead: list[int], size: Any, k: int | None, upper: int, dtype: Any) -> None:
    shape = [*lead, *size]
    kind = {np.float32: 1, np.int64: 7}[dtype]
    model = one("Trilu", [shape], [] if k is None else [np.int64(k)], opset=14, dtypes=[kind],
                upper=upper)  # fmt: skip
    assert_same(model, "Trilu", {"x0": (drawn(shape) * 9).astype(dtype)})


@space(40)
@given(
    data=st.data(), shape=SHAPES, op=st.sampled_from(["ArgMax", "ArgMin"]), keepdims=st.integers(0, 1)
)
def test_the_last_of_the_largest(data: st.DataObject, shape: list[int], op: str, keepdims: int) -> None:
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    model = one(op, [shape], axis=axis, keepdims=keepdims, select_last_index=1)
    x = np.random.default_rng(data.draw(st.integers(0, 9))).integers(0, 2, shape).astype(np.float32)
    after = assert_same(model, "", {"x0": x})
    assert not [a for node in after.graph.node for a in node.attribute if a.name == "select_last_index"]


@space(40)
@given(data=st.data(), shape=SHAPES, opset=st.sampled_from([12, 13]), seed=st.integers(0, 9))
def test_hardmax(data: st.DataObject, shape: list[int], opset: int, seed: int) -> None:
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    x = np.random.default_rng(seed).integers(0, 3, shape).astype(np.float32)
    assert_same(one("Hardmax", [shape], axis=axis, opset=opset), "Hardmax", {"x0": x})


@space(60)
@given(
    sizes=st.lists(st.integers(6, 9), min_size=1, max_size=3),
    kernel=st.integers(1, 3),
    stride=st.integers(1, 3),
    auto=st.sampled_from(["NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID"]),
    pads=st.tuples(st.integers(0, 1), st.integers(0, 1)),
    p=st.integers(1, 3),
    opset=st.sampled_from([11, 18]),
    ceil=st.integers(0, 1),
    dilation=st.integers(1, 2),
)
def test_pooling_by_a_norm(
    sizes: list[int], kernel: int, stride: int, auto: str, pads: Any, p: int, opset: int, ceil: int,
    dilation: int,
) -> None:  # fmt: skip
    assume(auto == "NOTSET" or kernel >= stride)  # ONNX Runtime crops there
    count = len(sizes)
    more: dict[str, Any] = {"kernel_shape": [kernel] * count, "strides": [stride] * count, "p": p}
    if auto == "NOTSET":
        more["pads"] = [min(pads[0], kernel - 1)] * count + [min(pads[1], kernel - 1)] * count
    else:
        more["auto_pad"] = auto
    if opset >= 18:
        more |= {"ceil_mode": ceil, "dilations": [dilation] * count}
    model = one("LpPool", [(1, 2, *sizes)], opset=opset, **more)
    # The rule for volumes adds 6e-8, float16's smallest number, to a sum.
    assert_same(model, "LpPool", {"x0": drawn((1, 2, *sizes))}, 1e-2 if count == 3 else 1e-5)
    whole = one("GlobalLpPool", [(1, 2, *sizes)], opset=opset, p=p)
    assert_same(whole, "GlobalLpPool", {"x0": drawn((1, 2, *sizes))})


@space(40)
@given(data=st.data(), shape=SHAPES, p=st.integers(1, 2), zeros=st.booleans())
def test_normalization_by_a_norm(data: st.DataObject, shape: list[int], p: int, zeros: bool) -> None:
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    x = drawn(shape) * np.float32(not zeros)
    assert_same(one("LpNormalization", [shape], axis=axis, p=p), "LpNormalization", {"x0": x})


@space(30)
@given(shape=st.tuples(*[st.integers(2, 4)] * 3), batch=st.integers(0, 1), data=st.data())
def test_rows_backwards(shape: tuple[int, ...], batch: int, data: st.DataObject) -> None:
    count, steps = shape[batch], shape[1 - batch]
    lengths = data.draw(st.lists(st.integers(1, steps), min_size=count, max_size=count))
    more = {"batch_axis": batch, "time_axis": 1 - batch}
    model = one("ReverseSequence", [shape], [ints(*lengths)], **more)
    assert_same(model, "ReverseSequence", {"x0": drawn(shape)})
