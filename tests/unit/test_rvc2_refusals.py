"""What Myriad X cannot compute is named at once, by the user's nodes, with the tensors to cut at."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from converter.errors import ConvertError, ModelError, ToolError
from targets.openvino.prepare import prepare_file
from targets.rvc2.myriad.compile import _tool_said
from tests.blob_attributes import recurrent
from tests.blob_models import ints, one, whole
from tests.blobs import inputs_of


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


def computed_lengths(op: str) -> onnx.ModelProto:
    model = recurrent(op, "Y")
    model.graph.node[0].input[4] = "l"
    model.graph.input.append(helper.make_tensor_value_info("l", TensorProto.INT32, [1]))
    return model


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
        (computed_lengths("LSTM"), r"lengths \(sequence_lens\) are computed"),
        (computed_lengths("GRU"), "lengths are computed"),
        (recurrent("LSTM", "Y", steps=500, clip=1.0), "more than 400 steps"),
    ],
)
def test_a_form_that_is_not_computed(model: onnx.ModelProto, said: str, tmp_path: Path) -> None:
    assert refusal(model, tmp_path).args
    with pytest.raises(ModelError, match=said):
        raise refusal(model, tmp_path)


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
