"""Quantized sources as float graphs: weights dequantized, pairs around activations folded.

Reads QDQ (ONNX's and com.microsoft's, per tensor, per channel and per block), the operators that
compute with codes (QLinearConv and so on) and dynamic quantization. Rounding to codes is left out, what
they cut off stays.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import onnx_ir as ir
from onnx_ir.passes import common

from converter.errors import ModelError, from_findings
from converter.graph.quantized import integers, moves, pairs, qlinear
from converter.graph.quantized.codes import SourceRange
from converter.graph.quantized.folder import DOMAINS, Folder
from converter.graph.simplify import infer_shapes

# What makes a graph a quantized one, and what only stands between codes.
_RULES: Final = {**pairs.RULES, **integers.RULES, **qlinear.RULES}
_AROUND: Final = {**integers.AROUND, **moves.RULES}


def fold_quantization(
    model: ir.Model, *, saturated: bool = True
) -> tuple[ir.Model, Mapping[str, SourceRange]]:
    """Make a quantized graph a float graph that computes the same but for the rounding.

    Args:
        model: Changed in place. Inputs and outputs keep names and types.
        saturated: Whether activations are cut off where their codes end. Whoever quantizes them on the
            same grids does not need it.

    Returns:
        The float graph, and the grid that the source has for its tensors, by their names in it: weights
        (the initializers) and activations (what is quantized, and what the pair gave back).

    Raises:
        ModelError: It names every node that cannot be read.
    """
    if not is_quantized(model):
        return model, {}
    model = infer_shapes(model)  # scales of channels broadcast from an axis to the last one
    folder = Folder(model.graph, saturated=saturated)
    folder.walk(model.graph, _RULES, _AROUND)
    folder.settle()
    if folder.problems:
        raise from_findings(ModelError, "The model's quantization", folder.problems)
    model = common.RemoveUnusedNodesPass()(model).model
    graph = model.graph
    made = [value for node in graph.all_nodes() for value in node.outputs]
    left = {*graph.inputs, *graph.initializers.values(), *made}
    ranges: dict[str, SourceRange] = {}
    for value, grid in folder.ranges:
        if value.name and value in left:
            ranges.setdefault(value.name, grid)
    return model, ranges


def is_quantized(model: ir.Model) -> bool:
    """Whether any node computes with codes."""
    return any(reads(node.domain, node.op_type) for node in model.graph.all_nodes())


def reads(domain: str, operator: str) -> bool:
    """Whether an operator computes with codes and is read here."""
    return domain in DOMAINS and operator in _RULES
