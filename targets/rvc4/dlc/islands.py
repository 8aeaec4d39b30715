"""Nodes of a DLC that compute in floating point although the network is one of integers.

QNN has no integer kernel for some operators (TopK, ScatterND, LSTM, …): it decodes the codes in front
of them and quantizes their results. That costs time, not accuracy: a user is told, nothing is refused.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Final

from converter.verification.trace import node_name
from targets.rvc4.dlc.read import STATIC, Dlc, DlcNode
from targets.rvc4.parameters import Parameters

# They are the border of an island.
_BORDERS: Final = frozenset({"Quantize", "Dequantize", "Convert"})
# QNN's operators that only move values.
MOVES: Final = frozenset(
    {"Concat", "ExpandDims", "Reshape", "Squeeze", "StridedSlice", "Tile", "Transpose"}
)
# How QNN's execution provider marks nodes that it joined or made.
MARK: Final = re.compile(r"_token_\d+$")
_LISTED: Final = 8


def island_nodes(dlc: Dlc) -> list[DlcNode]:
    """The nodes that read or make floating-point tensors, in the DLC's order; without mere moves.

    Moves are left out unless an island has nothing else. Where a model's own input is of floats and is
    only cast, that is no island.
    """
    inputs = {tensor.name for tensor in dlc.inputs}
    floats = {t.name for t in dlc.tensors if t.dtype.startswith("float") and t.kind != STATIC}
    found = [
        node
        for node in dlc.nodes
        if node.op not in _BORDERS
        and not floats.isdisjoint((*node.inputs, *node.outputs))
        and not (node.op == "Cast" and inputs.intersection(node.inputs))
    ]
    return [node for node in found if node.op not in MOVES] or found


def made_from(dlc: Dlc, name: str) -> list[DlcNode]:
    """The nodes of a DLC that were made from an ONNX node."""
    return [node for node in dlc.nodes if MARK.sub("", node.name) == name]


def islands_warning(
    dlc: Dlc, parameters: Parameters, operators: Mapping[str, str], asked: Collection[str] = ()
) -> list[str]:
    """What a user is told of nodes that keep out of an integer mode.

    Args:
        operators: The operators of the network's ONNX nodes, by name.
        asked: Those that were asked to.
    """
    if parameters.precision.is_float:
        return []
    wanted = {node.name for name in asked for node in made_from(dlc, name)}
    borders = tuple(f"{name}/{kind}/Cast" for name in asked for kind in ("half", "single"))
    found = [
        node
        for node in island_nodes(dlc)
        if not (node.name in wanted or (node.op == "Cast" and node.name.startswith(borders)))
    ]
    told = list(dict.fromkeys(_named(found, operators)))
    if not told:
        return []
    more = f" and {len(told) - _LISTED} more" if len(told) > _LISTED else ""
    return [f"QNN computes in floating point whatever the mode: {', '.join(told[:_LISTED])}{more}."]


def _named(nodes: list[DlcNode], operators: Mapping[str, str]) -> Iterator[str]:
    """The ONNX nodes that a DLC's nodes were made from; QNN adds to a name when it splits a node."""
    for node in nodes:
        name = MARK.sub("", node.name)
        if name not in operators:
            name = max((one for one in operators if name.startswith(one)), key=len, default="")
        yield node_name(name, operators[name]) if name else node_name(node.name, node.op)
