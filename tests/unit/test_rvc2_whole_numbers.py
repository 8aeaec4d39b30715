"""Whole numbers for Myriad X: of few bits, as outputs, ranked and averaged; types that are float32 then."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from converter.graph.simplify import infer_shapes
from converter.graph.single_precision import SinglePrecision
from targets.openvino.myriad_rules import integers
from targets.openvino.myriad_rules.narrow import widen
from targets.openvino.myriad_rules.whole_numbers import whole_numbers_as_floats
from targets.rvc2.explain import beyond_half, off_before_rounding
from tests.blob_models import ints, one, whole
from tests.rewriting import assert_equal, rewritten, run
from tests.space import space

# Numbers of the second input, and what NumPy says of both in their own type.
NARROW: dict[str, tuple[int, Any]] = {
    "Add": (120, np.add),
    "Div": (3, lambda x, y: np.trunc(x / y)),
    "Equal": (7, np.equal),
    "Less": (8, np.less),
    "Max": (9, np.maximum),
    "Min": (9, np.minimum),
    "Mod": (9, np.mod),
    "Mul": (5, np.multiply),
    "Sub": (101, np.subtract),
}


@space(60)
@given(
    operator=st.sampled_from([*NARROW]),
    dtype=st.sampled_from([np.uint8, np.int8, np.int16, np.uint16, np.uint32]),
    shape=st.lists(st.integers(1, 4), min_size=1, max_size=4),
    most=st.sampled_from([10, 400, 30_000]),
    half=st.booleans(),
)
def test_narrow_whole_numbers_are_computed_in_32_bits_and_wrap_around(
    operator: str, dtype: Any, shape: list[int], most: int, half: bool
) -> None:
    second, function = NARROW[operator]
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    nodes = [
        helper.make_node("Cast", ["x"], ["a"], to=kind),
        helper.make_node(operator, ["a", "c"], ["b"]),
        helper.make_node("Cast", ["b"], ["y"], to=TensorProto.FLOAT),
    ]
    constant = np.array(second, dtype)
    model = whole(nodes, {"x": (tuple(shape), 1)}, [numpy_helper.from_array(constant, "c")], ["y"])
    least, most = (1000, 1400) if dtype == np.uint32 else (-most, most)
    x = np.random.default_rng(1).integers(least, most, shape).astype(np.float32)
    x += np.float32(0.5) * half * np.sign(x)
    edited = infer_shapes(ir.from_proto(model))
    widen(edited)
    after = ir.to_proto(edited)
    assert {item.data_type for item in after.graph.initializer} == {TensorProto.INT32}
    with np.errstate(over="ignore"):  # ONNX Runtime has not every operator of every type
        wanted = function(x.astype(np.int64).astype(dtype), constant).astype(np.float32)
    assert_equal([wanted], run(after, {"x": x}))


@pytest.mark.parametrize(
    ("nodes", "wraps"),
    [
        ([("Sigmoid", {}), ("Mul", {})], False),
        ([("ArgMax", {"axis": 1})], False),
        ([("Mul", {})], True),
        ([("Sigmoid", {}), ("Mul", {}), ("Mul", {})], True),
    ],
)
def test_only_what_may_leave_its_type_wraps_around(
    nodes: list[tuple[str, dict[str, Any]]], wraps: bool
) -> None:
    names = ["x", *(f"t{index}" for index in range(len(nodes)))]
    made = [
        helper.make_node(
            kind, [names[index], *(["c"] if kind == "Mul" else [])], [names[index + 1]], **more
        )
        for index, (kind, more) in enumerate(nodes)
    ]
    made.append(helper.make_node("Cast", [names[-1]], ["y"], to=TensorProto.UINT8))
    constant = numpy_helper.from_array(np.array(255, np.float32), "c")
    edited = infer_shapes(ir.from_proto(whole(made, {"x": ((1, 9, 2), 1)}, [constant], ["y"])))
    widen(edited)
    assert ("Mod" in {node.op_type for node in edited.graph}) == wraps
    assert edited.graph.outputs[0].dtype == ir.DataType.INT32


@pytest.mark.parametrize("used", [False, True])
def test_a_constant_is_an_output_in_another_type(used: bool) -> None:
    reshape = helper.make_node("Reshape", ["x", "k"], ["y"])
    nodes = [reshape if used else helper.make_node("Relu", ["x"], ["y"])]
    model = whole(nodes, {"x": ((1, 6), 1)}, [numpy_helper.from_array(np.array([2, 3]), "k")], ["y"])
    model.graph.output.append(helper.make_tensor_value_info("k", TensorProto.INT64, [2]))
    x = {"x": np.arange(6, dtype=np.float32).reshape(1, 6)}
    wanted = run(model, x)
    edited = infer_shapes(ir.from_proto(model))
    whole_numbers_as_floats(edited)
    assert_equal([wanted[0], wanted[1].astype(np.float32)], run(ir.to_proto(edited), x))


def test_bfloat16_is_float32() -> None:
    nodes = [
        helper.make_node("Cast", ["x"], ["t"], to=TensorProto.BFLOAT16),
        helper.make_node("Cast", ["t"], ["y"], to=TensorProto.FLOAT),
    ]
    edited = infer_shapes(ir.from_proto(whole(nodes, {"x": ((1, 6), 1)}, [], ["y"])))
    SinglePrecision()(edited)
    assert {value.dtype for node in edited.graph for value in node.outputs} == {ir.DataType.FLOAT}


@pytest.mark.parametrize(("quantized", "reason"), [(True, "codes"), (False, "rewriting")])
def test_an_error_in_front_of_all_rounding_is_not_float16s(quantized: bool, reason: str) -> None:
    found = off_before_rounding(0.0264, quantized=quantized)
    assert found["reason"] == reason
    assert "off by 0.026 in float32 already" in found["said"][0]


@pytest.mark.parametrize("kind", [TensorProto.INT8, TensorProto.UINT16, TensorProto.UINT64])
def test_an_input_of_narrow_numbers_takes_int32(kind: int) -> None:
    nodes = [helper.make_node("Transpose", ["x"], ["y"], perm=[0, 2, 1])]
    edited = infer_shapes(ir.from_proto(whole(nodes, {"x": ((1, 2, 3), kind)}, [], ["y"])))
    widen(edited)
    assert {edited.graph.inputs[0].dtype, edited.graph.outputs[0].dtype} == {ir.DataType.INT32}


def test_bytes_that_a_preprocessing_computes_are_computed_in_32_bits() -> None:
    nodes = [helper.make_node("Transpose", ["x"], ["y"], perm=[0, 2, 1])]
    edited = infer_shapes(ir.from_proto(whole(nodes, {"x": ((1, 2, 3), 2)}, [], ["y"])))
    widen(edited, frames=["x"])
    assert edited.graph.inputs[0].dtype == ir.DataType.UINT8
    assert edited.graph.outputs[0].dtype == ir.DataType.INT32


def test_a_source_that_float16_does_not_hold_is_told_by_its_output() -> None:
    fine = {"a": np.array([np.inf, 65504.0]), "b": np.array([7])}
    assert beyond_half([fine]) is None
    found = beyond_half([fine, {**fine, "b": np.array([4_294_967_295])}])
    assert found is not None
    assert found["said"][0] == "The source's output 'b' reaches 4.29e+09, float16 ends at 65504."


def test_what_only_moves_bytes_stays_as_it_is() -> None:
    nodes = [
        helper.make_node("Transpose", ["x"], ["a"], perm=[0, 2, 1]),
        helper.make_node("Cast", ["a"], ["y"], to=TensorProto.FLOAT),
    ]
    edited = infer_shapes(ir.from_proto(whole(nodes, {"x": ((1, 2, 3), 2)}, [], ["y"])))
    before = ir.to_proto(edited).SerializeToString()
    widen(edited)
    assert ir.to_proto(edited).SerializeToString() == before


@space(30)
@given(
    operator=st.sampled_from(["ArgMax", "ArgMin", "ReduceMax", "ReduceMean", "TopK"]),
    shape=st.lists(st.integers(1, 4), min_size=1, max_size=4).map(tuple),
    keepdims=st.integers(0, 1),
    dtype=st.sampled_from([TensorProto.INT32, TensorProto.INT64]),
    seed=st.integers(0, 99),
    data=st.data(),
)
def test_whole_numbers_are_ranked_and_averaged_as_floats(
    operator: str, shape: tuple[int, ...], keepdims: int, dtype: int, seed: int, data: st.DataObject
) -> None:
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    attributes: dict[str, Any] = {"axis": axis}
    if operator.startswith("Reduce"):
        attributes = {} if data.draw(st.booleans()) else {"axes": [axis]}
    if operator != "TopK":
        attributes["keepdims"] = keepdims
    top = [ints(data.draw(st.integers(1, shape[axis])))] if operator == "TopK" else []
    count = 2 if top else 1
    model = one(
        operator, [shape], top, outputs=count, used=range(count), dtypes=[dtype], opset=13, **attributes
    )
    after = rewritten(model, [integers.RULES])
    kind = helper.tensor_dtype_to_np_dtype(dtype)
    feeds = {"x0": np.random.default_rng(seed).permutation(np.prod(shape)).reshape(shape).astype(kind)}
    assert_equal(run(model, feeds), run(after, feeds))
