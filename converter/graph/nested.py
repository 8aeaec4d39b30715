"""The graphs of an ONNX file: nodes such as If and Loop have some inside them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


def graphs(graph: Any) -> Iterator[Any]:
    """A graph (onnx.GraphProto) and all inside it; one without nodes may still have constants."""
    yield graph
    for node in graph.node:
        yield from nested(node)


def nested(node: Any) -> Iterator[Any]:
    """All graphs inside a node (onnx.NodeProto)."""
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield from graphs(attribute.g)
        for inner in attribute.graphs:
            yield from graphs(inner)
