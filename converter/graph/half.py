"""A model of float16 arithmetic: what a camera that computes in float16 adds to the error.

Every float tensor, weights and results of nodes alike, is rounded to float16 and back; sums inside a
node stay in float32. A model, no measurement: it shows overflow and lost precision, not the last bit.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

# Beyond float16's largest number a value becomes infinite, as it would on the camera.
_KEEPS_TYPE = ("Cast", "Identity", "Shape")


class RoundToHalf(ir.passes.InPlacePass):
    """Round every float32 tensor to float16; inputs and outputs keep their names and types."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Round weights in place, and the results of nodes by a pair of casts behind each."""
        graph = model.graph
        for value in graph.initializers.values():
            _round_weight(value)
        for node in list(graph):
            if node.op_type in _KEEPS_TYPE:
                continue
            for output in node.outputs:
                if output.dtype == ir.DataType.FLOAT and output.name:
                    _round_result(graph, node, output)
        return ir.passes.PassResult(model, True)


def _round_weight(value: ir.Value) -> None:
    tensor = value.const_value
    if tensor is None or tensor.dtype != ir.DataType.FLOAT:
        return
    with np.errstate(over="ignore"):
        rounded = tensor.numpy().astype(np.float16).astype(np.float32)
    value.const_value = ir.Tensor(rounded, name=value.name)


def _round_result(graph: ir.Graph, node: ir.Node, output: ir.Value) -> None:
    uses = list(output.uses())
    half = ir.node("Cast", [output], {"to": int(ir.DataType.FLOAT16)})
    back = ir.node("Cast", half.outputs, {"to": int(ir.DataType.FLOAT)})
    rounded = back.outputs[0]
    rounded.type, rounded.shape = output.type, output.shape
    for user, index in uses:
        user.replace_input_with(index, rounded)
    if output in graph.outputs:
        name = output.name
        graph.outputs[graph.outputs.index(output)] = rounded
        output.name, rounded.name = f"{name}/float32", name
    graph.insert_after(node, [half, back])
