"""From an OpenVINO model to the ONNX graph that computes the same.

OpenVINO reads IR and TFLite; the rules that write its operators as ONNX are in `converter.sources.ops`.
This module walks through a model. One error names all that cannot be written as ONNX.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final

import onnx_ir as ir
import openvino as ov
from onnx_ir.passes import common

from converter.errors import ModelError, from_findings
from converter.findings import Finding
from converter.sources.ops.constants import Constants
from converter.sources.ops.emitter import (
    Emitter,
    Inexpressible,
    NewerOpset,
    Values,
    onnx_type,
    sizes_of,
)
from converter.sources.ops.registry import CONTROL_FLOW, RULES

OPSET: Final = 17
# The ONNX IR version for opsets 17 and 18.
_IR_VERSION: Final = 8
_EDGES: Final = frozenset({"Constant", "Parameter", "Result"})
_REMEDY: Final = "Convert the original model without it, or end the model before it."


def export(
    model: ov.Model, inputs: Sequence[str], outputs: Sequence[str], *, saturates: bool = False
) -> tuple[ir.Model, list[str]]:
    """Write an OpenVINO model as an ONNX graph.

    Args:
        model: The model; it is not changed.
        inputs: The new names of its inputs, in its order.
        outputs: The new names of its outputs, in its order.
        saturates: Whether floats that are cast stop at the ends of the narrow type, as LiteRT's do;
            OpenVINO's and ONNX Runtime's wrap around.

    Returns:
        The graph, of opset 17 unless an operator needs a newer one, and warnings. Weights are read when
        the graph is written, so the model must live until then.

    Raises:
        ModelError: There are operators without a rule, or ones that ONNX cannot express, with one
            finding for each type (code `source.operator`).
    """
    assert len(inputs) == len(model.inputs)
    assert len(outputs) == len(model.outputs)
    _refuse_edges(model)
    _refuse_unknown(model)
    opset = OPSET
    while True:
        try:
            return _export(model, inputs, outputs, opset, saturates=saturates)
        except NewerOpset as newer:
            opset = newer.opset


def _refuse_edges(model: ov.Model) -> None:
    found = []
    for port in (*model.inputs, *model.outputs):
        try:
            onnx_type(port)
            sizes_of(port)
        except Inexpressible as reason:
            found.append(_finding(port.get_node(), f"{reason}, which ONNX does not take"))
    if found:
        raise from_findings(ModelError, "The model cannot be written as ONNX", found)


def _refuse_unknown(model: ov.Model) -> None:
    nodes = [node for node in model.get_ordered_ops() if node.get_type_name() not in RULES]
    nodes = [node for node in nodes if node.get_type_name() not in _EDGES]
    counts = Counter(node.get_type_name() for node in nodes)
    first = {node.get_type_name(): node for node in reversed(nodes)}
    found = []
    for kind, count in sorted(counts.items()):
        why = " (control flow)" if kind in CONTROL_FLOW else ""
        found.append(_finding(first[kind], f"{why}, which has no counterpart in ONNX here", count))
    # A constant is computed, with or without a rule.
    if found and (left := _not_constant(model, counts, found)):
        raise from_findings(ModelError, "The model cannot be written as ONNX", left)


def _not_constant(model: ov.Model, counts: Counter[str], found: list[Finding]) -> list[Finding]:
    constants = Constants()
    depends = {
        node.get_type_name()
        for node in model.get_ordered_ops()
        if node.get_type_name() in counts
        and (not node.outputs() or any(constants.find(out) is None for out in node.outputs()))
    }
    return [item for kind, item in zip(sorted(counts), found, strict=True) if kind in depends]


def _finding(node: ov.Node, what: str, count: int = 1) -> Finding:
    operator = node.get_type_info()
    title = f"{operator.name} ({operator.version_id})"
    times = "" if count == 1 else f" It occurs {count} times."
    return Finding(
        code="source.operator",
        where=node.get_friendly_name(),
        message=f"is {title}{what}.{times}",
        remedy=_REMEDY,
    )


def _export(
    model: ov.Model, inputs: Sequence[str], outputs: Sequence[str], opset: int, *, saturates: bool
) -> tuple[ir.Model, list[str]]:
    graph = ir.Graph([], [], nodes=[], opset_imports={"": opset}, name=model.get_friendly_name())
    values = Values(graph, opset, [*inputs, *outputs], saturates=saturates)
    for port, name in zip(model.inputs, inputs, strict=True):
        value = ir.Value(name=name, type=ir.TensorType(onnx_type(port)), shape=_shape(port, name))
        graph.inputs.append(value)
        values.set(port.get_node().output(0), value)
    found: dict[tuple[str, str], Finding] = {}
    for node in model.get_ordered_ops():
        if node.get_type_name() not in _EDGES:
            _translate(node, values, found)
    if found:
        raise from_findings(ModelError, "The model cannot be written as ONNX", list(found.values()))
    for port, name in zip(model.outputs, outputs, strict=True):
        _end(graph, values, port.get_node().input_value(0), name)
    made = ir.Model(graph, ir_version=_IR_VERSION, producer_name="nnconvert")
    common.RemoveUnusedNodesPass()(made)
    return made, _warnings(model)


def _translate(node: ov.Node, values: Values, found: dict[tuple[str, str], Finding]) -> None:
    outputs = node.outputs()
    if outputs and all(values.constants.find(output) is not None for output in outputs):
        return
    emitter = Emitter(values, node)
    try:
        rule = RULES.get(node.get_type_name())
        if rule is None:
            raise Inexpressible(", which has no counterpart in ONNX here")
        made = rule(emitter)
    except Inexpressible as reason:
        title = node.get_type_name()
        found.setdefault((title, str(reason)), _finding(node, f"{reason}, which ONNX does not express"))
        made = [ir.Value(name=values.name("unknown")) for _ in outputs]
    new = {id(value) for item in emitter.nodes for value in item.outputs}
    values.graph.extend(emitter.nodes)
    for index, (output, value) in enumerate(zip(outputs, made, strict=False)):
        if id(value) in new:
            new.discard(id(value))
            suffix = f":{index}" if len(outputs) > 1 else ""
            value.name = values.name(f"{node.get_friendly_name()}{suffix}")
            value.type = ir.TensorType(onnx_type(output))
            value.shape = _shape(output)
        values.set(output, value)


def _shape(output: ov.Output, name: str | None = None) -> ir.Shape | None:
    """A shape; each unknown size of an input gets a different name."""
    if output.get_partial_shape().rank.is_dynamic:
        return None
    sizes = sizes_of(output)
    if name is None:
        return ir.Shape(sizes)
    return ir.Shape([size if size is not None else f"{name}_{axis}" for axis, size in enumerate(sizes)])


def _end(graph: ir.Graph, values: Values, source: ov.Output, name: str) -> None:
    """Make an output; a value that is an input, a constant or an output already is copied."""
    value = values.get(source)
    if value.producer() is None or value.is_graph_output() or value in graph.outputs:
        node = ir.node("Identity", [value], name=values.name(f"{name}/Identity"))
        node.outputs[0].type, node.outputs[0].shape = value.type, value.shape
        graph.append(node)
        value = node.outputs[0]
    value.name = name
    graph.outputs.append(value)


def _warnings(model: ov.Model) -> list[str]:
    quantized = sum(node.get_type_name() == "FakeQuantize" for node in model.get_ops())
    if not quantized:
        return []
    return [
        f"The source is quantized ({quantized} tensors): its weights are taken as they are, its "
        "activations in the target's own precision."
    ]
