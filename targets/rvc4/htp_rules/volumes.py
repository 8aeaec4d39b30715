"""Operators that the HTP has for frames only, of tensors with five axes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import onnx_ir as ir

from converter.graph.rewrite import Builder, static_shape
from converter.graph.rules.common import x_of
from converter.graph.rules.forms import reduced, reshaped

_FRAME: Final = 4


def global_max_pool(node: ir.Node, b: Builder) -> Sequence[ir.Value] | None:
    """The maximum over (N, C, elements)."""
    shape = static_shape(x_of(node))
    if shape is None or len(shape) <= _FRAME:
        return None
    flat = reshaped(b, x_of(node), [*shape[:2], math.prod(shape[2:])])
    largest = reduced(b, "ReduceMax", flat, [2], keepdims=True)
    return [reshaped(b, largest, [*shape[:2], *[1] * (len(shape) - 2)])]


def instance_normalization(node: ir.Node, b: Builder) -> Sequence[ir.Value] | None:
    """The same over (N, C, elements)."""
    shape = static_shape(x_of(node))
    if shape is None or len(shape) <= _FRAME:
        return None
    flat = reshaped(b, x_of(node), [*shape[:2], math.prod(shape[2:])])
    (made,) = b.again(node, flat, *node.inputs[1:])
    return [reshaped(b, made, shape)]
