"""Nodes that QNN has nothing for are named from the source alone: by lint, by a plan and by prepare."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from converter.checks.lint import lint
from converter.errors import ModelError
from converter.findings import Severity
from converter.run import plan
from targets.rvc4.htp_rules import shared, table
from targets.rvc4.not_taken import NEVER_TAKEN, foreseen
from targets.rvc4.prepare import prepare_file
from tests.sources import make_model, write_folder


def model_of(
    nodes: list[onnx.NodeProto], inputs: dict[str, tuple[int, ...]], **outputs: int
) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, size) for name, size in inputs.items()],
        [helper.make_tensor_value_info(name, kind, None) for name, kind in outputs.items()],
    )
    return make_model(graph, 17)


def detector() -> onnx.ModelProto:
    """Boxes and scores that meet in a NonMaxSuppression, whose rows are gathered."""
    nodes = [
        helper.make_node("Relu", ["x"], ["boxes"], name="head/boxes"),
        helper.make_node("Sigmoid", ["s"], ["scores"], name="head/scores"),
        helper.make_node("NonMaxSuppression", ["boxes", "scores"], ["kept"], name="head/nms"),
    ]
    return model_of(nodes, {"x": (1, 20, 4), "s": (1, 3, 20)}, kept=TensorProto.INT64)


def found_in(model: onnx.ModelProto, tmp_path: Path) -> list[str]:
    onnx.save(model, tmp_path / "m.onnx")
    return [str(item) for item in foreseen(tmp_path / "m.onnx", Severity.ERROR)]


def test_the_node_its_operator_the_reason_and_where_to_cut_are_told(tmp_path: Path) -> None:
    (line,) = found_in(detector(), tmp_path)
    assert "node 'head/nms' (NonMaxSuppression)" in line
    assert "no fixed length" in line
    assert "Cut the model at 'boxes', 'scores' (--outputs)" in line


def test_what_no_output_or_no_number_depends_on_is_not_looked_at(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Shape", ["x"], ["s"]),
        helper.make_node("NonZero", ["s"], ["z"]),
        helper.make_node("NonZero", ["x"], ["dead"]),
        helper.make_node("Cast", ["z"], ["c"], to=TensorProto.FLOAT),
        helper.make_node("MaxPool", ["x"], ["p", "unread"], kernel_shape=[2, 2]),
        helper.make_node("Mul", ["p", "c"], ["y"]),
    ]
    assert not found_in(model_of(nodes, {"x": (1, 1, 4, 4)}, y=TensorProto.FLOAT), tmp_path)


@pytest.mark.parametrize(
    ("operator", "reason"), [("RandomUniformLike", "random"), ("Det", "no such operator")]
)
def test_other_reasons(tmp_path: Path, operator: str, reason: str) -> None:
    node = helper.make_node(operator, ["x"], ["y"])
    (line,) = found_in(model_of([node], {"x": (3, 3)}, y=TensorProto.FLOAT), tmp_path)
    assert f"node 'y' ({operator})" in line
    assert reason in line


def test_no_rule_writes_out_what_is_refused() -> None:
    groups = [*table.groups(0, 8, per_channel=True), *table.groups(8, 16, per_channel=True)]
    written = set(shared.RECURRENT).union(*groups)
    assert not written.intersection(NEVER_TAKEN)


def test_indices_of_a_pool_that_are_read(tmp_path: Path) -> None:
    nodes = [helper.make_node("MaxPool", ["x"], ["p", "i"], kernel_shape=[2, 2], name="pool")]
    shapes = {"x": (1, 1, 4, 4)}
    (line,) = found_in(model_of(nodes, shapes, p=TensorProto.FLOAT, i=TensorProto.INT64), tmp_path)
    assert "node 'pool' (MaxPool)" in line
    assert "indices" in line


def test_lint_a_plan_and_prepare_say_it(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("MaxPool", ["x"], ["p", "i"], kernel_shape=[2, 2], name="pool"),
        helper.make_node("Cast", ["i"], ["f"], to=TensorProto.FLOAT, name="cast"),
        helper.make_node("Add", ["p", "f"], ["y"], name="add"),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 1, 4, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 1, 3, 3])],
    )
    model = make_model(graph, 17)
    folder = write_folder(tmp_path / "a", model, image=False)
    assert "rvc4.refused-node" in {item.code for item in lint(folder, target="rvc4")}
    options = {"rvc4.quantization_mode": "FP16_STANDARD"}
    made = plan(folder, "rvc4", options=options, toolchain="native")
    assert any("'pool' (MaxPool)" in str(item) for item in made.warnings)
    onnx.save(model, tmp_path / "m.onnx")
    with pytest.raises(ModelError, match="'pool'"):
        prepare_file(
            str(tmp_path / "m.onnx"), "f.onnx", True, [], 0, 8, per_channel=True, encoded=[], folds=True
        )
