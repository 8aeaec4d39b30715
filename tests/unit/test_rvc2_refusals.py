"""What Myriad X cannot compute is named at once, by the user's nodes, with the tensors to cut at."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from converter.checks.lint import lint
from converter.errors import ConvertError, ModelError, ToolError
from converter.run import plan
from targets.openvino.prepare import prepare_file
from targets.rvc2.myriad.compile import _tool_said
from tests.blob_attributes import recurrent
from tests.blob_models import ints, one, whole
from tests.blobs import inputs_of
from tests.sources import write_folder


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


@pytest.mark.parametrize(
    ("nodes", "said"),
    [
        (
            [helper.make_node("Cast", ["x"], ["t"], "it", to=TensorProto.FLOAT8E4M3FN),
             helper.make_node("Cast", ["t"], ["y"], to=1)],
            r"'it' \(Cast\).*its result is of the type FLOAT8E4M3FN, which Myriad X has not",
        ),
        (
            [helper.make_node("Slice", ["x", "end", "end"], ["t"], "it"),
             helper.make_node("Relu", ["t"], ["y"])],
            r"'it' \(Slice\).*its result \[0, 3\] is empty",
        ),
    ],
)  # fmt: skip
def test_results_that_no_tensor_of_a_blob_holds_are_named(
    nodes: list[onnx.NodeProto], said: str, tmp_path: Path
) -> None:
    end = numpy_helper.from_array(np.array([2]), "end")
    model = whole(nodes, {"x": ((2, 3), 1)}, [end], ["y"], 19)
    assert re.search(said, refusal(model, tmp_path).message)


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
