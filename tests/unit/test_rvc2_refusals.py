"""What Myriad X cannot compute is named at once, by the user's nodes, with the tensors to cut at."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from converter.checks.lint import lint
from converter.errors import ConvertError, ModelError, ToolError
from converter.graph.simplify import infer_shapes
from converter.run import plan
from targets.openvino.myriad_rules import integers
from targets.openvino.myriad_rules.narrow import widen
from targets.openvino.prepare import prepare_file
from targets.rvc2.explain import beyond_half
from targets.rvc2.myriad.compile import _tool_said
from tests.blob_attributes import recurrent
from tests.blob_models import ints, one, whole
from tests.blobs import inputs_of
from tests.rewriting import assert_equal, rewritten, run
from tests.sources import write_folder
from tests.space import space


def refusal(model: onnx.ModelProto, folder: Path) -> ModelError:
    onnx.save(model, folder / "it.onnx")
    inputs = [
        {"name": name, "shape": shape, "layout": "ABCDE"[: len(shape)],
         "model_layout": "ABCDE"[: len(shape)], "preprocessing": None}
        for name, (shape, _) in inputs_of(model).items()
    ]  # fmt: skip
    with pytest.raises(ModelError) as caught:
        prepare_file(str(folder / "it.onnx"), str(folder / "out.onnx"), True, inputs, True)
    return caught.value


def detector(*behind: onnx.NodeProto, outputs: list[str]) -> onnx.ModelProto:
    """A convolution, boxes and scores of it, and what comes behind."""
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["map"], name="head"),
        helper.make_node("Reshape", ["map", "flat"], ["rows"], name="rows"),
        helper.make_node("Slice", ["rows", "zero", "four", "one"], ["boxes_cn"], name="boxes"),
        helper.make_node("Transpose", ["boxes_cn"], ["boxes"], name="turn", perm=[0, 2, 1]),
        helper.make_node("Slice", ["rows", "four", "six", "one"], ["scores"], name="scores"),
        *behind,
    ]
    constants: dict[str, Any] = {
        "w": np.ones((6, 3, 1, 1), np.float32), "flat": ints(1, 6, 64), "zero": ints(0), "one": ints(1),
        "four": ints(4), "six": ints(6), "most": ints(5), "part": np.array([0.5], np.float32),
    }  # fmt: skip
    weights = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    return whole(nodes, {"x": ((1, 3, 8, 8), 1)}, weights, outputs)


NMS = helper.make_node(
    "NonMaxSuppression", ["boxes", "scores", "most", "part", "part"], ["kept"], name="nms"
)


def test_a_node_of_no_fixed_length_with_the_tensors_in_front_of_it(tmp_path: Path) -> None:
    error = refusal(detector(NMS, outputs=["kept"]), tmp_path)
    assert error.message == (
        "node 'nms' (NonMaxSuppression): RVC2 cannot run it: its output has no fixed length."
    )
    assert "Cut the model at 'boxes', 'scores'" in error.remedy


def test_all_nodes_are_named_and_those_behind_them_are_cut_off(tmp_path: Path) -> None:
    behind = [
        NMS,
        helper.make_node("GatherND", ["scores", "kept"], ["best"], name="best"),
        helper.make_node("NonZero", ["scores"], ["places"], name="places"),
    ]
    error = refusal(detector(*behind, outputs=["best", "places"]), tmp_path)
    assert "node 'nms' (NonMaxSuppression)" in error.message
    assert "node 'places' (NonZero)" in error.message
    assert len(error.findings) == 2
    assert set(re.findall(r"'(\w+)'", error.remedy)) == {"boxes", "scores"}


def test_lint_and_a_plan_name_them_before_anything_is_made(tmp_path: Path) -> None:
    behind = [
        NMS,
        helper.make_node("Det", ["scores"], ["det"], name="det"),
        # What is computed of shapes alone is folded, whatever the operator.
        helper.make_node("Shape", ["x"], ["sizes"], name="shape"),
        helper.make_node("NonZero", ["sizes"], ["places"], name="places"),
        helper.make_node("Cast", ["places"], ["number"], name="cast", to=TensorProto.FLOAT),
        helper.make_node("ReduceSum", ["number"], ["sum"], name="sum", keepdims=0),
        helper.make_node("Add", ["scores", "sum"], ["y"], name="add"),
    ]
    model = detector(*behind, outputs=["kept", "det", "y"])
    model.graph.ClearField("output")
    for name, kind, shape in (("kept", 7, [5, 3]), ("det", 1, [1]), ("y", 1, [1, 2, 64])):
        model.graph.output.append(helper.make_tensor_value_info(name, kind, shape))
    folder = write_folder(tmp_path / "a", model, image=False)
    named = ["node 'nms' (NonMaxSuppression)", "node 'det' (Det)"]
    found = [item for item in lint(folder, target="oak-d") if item.code == "rvc2.operator"]
    assert [item.where for item in found] == named
    assert all("Cut the model at 'boxes', 'scores'" in item.remedy for item in found)
    assert not [item for item in lint(folder) if item.code == "rvc2.operator"]
    warned = [item for item in plan(folder, "rvc2").warnings if item.code == "rvc2.operator"]
    assert [item.where for item in warned] == named


def test_in_the_middle_of_a_network_nothing_is_cut(tmp_path: Path) -> None:
    behind = [
        helper.make_node("Transpose", ["boxes"], ["b"], name="b", perm=[0, 2, 1]),
        helper.make_node("NonZero", ["b"], ["places"], name="places"),
        helper.make_node("Cast", ["places"], ["p"], to=TensorProto.FLOAT, name="p"),
        helper.make_node("MatMul", ["scores", "boxes"], ["m"], name="m"),
        helper.make_node("MatMul", ["p", "m"], ["y"], name="y"),
    ]
    error = refusal(detector(*behind, outputs=["y"]), tmp_path)
    assert error.remedy == "Export the model with other operators in their place."


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (one("NonZero", [(2, 3)]), "nothing else is left of the model"),
        (one("MaxPool", [(1, 2, 8, 8)], outputs=2, used=(0, 1), kernel_shape=[2, 2]), "the indices"),
        (one("Det", [(1, 3, 3)]), r"'node' \(Det\): .* no such operator"),
        (one("GridSample", [(1, 3, 7, 6), (1, 4, 5, 2)], opset=16), "constant grids only"),
        (one("RandomNormalLike", [(1, 4)]), "random numbers"),
        (one("Conv", [(1, 3, 9, 9), (4, 3, 3, 3)]), "constant weights only"),
        (one("ConvTranspose", [(1, 3, 9, 9), (3, 4, 3, 3)]), "constant weights only"),
        (one("CumSum", [(3, 4), ()], dtypes=[1, 7], opset=14), "constant axes only"),
        (recurrent("LSTM", "Y", steps=500, clip=1.0), "more than 400 steps"),
    ],
)
def test_a_form_that_is_not_computed(model: onnx.ModelProto, said: str, tmp_path: Path) -> None:
    assert refusal(model, tmp_path).args
    with pytest.raises(ModelError, match=said):
        raise refusal(model, tmp_path)


@pytest.mark.parametrize(
    ("operator", "constants", "lengths", "what"),
    [
        ("Expand", [], [2], "shapes"),
        ("Pad", [], [4], "pads"),
        ("Reshape", [], [2], "shapes"),
        ("Slice", [], [1, 1], "starts"),
        ("Slice", [ints(0)], [1], "ends"),
        ("Tile", [], [2], "repeats"),
        ("TopK", [], [1], "counts"),
        ("Unsqueeze", [], [1], "axes"),
    ],
)
def test_sizes_that_are_computed_are_told_before_the_compiler(
    operator: str, constants: list[Any], lengths: list[int], what: str, tmp_path: Path
) -> None:
    names = ["x", *(f"c{i}" for i in range(len(constants))), *(f"n{i}" for i in range(len(lengths)))]
    outputs = ["y", "places"][: 2 if operator == "TopK" else 1]
    model = whole(
        [helper.make_node(operator, names, outputs, name="node")],
        {"x": ((1, 12), 1), **{f"n{i}": ((size,), 7) for i, size in enumerate(lengths)}},
        [numpy_helper.from_array(values, f"c{i}") for i, values in enumerate(constants)],
        ["y"],
    )
    assert f"node 'node' ({operator})" in (said := refusal(model, tmp_path).message)
    assert f"with constant {what} only, and they are computed" in said


def test_a_shape_that_follows_from_fixed_shapes_is_none_that_is_computed(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Shape", ["x"], ["sizes"], name="sizes"),
        helper.make_node("Reshape", ["z", "sizes"], ["y"], name="node"),
    ]
    model = whole(nodes, {"x": ((2, 6), 1), "z": ((3, 4), 1)}, [], ["y"])
    onnx.save(model, tmp_path / "it.onnx")
    entries = [
        {"name": name, "shape": shape, "layout": "AB", "model_layout": "AB", "preprocessing": None}
        for name, (shape, _) in inputs_of(model).items()
    ]
    for simplified in (True, False):
        ready = tmp_path / f"{simplified}.onnx"
        prepare_file(str(tmp_path / "it.onnx"), str(ready), simplified, entries, True)
        assert ready.is_file()


def test_a_boolean_input_is_what_a_cut_names_and_not_what_compares_it(tmp_path: Path) -> None:
    behind = [
        helper.make_node("Greater", ["c", "part"], ["c/boolean"], name="c/is_true"),
        helper.make_node("Compress", ["scores", "c/boolean"], ["y"], name="pick", axis=2),
    ]
    model = detector(*behind, outputs=["y"])
    model.graph.input.append(helper.make_tensor_value_info("c", TensorProto.FLOAT, [64]))
    assert set(re.findall(r"'(\w+)'", refusal(model, tmp_path).remedy)) == {"scores", "c"}


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


def test_what_a_rule_made_is_told_by_the_users_node(tmp_path: Path) -> None:
    model = one("Attention", [(1, 2, 3, 4)] * 6, outputs=3, used=(0, 1, 2), opset=23)
    assert "node 'node' (Attention)" in refusal(model, tmp_path).message


NODES = {"y": ("/head/Gather", "Gather"), "pool/MaxPool.1": ("pool", "MaxPool")}


@pytest.mark.parametrize(
    ("said", "kind", "where"),
    [
        ('Failed to compile layer "y": it is what it is', ModelError, "'/head/Gather' (Gather)"),
        ("dynamic node y of type Gather", ModelError, "'/head/Gather' (Gather)"),
        ("[ GENERAL_ERROR ] Processing layer y. Wrong", ModelError, "'/head/Gather' (Gather)"),
        ("stage pool/MaxPool.1@0 does not fit", ModelError, "'pool' (MaxPool)"),
        ("AssertionFailed: !expired()", ModelError, ""),
        ("std::bad_alloc", ToolError, ""),
    ],
)
def test_what_the_compiler_says_of_the_model_is_no_fault_of_the_tool(
    said: str, kind: type[ConvertError], where: str
) -> None:
    error = _tool_said({"phase": "compile", "call": "load", "texts": [said]}, NODES)
    assert type(error) is kind
    assert where in error.message


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
