"""What `prepare` refuses for RVC4 before QNN sees it, with the tensor's name and a way out."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from converter.errors import ModelError
from targets.rvc4.prepare import prepare_file
from tests.sources import make_model


def prepared(tmp_path: Path, nodes: list[onnx.NodeProto], outputs: dict[str, int]) -> onnx.ModelProto:
    """The prepared float model of nodes that read x and z."""
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 2, 3]) for name in "xz"],
        [helper.make_tensor_value_info(name, kind, None) for name, kind in outputs.items()],
    )
    onnx.save(make_model(graph, 17), tmp_path / "m.onnx")
    inputs = [
        {
            "name": name,
            "shape": [1, 2, 3],
            "layout": "NCD",
            "model_layout": "NCD",
            "preprocessing": None,
        }
        for name in "xz"
    ]
    target = tmp_path / "float.onnx"
    prepare_file(str(tmp_path / "m.onnx"), str(target), False, inputs, 0, 8, True, [], True)
    return onnx.load(target)


def test_an_input_that_no_output_depends_on_is_refused(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Shape", ["z"], ["s"], name="shape"),
        helper.make_node("Reshape", ["x", "s"], ["y"], name="reshape"),
    ]
    with pytest.raises(ModelError, match=r"input 'z': no output depends .* inputs\.z\.frozen_value"):
        prepared(tmp_path, nodes, {"y": TensorProto.FLOAT})


@pytest.mark.parametrize("operator", ["Shape", "Size"])
def test_an_output_that_is_a_shape_is_refused_as_a_constant(tmp_path: Path, operator: str) -> None:
    nodes = [
        helper.make_node("Add", ["x", "z"], ["y"], name="add"),
        helper.make_node(operator, ["x"], ["s"], name="shape"),
    ]
    with pytest.raises(ModelError, match="output 's': it is a constant"):
        prepared(tmp_path, nodes, {"y": TensorProto.FLOAT, "s": TensorProto.INT64})


def test_a_part_of_a_shape_is_known(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Shape", ["z"], ["s"], start=-2, end=5, name="shape"),
        helper.make_node("Reshape", ["x", "s"], ["r"], name="reshape"),
        helper.make_node("Add", ["r", "z"], ["y"], name="add"),
    ]
    model = prepared(tmp_path, nodes, {"y": TensorProto.FLOAT})
    assert [node.op_type for node in model.graph.node] == ["Reshape", "Add"]
