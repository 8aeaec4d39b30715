"""Wide products of an 8-bit network that the HTP would fuse wrongly.

The 16-bit modes prepare every x · sigmoid(x) for that (`htp_rules.activations.silu`). In an 8-bit
network only those become so that are wide, which is known when the formats are.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import onnx


def keep_apart(graph: onnx.GraphProto, wide: Collection[str]) -> dict[str, tuple[str, str]]:
    """Write x · max(sigmoid(x), 0) for x · sigmoid(x), in place, where both nodes are wide.

    Args:
        wide: Names of nodes.

    Returns:
        By gate (the Sigmoid's output) the tensor that the product now reads, and the constant 0.
    """
    from onnx import helper, numpy_helper

    made = {name: node for node in graph.node for name in node.output}
    values = {value.name: value for value in graph.value_info}
    found: dict[str, tuple[str, str]] = {}
    nodes: list[onnx.NodeProto] = []
    for node in graph.node:
        gate = _gate(node, made) if node.op_type == "Mul" and node.name in wide else None
        if gate is not None and made[gate].name in wide:
            kept, zero = f"{gate}/kept.apart", f"{gate}/kept.apart.zero"
            if gate not in found:
                graph.initializer.append(numpy_helper.from_array(np.array(0, np.float32), zero))
                nodes.append(helper.make_node("Max", [gate, zero], [kept], name=kept))
                found[gate] = kept, zero
                if gate in values:
                    graph.value_info.append(values[gate])
                    graph.value_info[-1].name = kept
            node.input[list(node.input).index(gate)] = kept
        nodes.append(node)
    if found:
        del graph.node[:]
        graph.node.extend(nodes)
    return found


def _gate(node: onnx.NodeProto, made: dict[str, onnx.NodeProto]) -> str | None:
    """The factor that is the sigmoid of the other one."""
    for gate, x in ((node.input[0], node.input[1]), (node.input[1], node.input[0])):
        maker = made.get(gate)
        if maker is not None and maker.op_type == "Sigmoid" and maker.input[0] == x:
            return gate
    return None
