"""Sequences whose length is known are gone, and the model computes what it computed."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper

from converter.graph.control_flow import settle_control_flow
from converter.graph.sequences import settle_sequences
from converter.graph.simplify import infer_shapes
from tests.space import space
from tests.unit.test_control_flow import constant, model, node, tensor
from tests.unit.test_graph_passes import assert_same


def same(source: onnx.ModelProto, **feeds: Any) -> None:
    made = settle_control_flow(infer_shapes(ir.from_proto(source)))
    after = ir.to_proto(infer_shapes(settle_sequences(infer_shapes(made))))
    assert not [each.op_type for each in after.graph.node if "Sequence" in each.op_type]
    assert_same(source, after, feeds)


X = np.random.default_rng(0).normal(0, 1, (4, 6)).astype(np.float32)


@space(40)
@given(
    st.sampled_from([11, 12, 13, 17]), st.sampled_from([0, 1, -1]), st.booleans(), st.sampled_from([0, 1, 3]),
    st.sampled_from([-1, 0, 1]), st.booleans(),
)  # fmt: skip
def test_what_is_put_into_a_sequence_is_put_together(
    opset: int, axis: int, new: bool, place: int, at: int, erased: bool
) -> None:
    nodes = [
        node("Neg", "x", "a"), node("Sin", "x", "b"), node("Exp", "x", "c"),
        node("SequenceConstruct", "a b x", "s"), constant("place", place, np.int64),
        node("SequenceInsert", "s c place", "t"), node("SequenceInsert", "t a", "u"),
        constant("at", at, np.int64), node("SequenceErase", "u at" if erased else "u", "v"),
        node("SequenceAt", "v at", "one"), node("SequenceLength", "v", "n"),
        node("ConcatFromSequence", "v", "whole", axis=axis, new_axis=int(new)),
        node("Cast", "n", "count", to=TensorProto.FLOAT), node("Mul", "one count", "y"),
    ]  # fmt: skip
    same(model(nodes, [tensor("x", [4, 6])], [tensor("y"), tensor("whole")], opset), x=X)


@space(30)
@given(st.sampled_from([0, 1, -1]), st.sampled_from([None, 2, 4, "list"]), st.sampled_from([0, 1]))
def test_a_tensor_that_is_split_into_a_sequence(axis: int, split: Any, keeps: int) -> None:
    lengths = (
        [] if split is None else [constant("k", _lengths(axis) if split == "list" else split, np.int64)]
    )
    nodes = [
        *lengths,
        node("SplitToSequence", "x k" if lengths else "x", "s", axis=axis, keepdims=1 if lengths else keeps),
        constant("one", 1, np.int64), node("SequenceAt", "s one", "y"),
    ]  # fmt: skip
    if split == 4 and axis == 0:
        return  # one part only
    same(model(nodes, [tensor("x", [4, 6])], [tensor("y")]), x=X)


def _lengths(axis: int) -> list[int]:
    return [1, 3] if axis == 0 else [2, 1, 3]


@pytest.mark.parametrize("opset", [13, 17])
def test_a_loop_that_appends_to_a_sequence(opset: int) -> None:
    kind = helper.make_sequence_type_proto(helper.make_tensor_type_proto(TensorProto.FLOAT, None))
    sequences = [helper.make_value_info(name, kind) for name in ("v", "w")]
    body = helper.make_graph(
        [
            node("Cast", "i", "f", to=TensorProto.FLOAT), node("Mul", "x f", "scaled"),
            node("SequenceInsert", "v scaled", "w"), node("Identity", "go_on", "goes_on"),
        ],
        "body",
        [tensor("i", [], TensorProto.INT64), tensor("go_on", [], TensorProto.BOOL), sequences[0]],
        [tensor("goes_on", [], TensorProto.BOOL), sequences[1]],
    )  # fmt: skip
    nodes = [
        node("SequenceEmpty", "", "s"), constant("n", 3, np.int64), constant("go", True, np.bool_),
        node("Loop", "n go s", "t", body=body), node("ConcatFromSequence", "t", "y", axis=1),
    ]  # fmt: skip
    same(model(nodes, [tensor("x", [4, 6])], [tensor("y")], opset), x=X)
