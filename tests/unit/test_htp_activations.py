"""Activations, normalizations and sums for RVC4, against ONNX Runtime over their attributes."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from onnx_ir.passes import common

from converter.graph.rewrite import Rewrite
from targets.rvc4.htp_rules import activations, fusions, normalization, shared, written_out
from tests.sources import make_model, one_op_model
from tests.space import space
from tests.unit.test_htp_rules import check

F = np.float32
FEW = space(40)
SHAPES = st.lists(st.integers(1, 5), min_size=2, max_size=4).map(tuple)


@FEW
@given(shape=SHAPES, axis=st.integers(-2, 1), opset=st.sampled_from([11, 13, 18]))
def test_log_softmax(shape: tuple[int, ...], axis: int, opset: int) -> None:
    model = one_op_model("LogSoftmax", {"x": shape}, opset=opset, axis=axis)
    check(model, {"LogSoftmax": activations.log_softmax}, gone="LogSoftmax")


@pytest.mark.parametrize("product", [True, False])
@pytest.mark.parametrize("axis", [0, 1])
def test_a_log_softmax_is_written_out_unless_a_product_feeds_it(product: bool, axis: int) -> None:
    nodes = [
        helper.make_node("MatMul" if product else "Mul", ["x", "w"], ["v"]),
        helper.make_node("LogSoftmax", ["v"], ["y"], axis=axis),
    ]
    model = graph_of(nodes, (3, 3), {"w": np.eye(3, dtype=F) if product else np.full((1, 1), 8, F)})
    edited = check(model, {"LogSoftmax": fusions.log_softmax_of_frames})
    assert ("LogSoftmax" in {node.op_type for node in edited.graph}) is product


@FEW
@given(shape=SHAPES)
def test_softplus_and_the_exponential(shape: tuple[int, ...]) -> None:
    model = one_op_model("Softplus", {"x": shape})
    check(model, {"Softplus": activations.soft_plus}, gone="Softplus")
    # Rules are applied until nothing changes: its own result it leaves.
    check(one_op_model("Exp", {"x": shape}), {"Exp": activations.exponential})
    check(model, {"Softplus": activations.soft_plus, "Exp": activations.exponential}, gone="Softplus")


@FEW
@given(shape=SHAPES, size=st.sampled_from([0.1, 1, 4, 30, 500]))
def test_softplus_without_a_logarithm(shape: tuple[int, ...], size: float) -> None:
    graph = one_op_model("Softplus", {"x": shape}).graph
    graph.node[0].input[0] = "large"
    graph.node.insert(0, helper.make_node("Mul", ["x", "size"], ["large"]))
    graph.initializer.append(numpy_helper.from_array(np.array(size, F), "size"))
    check(make_model(graph, 17), {"Softplus": activations.soft_plus_by_sigmoid}, gone="Softplus")


@FEW
@given(shape=SHAPES, moved=st.sampled_from(["", "Flatten", "Identity", "Concat"]))
def test_a_sigmoid_that_is_given_out(shape: tuple[int, ...], moved: str) -> None:
    model = sigmoid_then(shape, *([moved] if moved else []))
    check(model, {"Sigmoid": activations.output_sigmoid}, gone="Sigmoid")


@pytest.mark.parametrize("inner", ["Mul", "Shape", "Relu"])
def test_a_sigmoid_inside_a_network_stays(inner: str) -> None:
    model = ir.serde.deserialize_model(sigmoid_then((2, 3), inner))
    assert not Rewrite({"Sigmoid": activations.output_sigmoid})(model).modified


@FEW
@given(
    curve=st.sampled_from(["Sigmoid", "Tanh"]),
    size=st.sampled_from([0.1, 1, 5, 20, 1000]),
    between=st.lists(st.sampled_from(["Add", "Mul", "Reshape", "Transpose"]), max_size=2),
    transposed=st.booleans(),
)
def test_a_curve_is_kept_apart_from_a_product(
    curve: str, size: float, between: list[str], transposed: bool
) -> None:
    constants = {"w": np.eye(3, dtype=F) * F(size), "number": F(0.5), "shape": np.array([3, 2])}
    nodes = [helper.make_node("Gemm", ["x", "w"], ["v0"], transB=int(transposed))]
    for index, name in enumerate(between):
        second = {"Add": ["number"], "Mul": ["number"], "Reshape": ["shape"]}.get(name, [])
        nodes.append(helper.make_node(name, [f"v{index}", *second], [f"v{index + 1}"]))
    nodes.append(helper.make_node(curve, [f"v{len(between)}"], ["y"]))
    model = graph_of(nodes, (2, 3), constants)
    edited = check(model, {curve: fusions.curve})
    assert "Clip" in {node.op_type for node in edited.graph}
    assert not Rewrite({curve: fusions.curve})(edited).modified


@pytest.mark.parametrize("inner", ["Relu", "Add"])
def test_a_curve_that_no_product_feeds_stays(inner: str) -> None:
    nodes = [
        helper.make_node("Gemm", ["x", "w"], ["v"]),
        helper.make_node(inner, ["v", "v"] if inner == "Add" else ["v"], ["r"]),
        helper.make_node("Sigmoid", ["r"], ["y"]),
    ]
    edited = ir.from_proto(graph_of(nodes, (2, 3), {"w": np.eye(3, dtype=F)}))
    assert not Rewrite({"Sigmoid": fusions.curve})(edited).modified


def sigmoid_then(shape: tuple[int, ...], *after: str) -> onnx.ModelProto:
    """Sigmoid, then operators in a row; one of two inputs gets its own result twice."""
    nodes = [helper.make_node("Sigmoid", ["x"], ["v0"])]
    for index, name in enumerate(after):
        inputs = [f"v{index}"] * (2 if name in ("Concat", "Mul") else 1)
        given = {"axis": 0} if name == "Concat" else {}
        nodes.append(helper.make_node(name, inputs, [f"v{index + 1}"], **given))
    kind = TensorProto.INT64 if after == ("Shape",) else TensorProto.FLOAT
    result = helper.make_tensor_value_info(f"v{len(after)}", kind, None)
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)
    return make_model(helper.make_graph(nodes, "net", [value], [result]), 17)


@FEW
@given(
    shape=st.lists(st.integers(2, 5), min_size=2, max_size=4).map(tuple),
    back=st.integers(2, 4),
    narrow=st.booleans(),
    bias=st.booleans(),
)
def test_layer_normalization_of_several_axes(
    shape: tuple[int, ...], back: int, narrow: bool, bias: bool
) -> None:
    inner = shape[-min(back, len(shape)) :]
    rng = np.random.default_rng(0)
    constants = {"s": rng.normal(1, 0.2, inner[-1:] if narrow else inner).astype(F)}
    if bias:
        constants["b"] = rng.normal(0, 1, inner).astype(F)
    model = one_op_model(
        "LayerNormalization", {"x": shape}, constants=constants, opset=17, axis=-len(inner)
    )
    check(model, {"LayerNormalization": normalization.layer_normalization})


@FEW
@given(
    rank=st.integers(3, 4),
    channels=st.integers(1, 7),
    size=st.integers(1, 6),
    alpha=st.sampled_from([1e-4, 0.5, 3.0]),
    beta=st.sampled_from([0.5, 0.75, 1.2]),
    bias=st.sampled_from([0.5, 1.0, 2.0]),
)
def test_local_response_normalization(
    rank: int, channels: int, size: int, alpha: float, beta: float, bias: float
) -> None:
    shape = (2, channels, 4, 3)[:rank]
    model = one_op_model("LRN", {"x": shape}, size=size, alpha=alpha, beta=beta, bias=bias)
    check(model, {"LRN": normalization.local_response})


@FEW
@given(
    shape=SHAPES,
    axis=st.integers(-2, 1),
    exclusive=st.integers(0, 1),
    reverse=st.integers(0, 1),
)
def test_cumulative_sums(shape: tuple[int, ...], axis: int, exclusive: int, reverse: int) -> None:
    model = one_op_model(
        "CumSum",
        {"x": shape},
        constants={"axis": np.array(axis)},
        opset=14,
        exclusive=exclusive,
        reverse=reverse,
    )
    check(model, {"CumSum": shared.MISSING["CumSum"]}, gone="CumSum")


@st.composite
def hard_swishes(draw: st.DrawFn) -> onnx.ModelProto:
    """X · clip(x + 3, 0, 6) / 6 as exporters write it: the factors in any order."""
    shape = draw(SHAPES)
    constants = {"three": F(3), "six": F(6), "zero": F(0), "sixth": F(1 / 6)}
    nodes = [
        helper.make_node("Add", draw(st.permutations(["x", "three"])), ["sum"]),
        helper.make_node("Clip", ["sum", "zero", "six"], ["gate"]),
    ]
    divides = draw(st.booleans())
    where = draw(st.sampled_from(["x", "gate", "product"]))

    def sixth(name: str, target: str) -> None:
        operands = [name, "six"] if divides else draw(st.permutations([name, "sixth"]))
        nodes.append(helper.make_node("Div" if divides else "Mul", operands, [target]))

    x, gate, product = "x", "gate", "y"
    if where == "x":
        sixth("x", "x6")
        x = "x6"
    elif where == "gate":
        sixth("gate", "gate6")
        gate = "gate6"
    else:
        product = "product"
    nodes.append(helper.make_node("Mul", draw(st.permutations([x, gate])), [product]))
    if where == "product":
        sixth("product", "y")
    return graph_of(nodes, shape, constants)


def graph_of(
    nodes: list[onnx.NodeProto], shape: tuple[int, ...], constants: dict[str, Any]
) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()],
    )
    return onnx.shape_inference.infer_shapes(make_model(graph, opset=17))


@space(20)
@given(model=hard_swishes())
def test_a_written_out_hard_swish_is_the_operator(model: onnx.ModelProto) -> None:
    check(model, written_out.RULES)
    edited = ir.from_proto(model)
    Rewrite(written_out.RULES)(edited)
    common.RemoveUnusedNodesPass()(edited)
    assert [node.op_type for node in edited.graph] == ["HardSwish"]


@space(15)
@given(shape=SHAPES, form=st.sampled_from(["Reciprocal", "one", "x"]), first=st.booleans())
def test_a_written_out_sigmoid_is_the_operator(shape: tuple[int, ...], form: str, first: bool) -> None:
    add = ["one", "exp"] if first else ["exp", "one"]
    nodes = [
        helper.make_node("Neg", ["x"], ["minus"]),
        helper.make_node("Exp", ["minus"], ["exp"]),
        helper.make_node("Add", add, ["sum"]),
        helper.make_node("Reciprocal", ["sum"], ["y"])
        if form == "Reciprocal"
        else helper.make_node("Div", [form, "sum"], ["y"]),
    ]
    check(graph_of(nodes, shape, {"one": F(1)}), written_out.RULES, gone="Div")


@pytest.mark.parametrize(("three", "six"), [(2.9, 6.0), (3.0, 5.0)])
def test_what_only_looks_like_a_hard_swish_stays(three: float, six: float) -> None:
    nodes = [
        helper.make_node("Add", ["x", "three"], ["sum"]),
        helper.make_node("Clip", ["sum", "zero", "six"], ["gate"]),
        helper.make_node("Mul", ["x", "gate"], ["product"]),
        helper.make_node("Div", ["product", "six"], ["y"]),
    ]
    model = graph_of(nodes, (2, 3), {"three": F(three), "zero": F(0), "six": F(six)})
    check(model, written_out.RULES, gone="HardSwish")
