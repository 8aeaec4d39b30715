"""Operators that only convert, pass on, or say a shape."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import onnx_ir as ir

from converter.graph.rewrite import Builder, Rule, input_of, int_attribute, static_shape
from converter.graph.rules.common import more_than_one_output, x_of


def cast_like(node: ir.Node, b: Builder) -> Sequence[ir.Value] | None:
    """A cast to the type that the second input has."""
    like = input_of(node, 1)
    if like is None or like.dtype is None:
        return None
    return [b.op("Cast", x_of(node), to=int(like.dtype))]


def shape_of(node: ir.Node, b: Builder) -> Sequence[ir.Value] | None:
    """The sizes of the axes from `start` to `end`, which are known."""
    shape = static_shape(node.inputs[0])
    if shape is None:
        return None
    end = int_attribute(node, "end", len(shape))
    return [b.ints(*shape[int_attribute(node, "start", 0) : end])]


def size_of(node: ir.Node, b: Builder) -> Sequence[ir.Value] | None:
    """The number of elements, which is known."""
    shape = static_shape(node.inputs[0])
    return None if shape is None else [b.constant(math.prod(shape), np.int64)]


def dropout(node: ir.Node, b: Builder) -> Sequence[ir.Value] | None:
    """Dropout does nothing at inference."""
    if more_than_one_output(node):
        return None
    return [b.op("Identity", x_of(node))]


RULES: Final[Mapping[str, Rule]] = {
    "CastLike": cast_like,
    "Dropout": dropout,
    "Shape": shape_of,
    "Size": size_of,
}
