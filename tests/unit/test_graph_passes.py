"""Every graph pass keeps what the model computes: compared with ONNX Runtime on the original."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from onnx_ir.passes import Sequential, common

from converter.errors import ModelError
from converter.graph.copies import settle_copies
from converter.graph.embed import FLOAT16, EmbedPreprocessing, Entry, Folding
from converter.graph.freeze import FreezeShapes
from converter.graph.opset import raise_opset
from converter.graph.rewrite import Rewrite
from converter.graph.rules import table
from converter.graph.simplify import infer_shapes, simplify
from converter.graph.single_precision import SinglePrecision
from converter.preprocessing import Color, Preprocessing
from targets.openvino.myriad_rules import opset13, scalars
from tests.sources import COPIES, conv_model, copies_model, make_model, one_op_model

LIMIT = 1e-4
Arrays = dict[str, NDArray[Any]]


def run(model: onnx.ModelProto, feeds: Arrays) -> list[NDArray[Any]]:
    quiet = ort.SessionOptions()
    quiet.log_severity_level = 4
    session = ort.InferenceSession(model.SerializeToString(), quiet, providers=["CPUExecutionProvider"])
    return list(session.run(None, feeds))


def feeds_for(model: onnx.ModelProto, seed: int = 0, spread: float = 2.0) -> Arrays:
    rng = np.random.default_rng(seed)
    return {
        value.name: rng.normal(
            0, spread, [d.dim_value for d in value.type.tensor_type.shape.dim]
        ).astype(np.float32)
        for value in model.graph.input
    }


def assert_same(before: onnx.ModelProto, after: onnx.ModelProto, feeds: Arrays) -> None:
    for expected, found in zip(run(before, feeds), run(after, feeds), strict=True):
        assert expected.shape == found.shape
        scale = float(np.abs(expected).max(initial=1e-6))
        assert float(np.abs(expected - found).max(initial=0)) <= LIMIT * scale


def rewritten(model: onnx.ModelProto) -> onnx.ModelProto:
    """What the RVC2 target does to operators, without the compiler."""
    edited = infer_shapes(ir.from_proto(model))
    passes = Sequential(
        common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0),
        *map(Rewrite, (*table.FIRST, table.DECOMPOSITIONS)),
        opset13.LowerOpset(),
    )
    return ir.to_proto(passes(edited).model)


def operators(model: onnx.ModelProto) -> set[str]:
    return {node.op_type for node in model.graph.node}


X = {"x": (2, 6, 5)}
F = np.float32
NORM = {"scale": np.linspace(0.5, 2, 5, dtype=F), "bias": np.linspace(-1, 1, 5, dtype=F)}
GROUP = {"scale": np.linspace(0.5, 2, 6, dtype=F), "bias": np.linspace(-1, 1, 6, dtype=F)}

DECOMPOSED: dict[str, onnx.ModelProto] = {
    "HardSigmoid": one_op_model("HardSigmoid", X),
    "HardSigmoid alpha": one_op_model("HardSigmoid", X, alpha=0.31, beta=0.4),
    "HardSwish": one_op_model("HardSwish", X, opset=14),
    "Gelu": one_op_model("Gelu", X, opset=20),
    "Gelu tanh": one_op_model("Gelu", X, opset=20, approximate="tanh"),
    "Mish": one_op_model("Mish", X, opset=18),
    "Selu": one_op_model("Selu", X),
    "Selu alpha": one_op_model("Selu", X, alpha=1.2, gamma=0.7),
    "Celu": one_op_model("Celu", X, alpha=1.7),
    "ThresholdedRelu": one_op_model("ThresholdedRelu", X, alpha=0.4),
    "Shrink": one_op_model("Shrink", X, lambd=0.6, bias=0.2),
    "Softsign": one_op_model("Softsign", X),
    "LayerNormalization": one_op_model("LayerNormalization", X, constants=NORM, opset=17),
    "LayerNormalization axis": one_op_model(
        "LayerNormalization",
        X,
        constants={"s": np.ones((6, 5), F) * 1.5},
        opset=17,
        axis=1,
        epsilon=1e-3,
    ),
    "RMSNormalization": one_op_model(
        "RMSNormalization", X, constants={"scale": NORM["scale"]}, opset=23
    ),
    "GroupNormalization": one_op_model(
        "GroupNormalization", X, constants=GROUP, opset=21, num_groups=3, shape=X["x"]
    ),
    "GroupNormalization 18": one_op_model(
        "GroupNormalization",
        X,
        constants={k: v[:3] for k, v in GROUP.items()},
        opset=18,
        num_groups=3,
        shape=X["x"],
    ),
    "MeanVarianceNormalization": one_op_model("MeanVarianceNormalization", {"x": (2, 3, 4, 5)}),
    "LpNormalization": one_op_model("LpNormalization", X, axis=1, p=1),
    "LpNormalization 2": one_op_model("LpNormalization", X, axis=-1, p=2),
}


@pytest.mark.parametrize("name", DECOMPOSED)
def test_a_decomposed_operator_computes_the_same(name: str) -> None:
    model = DECOMPOSED[name]
    after = rewritten(model)
    assert name.split()[0] not in operators(after)
    for seed, spread in ((0, 1.0), (1, 6.0)):
        assert_same(model, after, feeds_for(model, seed, spread))


def scalar_model(*nodes: onnx.NodeProto, opset: int = 13) -> onnx.ModelProto:
    """Nodes from x to y, both (2, 6, 5)."""
    face = [helper.make_tensor_value_info(name, TensorProto.FLOAT, X["x"]) for name in "xy"]
    constants = [numpy_helper.from_array(np.array([0], np.int64), "zero")]
    return make_model(helper.make_graph(list(nodes), "scalars", face[:1], face[1:], constants), opset)


def smallest(op: str = "ReduceMin", keepdims: int = 0) -> onnx.NodeProto:
    return helper.make_node(op, ["x"], ["s"], name="reduce", keepdims=keepdims)


SCALARS: dict[str, onnx.ModelProto] = {
    "added": scalar_model(smallest(), helper.make_node("Add", ["x", "s"], ["y"])),
    "largest": scalar_model(smallest("ReduceMax"), helper.make_node("Sub", ["x", "s"], ["y"])),
    "largest, its axes kept": scalar_model(
        smallest("ReduceMax", 1), helper.make_node("Sub", ["x", "s"], ["y"])
    ),
    "given an axis": scalar_model(
        smallest("ReduceMean"),
        helper.make_node("Unsqueeze", ["s", "zero"], ["v"]),
        helper.make_node("Mul", ["v", "x"], ["y"]),
    ),
    "computed with": scalar_model(
        smallest(),
        helper.make_node("Softplus", ["s"], ["t"]),
        helper.make_node("Sub", ["t", "s"], ["u"]),
        helper.make_node("Greater", ["x", "s"], ["b"]),
        helper.make_node("Where", ["b", "u", "x"], ["y"]),
    ),
    # Two ways to each: walked through one by one, they would never end.
    "forty deep": scalar_model(
        smallest(),
        *[helper.make_node("Mul", [f"s{i}" if i else "s"] * 2, [f"s{i + 1}"]) for i in range(40)],
        helper.make_node("Add", ["x", "s40"], ["y"]),
    ),
}


@pytest.mark.parametrize("name", SCALARS)
def test_a_scalar_becomes_a_vector_and_nothing_else_changes(name: str) -> None:
    model = SCALARS[name]
    passes = Sequential(
        common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0),
        Rewrite(scalars.FIRST_RULES),
        Rewrite(scalars.RULES),
    )
    after = passes(infer_shapes(ir.from_proto(model))).model
    scalars.refuse_scalars(after)
    found = ir.to_proto(after)
    assert "ReduceMax" not in operators(found)
    feeds = {"x": np.random.default_rng(3).uniform(-0.9, 0.9, X["x"]).astype(F)}
    assert_same(model, found, feeds)


def test_a_scalar_that_has_to_stay_one_is_refused_by_its_node() -> None:
    model = scalar_model(
        smallest(),
        helper.make_node("Clip", ["x", "s"], ["y"]),
    )
    edited = Rewrite(scalars.RULES)(infer_shapes(ir.from_proto(model))).model
    with pytest.raises(ModelError, match=r"^reduce: ReduceMin gives a scalar to Clip.*keepdims=1"):
        scalars.refuse_scalars(edited)


def test_copies_of_outputs_are_computed_and_the_rest_is_gone() -> None:
    model = copies_model()
    after = ir.to_proto(settle_copies(infer_shapes(ir.from_proto(model))))
    assert not operators(after) & {"Identity", "Dropout", "Sum", "Max"}
    made = [name for node in after.graph.node for name in node.output]
    assert set(COPIES) <= set(made)
    assert_same_bytes(model, after)


def assert_same_bytes(before: onnx.ModelProto, after: onnx.ModelProto) -> None:
    feeds = feeds_for(before)
    for expected, found in zip(run(before, feeds), run(after, feeds), strict=True):
        assert np.array_equal(expected, found)


def test_a_copy_of_an_input_of_integers_is_refused() -> None:
    graph = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["y"])],
        "copy",
        [helper.make_tensor_value_info("x", TensorProto.INT32, [4])],
        [helper.make_tensor_value_info("y", TensorProto.INT32, [4])],
    )
    with pytest.raises(ModelError, match="output 'y' is a copy of 'x', of type int32"):
        settle_copies(ir.from_proto(make_model(graph)))


I64 = np.int64
LOWERED: dict[str, onnx.ModelProto] = {
    **{
        f"Reduce{kind}": one_op_model(
            f"Reduce{kind}", X, constants={"axes": np.array([-1], I64)}, opset=18, keepdims=keep
        )
        for kind, keep in (("Mean", 1), ("Max", 0), ("L2", 1), ("SumSquare", 0), ("LogSumExp", 1))
    },
    "Reduce of all": one_op_model("ReduceMean", X, opset=18),
    "Reduce of none": one_op_model(
        "ReduceMax", X, constants={"axes": np.array([], I64)}, opset=18, noop_with_empty_axes=1
    ),
    "Split uneven": one_op_model("Split", {"x": (2, 7)}, opset=18, outputs=3, num_outputs=3, axis=1),
    "Pad axes": one_op_model(
        "Pad",
        X,
        constants={"p": np.array([1, 2], I64), "axes": np.array([1], I64)},
        order=["x", "p", "", "axes"],
        opset=18,
    ),
    "Pad reflect": one_op_model(
        "Pad", X, constants={"p": np.array([0, 1, 1, 0, 2, 1], I64)}, opset=19, mode="reflect"
    ),
    "Resize axes": one_op_model(
        "Resize",
        {"x": (1, 2, 4, 5)},
        constants={"sizes": np.array([8, 10], I64)},
        order=["x", "", "", "sizes"],
        opset=18,
        axes=[2, 3],
        mode="linear",
        antialias=1,
        coordinate_transformation_mode="pytorch_half_pixel",
    ),
    "Reshape": one_op_model(
        "Reshape", X, constants={"s": np.array([3, 20], I64)}, opset=19, allowzero=0
    ),
}


@pytest.mark.parametrize("name", LOWERED)
def test_an_operator_of_a_newer_opset_computes_the_same_in_opset_13(name: str) -> None:
    model = LOWERED[name]
    after = rewritten(model)
    assert after.opset_import[0].version == 13
    onnx.checker.check_model(after)
    assert_same(model, after, feeds_for(model))


def test_reduce_axes_given_as_an_input_become_an_attribute() -> None:
    """Read by OpenVINO 2022.2 as they stand, they would mean "all axes", without a word."""
    after = rewritten(LOWERED["ReduceMean"])
    (node,) = after.graph.node
    assert [list(a.ints) for a in node.attribute if a.name == "axes"] == [[-1]]


@pytest.mark.parametrize("bias", [(4,), (1, 4), (8, 1), (1, 1), (8, 4)])
def test_a_wide_gemm_keeps_its_bias_whatever_its_shape(bias: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    constants = {"w": rng.normal(size=(6, 4)).astype(F), "c": rng.normal(size=bias).astype(F)}
    model = one_op_model("Gemm", {"x": (8, 6)}, constants=constants, alpha=0.5, beta=2.0)
    assert_same(model, rewritten(model), feeds_for(model))


def test_attributes_that_change_nothing_do_not_survive_in_opset_13() -> None:
    constants = {"s": np.array([3, 20], I64)}
    model = one_op_model("Reshape", X, constants=constants, opset=19, allowzero=1)
    after = rewritten(model)
    assert not after.graph.node[0].attribute
    assert_same(model, after, feeds_for(model))


def recurrent_model(op: str, gates: int, directions: int, **attributes: Any) -> onnx.ModelProto:
    rng = np.random.default_rng(3)
    length, batch, features, size = 5, 2, 4, 3
    shapes = {
        "w": (directions, gates * size, features),
        "r": (directions, gates * size, size),
        "b": (directions, 2 * gates * size),
    }
    weights = {key: rng.normal(0, 0.5, shape).astype(F) for key, shape in shapes.items()}
    node = helper.make_node(
        op, ["x", "w", "r", "b", "", "h0"], ["y", "yh"], hidden_size=size, name="cell", **attributes
    )
    graph = helper.make_graph(
        [node],
        "recurrent",
        [
            helper.make_tensor_value_info("x", TensorProto.FLOAT, [length, batch, features]),
            helper.make_tensor_value_info("h0", TensorProto.FLOAT, [directions, batch, size]),
        ],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("y", "yh")],
        [numpy_helper.from_array(value, key) for key, value in weights.items()],
    )
    return make_model(graph, 14)


@pytest.mark.parametrize(("op", "gates"), [("GRU", 3), ("RNN", 1)])
@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize("linear", [0, 1])
def test_a_recurrent_layer_unrolled_computes_the_same(
    op: str, gates: int, direction: str, linear: int
) -> None:
    extra = {"linear_before_reset": linear} if op == "GRU" else {}
    directions = 2 if direction == "bidirectional" else 1
    model = recurrent_model(op, gates, directions, direction=direction, **extra)
    after = rewritten(model)
    assert op not in operators(after)
    assert_same(model, after, feeds_for(model, spread=1.0))


def test_frozen_shapes_reach_every_input_and_nothing_else_changes() -> None:
    model = conv_model()
    dynamic = onnx.ModelProto()
    dynamic.CopyFrom(model)
    for axis in (0, 2, 3):
        dynamic.graph.input[0].type.tensor_type.shape.dim[axis].dim_param = f"d{axis}"
    frozen = ir.to_proto(FreezeShapes({"images": (1, 3, 12, 16)})(ir.from_proto(dynamic)).model)
    assert [d.dim_value for d in frozen.graph.input[0].type.tensor_type.shape.dim] == [1, 3, 12, 16]
    assert_same(model, frozen, feeds_for(model))
    with pytest.raises(ir.passes.PreconditionError, match="images"):
        FreezeShapes({})(ir.from_proto(dynamic))


def test_simplifying_keeps_the_face_of_the_model() -> None:
    model = conv_model()
    simplified, problem = simplify(ir.from_proto(model))
    assert problem is None
    after = ir.to_proto(simplified)
    assert [value.name for value in after.graph.output] == ["map", "scores"]
    assert_same(model, after, feeds_for(model))


finite = st.floats(-200, 200, width=32)
scales = st.floats(0.015625, 300, width=32).flatmap(lambda v: st.sampled_from([v, -v]))


@settings(max_examples=80, deadline=None)
@given(
    color=st.sampled_from(list(Color)),
    layout=st.sampled_from(["NCHW", "NHWC"]),
    frame=st.sampled_from(["NCHW", "NHWC"]),
    normalized=st.tuples(st.booleans(), st.booleans()),
    mean=st.lists(finite, min_size=3, max_size=3),
    scale=st.lists(scales, min_size=3, max_size=3),
    padded=st.booleans(),
    folding=st.sampled_from(
        [
            FLOAT16,
            Folding(loss=lambda weights: 0.0, limit=0.0, mean=True),
            # A loss that is no number is never small enough, so that nothing is folded.
            Folding(loss=lambda weights: float("nan"), limit=0.0),
            Folding(loss=lambda weights: float("nan"), limit=0.0, pointwise=True),
        ]
    ),
    seed=st.integers(0, 1000),
)
def test_embedded_preprocessing_is_preprocessing_then_model(
    color: Color,
    layout: str,
    frame: str,
    normalized: tuple[bool, bool],
    mean: list[float],
    scale: list[float],
    padded: bool,
    folding: Folding,
    seed: int,
) -> None:
    model = conv_model(layout=layout, channels=color.channels, padded=padded)
    pre = Preprocessing(
        color=color,
        mean=tuple(mean[: color.channels]) if normalized[0] else (),
        scale=tuple(scale[: color.channels]) if normalized[1] else (),
    )
    entry = Entry(layout=frame, model_layout=layout, preprocessing=pre)
    after = ir.to_proto(EmbedPreprocessing({"images": entry}, folding)(ir.from_proto(model)).model)
    sizes = {"N": 1, "C": color.channels, "H": 12, "W": 16}
    frames = (
        np.random.default_rng(seed).integers(0, 256, [sizes[axis] for axis in layout]).astype(np.uint8)
    )
    expected = run(model, {"images": pre.apply(frames, layout.index("C"))})
    fed = frames.transpose([layout.index(axis) for axis in frame]).astype(F)
    found = run(after, {"images": fed})
    for one, other in zip(expected, found, strict=True):
        assert float(np.abs(one - other).max()) <= LIMIT * float(np.abs(one).max() + 1e-3)


def test_scale_is_not_folded_where_float16_would_lose_the_weights() -> None:
    model = conv_model()
    for tensor in model.graph.initializer:
        if tensor.name == "w1":
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) * F(1e-3), "w1"))
    for scale, folded in ((1.5, True), (255.0, False)):
        pre = Preprocessing(color=Color.RGB, scale=(scale,) * 3)
        entry = Entry(layout="NCHW", model_layout="NCHW", preprocessing=pre)
        after = EmbedPreprocessing({"images": entry})(ir.from_proto(model)).model
        assert ("Mul" not in {node.op_type for node in after.graph}) is folded


@pytest.mark.parametrize("layout", ["CHW", "NHWC"])
def test_nothing_is_folded_where_the_channels_are_not_the_convolutions(layout: str) -> None:
    """A Conv1d over (C, H, W) mixes C with the rows; a Conv2d over declared NHWC mixes the rows."""
    shape = (3, 8, 8) if layout == "CHW" else (1, 3, 8, 3)
    kernel = np.random.default_rng(0).normal(size=(4, shape[1], *[3] * (len(shape) - 2))).astype(F)
    model = one_op_model("Conv", {"x": shape}, constants={"w": kernel})
    pre = Preprocessing(color=Color.RGB, mean=(9.0, 5.0, 1.0), scale=(1.0, 20.0, 300.0))
    entry = Entry(layout=layout, model_layout=layout, preprocessing=pre)
    after = ir.to_proto(EmbedPreprocessing({"x": entry})(ir.from_proto(model)).model)
    frame = np.random.default_rng(1).integers(0, 256, shape)
    expected = run(model, {"x": pre.apply(frame, layout.index("C"))})
    for one, other in zip(expected, run(after, {"x": frame.astype(F)}), strict=True):
        assert float(np.abs(one - other).max()) <= LIMIT * float(np.abs(one).max())


@pytest.mark.parametrize("dtype", [TensorProto.FLOAT16, TensorProto.UINT8])
def test_inputs_of_other_types_take_frames_too(dtype: int) -> None:
    model = conv_model(dtype=dtype)
    whole = dtype == TensorProto.UINT8
    pre = (
        Preprocessing(color=Color.RGB)
        if whole
        else Preprocessing(color=Color.RGB, mean=(9.0, 5.0, 1.0))
    )
    entry = Entry(layout="NCHW", model_layout="NCHW", preprocessing=pre)
    after = ir.to_proto(EmbedPreprocessing({"images": entry})(ir.from_proto(model)).model)
    assert after.graph.input[0].type.tensor_type.elem_type == TensorProto.FLOAT
    frames = np.random.default_rng(0).integers(0, 256, (1, 3, 12, 16))
    fed = pre.apply(frames, 1).astype(helper.tensor_dtype_to_np_dtype(dtype))
    for one, other in zip(
        run(model, {"images": fed}), run(after, {"images": frames.astype(F)}), strict=True
    ):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("opset", [18, 21])
@pytest.mark.parametrize(
    "kind", ["L1", "L2", "LogSum", "LogSumExp", "Max", "Mean", "Min", "Prod", "Sum", "SumSquare"]
)
def test_a_reduction_of_no_axes_is_what_is_left_of_it(kind: str, opset: int) -> None:
    model = one_op_model(
        f"Reduce{kind}",
        {"x": (2, 3)},
        constants={"axes": np.array([], np.int64)},
        opset=opset,
        noop_with_empty_axes=1,
    )
    after = ir.to_proto(settle_copies(infer_shapes(ir.from_proto(model))))
    assert not any(operator.startswith("Reduce") for operator in operators(after))
    feeds = {
        "x": np.random.default_rng(0).uniform(0.5 if kind == "LogSum" else -2, 2, (2, 3)).astype(F)
    }
    np.testing.assert_allclose(run(after, feeds)[0], run(model, feeds)[0], rtol=1e-6)


@pytest.mark.parametrize("operator", ["Hardmax", "LogSoftmax", "Softmax"])
@pytest.mark.parametrize("axis", [-1, 0, 1, 2])
def test_raising_keeps_the_rows_of_old_operators(operator: str, axis: int) -> None:
    model = one_op_model(operator, {"x": (2, 3, 4)}, opset=9 if axis >= 0 else 11, axis=axis)
    raised = ir.to_proto(raise_opset(ir.from_proto(model), 17, 17))
    feeds = {"x": np.random.default_rng(0).normal(0, 1, (2, 3, 4)).astype(F)}
    np.testing.assert_allclose(run(raised, feeds)[0], run(model, feeds)[0], rtol=1e-6)


def test_casts_between_floats_and_optional_values_are_copies() -> None:
    graph = helper.make_graph(
        [
            helper.make_node("Relu", ["x"], ["r"]),
            helper.make_node("Cast", ["r"], ["c"], to=TensorProto.FLOAT),
            helper.make_node("Optional", ["c"], ["o"]),
            helper.make_node("OptionalGetElement", ["o"], ["y"]),
        ],
        "half",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT16, [1, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 4])],
    )
    model = SinglePrecision()(infer_shapes(ir.from_proto(make_model(graph, 18)))).model
    assert operators(ir.to_proto(settle_copies(model))) == {"Relu"}
