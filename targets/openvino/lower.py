"""Rewriting a model of today's OpenVINO, in place, with the operators of OpenVINO 2022.3.

Today's OpenVINO and 2022.3 both use IR version 11, but the older one knows only the operators of opsets
1 to 10. The rules for newer operators are in `lower_rules`; this module walks through a model. One
error names all that cannot be rewritten.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

import openvino as ov

from converter.errors import ModelError, from_findings
from converter.findings import Finding
from targets.openvino.lower_rules import RULES, Inexpressible, copy_of

LAST_OPSET: Final = 10
# Element types that 2022.3 does not read.
_YOUNG_TYPES: Final = frozenset(
    {"dynamic", "f4e2m1", "f8e4m3", "f8e5m2", "f8e8m0", "nf4", "string", "u2", "u3", "u6"}
)
_ELSEWHERE: Final = "Replace it in the ONNX model, or end the model before it."


def lower(model: ov.Model) -> None:
    """Replace, in place, every operator that OpenVINO 2022.3 does not know.

    Names stay: a new operator takes the friendly name and the tensors' names of the one it replaces.
    Graphs inside `If`, `Loop` and `TensorIterator` are lowered with the rest.

    Args:
        model: The result of `ov.convert_model`; shapes that a rule needs must be static.

    Raises:
        ModelError: Something cannot be expressed, with one finding per operator type and reason. The
            model is then only partly rewritten and cannot be used.
    """
    found: dict[tuple[str, str], Finding] = {}
    _lower_graph(model, found)
    if found:
        raise from_findings(ModelError, "The model is beyond OpenVINO 2022.3", list(found.values()))
    model.validate_nodes_and_infer_types()


def _lower_graph(model: ov.Model, found: dict[tuple[str, str], Finding]) -> None:
    for node in model.get_ordered_ops():
        for body in _bodies(node):
            _lower_graph(body, found)
        for kind in {output.get_element_type().to_string() for output in node.outputs()} & _YOUNG_TYPES:
            finding = _finding("ir.element-type", node, f"has the element type {kind}")
            found.setdefault(("", kind), finding)
        operator = node.get_type_info()
        title = f"{operator.name} ({operator.version_id})"
        rule = RULES.get((operator.name, operator.version_id))
        try:
            outputs = rule(node) if rule else None
            if outputs is not None:
                _replace(node, outputs)
            elif not _is_known(operator.version_id):
                raise Inexpressible
        except Inexpressible as reason:
            finding = _finding("ir.operator", node, f"is {title}{reason}")
            found.setdefault((title, str(reason)), finding)
    _part_results(model)


def _part_results(model: ov.Model) -> None:
    """Give every result a separate tensor.

    Today's IR has an output's names at the `Result`, 2022.3 at the tensor before it. That tensor gets
    the names of one result, so a second result or an input would lose its names.
    """
    taken = {parameter.output(0) for parameter in model.get_parameters()}
    for result in model.get_results():
        tensor, names = result.input_value(0), result.output(0).get_names()
        if tensor in taken:
            copy = copy_of(tensor)
            result.input(0).replace_source_output(copy)
            copy.set_names(names)
            for name in sorted(names - {tensor.get_node().get_friendly_name()})[:1]:
                copy.get_node().set_friendly_name(name)
        taken.add(tensor)


def _is_known(version: str) -> bool:
    opset = re.fullmatch(r"opset(\d+)", version)
    return opset is not None and int(opset[1]) <= LAST_OPSET


def _finding(code: str, node: ov.Node, what: str) -> Finding:
    message = f"{what}, which OpenVINO 2022.3 does not know"
    return Finding(code=code, where=node.get_friendly_name(), message=f"{message}.", remedy=_ELSEWHERE)


def _bodies(node: ov.Node) -> Iterator[ov.Model]:
    """The graphs inside a node."""
    match node.get_type_name():
        case "If":
            yield node.get_function(0)
            yield node.get_function(1)
        case "Loop" | "TensorIterator":
            yield node.get_function()


def _replace(node: ov.Node, outputs: list[ov.Output]) -> None:
    """Give a node's readers other outputs, and these its names."""
    given = [value.get_node() for value in node.input_values()]
    for old, new in zip(node.outputs(), outputs, strict=True):
        names = old.get_names()
        for reader in old.get_target_inputs():
            reader.replace_source_output(new)
        new.add_names(names)
        if new.get_node() not in given:
            new.get_node().set_friendly_name(node.get_friendly_name())
