"""Normalizations, slopes, scatters and regions as their rules write them: compared with ONNX Runtime."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from converter.graph.rewrite import Rewrite
from converter.graph.rules import activations, lookups, normalization, scattering
from converter.graph.simplify import infer_shapes
from targets.openvino.myriad_rules.dropped_attributes import dropped_attributes
from tests.blobs import run_source
from tests.sources import make_model
from tests.space import space

F = np.float32
RULES = {**activations.RULES, **lookups.RULES, **normalization.RULES, **scattering.RULES}
Inputs = dict[str, Any]


def model_of(
    kind: str, inputs: Inputs, constants: Inputs, opset: int, **attributes: Any
) -> onnx.ModelProto:
    """A node of inputs (arrays, whose shapes and types the model takes) and constants."""
    values = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)
        for name, array in inputs.items()
    ]
    graph = helper.make_graph(
        [helper.make_node(kind, [*inputs, *constants], ["y"], name="it", **attributes)], kind, values,
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()],
    )  # fmt: skip
    return make_model(graph, opset)


def _rewritten(model: onnx.ModelProto) -> ir.Model:
    """The rules applied."""
    return Rewrite(RULES)(infer_shapes(ir.from_proto(model))).model


def compared(model: onnx.ModelProto, feeds: Inputs, tolerance: float = 1e-5) -> set[str]:
    """The operators after the rules, which compute the same on ONNX Runtime."""
    after = ir.to_proto(_rewritten(model))
    wanted, found = run_source(model, feeds)["y"], run_source(after, feeds)["y"]
    assert found.shape == wanted.shape
    size = max(float(np.abs(wanted).max(initial=0)), 1e-6)
    np.testing.assert_allclose(found, wanted, rtol=0, atol=tolerance * size)
    return {node.op_type for node in after.graph.node}


def normal(*shape: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).normal(0, 1, shape).astype(F)


@space(60)
@given(
    kind=st.sampled_from(["InstanceNormalization", "GroupNormalization", "LayerNormalization"]),
    epsilon=st.sampled_from([1e-12, 1e-5, 1e-3, 0.3]),
    spread=st.sampled_from([1e-3, 1.0, 1e4]),
    rank=st.integers(3, 5),
    seed=st.integers(0, 99),
)
def test_a_normalization_has_epsilon_under_the_root(
    kind: str, epsilon: float, spread: float, rank: int, seed: int
) -> None:
    shape = (2, 6, *[4, 5, 3][: rank - 2])
    x = {"x": normal(*shape, seed=seed) * F(spread)}
    width = shape[-1] if kind == "LayerNormalization" else 6
    more = {"num_groups": 3} if kind == "GroupNormalization" else {}
    constants = {"s": normal(width, seed=seed + 1), "b": normal(width, seed=seed + 2)}
    made = compared(model_of(kind, x, constants, 21, epsilon=epsilon, **more), x, 1e-4)
    assert kind not in made


@pytest.mark.parametrize("spread", [1e-3, 1.0, 300.0, 2e4])
@pytest.mark.parametrize("kind", ["InstanceNormalization", "LayerNormalization"])
def test_a_normalization_stays_within_float16(kind: str, spread: float) -> None:
    """Every tensor in between, from float16's smallest normal number's neighbourhood to its largest."""
    x = {"x": normal(1, 6, 30) * F(spread)}
    width = 30 if kind == "LayerNormalization" else 6
    model = model_of(kind, x, {"s": np.ones(width, F), "b": np.zeros(width, F)}, 17)
    after = ir.to_proto(Rewrite(RULES)(infer_shapes(ir.from_proto(model))).model)
    names = [name for node in after.graph.node for name in node.output]
    del after.graph.output[:]
    after.graph.output.extend(
        helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names
    )
    for values in run_source(after, x).values():
        assert np.abs(values).max() < 65504


@space(60)
@given(
    shape=st.lists(st.integers(1, 5), min_size=1, max_size=5).map(tuple),
    data=st.data(),
)
def test_a_slope_of_any_shape(shape: tuple[int, ...], data: st.DataObject) -> None:
    kept = data.draw(st.integers(0, len(shape)))
    slope = tuple(data.draw(st.sampled_from([1, size])) for size in shape[kept:])
    x = {"x": normal(*shape)}
    made = compared(model_of("PRelu", x, {"s": normal(*slope, seed=1)}, 13), x)
    if "PRelu" in made:
        wide = (1,) * (len(shape) - len(slope)) + slope
        assert np.prod(slope) == 1 or wide == (1, shape[1], *[1] * (len(shape) - 2))


@space(40)
@given(
    kind=st.sampled_from(["Softmax", "LogSoftmax", "Hardmax"]),
    shape=st.lists(st.integers(1, 5), min_size=1, max_size=4).map(tuple),
    data=st.data(),
)
def test_an_old_softmax_is_of_all_axes_behind(
    kind: str, shape: tuple[int, ...], data: st.DataObject
) -> None:
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    x = {"x": normal(*shape)}
    compared(model_of(kind, x, {}, 11, axis=axis), x)


@space(40)
@given(bias=st.floats(0.01, 5), alpha=st.floats(1e-4, 0.5), beta=st.floats(0.3, 1.2))
def test_a_response_normalization_has_a_whole_bias(bias: float, alpha: float, beta: float) -> None:
    x = {"x": normal(1, 7, 4, 5)}
    model = model_of("LRN", x, {}, 13, size=3, bias=bias, alpha=alpha, beta=beta)
    compared(model, x)
    assert not dropped_attributes(Rewrite(RULES)(infer_shapes(ir.from_proto(model))).model)


@st.composite
def scatters(draw: st.DrawFn) -> tuple[onnx.ModelProto, Inputs]:
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    shape = tuple(draw(st.lists(st.integers(1, 5), min_size=1, max_size=4)))
    kind = draw(st.sampled_from(["ScatterElements", "ScatterND"]))
    reduction = draw(st.sampled_from(["none", "add", "mul", "max", "min"]))
    if kind == "ScatterElements":
        axis = draw(st.integers(0, len(shape) - 1))
        sizes = tuple(draw(st.integers(1, size)) for size in shape)
        indices = rng.integers(-shape[axis], shape[axis], sizes)
        # ONNX gives no order to several updates of one element without a reduction.
        if reduction == "none":
            ranked = np.argsort(rng.random(shape), axis)
            indices = ranked[tuple(slice(size) for size in sizes)]
            indices = np.where(rng.random(sizes) < 0.5, indices, indices - shape[axis])
        more, updates = {"axis": axis - len(shape) * draw(st.integers(0, 1))}, normal(*sizes, seed=1)
    else:
        depth, count = draw(st.integers(1, len(shape))), draw(st.integers(1, 4))
        flat = rng.choice(int(np.prod(shape[:depth])), count, replace=reduction != "none") \
            if count <= np.prod(shape[:depth]) else np.array([0])  # fmt: skip
        indices = np.stack(np.unravel_index(flat, shape[:depth]), axis=-1)
        indices = np.where(rng.random(indices.shape) < 0.5, indices, indices - np.array(shape[:depth]))
        more, updates = {}, normal(len(indices), *shape[depth:], seed=1)
    nodes = [helper.make_node(kind, ["x", "i", "u"], ["y"], reduction=reduction, **more)]
    feeds, weights = {"x": normal(*shape)}, {"i": indices.astype(np.int64)}
    (feeds if draw(st.booleans()) else weights)["u"] = updates
    graph = helper.make_graph(
        nodes, kind,
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, v.shape) for name, v in feeds.items()],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(values, name) for name, values in weights.items()],
    )  # fmt: skip
    return make_model(graph, 18), feeds


@space(100)
@given(scatters())
def test_a_scatter_of_constant_indices_is_a_lookup(case: tuple[onnx.ModelProto, Inputs]) -> None:
    assert not {"ScatterElements", "ScatterND"} & compared(*case)


@pytest.mark.parametrize("known", [True, False])
def test_booleans_are_scattered_by_logic(known: bool) -> None:
    x, updates = np.array([True, True, False, False]), np.array([False, True])
    feeds = {"x": x} | ({} if known else {"u": updates})
    graph = helper.make_graph(
        [helper.make_node("ScatterElements", ["x", "i", "u"], ["y"], name="it")], "booleans",
        [helper.make_tensor_value_info(name, TensorProto.BOOL, v.shape) for name, v in feeds.items()],
        [helper.make_tensor_value_info("y", TensorProto.BOOL, None)],
        [numpy_helper.from_array(np.array([1, -1]), "i"), numpy_helper.from_array(updates, "u")][: 1 + known],
    )  # fmt: skip
    after = ir.to_proto(_rewritten(make_model(graph, 18)))
    assert "ScatterElements" not in {node.op_type for node in after.graph.node}
    assert run_source(after, feeds)["y"].tolist() == [True, False, False, True]


@space(60)
@given(
    kind=st.sampled_from(["Gather", "GatherElements", "GatherND"]),
    shape=st.lists(st.integers(1, 5), min_size=2, max_size=4).map(tuple),
    seed=st.integers(0, 99),
    data=st.data(),
)
def test_constant_indices_count_from_the_start(
    kind: str, shape: tuple[int, ...], seed: int, data: st.DataObject
) -> None:
    rng, more = np.random.default_rng(seed), {}
    if kind == "GatherND":
        batch = data.draw(st.integers(0, len(shape) - 1))
        depth = data.draw(st.integers(1, len(shape) - batch))
        sizes = np.array(shape[batch : batch + depth])
        indices = rng.integers(-sizes, sizes, (*shape[:batch], 3, depth))
        more = {"batch_dims": batch}
    else:
        axis = data.draw(st.integers(0, len(shape) - 1))
        indices = rng.integers(-shape[axis], shape[axis], shape if kind == "GatherElements" else (3,))
        more = {"axis": axis}
    x = {"x": normal(*shape)}
    model = model_of(kind, x, {"i": indices}, 13, **more)
    compared(model, x)
    after = ir.to_proto(Rewrite(RULES)(infer_shapes(ir.from_proto(model))).model)
    read = {name for node in after.graph.node for name in node.input}
    for tensor in after.graph.initializer:
        assert tensor.name not in read or (numpy_helper.to_array(tensor) >= 0).all()


@space(30)
@given(
    shape=st.lists(st.integers(1, 5), min_size=2, max_size=4).map(tuple),
    seed=st.integers(0, 99),
    data=st.data(),
)
def test_computed_indices_of_batches_have_the_batch_in_front(
    shape: tuple[int, ...], seed: int, data: st.DataObject
) -> None:
    rng = np.random.default_rng(seed)
    batch = data.draw(st.integers(1, len(shape) - 1))
    depth = data.draw(st.integers(1, len(shape) - batch))
    sizes = np.array(shape[batch : batch + depth])
    inputs = {"x": normal(*shape), "i": rng.integers(-sizes, sizes, (*shape[:batch], 3, depth))}
    model = model_of("GatherND", inputs, {}, 13, batch_dims=batch)
    after = Rewrite(lookups.BATCHES)(infer_shapes(ir.from_proto(model))).model
    assert all("batch_dims" not in node.attributes for node in after.graph)
    found = run_source(ir.to_proto(after), inputs)["y"]
    np.testing.assert_array_equal(found, run_source(model, inputs)["y"])


@space(40)
@given(
    rank=st.integers(1, 3),
    depth=st.integers(1, 6),
    seed=st.integers(0, 99),
    values=st.sampled_from([np.array([0, 1], F), np.array([-2, 3], F), np.array([1, 0])]),
    made=st.booleans(),
    data=st.data(),
)
def test_one_hot_is_a_comparison(
    rank: int, depth: int, seed: int, values: Any, made: bool, data: st.DataObject
) -> None:
    """Of indices from either end and beyond, or of those that an ArgMax makes."""
    rng = np.random.default_rng(seed)
    shape = (2, 3, 4)[:rank]
    axis = data.draw(st.integers(-rank - 1, rank))
    x = {"x": normal(*shape, 7) if made else rng.integers(-depth - 1, depth + 2, shape)}
    hot = model_of("OneHot", {"x": np.zeros(shape, np.int64)}, {"d": np.int64(depth), "v": values}, 13,
                   axis=axis)  # fmt: skip
    hot.graph.output[0].type.tensor_type.elem_type = helper.np_dtype_to_tensor_dtype(values.dtype)
    if made:
        hot.graph.input[0].CopyFrom(helper.make_tensor_value_info("x", TensorProto.FLOAT, x["x"].shape))
        hot.graph.node[0].input[0] = "first"
        hot.graph.node.insert(0, helper.make_node("ArgMax", ["x"], ["first"], axis=-1, keepdims=0))
    after = ir.to_proto(Rewrite(lookups.ONE_HOT)(infer_shapes(ir.from_proto(hot))).model)
    assert "OneHot" not in {node.op_type for node in after.graph.node}
    np.testing.assert_array_equal(run_source(after, x)["y"], run_source(hot, x)["y"])


@pytest.mark.parametrize(("dtype", "depth"), [(np.uint8, 4), (np.int8, 300)])
def test_one_hot_of_narrow_indices_has_no_places_that_wrap_around(dtype: Any, depth: int) -> None:
    x = np.array([0, 3, 44, 252 if dtype is np.uint8 else -1], dtype)
    values = np.array([0, 1], F)
    hot = model_of("OneHot", {"x": x}, {"d": np.int64(depth), "v": values}, 13, axis=-1)
    hot.graph.input[0].CopyFrom(
        helper.make_tensor_value_info("x", helper.np_dtype_to_tensor_dtype(x.dtype), x.shape)
    )
    after = ir.to_proto(Rewrite(lookups.ONE_HOT)(infer_shapes(ir.from_proto(hot))).model)
    assert "OneHot" not in {node.op_type for node in after.graph.node}
    places = np.where(x.astype(int) < 0, x.astype(int) + depth, x)[:, None]
    np.testing.assert_array_equal(run_source(after, {"x": x})["y"], places == np.arange(depth))


@pytest.mark.parametrize(
    ("values", "operator"), [([False, True], "Or"), ([True, False], "Not"), ([0.0, -np.inf], "OneHot")]
)
def test_one_hot_of_truths_has_no_arithmetic_and_infinities_stay(values: Any, operator: str) -> None:
    hot = model_of("OneHot", {"x": np.zeros(3, np.int64)},
                   {"d": np.int64(4), "v": np.array(values)}, 13)  # fmt: skip
    after = Rewrite(lookups.ONE_HOT)(infer_shapes(ir.from_proto(hot))).model
    assert [node.op_type for node in after.graph][-1] == operator


@pytest.mark.parametrize("dtype", [np.float32, np.int32, np.int64])
def test_a_number_is_true_if_it_is_not_0(dtype: Any) -> None:
    x = np.array([0, 0.4, -0.4, 1, -1, 256, 3e-5], dtype)
    graph = helper.make_graph(
        [helper.make_node("Cast", ["x"], ["b"], to=TensorProto.BOOL),
         helper.make_node("Cast", ["b"], ["y"], to=TensorProto.FLOAT)], "cast",
        [helper.make_tensor_value_info("x", helper.np_dtype_to_tensor_dtype(x.dtype), x.shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, x.shape)],
    )  # fmt: skip
    assert "Not" in compared(make_model(graph), {"x": x})


@space(40)
@given(
    mode=st.sampled_from(["avg", "max"]),
    scale=st.sampled_from([0.25, 0.5, 1.0]),
    width=st.floats(1, 20, width=32),
    transformation=st.sampled_from([None, "half_pixel", "output_half_pixel"]),
)
def test_a_region_is_moved_by_half_a_pixel(
    mode: str, scale: float, width: float, transformation: str | None
) -> None:
    x = {"x": normal(1, 2, 9, 11)}
    regions = np.array([[2, 1, 2 + width, 1 + width], [4, 4, 12, 20]], F)
    constants = {"r": regions, "i": np.zeros(2, np.int64)}
    more = {} if transformation is None else {"coordinate_transformation_mode": transformation}
    model = model_of("RoiAlign", x, constants, 16, mode=mode, sampling_ratio=2, spatial_scale=scale,
                     output_height=2, output_width=3, **more)  # fmt: skip
    compared(model, x)
    after = Rewrite(RULES)(infer_shapes(ir.from_proto(model))).model
    if transformation == "output_half_pixel" or width * scale >= 1:
        assert not dropped_attributes(after)
    else:
        said = "the Myriad compiler ignores coordinate_transformation_mode='half_pixel'"
        assert dropped_attributes(after) == {("it", "RoiAlign"): said}
