"""Operators that move codes from place to place: the same on the reals."""

from __future__ import annotations

import dataclasses
from typing import Final

import numpy as np
import onnx_ir as ir

from converter.graph.moves import MOVES
from converter.graph.quantized.folder import (
    CodeRule,
    Folder,
    Replacement,
    known,
)
from converter.graph.rewrite import Builder, input_of


def _move(node: ir.Node, b: Builder, f: Folder) -> Replacement:
    """An operator that only moves codes, or takes the largest of some: the same on the reals."""
    codes = f.codes(node.inputs[0])
    if codes is None or len(codes.grid.scale.shape):
        return None
    made = b.again(node, codes.real, *node.inputs[1:])
    for old, new in zip(node.outputs, made, strict=True):
        new.shape = old.shape
    count = 1 if node.op_type == "MaxPool" else len(made)
    return [dataclasses.replace(codes, real=value) for value in made[:count]]


def _concat(node: ir.Node, b: Builder, f: Folder) -> Replacement:
    codes = [f.codes(value) for value in node.inputs]
    known_codes = [each for each in codes if each is not None]
    if not known_codes or len(known_codes) != len(codes):
        return None
    first = known_codes[0]
    if any(each.is_dynamic or not each.grid.is_same(first.grid) for each in known_codes):
        return None
    made = b.again(node, *[each.real for each in known_codes])[0]
    return [dataclasses.replace(first, real=made)]


def _pad(node: ir.Node, b: Builder, f: Folder) -> Replacement:
    """What is put around codes is a code, too."""
    codes, filling = f.codes(node.inputs[0]), input_of(node, 2)
    if codes is None or len(codes.grid.scale.shape) or codes.is_dynamic:
        return None
    if filling is not None or node.attributes.get("mode") is None:
        zero = np.zeros((), np.int64) if filling is None else known(filling)
        if zero is None:
            return None
        real = (zero.reshape(()).astype(np.int64) - codes.grid.zero_point) * codes.grid.scale
        filling = b.constant(real, codes.grid.scale.dtype)
    rest = node.inputs[3:]
    return [
        dataclasses.replace(codes, real=b.again(node, codes.real, node.inputs[1], filling, *rest)[0])
    ]


RULES: Final[dict[str, CodeRule]] = {
    **dict.fromkeys((*MOVES, "MaxPool"), _move),
    "Concat": _concat,
    "Pad": _pad,
}
