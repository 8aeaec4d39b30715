"""Weights that the Myriad compiler would destroy: rounded as it rounds them, the graph still computes them."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from converter.graph.simplify import infer_shapes
from targets.openvino.myriad_rules.float16_weights import (
    exponents,
    keep_weights_in_float16,
    loss,
    needs_its_own_addition,
)
from tests import nets
from tests.blobs import relative_error, run_source
from tests.sources import make_model
from tests.space import space

F = np.float32


def as_compiled(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with constants of several values as the compiler rounds them."""
    rounded = onnx.ModelProto()
    rounded.CopyFrom(model)
    for tensor in rounded.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.dtype == F and values.size > 1:
            with np.errstate(over="ignore"):
                half = values.astype(np.float16).astype(F)
            flushed = np.where(np.abs(values) < 2.0**-15, 0, np.sign(values) * 2.0**-14)
            half = np.where(np.abs(values) < 2.0**-14, flushed, half).astype(F)
            tensor.CopyFrom(numpy_helper.from_array(half, tensor.name))
    return rounded


def rewritten(model: onnx.ModelProto) -> onnx.ModelProto:
    edited = infer_shapes(ir.from_proto(model))
    keep_weights_in_float16(edited)
    return ir.to_proto(edited)


Part = tuple[str, list[str], dict[str, Any]]


@st.composite
def layers(draw: st.DrawFn) -> onnx.ModelProto:
    """A layer of large or small weights, with factors and shifts around it."""
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    constants: dict[str, NDArray[Any]] = {}
    nodes: list[onnx.NodeProto] = []
    value = "x"

    def small(*shape: int) -> NDArray[Any]:
        size = 10.0 ** draw(st.integers(-5, -3))
        per = 10.0 ** rng.uniform(-1, 1, [shape[0], *[1] * (len(shape) - 1)])
        return (rng.normal(0, size, shape) * per).astype(F)

    def add(kind: str, *arrays: NDArray[Any], left: bool = False, **attributes: Any) -> None:
        nonlocal value
        names = [f"c{len(constants) + index}" for index in range(len(arrays))]
        constants.update(zip(names, arrays, strict=True))
        given = [*names, value] if left else [value, *names]
        value = f"v{len(nodes)}"
        nodes.append(helper.make_node(kind, given, [value], **attributes))

    kind = draw(st.sampled_from(["Conv", "ConvTranspose", "MatMul", "MatMul left", "Gemm"]))
    groups = draw(st.sampled_from([1, 2, 4]))
    image = kind.startswith("Conv")
    shape = [1, 4, 6, 7] if image else [5, 8]
    out = 8 if image else 6
    channel = (1, out, 1, 1) if image else (out,)
    if image and draw(st.booleans()):
        add("Mul", (rng.uniform(0.5, 2, (1, 4, 1, 1)) * draw(st.sampled_from([1, 0.3]))).astype(F))
    bias = [small(out)] if draw(st.booleans()) else []
    match kind:
        case "Conv":
            add(kind, small(out, 4 // groups, 3, 3), *bias, group=groups, pads=[1] * 4)
        case "ConvTranspose":
            add(kind, small(4, out // groups, 3, 3), *bias, group=groups, strides=[2, 1])
        case "MatMul":
            add(kind, small(8, out))
        case "MatMul left":
            add("MatMul", small(out, 5), left=True)
            channel = (out, 1)
        case _:
            add(kind, small(out, 8), *bias, transB=1, alpha=0.5, beta=2.0)
    for step in draw(
        st.lists(st.sampled_from(["Mul", "Div", "Add", "Sub", "Relu", "Clip"]), max_size=3)
    ):
        if step in ("Relu", "Clip"):
            add(step)
        elif step in ("Mul", "Div"):
            add(step, rng.uniform(0.2, 3, channel if draw(st.booleans()) else (1,)).astype(F))
        else:
            # A shift as large as the result: nothing helps a smaller one.
            add(step, (rng.normal(0, 1, channel) * 1e-2).astype(F))
    graph = helper.make_graph(
        nodes, "layers", [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(value, TensorProto.FLOAT, None)],
        [numpy_helper.from_array(values, name) for name, values in constants.items()],
    )  # fmt: skip
    return make_model(graph)


@space(150)
@given(layers())
def test_what_the_compiler_rounds_is_computed_all_the_same(model: onnx.ModelProto) -> None:
    shape = [dim.dim_value for dim in model.graph.input[0].type.tensor_type.shape.dim]
    x = {"x": np.random.default_rng(1).normal(0, 1, shape).astype(F)}
    (wanted,) = run_source(model, x).values()
    after = rewritten(model)
    assert relative_error(wanted, *run_source(after, x).values()) < 1e-5
    (found,) = run_source(as_compiled(after), x).values()
    # Below 2^-14 an output is silent in float16, and a channel that only makes such stays as it is.
    off = float(np.sqrt(np.mean((found - wanted) ** 2)))
    assert off < 4e-3 * float(np.sqrt(np.mean(wanted**2))) + 2.0**-14


@space(60)
@given(
    st.lists(st.floats(-30, 20), min_size=1, max_size=6),
    st.floats(-20, 20),
    st.integers(0, 99),
)
def test_a_lifted_channel_loses_little_and_has_room(sizes: list[float], bias: float, seed: int) -> None:
    rows = np.random.default_rng(seed).normal(0, 1, (len(sizes), 9)) * 2.0 ** np.array(sizes)[:, None]
    rows, shift = rows.astype(F), np.full(len(sizes), 2.0**bias, F)
    k = exponents(rows, shift)
    lifted = rows * 2.0 ** k[:, None].astype(F)
    assert (np.abs(shift * 2.0**k) <= 65504).all()
    assert (255 * np.abs(lifted[k > 0]).sum(axis=1) <= 65504).all()
    possible = (np.abs(rows).max(axis=1) > 2.0**-18) & (bias < 0)
    assert (loss(lifted.astype(F))[possible] < 1e-3).all()
    whole = np.concatenate([rows, shift[:, None]], axis=1)
    lost = np.maximum(loss(rows), loss(whole))
    assert (k[(lost <= 1e-3) & (np.abs(rows).max(axis=1) < 65504) & (shift < 65504)] == 0).all()


@pytest.mark.parametrize("name", nets.NETS)
def test_a_net_of_normal_weights_stays_as_it_is(name: str) -> None:
    model = nets.NETS[name]()
    assert [node.op_type for node in rewritten(model).graph.node] == [
        node.op_type for node in ir.to_proto(infer_shapes(ir.from_proto(model))).graph.node
    ]


def test_many_small_weights_beside_a_few_large_count() -> None:
    """The compiler goes by the geometric mean: MediaPipe's palm detector lost 0.2 through the maximum."""
    weights = np.full((2, 75), 0.004, F)
    weights[:, 0] = 0.2
    assert needs_its_own_addition(weights, np.array([0, -442], F))
    assert not needs_its_own_addition(weights, np.array([0, -255], F))
    assert not needs_its_own_addition(weights * 100, np.array([0, -442], F))
    assert not needs_its_own_addition(np.zeros_like(weights), np.array([0, 200], F))


def test_a_dead_channel_costs_nothing() -> None:
    """Its output is 0 in float16, whatever its weights are rounded to."""
    weights = np.random.default_rng(0).normal(0, 0.3, (8, 4, 3, 3)).astype(F)
    weights[3] *= 1e-12
    assert not exponents(weights.reshape(8, -1), np.zeros(8, F)).any()


@pytest.mark.parametrize(
    ("sizes", "biases", "apart"),
    [
        ((0.03, 0.03), (10.0, 1000.0), True),
        ((0.3,), (20000.0,), True),
        ((2e-5,), (-40.0,), True),  # lifted with its weights it would be cut off
        ((0.03, 0.03), (10.0, 90.0), False),
        ((1.0,), (700.0,), False),
    ],
)
def test_a_bias_that_is_large_beside_its_weights_is_added_behind(
    sizes: tuple[float, ...], biases: tuple[float, ...], apart: bool
) -> None:
    """The compiler multiplies both by what brings the weights near to 1, and cuts the bias off."""
    rng = np.random.default_rng(0)
    weights = rng.uniform(0.5, 1, (len(sizes), 3, 3, 3)) * np.array(sizes)[:, None, None, None]
    constants = {"w": weights.astype(F), "b": np.array(biases, F)}
    graph = helper.make_graph(
        [helper.make_node("Conv", ["x", "w", "b"], ["y"])],
        "conv",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, (1, 3, 9, 9))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(values, name) for name, values in constants.items()],
    )
    model = make_model(graph)
    after = rewritten(model)
    assert ("Add" in [node.op_type for node in after.graph.node]) == apart
    x = {"x": rng.normal(size=(1, 3, 9, 9)).astype(F)}
    (wanted,), (found,) = run_source(model, x).values(), run_source(after, x).values()
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)
