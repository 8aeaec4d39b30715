"""Outputs of integers leave in a type that the compiler has, with the same numbers."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper

from converter.graph.output_types import cast_outputs
from converter.graph.simplify import infer_shapes
from tests.sources import make_model

X = np.array([[-3.7, -1.2, 0.0, 2.5, 100.9]], np.float32)


@pytest.mark.parametrize("to", [ir.DataType.INT32, ir.DataType.FLOAT])
@pytest.mark.parametrize("read_again", [False, True])
@pytest.mark.parametrize("kind", ["INT8", "INT16", "INT64"])
def test_a_cast_at_the_end_cuts_off_fractions_in_any_type(
    to: ir.DataType, read_again: bool, kind: str
) -> None:
    number = getattr(TensorProto, kind)
    nodes = [helper.make_node("Cast", ["x"], ["y"], to=number)]
    outputs = [helper.make_tensor_value_info("y", number, [1, 5])]
    if read_again:
        nodes.append(helper.make_node("Cast", ["y"], ["z"], to=TensorProto.FLOAT))
        outputs.append(helper.make_tensor_value_info("z", TensorProto.FLOAT, [1, 5]))
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 5])]
    proto = make_model(helper.make_graph(nodes, "cast", inputs, outputs), 17)
    model = infer_shapes(ir.from_proto(proto))
    cast_outputs(model, [kind], to)
    session = ort.InferenceSession(ir.to_proto(model).SerializeToString())
    found = session.run(None, {"x": X})
    for values in found:
        np.testing.assert_array_equal(values, np.trunc(X))
    assert found[0].dtype == to.numpy()
    assert len(list(model.graph)) == (
        1 if to == ir.DataType.INT32 and not read_again else len(nodes) + 1
    )
