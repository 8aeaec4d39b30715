"""What in an ONNX file cannot be read: foreign operators, computed scales, nodes of two meanings."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

from converter.graph.ambiguous import ambiguous

_COPIES: Final = ("Identity", "Cast")


def unreadable(model: Any) -> tuple[tuple[str, str, str], ...]:
    """The nodes of a model (onnx.ModelProto) that no target reads: kind, node, problem.

    The kind is `operator`, `quantization` or `ambiguous`; TFLite has `state`, too.
    """
    own = {(function.domain, function.name) for function in model.functions}
    functions = (found for function in model.functions for found in _ambiguous(function.node))
    return (*_of_graph(model.graph, own, {}), *functions)


def _of_graph(
    graph: Any, own: set[tuple[str, str]], made: dict[str, Any]
) -> Iterator[tuple[str, str, str]]:
    made = {**made, **{name: node for node in graph.node for name in node.output}}
    inputs = {value.name for value in graph.input} - {tensor.name for tensor in graph.initializer}
    for node in graph.node:
        where = _where(node)
        if (
            node.domain
            and not node.domain.startswith("ai.onnx")
            and (node.domain, node.op_type) not in own
        ):
            if not _is_read(node):
                title = f"{node.domain}.{node.op_type}"
                yield "operator", where, f"{title} is no operator of ONNX's own."
        elif node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            for name, what in zip(node.input[1:], ("scale", "zero point"), strict=False):
                if _is_live(name, made, inputs):
                    yield "quantization", where, f"has a {what} that is computed, not constant."
        yield from _ambiguous([node])
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                if inner.node:
                    yield from _of_graph(inner, own, made)


def _ambiguous(nodes: Iterable[Any]) -> Iterator[tuple[str, str, str]]:
    for node in nodes:
        if what := ambiguous(node):
            problem = f"{what} is one thing in ONNX's specification and another in ONNX Runtime."
            yield "ambiguous", _where(node), problem


def _where(node: Any) -> str:
    return f"node {node.name or node.output[0]!r} ({node.op_type})"


def _is_read(node: Any) -> bool:
    from converter.graph.dequantize import reads

    return reads(node.domain, node.op_type)


def _is_live(name: str, made: dict[str, Any], inputs: set[str]) -> bool:
    """Whether a scale depends on a frame; those of dynamic quantization are measured, and are read."""
    while name in made and made[name].op_type in _COPIES:
        name = made[name].input[0]
    kind = made[name].op_type if name in made else ""
    return name in inputs or kind not in ("", "Constant", "DynamicQuantizeLinear")
