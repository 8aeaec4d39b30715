"""Constants beside a convolution go into its weights, and what it computes stays."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from onnx_ir.passes import common

from converter.graph.rewrite import Rewrite
from converter.graph.rules import folding
from converter.graph.simplify import infer_shapes
from tests.sources import make_model
from tests.space import space

CHANNELS = 4


@st.composite
def layers(draw: st.DrawFn) -> tuple[onnx.ModelProto, bool]:
    """A layer between arithmetic with constants; whether all of that can go into the weights."""
    rng = np.random.default_rng(draw(st.integers(0, 1000)))
    op = draw(st.sampled_from(["Conv", "ConvTranspose", "Gemm"]))
    axes = 0 if op == "Gemm" else draw(st.integers(1, 2))
    constants: dict[str, np.ndarray] = {}
    nodes: list[onnx.NodeProto] = []
    foldable = True

    def arithmetic(given: str, name: str, *, behind: bool) -> str:
        nonlocal foldable
        kind = draw(st.sampled_from(["Mul", "Div", "Add", "Sub"]))
        form = draw(st.sampled_from(["number", "one", "channels"] if behind else ["number", "one"]))
        shape = {"number": (), "one": (1,) * (axes + 1), "channels": (CHANNELS, *(1,) * axes)}[form]
        constants[name] = rng.uniform(0.5, 2, shape).astype(np.float32)
        first = kind in ("Mul", "Add") and draw(st.booleans())
        operands = [name, given] if first else [given, name]
        nodes.append(helper.make_node(kind, operands, [f"{name}/y"]))
        if not behind and (op != "Conv" or (kind in ("Add", "Sub") and padded)):
            foldable = False
        return f"{name}/y"

    padded = bool(axes) and draw(st.booleans())
    value = "x"
    if draw(st.booleans()):
        value = arithmetic(value, "k0", behind=False)
    attributes: dict[str, Any] = {}
    if op == "Gemm":
        turned = draw(st.booleans())
        weights = rng.normal(size=(CHANNELS, 3) if turned else (3, CHANNELS))
        attributes = {"transB": int(turned), "alpha": 0.7, "beta": 1.3}
        shape: tuple[int, ...] = (2, 3)
    else:
        group = draw(st.sampled_from([1, 2])) if op == "Conv" else 1
        size = (CHANNELS, 2 // group) if op == "Conv" else (2, CHANNELS)
        weights = rng.normal(size=(*size, *(3,) * axes))
        attributes = {"group": group, **({"pads": [1] * (2 * axes)} if padded else {})}
        shape = (1, 2, *(6,) * axes)
    constants["w"] = weights.astype(np.float32)
    inputs = [value, "w"]
    if draw(st.booleans()):
        constants["b"] = rng.normal(size=CHANNELS).astype(np.float32)
        inputs.append("b")
    nodes.append(helper.make_node(op, inputs, ["layer"], name="layer", **attributes))
    value = "layer"
    for index in range(draw(st.integers(0, 2))):
        value = arithmetic(value, f"k{index + 1}", behind=True)
    nodes.append(helper.make_node("Relu", [value], ["y"]))
    ends = [
        helper.make_tensor_value_info("x", TensorProto.FLOAT, shape),
        helper.make_tensor_value_info("y", TensorProto.FLOAT, None),
    ]
    tensors = [numpy_helper.from_array(array, name) for name, array in constants.items()]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], tensors)
    return make_model(graph, 13), foldable


@space(120)
@given(layers())
def test_a_folded_layer_computes_the_same(made: tuple[onnx.ModelProto, bool]) -> None:
    model, foldable = made
    after = Rewrite(folding.RULES)(infer_shapes(ir.from_proto(model))).model
    after = common.RemoveUnusedNodesPass()(after).model
    shape = [dim.dim_value for dim in model.graph.input[0].type.tensor_type.shape.dim]
    x = np.random.default_rng(1).normal(size=shape).astype(np.float32)
    outputs = [
        ort.InferenceSession(proto.SerializeToString()).run(None, {"x": x})[0]
        for proto in (model, ir.to_proto(after))
    ]
    np.testing.assert_allclose(outputs[1], outputs[0], rtol=1e-4, atol=1e-5)
    if foldable:
        assert len(list(after.graph)) == 2


def test_a_column_that_a_gemm_adds_is_no_number_for_each_channel() -> None:
    """Of as many rows as channels its size does not tell."""
    column = np.arange(1, CHANNELS + 1, dtype=np.float32)[:, None]
    factor = np.array([1, 10, 100, 1000], np.float32)
    nodes = [
        helper.make_node("Gemm", ["x", "w", "c"], ["g"]),
        helper.make_node("Mul", ["g", "k"], ["y"]),
    ]
    constants = {"w": np.eye(CHANNELS, dtype=np.float32), "c": column, "k": factor}
    shape = [CHANNELS, CHANNELS]
    graph = helper.make_graph(
        nodes,
        "column",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    after = Rewrite(folding.RULES)(infer_shapes(ir.from_proto(make_model(graph)))).model
    x = np.ones(shape, np.float32)
    session = ort.InferenceSession(ir.to_proto(after).SerializeToString())
    np.testing.assert_allclose(session.run(None, {"x": x})[0], (x + column) * factor)


def test_what_is_used_elsewhere_or_varies_over_the_picture_stays() -> None:
    rng = np.random.default_rng(0)
    tensors = {
        "w": rng.normal(size=(4, 2, 1, 1)).astype(np.float32),
        "by_width": rng.normal(size=(1, 1, 1, 6)).astype(np.float32),
        "zero": np.zeros((), np.float32),
    }
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"]),
        helper.make_node("Mul", ["a", "by_width"], ["y"]),
        helper.make_node("Conv", ["x", "w"], ["b"]),
        helper.make_node("Div", ["b", "zero"], ["z"]),
    ]
    info = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in (("x", (1, 2, 6, 6)), ("y", None), ("z", None))
    ]
    made = [numpy_helper.from_array(array, name) for name, array in tensors.items()]
    model = make_model(helper.make_graph(nodes, "g", info[:1], info[1:], made), 13)
    after = Rewrite(folding.RULES)(infer_shapes(ir.from_proto(model))).model
    assert [node.op_type for node in after.graph] == ["Conv", "Mul", "Conv", "Div"]


@space(15)
@given(
    factor=st.sampled_from(["Mul", "Div"]), sum_=st.sampled_from(["Add", "Sub"]), axes=st.integers(1, 2)
)
def test_a_factor_goes_through_a_sum_that_padding_keeps_in_front(
    factor: str, sum_: str, axes: int
) -> None:
    rng = np.random.default_rng(3)
    constants = {
        "k": np.float32(0.4),
        "s": np.float32(1.5),
        "w": rng.normal(size=(4, 2, *(3,) * axes)).astype(np.float32),
        "b": rng.normal(size=4).astype(np.float32),
    }
    graph = helper.make_graph(
        [
            helper.make_node(factor, ["x", "k"], ["scaled"]),
            helper.make_node(sum_, ["scaled", "s"], ["shifted"]),
            helper.make_node("Conv", ["shifted", "w", "b"], ["y"], pads=[1] * 2 * axes),
        ],
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, (1, 2, *(5,) * axes))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, (1, 4, *(5,) * axes))],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()],
    )
    model = make_model(graph)
    edited = infer_shapes(ir.from_proto(model))
    Rewrite(folding.RULES)(edited)
    common.RemoveUnusedNodesPass()(edited)
    assert [node.op_type for node in edited.graph] == ["Add", "Conv"]
    x = rng.normal(size=(1, 2, *(5,) * axes)).astype(np.float32)
    one, other = (
        ort.InferenceSession(proto.SerializeToString()).run(None, {"x": x})[0]
        for proto in (model, ir.to_proto(edited))
    )
    np.testing.assert_allclose(other, one, atol=1e-4)
