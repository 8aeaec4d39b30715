"""A simulation of float16 arithmetic: the error that a camera adds which computes in float16.

Every float tensor (weights and results of nodes) is rounded to float16 and back; sums inside a node
stay in float32. It shows overflow and lost precision, but is no measurement and not exact to the bit.
"""

from __future__ import annotations

import onnx_ir as ir

# Beyond float16's largest number a value becomes infinite, as it would on the camera.
_KEEPS_TYPE = ("Cast", "Identity", "Shape")


class RoundToHalf(ir.passes.InPlacePass):
    """Round every float32 tensor to float16; inputs and outputs keep their names and types.

    Nodes round the weights, too, so that weights in external files stay there.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Put a pair of casts behind every weight and every result of a node."""
        graph = model.graph
        weights = [value for value in graph.initializers.values() if value.dtype == ir.DataType.FLOAT]
        for node in list(graph):
            if node.op_type in _KEEPS_TYPE:
                continue
            for output in node.outputs:
                if output.dtype == ir.DataType.FLOAT and output.name:
                    graph.insert_after(node, _round(graph, output))
        first = graph[0]
        for value in weights:
            graph.insert_before(first, _round(graph, value))
        return ir.passes.PassResult(model, True)


def _round(graph: ir.Graph, value: ir.Value) -> list[ir.Node]:
    """The casts for a value; its users now read their result."""
    uses = list(value.uses())
    half = ir.node("Cast", [value], {"to": int(ir.DataType.FLOAT16)})
    back = ir.node("Cast", half.outputs, {"to": int(ir.DataType.FLOAT)})
    rounded = back.outputs[0]
    rounded.type, rounded.shape = value.type, value.shape
    for user, index in uses:
        user.replace_input_with(index, rounded)
    if value in graph.outputs:
        name = value.name
        graph.outputs[graph.outputs.index(value)] = rounded
        value.name, rounded.name = f"{name}/float32", name
    return [half, back]
