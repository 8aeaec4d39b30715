"""Operators that only convert or pass on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import onnx_ir as ir

from converter.graph.rewrite import Builder, Rule, input_of
from converter.graph.rules.common import more_than_one_output, x_of


def cast_like(node: ir.Node, b: Builder) -> Sequence[ir.Value] | None:
    """A cast to the type that the second input has."""
    like = input_of(node, 1)
    if like is None or like.dtype is None:
        return None
    return [b.op("Cast", x_of(node), to=int(like.dtype))]


def dropout(node: ir.Node, b: Builder) -> Sequence[ir.Value] | None:
    """Dropout does nothing at inference."""
    if more_than_one_output(node):
        return None
    return [b.op("Identity", x_of(node))]


RULES: Final[Mapping[str, Rule]] = {
    "CastLike": cast_like,
    "Dropout": dropout,
}
