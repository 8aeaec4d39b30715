"""Other outputs for a graph: inner tensors, under names of choice; what they do not need goes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import onnx_ir as ir
from onnx_ir.passes import common

from converter.graph.freeze import real_inputs
from converter.graph.simplify import infer_shapes


def tensors_of(graph: ir.Graph) -> dict[str, ir.Value]:
    """The tensors that can be outputs, by name: inputs and what nodes compute, branches apart."""
    return {value.name: value for value in _values(graph) if value.name}


def _values(graph: ir.Graph) -> Iterator[ir.Value]:
    yield from graph.inputs
    for node in graph:
        yield from node.outputs


def end_at(model: ir.Model, outputs: Mapping[str, ir.Value]) -> ir.Model:
    """Make values the outputs of a graph; nodes, weights and inputs that they do not need go.

    Args:
        model: The model, which is changed in place.
        outputs: By the name that each gets; other tensors of these names get others.

    Returns:
        The model with the types and shapes of its outputs, as far as they are known.
    """
    graph = model.graph
    _free(graph, outputs)
    graph.outputs.clear()
    for name, value in outputs.items():
        is_made = value.producer() is not None and not any(value is other for other in graph.outputs)
        if is_made:
            value.name = name
            graph.outputs.append(value)
            continue
        copy = ir.node("Identity", [value], name=f"{name}/Identity")
        copy.outputs[0].name, copy.outputs[0].type = name, value.type
        copy.outputs[0].shape = value.shape
        graph.append(copy)
        graph.outputs.append(copy.outputs[0])
    common.RemoveUnusedNodesPass()(model)
    kept = {id(value) for value in graph.outputs}
    for value in real_inputs(graph):
        if not value.uses() and id(value) not in kept:
            graph.inputs.remove(value)
    return infer_shapes(model)


def _free(graph: ir.Graph, outputs: Mapping[str, ir.Value]) -> None:
    """Rename tensors that have one of the names and are not meant."""
    named = tensors_of(graph)
    taken = {*named, *outputs, *graph.initializers}
    meant = {id(value) for value in outputs.values()}
    for name in outputs:
        other = named.get(name)
        if other is None or id(other) in meant or other.is_graph_input():
            continue
        fresh = next(f"{name}.{i}" for i in range(1, len(taken) + 2) if f"{name}.{i}" not in taken)
        other.name = fresh
        taken.add(fresh)
