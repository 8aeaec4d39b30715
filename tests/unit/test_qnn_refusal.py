"""A node that QNN does not take is told by the source's name, without words that say nothing."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from converter.errors import ModelError
from targets.rvc4.refusal import refusal, refused_node


@pytest.mark.parametrize(
    ("name", "reason", "told"),
    [
        ("Conv_0_token_1", "Failed to add node.", "node 'Conv_0' (Conv): the HTP does not take it. "),
        (
            "Conv_0",
            "only dilations 1!",
            "node 'Conv_0' (Conv): the HTP does not take it: only dilations 1!",
        ),
        (
            "Conv_0",
            "Operators of type `Conv` are not supported by QNN EP.Conv node `Conv_0` will not be assigned.",
            "node 'Conv_0' (Conv): the HTP does not take it: QNN has no such operator. ",
        ),
    ],
)
def test_a_refused_node(name: str, reason: str, told: str) -> None:
    assert str(refused_node("Conv", name, reason)).startswith(told)


# Of QAIRT 2.51.0; lines that say nothing here are left out.
LOG = """\
[V:onnxruntime:, base_op_builder.cc:40 AddToModelBuilder] QNN node builder is trying to add node. \
Onnx node name: [Transpose_token_14] onnx node type: [Transpose].
 node_inputs:
 name=y_QuantizeLinear id=0 version=1 type=QNN_TENSOR_TYPE_NATIVE
[V:onnxruntime:, qnn_execution_provider.cc:1713 LogNodeSupport] Validation FAILED for 1 nodes in OrtNodeUnit
	Operator type: Transpose Node name: Transpose_token_14 Node index: 31
	REASON : Failed to add node.
"""


def test_a_node_that_onnx_runtime_put_in_is_told_as_the_one_that_makes_what_it_reads(
    tmp_path: Path,
) -> None:
    nodes = [
        helper.make_node("Erf", ["x"], ["e"], name="the culprit"),
        helper.make_node("QuantizeLinear", ["e", "s"], ["y"], name="y_QuantizeLinear"),
    ]
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "xs"],
        [helper.make_tensor_value_info("y", TensorProto.UINT8, [1])],
    )
    path = tmp_path / "network.onnx"
    onnx.save(helper.make_model(graph), path)
    error = refusal([("Transpose", "Transpose_token_14")], "", LOG, str(path))
    assert isinstance(error, ModelError)
    assert "node 'the culprit' (Erf): the HTP does not take it." in str(error)
