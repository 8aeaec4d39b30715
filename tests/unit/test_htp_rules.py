"""The rules for RVC4 compute what ONNX Runtime computes, over the space of their attributes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from converter.graph.rewrite import Rewrite, Rule, static_shape
from converter.graph.rules import sums
from converter.graph.simplify import infer_shapes
from targets.rvc4.htp_rules import (
    activations,
    convolution,
    layer_norm,
    normalization,
    padding,
    pooling,
    products,
    resize,
    volumes,
)
from tests.sources import make_model, one_op_model
from tests.space import space

F = np.float32
FEW = space(40)
seeds = st.integers(0, 1000)


def outputs_of(model: onnx.ModelProto, seed: int) -> list[Any]:
    options = ort.SessionOptions()
    options.log_severity_level = 4
    session = ort.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    rng = np.random.default_rng(seed)
    feeds = {item.name: rng.normal(0, 2, item.shape).astype(F) for item in session.get_inputs()}
    return list(session.run(None, feeds))


def check(model: onnx.ModelProto, rules: Mapping[str, Rule], gone: str = "") -> ir.Model:
    """The rewritten model, which has no operator `gone` and computes the same."""
    try:
        expected = outputs_of(model, 1)
    except Exception:
        assume(False)
    edited = infer_shapes(ir.from_proto(model))
    for value in edited.graph.outputs:  # ONNX's inference is wrong about some
        value.shape = None
    Rewrite(rules)(edited)
    assert gone not in {node.op_type for node in edited.graph}
    for one, other in zip(expected, outputs_of(ir.to_proto(edited), 1), strict=True):
        assert one.shape == other.shape
        np.testing.assert_allclose(other, one, atol=1e-4 * max(np.abs(one).max(initial=0), 1))
    return edited


@FEW
@given(
    rank=st.integers(1, 2),
    groups=st.sampled_from([1, 2, 3]),
    per_group=st.integers(1, 2),
    kernel=st.integers(1, 3),
    stride=st.integers(1, 3),
    dilation=st.integers(1, 2),
    more=st.integers(0, 2),
    pad=st.integers(0, 1),
    seed=seeds,
)
def test_transposed_convolutions(
    rank: int, groups: int, per_group: int, kernel: int, stride: int, dilation: int, more: int,
    pad: int, seed: int,
) -> None:  # fmt: skip
    rng = np.random.default_rng(seed)
    weights = rng.normal(0, 1, (2 * groups, per_group, *[kernel] * rank))
    weights *= rng.uniform(0.1, 5, (2 * groups, per_group, *[1] * rank))  # no channels alike
    model = one_op_model(
        "ConvTranspose",
        {"x": (1, 2 * groups, *[5] * rank)},
        constants={"w": weights.astype(F), "b": rng.normal(0, 1, groups * per_group).astype(F)},
        opset=17,
        group=groups,
        strides=[stride] * rank,
        dilations=[dilation] * rank,
        output_padding=[min(more, max(stride, dilation) - 1)] * rank,
        pads=[pad] * (2 * rank),
    )
    check(model, {"ConvTranspose": convolution.whole_kernel})
    check(model, {"ConvTranspose": convolution.grouped_transpose})


@FEW
@given(
    kernel=st.tuples(*[st.integers(1, 3)] * 3),
    strides=st.tuples(*[st.integers(1, 2)] * 3),
    dilations=st.tuples(*[st.integers(1, 2)] * 3),
    groups=st.integers(1, 2),
    biased=st.booleans(),
    pads=st.sampled_from(["NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"]),
    seed=seeds,
)
def test_dilated_convolutions_of_volumes(
    kernel: tuple[int, ...], strides: tuple[int, ...], dilations: tuple[int, ...], groups: int,
    biased: bool, pads: str, seed: int,
) -> None:  # fmt: skip
    rng = np.random.default_rng(seed)
    constants = {"w": rng.normal(0, 1, (4, 4 // groups, *kernel)).astype(F)}
    if biased:
        constants["b"] = rng.normal(0, 1, 4).astype(F)
    attributes = {"pads": [1, 0, 1, 0, 2, 1]} if pads == "NOTSET" else {"auto_pad": pads}
    model = one_op_model(
        "Conv", {"x": (1, 4, 5, 6, 7)}, constants=constants, opset=17,
        group=groups, strides=strides, dilations=dilations, **attributes,
    )  # fmt: skip
    rewritten = check(model, {"Conv": convolution.dense_volume})
    assert all(
        set(node.attributes["dilations"].as_ints()) == {1}
        for node in rewritten.graph
        if "dilations" in node.attributes
    )


@FEW
@given(
    op=st.sampled_from(["AveragePool", "MaxPool"]),
    rank=st.integers(1, 2),
    size=st.integers(5, 11),
    kernel=st.integers(1, 3),
    stride=st.integers(1, 4),
    dilation=st.integers(1, 2),
    pads=st.tuples(st.integers(0, 2), st.integers(0, 2)),
    auto=st.sampled_from(["NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"]),
    up=st.booleans(),
    include=st.booleans(),
)
def test_pools(
    op: str, rank: int, size: int, kernel: int, stride: int, dilation: int, pads: tuple[int, int],
    auto: str, up: bool, include: bool,
) -> None:  # fmt: skip
    assume(max(pads) < kernel)
    attributes: dict[str, Any] = {"kernel_shape": [kernel] * rank, "strides": [stride] * rank}
    attributes |= {"ceil_mode": int(up), "auto_pad": auto}
    if auto == "NOTSET":
        attributes["pads"] = [pads[0]] * rank + [pads[1]] * rank
    if op == "AveragePool":
        attributes["count_include_pad"] = int(include)
        assume(not (up and include))  # ONNX Runtime and the specification differ
    attributes["dilations"] = [dilation] * rank
    model = one_op_model(op, {"x": (1, 3, *[size] * rank)}, opset=19, **attributes)
    rule = pooling.average_pool if op == "AveragePool" else pooling.max_pool
    check(model, {op: rule})


@FEW
@given(
    mode=st.sampled_from(["constant", "edge", "reflect", "wrap"]),
    pads=st.lists(st.integers(-2, 3), min_size=6, max_size=6),
    number=st.sampled_from([0.0, -5.0, 20.0]),
)
def test_pads(mode: str, pads: list[int], number: float) -> None:
    constants = {"p": np.array(pads)}
    if mode == "constant":
        constants["v"] = np.array(number, F)
    model = one_op_model("Pad", {"x": (4, 5, 6)}, constants=constants, opset=19, mode=mode)
    check(model, {"Pad": padding.mirrored}, "Pad" if mode in ("edge", "wrap") and any(pads) else "")
    if mode == "constant":
        check(model, {"Pad": padding.beyond_the_range}, "Pad" if number and any(pads) else "")


@FEW
@given(
    mode=st.sampled_from(["constant", "edge", "reflect", "wrap"]),
    axes=st.lists(st.integers(-3, -1), min_size=1, unique=True),
    pads=st.lists(st.integers(-1, 2), min_size=6, max_size=6),
)
def test_pads_of_named_axes(mode: str, axes: list[int], pads: list[int]) -> None:
    constants = {"p": np.array(pads[: 2 * len(axes)]), "v": np.array(3.0, F), "axes": np.array(axes)}
    model = one_op_model("Pad", {"x": (4, 5, 6)}, constants=constants, opset=19, mode=mode)
    check(model, {"Pad": padding.of_all_axes})
    edited = infer_shapes(ir.from_proto(model))
    Rewrite({"Pad": padding.of_all_axes})(edited)
    assert all(len(node.inputs) < 4 for node in edited.graph if node.op_type == "Pad")


@FEW
@given(
    bias=st.sampled_from([None, (), (1,), (5,), (1, 1), (4, 1), (1, 5), (4, 5)]),
    turned=st.tuples(st.booleans(), st.booleans()),
    factors=st.tuples(st.sampled_from([1.0, 0.5]), st.sampled_from([1.0, 2.0])),
)
def test_gemm(
    bias: tuple[int, ...] | None, turned: tuple[bool, bool], factors: tuple[float, float]
) -> None:
    rng = np.random.default_rng(0)
    constants = {"w": rng.normal(0, 1, (5, 6) if turned[1] else (6, 5)).astype(F)}
    if bias is not None:
        constants["c"] = rng.normal(0, 1, bias).astype(F)
    model = one_op_model(
        "Gemm", {"x": (6, 4) if turned[0] else (4, 6)}, constants=constants, opset=17,
        transA=int(turned[0]), transB=int(turned[1]), alpha=factors[0], beta=factors[1],
    )  # fmt: skip
    check(model, {"Gemm": products.biased_gemm})


@FEW
@given(
    mode=st.sampled_from(["nearest", "linear", "cubic"]),
    coordinates=st.sampled_from(["half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric"]),
    rounding=st.sampled_from(["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"]),
    scales=st.tuples(*[st.sampled_from([0.4, 0.5, 1.0, 1.7, 2.0, 3.0])] * 2),
)
def test_resize(mode: str, coordinates: str, rounding: str, scales: tuple[float, float]) -> None:
    constants = {"s": np.array([1, 1, *scales], F)}
    model = one_op_model(
        "Resize", {"x": (1, 2, 7, 6)}, constants=constants, order=["x", "", "s"], opset=17, mode=mode,
        coordinate_transformation_mode=coordinates, nearest_mode=rounding,
    )  # fmt: skip
    check(model, {"Resize": resize.resize})


@FEW
@given(
    shape=st.sampled_from([[2, 3, 4], [3, 4], [2, 3, 2, 2, 4], [1, 2, 3, 4]]),
    axes=st.sampled_from([[-1], [1], [1, -1], [0, -1], [-1, -2]]),
    square=st.sampled_from(["Mul", "Pow"]),
    quotient=st.sampled_from(["Div", "Reciprocal", "one over", "power", "turned"]),
    root=st.sampled_from(["Sqrt", "Pow"]),
    opset=st.sampled_from([17, 18]),
    centred=st.booleans(),
)
def test_normalization_written_out(
    shape: list[int],
    axes: list[int],
    square: str,
    quotient: str,
    root: str,
    opset: int,
    centred: bool,
) -> None:
    axes = list(dict.fromkeys(axis % len(shape) for axis in axes))

    def mean(x: str, y: str) -> onnx.NodeProto:
        if opset < 18:
            return helper.make_node("ReduceMean", [x], [y], axes=axes, keepdims=1)
        return helper.make_node("ReduceMean", [x, "axes"], [y], keepdims=1)

    d = "d" if centred else "x"
    nodes = [
        *([mean("x", "mu"), helper.make_node("Sub", ["x", "mu"], ["d"])] if centred else []),
        helper.make_node(square, [d, d if square == "Mul" else "two"], ["q"]),
        mean("q", "v"),
        helper.make_node("Add", ["v", "eps"], ["e"]),
    ]
    if quotient == "power":
        nodes.append(helper.make_node("Pow", ["e", "minus"], ["i"]))
    else:
        nodes.append(helper.make_node(root, ["e", *(["half"] if root == "Pow" else [])], ["r"]))
    if quotient == "Div":
        nodes.append(helper.make_node("Div", [d, "r"], ["y"]))
    else:
        if quotient == "one over":
            nodes.append(helper.make_node("Div", ["one", "r"], ["i"]))
        elif quotient != "power":
            nodes.append(helper.make_node("Reciprocal", ["r"], ["i"]))
        nodes.append(helper.make_node("Mul", ["i", d] if quotient == "turned" else [d, "i"], ["y"]))
    constants = {"two": 2.0, "half": 0.5, "minus": -0.5, "one": 1.0, "eps": 1e-5}
    graph = helper.make_graph(
        nodes,
        "norm",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(np.array(v, F), n) for n, v in constants.items()]
        + [numpy_helper.from_array(np.array(axes), "axes")] * (opset >= 18),
    )
    rule = layer_norm.written_out if centred else layer_norm.root_mean_square
    model = make_model(graph, opset)
    check(model, {"Div": rule, "Mul": rule})
    edited = infer_shapes(ir.from_proto(model))
    Rewrite({"Div": rule, "Mul": rule})(edited)
    made = {node.op_type: node for node in edited.graph}
    assert ("LayerNormalization" if centred else "ReduceMax") in made
    if centred:  # what the HTP has
        made["LayerNormalization"].name = "n"
        assert made["LayerNormalization"].attributes["axis"].as_int() == -1
        sizes = static_shape(infer_shapes(edited).graph.node("n").inputs[0])
        assert sizes is not None and len(sizes) <= 4


@FEW
@given(
    shape=st.lists(st.integers(1, 4), min_size=5, max_size=5).map(tuple),
    op=st.sampled_from(["ArgMax", "ArgMin"]),
    axis=st.integers(-5, 4),
    keepdims=st.integers(0, 1),
    last=st.integers(0, 1),
)
def test_the_place_of_an_extreme_of_a_volume(
    shape: tuple[int, ...], op: str, axis: int, keepdims: int, last: int
) -> None:
    model = one_op_model(op, {"x": shape}, axis=axis, keepdims=keepdims, select_last_index=last)
    model.graph.output[0].type.tensor_type.elem_type = TensorProto.INT64
    edited = check(model, {op: volumes.place_of_extreme})
    (found,) = (node for node in edited.graph if node.op_type == op)
    assert found.inputs[0] is not edited.graph.inputs[0]


@FEW
@given(
    data=st.data(),
    shape=st.lists(st.integers(1, 4), min_size=1, max_size=5).map(tuple),
    keepdims=st.integers(0, 1),
    spread=st.sampled_from([0.0, 1e-3, 1.0, 1e4]),
)
def test_the_euclidean_norm(
    data: st.DataObject, shape: tuple[int, ...], keepdims: int, spread: float
) -> None:
    axes = data.draw(st.lists(st.integers(0, len(shape) - 1), min_size=1, unique=True))
    model = one_op_model("ReduceL2", {"x": shape}, opset=17, axes=axes, keepdims=keepdims)
    model.graph.node[0].input[0], model.graph.node[0].output[0] = "z", "n"
    model.graph.node.insert(0, helper.make_node("Mul", ["x", "k"], ["z"]))
    model.graph.node.append(helper.make_node("Neg", ["n"], [model.graph.output[0].name]))
    model.graph.initializer.append(numpy_helper.from_array(np.array(spread, F), "k"))
    check(model, {"ReduceL2": sums.euclidean_norm}, "ReduceL2")


@FEW
@given(
    shape=st.lists(st.integers(1, 4), min_size=5, max_size=5).map(tuple),
    axis=st.integers(-5, 4),
    largest=st.integers(0, 1),
    left=st.integers(0, 2),
)
def test_the_largest_of_a_volume(shape: tuple[int, ...], axis: int, largest: int, left: int) -> None:
    count = max(shape[axis] - left, 1)
    sizes = list(shape)
    sizes[axis] = count
    graph = helper.make_graph(
        [helper.make_node("TopK", ["x", "k"], ["y", "i"], axis=axis, largest=largest)],
        "top",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [
            helper.make_tensor_value_info("y", TensorProto.FLOAT, sizes),
            helper.make_tensor_value_info("i", TensorProto.INT64, sizes),
        ],
        [numpy_helper.from_array(np.array([count]), "k")],
    )
    edited = check(make_model(graph, 17), {"TopK": volumes.largest_of_axis})
    (found,) = (node for node in edited.graph if node.op_type == "TopK")
    assert found.attributes["axis"].as_int() == 1


@FEW
@given(
    shape=st.lists(st.integers(1, 4), min_size=5, max_size=5).map(tuple),
    axis=st.integers(-5, 4),
)
def test_log_softmax_of_a_volume(shape: tuple[int, ...], axis: int) -> None:
    model = one_op_model("LogSoftmax", {"x": shape}, opset=17, axis=axis)
    edited = check(model, {"LogSoftmax": volumes.log_softmax})
    (found,) = (node for node in edited.graph if node.op_type == "LogSoftmax")
    assert found.attributes["axis"].as_int() == 1


@FEW
@given(groups=st.integers(2, 3), outputs=st.integers(1, 2), biased=st.booleans(), small=st.booleans())
def test_grouped_transposed_convolutions_of_volumes(
    groups: int, outputs: int, biased: bool, small: bool
) -> None:
    rng = np.random.default_rng(groups)
    constants = {"w": rng.normal(0, 1, (2 * groups, outputs, 2, 2, 3)).astype(F)}
    if biased:
        constants["b"] = rng.normal(0, 1, groups * outputs).astype(F)
    model = one_op_model(
        "ConvTranspose", {"x": (1, 2 * groups, 2, 3, 2)}, constants=constants, opset=17, group=groups,
        strides=[2, 1, 2], pads=[0, 1, 0, 1, 0, 0],
    )  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(convolution, "_MAX_DENSE", 1 << 20 if small else 0)
        edited = check(model, {"ConvTranspose": convolution.grouped_volume_transpose})
    made = [node for node in edited.graph if node.op_type == "ConvTranspose"]
    assert len(made) == (1 if small else groups)
    assert all("group" not in node.attributes for node in made)


@FEW
@given(
    shape=st.sampled_from([(2, 3, 4), (2, 3, 2, 2, 4), (1, 2, 3, 4)]),
    axis=st.integers(-3, -1),
    biased=st.booleans(),
)
def test_layer_normalization_of_the_last_axis_of_few(
    shape: tuple[int, ...], axis: int, biased: bool
) -> None:
    rng = np.random.default_rng(1)
    constants = {name: rng.normal(0, 1, shape[axis:]).astype(F) for name in ("sb" if biased else "s")}
    model = one_op_model("LayerNormalization", {"x": shape}, constants=constants, opset=17, axis=axis)
    edited = infer_shapes(check(model, {"LayerNormalization": normalization.layer_normalization}))
    (found,) = (node for node in edited.graph if node.op_type == "LayerNormalization")
    sizes = static_shape(found.inputs[0])
    assert sizes is not None and len(sizes) <= 4
    assert found.attributes["axis"].as_int() in (-1, len(sizes) - 1)


@FEW
@given(rank=st.integers(1, 5), slope=st.sampled_from(["one", "channels", "all"]), seed=seeds)
def test_p_relu(rank: int, slope: str, seed: int) -> None:
    shape = tuple([1, 3, 2, 4, 2][:rank])
    sizes = {"one": (1,), "channels": (3, *[1] * (rank - 2))[: max(rank - 1, 1)], "all": shape}[slope]
    sizes = (1,) if rank == 1 else sizes
    values = np.random.default_rng(seed).normal(0, 1, sizes).astype(F)
    model = one_op_model("PRelu", {"x": shape}, constants={"s": values}, opset=17)
    check(model, {"PRelu": activations.p_relu}, "PRelu")


@FEW
@given(seed=seeds)
def test_volumes(seed: int) -> None:
    rng, shape = np.random.default_rng(seed), (2, 3, 2, 4, 3)
    pool = one_op_model("GlobalMaxPool", {"x": shape}, opset=17)
    check(pool, {"GlobalMaxPool": volumes.global_max_pool}, "GlobalMaxPool")
    constants = {name: rng.normal(0, 1, 3).astype(F) for name in "sb"}
    norm = one_op_model("InstanceNormalization", {"x": shape}, constants=constants, opset=17)
    check(norm, {"InstanceNormalization": volumes.instance_normalization})
    for sizes in (shape, shape[:4], shape[:3]):
        norm = one_op_model("InstanceNormalization", {"x": sizes}, constants=constants, opset=17)
        rules = {"InstanceNormalization": volumes.instance_by_layer}
        check(norm, rules, "InstanceNormalization")
