"""Nodes of an integer network that compute in float16, because a user asked for it.

The quantizer leaves them out. Measured (QAIRT 2.51, emulator): the HTP takes islands of float16 between
Casts, in one partition, and computes them right.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

import onnx_ir as ir
from onnx_ir.passes import common

from converter.graph.rewrite import Builder
from targets.rvc4.quantization.float16 import halved_attributes, halved_constant, needs_single
from targets.rvc4.quantization.widths import FUSED, Links

if TYPE_CHECKING:
    import onnx


def computing(graph: onnx.GraphProto, tensors: Collection[str]) -> list[str]:
    """The nodes that make tensors, in the graph's order.

    What a Relu or Clip alone reads, it is fused with: both are one.
    """
    links = Links.of(graph)
    found: set[str] = set()
    for tensor in tensors:
        node = links.makers.get(tensor)
        while node is not None:
            found.add(node.name)
            readers = links.readers.get(node.output[0], [])
            follows = len(readers) == 1 and readers[0].op_type in FUSED
            before = links.makers.get(node.input[0]) if node.op_type in FUSED else None
            if before is not None and len(links.readers[node.input[0]]) == 1:
                found.add(before.name)
            node = readers[0] if follows and readers[0].name not in found else None
    return [node.name for node in graph.node if node.name in found]


def make_half(network: ir.Model, names: Collection[str]) -> None:
    """Let the named nodes of a quantized network compute in float16, in place.

    Args:
        network: With these nodes still in float32: between DequantizeLinear and QuantizeLinear.
    """
    graph = network.graph
    nodes = [node for node in graph if str(node.name) in names]
    if not nodes:
        return
    inside = set(map(id, nodes))
    half: dict[int, ir.Value] = {}
    for node in nodes:
        for place, value in enumerate(node.inputs):
            if value is None or not _is_float(value) or needs_single(node, place):
                continue
            producer = value.producer()
            if producer is not None and id(producer) in inside:
                continue
            if id(value) not in half:
                half[id(value)] = _half_of(graph, node, value)
            node.replace_input_with(place, half[id(value)])
        halved_attributes(node)
    for node in nodes:
        for value in node.outputs:
            if not _is_float(value):
                continue
            value.dtype = ir.DataType.FLOAT16
            _leave(graph, node, value, inside)
    # QNN warns of constants that nothing reads.
    common.RemoveUnusedNodesPass()(network)


def _is_float(value: ir.Value) -> bool:
    """Whether a value is float32; the quantizer says no types of what it adds."""
    if value.dtype is not None:
        return value.dtype == ir.DataType.FLOAT
    node = value.producer()
    made = node is not None and node.op_type == "DequantizeLinear"
    return made or str(value.name).endswith("_QuantizeLinear_Input")


def _half_of(graph: ir.Graph, node: ir.Node, value: ir.Value) -> ir.Value:
    """A value in float16: a constant's own, or behind a Cast in front of the node."""
    if value.const_value is not None and value.name in graph.initializers:
        return halved_constant(graph, value)
    b = Builder(graph, f"{node.name}/half")
    made = b.op("Cast", value, to=int(ir.DataType.FLOAT16))
    made.dtype, made.shape = ir.DataType.FLOAT16, value.shape
    graph.insert_before(node, b.nodes)
    return made


def _leave(graph: ir.Graph, node: ir.Node, value: ir.Value, inside: Collection[int]) -> None:
    """Give a value in float32 to what is not in the island."""
    users = [(user, place) for user, place in value.uses() if id(user) not in inside]
    places = [index for index, output in enumerate(graph.outputs) if output is value]
    if not users and not places:
        return
    name = value.name
    if places:
        value.name = f"{name}/half"
    b = Builder(graph, f"{node.name}/single")
    made = b.op("Cast", value, to=int(ir.DataType.FLOAT))
    made.dtype, made.shape = ir.DataType.FLOAT, value.shape
    if places:
        made.name = name
    graph.insert_after(node, b.nodes)
    for user, place in users:
        user.replace_input_with(place, made)
    for index in places:
        graph.outputs[index] = made


def told(report: Mapping[str, Any] | None) -> list[str]:
    """The nodes of a record that were asked to compute in float16."""
    return list((report or {}).get("floats") or ())
