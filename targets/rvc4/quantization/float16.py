"""From a float model to the float16 network that QNN compiles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx_ir as ir

from converter.feeding import TargetInput
from converter.graph.rewrite import Builder

# Inputs that ONNX requires in float32 whatever the operator's type, by operator and index.
_STAYS_SINGLE: Final = {("Resize", 2), ("Upsample", 1)}
_DTYPES: Final = {
    "uint8": ir.DataType.UINT8,
    "float16": ir.DataType.FLOAT16,
    "float32": ir.DataType.FLOAT,
}


def write_file(model: str, target: str, inputs: Sequence[Mapping[str, Any]]) -> None:
    """Write the float16 network, in a child process; frames are uint8, other inputs float32."""
    made = HalfPrecision()(ir.load(model)).model
    for item in inputs:
        _take(made.graph, TargetInput.from_json(item))
    made.graph.sort()
    ir.save(made, target, external_data=f"{Path(target).name}.data", size_threshold_bytes=4096)


class HalfPrecision(ir.passes.InPlacePass):
    """Make every float32 tensor float16, inputs and outputs too."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Change the types of values, constants and attributes in place."""
        graph = model.graph
        for value in list(graph.initializers.values()):
            if value.dtype == ir.DataType.FLOAT and not _needed_single(value):
                _halve_constant(value)
        for value in [*graph.inputs, *(output for node in graph for output in node.outputs)]:
            if value.dtype == ir.DataType.FLOAT:
                value.dtype = ir.DataType.FLOAT16
        for node in graph:
            halved_attributes(node)
        return ir.passes.PassResult(model, True)


def halved_attributes(node: ir.Node) -> None:
    """Let types and tensors among a node's attributes be float16, in place."""
    for name, attribute in list(node.attributes.items()):
        if name in ("to", "dtype") and attribute.value == int(ir.DataType.FLOAT):
            node.attributes[name] = ir.AttrInt64(name, int(ir.DataType.FLOAT16))
        elif attribute.type == ir.AttributeType.TENSOR:
            tensor = attribute.as_tensor()
            if tensor.dtype == ir.DataType.FLOAT:
                half = ir.Tensor(tensor.numpy().astype(np.float16), name=tensor.name)
                node.attributes[name] = ir.AttrTensor(name, half)


def needs_single(node: ir.Node, place: int) -> bool:
    """Whether ONNX wants float32 at an input whatever the operator's type."""
    return (node.op_type, place) in _STAYS_SINGLE


def halved_constant(graph: ir.Graph, value: ir.Value) -> ir.Value:
    """A new constant of a graph, with another one's values in float16."""
    assert value.const_value is not None
    with np.errstate(over="ignore"):
        half = ir.Tensor(value.const_value.numpy().astype(np.float16), name=f"{value.name}/half")
    made = ir.Value(
        name=half.name, type=ir.TensorType(ir.DataType.FLOAT16), shape=value.shape, const_value=half
    )
    graph.register_initializer(made)
    return made


def _needed_single(value: ir.Value) -> bool:
    return any(needs_single(node, index) for node, index in value.uses())


def _halve_constant(value: ir.Value) -> None:
    """Make a constant float16; weights are converted when they are written, one after the other."""
    single = value.const_value
    assert single is not None
    assert value.shape is not None

    def half() -> ir.Tensor[Any]:
        with np.errstate(over="ignore"):
            return ir.Tensor(single.numpy().astype(np.float16), name=value.name)

    value.const_value = ir.LazyTensor(half, ir.DataType.FLOAT16, value.shape, name=value.name)
    value.dtype = ir.DataType.FLOAT16


def _take(graph: ir.Graph, item: TargetInput) -> None:
    """Let an input have the type that is fed; a Cast makes it float16."""
    value = next(value for value in graph.inputs if value.name == item.name)
    dtype = _DTYPES.get(item.dtype)
    if value.dtype != ir.DataType.FLOAT16 or dtype in (None, ir.DataType.FLOAT16):
        return
    users = list(value.uses())
    b = Builder(graph, f"{item.name}/float16")
    x = b.op("Cast", value, to=int(ir.DataType.FLOAT16))
    x.dtype, x.shape = ir.DataType.FLOAT16, value.shape
    value.dtype = dtype
    for node, index in users:
        node.replace_input_with(index, x)
    graph.insert_before(graph[0], b.nodes)
