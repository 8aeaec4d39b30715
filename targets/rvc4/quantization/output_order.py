"""The order of a network's outputs: QNN writes them in the order in which nodes make them.

ONNX Runtime walks a graph from its last leaf to its first (`ReverseDFS` over a stack), after its layout
pass has put transpositions behind some outputs. So each output gets a separate leaf, the last first.
"""

from __future__ import annotations

from pathlib import Path

import onnx_ir as ir

from converter.graph.rewrite import Builder, array_of


def order_file(network: str, target: str) -> None:
    """Write the network with its outputs made in the order of the graph's list; in a child process."""
    model = ir.load(network)
    for index in reversed(range(len(model.graph.outputs))):
        _copy_last(model.graph, index)
    ir.save(model, target, external_data=f"{Path(target).name}.data", size_threshold_bytes=4096)


def _copy_last(graph: ir.Graph, index: int) -> None:
    """Give an output's name to a copy of it: a Concat of one, which no optimizer removes."""
    value = graph.outputs[index]
    name = value.name or ""
    value.name = f"{name}/inner"
    b = Builder(graph, f"{name}/copy")
    made = value.producer()
    if made is not None and made.op_type == "QuantizeLinear":
        scale, zero = (_again(b, item) for item in made.inputs[1:3])
        b.domain = made.domain
        floating = b.op("DequantizeLinear", value, scale, zero)
        b.domain = ""
        floating = b.op("Concat", floating, axis=0)
        b.domain = made.domain
        x = b.op("QuantizeLinear", floating, scale, zero)
    else:
        x = b.op("Concat", value, axis=0)
    x.name, x.type, x.shape = name, value.type, value.shape
    graph.extend(b.nodes)
    graph.outputs[index] = x


def _again(b: Builder, value: ir.Value | None) -> ir.Value:
    """A copy of a constant: QNN's nodes cannot share constants."""
    array = array_of(value)
    assert array is not None
    return b.constant(array, array.dtype)
