"""Operators of more axes than the HTP has become ones of fewer, and compute the same."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from onnx_ir.passes.common import RemoveUnusedNodesPass

from converter.graph.rewrite import Rewrite, static_shape
from converter.graph.simplify import infer_shapes
from targets.rvc4.htp_rules import ranks
from tests.sources import make_model
from tests.space import space
from tests.unit.test_htp_rules import outputs_of

FEW = space(40)
F = np.float32
FIVE = st.lists(st.integers(1, 3), min_size=5, max_size=5)
UNARY = ("Ceil", "Cos", "Elu", "HardSwish", "Round", "Sign", "Softplus", "Tanh")


def graph_of(
    nodes: list[onnx.NodeProto], inputs: dict[str, list[int]], **constants: Any
) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, size) for name, size in inputs.items()],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    return make_model(graph, 17)


def rewritten(model: onnx.ModelProto) -> ir.Model:
    """The model after the rules, which computes the same."""
    edited = infer_shapes(ir.from_proto(model))
    for rules in (ranks.FLOAT_RULES, ranks.JOINED):
        Rewrite(rules)(edited)
        RemoveUnusedNodesPass()(edited)
        edited = infer_shapes(edited)
    for one, other in zip(outputs_of(model, 1), outputs_of(ir.to_proto(edited), 1), strict=True):
        assert one.shape == other.shape
        np.testing.assert_allclose(other, one, rtol=1e-5, atol=1e-6)
    return edited


def most_axes(model: ir.Model, *operators: str) -> int:
    """Of the tensors that those operators read or make; of all without any name."""
    values = [
        value
        for node in model.graph
        if not operators or node.op_type in operators
        for value in (*node.inputs, *node.outputs)
    ]
    return max((len(static_shape(value) or ()) for value in values), default=0)


@FEW
@given(shape=FIVE, op=st.sampled_from(UNARY))
def test_functions_of_one_tensor(shape: list[int], op: str) -> None:
    edited = rewritten(graph_of([helper.make_node(op, ["x"], ["y"])], {"x": shape}))
    assert most_axes(edited, op) <= 4


@FEW
@given(
    shape=FIVE,
    op=st.sampled_from(["Max", "Min", "Greater"]),
    full=st.lists(st.booleans(), min_size=5, max_size=5),
    left=st.integers(0, 4),
    constant=st.booleans(),
)
def test_functions_of_two_tensors_that_are_spread(
    shape: list[int], op: str, full: list[bool], left: int, constant: bool
) -> None:
    other = [size if is_full else 1 for size, is_full in zip(shape, full, strict=True)][left:]
    inputs = {"x": shape} | ({} if constant else {"z": other})
    constants = {"z": np.random.default_rng(2).normal(0, 1, other).astype(F)} if constant else {}
    nodes = [helper.make_node(op, ["x", "z"], ["y"])]
    if op == "Greater":
        nodes = [
            helper.make_node("Greater", ["x", "z"], ["c"]),
            helper.make_node("Cast", ["c"], ["y"], to=TensorProto.FLOAT),
        ]
    edited = rewritten(graph_of(nodes, inputs, **constants))
    assert most_axes(edited, op) <= 4 or 1 not in shape


@FEW
@given(
    data=st.data(),
    shape=FIVE,
    op=st.sampled_from(["ReduceMax", "ReduceMin"]),
    keepdims=st.integers(0, 1),
)
def test_reductions(data: st.DataObject, shape: list[int], op: str, keepdims: int) -> None:
    axes = data.draw(st.lists(st.integers(-5, 4), min_size=1, unique_by=lambda axis: axis % 5))
    node = helper.make_node(op, ["x"], ["y"], axes=axes, keepdims=keepdims)
    edited = rewritten(graph_of([node], {"x": shape}))
    over = {axis % 5 for axis in axes}
    if not keepdims and len(over) == 5:
        return  # a single number: the reduction makes it
    changes = [axis in over for axis in range(5) if shape[axis] > 1]
    assert most_axes(edited, op) <= 4 or (len(changes) == 5 and changes[0] != changes[1])


@FEW
@given(
    data=st.data(),
    shape=st.lists(st.integers(1, 3), min_size=6, max_size=7),
    moved=st.sampled_from(["Reshape", "Unsqueeze"]),
)
def test_transpositions_of_many_axes(data: st.DataObject, shape: list[int], moved: str) -> None:
    perm = data.draw(st.permutations(range(len(shape))))
    count = int(np.prod(shape))
    shape = [1, *shape[1:]] if moved == "Unsqueeze" else shape
    count = int(np.prod(shape))
    constants = {"flat": np.array([count]), "s": np.array(shape if moved == "Reshape" else [0])}
    inputs = {"x": [count] if moved == "Reshape" else shape[1:]}
    nodes = [
        helper.make_node(moved, ["x", "s"], ["many"]),
        helper.make_node("Transpose", ["many"], ["t"], perm=perm),
        helper.make_node("Reshape", ["t", "flat"], ["y"]),
    ]
    edited = rewritten(graph_of(nodes, inputs, **constants))
    assert most_axes(edited) <= (5 if moved == "Reshape" else len(shape) - 1)


@pytest.mark.parametrize("rank", [3, 4])
def test_fewer_axes_stay(rank: int) -> None:
    nodes = [
        helper.make_node("Tanh", ["x"], ["t"]),
        helper.make_node("ReduceMax", ["t"], ["m"], axes=[1]),
        helper.make_node("Transpose", ["m"], ["y"]),
    ]
    edited = rewritten(graph_of(nodes, {"x": [2] * rank}))
    assert [node.op_type for node in edited.graph] == ["Tanh", "ReduceMax", "Transpose"]
