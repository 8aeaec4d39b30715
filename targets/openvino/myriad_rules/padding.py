"""Pad in the form that the Myriad compiler takes: three or four axes, the first without pads."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final

import onnx_ir as ir

from converter.graph.rewrite import Builder, Rule, array_of, input_of, static_shape, text_attribute
from converter.graph.rules.common import x_of
from converter.graph.rules.forms import reshaped
from converter.graph.rules.padding import Pads, padded, pads_of

_RANKS: Final = (3, 4)


def pad(node: ir.Node, b: Builder) -> Sequence[ir.Value] | None:
    """Neighbours without pads become one axis, and one of one element comes first."""
    pads, shape, value = pads_of(node), static_shape(node.inputs[0]), input_of(node, 2)
    if pads is None or shape is None or (value is not None and array_of(value) is None):
        return None
    if len(shape) in _RANKS and pads[0] == (0, 0):
        return None
    y, sizes = x_of(node), list(shape)
    mode = text_attribute(node, "mode", "constant")
    for step in _steps(pads, sizes):
        merged, frame = _merged(sizes, step)
        y = padded(b, reshaped(b, y, merged), frame, mode, value)
        sizes = [size + sum(pair) for size, pair in zip(sizes, step, strict=True)]
    return [reshaped(b, y, sizes)]


def _steps(pads: Pads, shape: Sequence[int]) -> Sequence[Pads]:
    """All pads at once, or an axis after the other where that makes too many axes."""
    if len(_merged(shape, pads)[0]) <= max(_RANKS):
        return [pads]
    none = [(0, 0)] * len(pads)
    return [[*none[:axis], pair, *none[axis + 1 :]] for axis, pair in enumerate(pads) if any(pair)]


def _merged(shape: Sequence[int], pads: Pads) -> tuple[list[int], list[tuple[int, int]]]:
    """Sizes and pads of three axes or more, the first without pads."""
    groups: list[tuple[int, tuple[int, int]]] = []
    for size, pair in zip(shape, pads, strict=True):
        if groups and not any(pair) and not any(groups[-1][1]):
            groups[-1] = (groups[-1][0] * size, (0, 0))
        else:
            groups.append((size, pair))
    if any(groups[0][1]):
        groups.insert(0, (1, (0, 0)))
    while len(groups) < min(_RANKS):
        groups.insert(0, (1, (0, 0)))
    assert math.prod(shape) == math.prod(size for size, _ in groups)
    return [size for size, _ in groups], [pair for _, pair in groups]


RULES: Final[Mapping[str, Rule]] = {"Pad": pad}
