"""GridSample with a constant grid: weighted sums of elements that a Gather picks."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from converter.graph.rewrite import (
    Builder,
    Rule,
    array_of,
    input_of,
    int_attribute,
    static_shape,
    text_attribute,
)
from converter.graph.rules.common import x_of
from converter.graph.rules.forms import joined, reshaped, split

Places = NDArray[np.int64]
Weights = NDArray[np.float64]
_LINEAR: Final = ("bilinear", "linear")
_CUBIC: Final = ("bicubic", "cubic")
# The parameter of the cubic kernel (Keys).
_ALPHA: Final = -0.75


def grid_sample(node: ir.Node, b: Builder) -> Sequence[ir.Value] | None:
    """Σ weight · x[place], over the neighbours of each point (one, 2ⁿ or 4ⁿ of n axes).

    Points outside: zeros have no weight; the others' places are clipped or reflected.
    """
    shape, grid = static_shape(node.inputs[0]), array_of(input_of(node, 1))
    mode = text_attribute(node, "mode", "linear")
    if shape is None or grid is None or (mode in _CUBIC and len(shape) != 4):
        return None
    padding = text_attribute(node, "padding_mode", "zeros")
    aligned = bool(int_attribute(node, "align_corners", 0))
    same = bool((grid == grid[:1]).all())
    frames = [x_of(node)] if same else split(b, x_of(node), 0, [1] * shape[0])
    made = []
    for frame, points in zip(frames, grid, strict=False):
        batch = shape[0] if same else 1
        flat = reshaped(b, frame, [batch, shape[1], math.prod(shape[2:])])
        made.append(_sampled(b, flat, points.reshape(-1, points.shape[-1]), shape[2:], mode, padding,
                             aligned))  # fmt: skip
    return [reshaped(b, joined(b, made, 0), [*shape[:2], *grid.shape[1:-1]])]


def _sampled(
    b: Builder,
    flat: ir.Value,
    points: NDArray[Any],
    size: Sequence[int],
    mode: str,
    padding: str,
    aligned: bool,
) -> ir.Value:
    """(B, C, points) of a flat frame (B, C, elements); a point's first number is the last axis."""
    taps = [
        _taps(points[:, len(size) - 1 - axis].astype(np.float64), length, mode, padding, aligned)
        for axis, length in enumerate(size)
    ]
    total: ir.Value | None = None
    for chosen in itertools.product(*taps):
        place, weight = np.zeros(len(points), np.int64), np.ones(len(points))
        for (places, weights), length in zip(chosen, size, strict=True):
            place, weight = place * length + places, weight * weights
        if not weight.any():
            continue
        picked = b.op("Gather", flat, b.constant(place, np.int64), axis=2)
        if not (weight == 1).all():
            picked = b.op("Mul", picked, b.constant(weight.reshape(1, 1, -1)))
        total = picked if total is None else b.op("Add", total, picked)
    return total if total is not None else b.op("Mul", b.op(
        "Gather", flat, b.constant(np.zeros(len(points)), np.int64), axis=2), b.constant(0.0)
    )  # fmt: skip


def _taps(
    normalized: Weights, length: int, mode: str, padding: str, aligned: bool
) -> list[tuple[Places, Weights]]:
    """Places along one axis, with their weights, for each neighbour."""
    low, high = (0.0, length - 1.0) if aligned else (-0.5, length - 0.5)
    x = (normalized + 1) / 2 * (high - low) + low
    if mode == "nearest":
        x = np.rint(x)
    if padding == "border":
        x = x.clip(0, length - 1) if mode not in _CUBIC else x
    elif padding == "reflection" and mode not in _CUBIC:
        x = _reflected(x, low, high)
    if mode == "nearest":
        return [_inside(x, np.ones_like(x), length, padding, low, high)]
    first = np.floor(x)
    rest = x - first
    if mode in _LINEAR:
        return [
            _inside(first + step, weight, length, padding, low, high)
            for step, weight in enumerate((1 - rest, rest))
        ]
    return [
        _inside(first + step, _cubic(np.abs(rest - step)), length, padding, low, high)
        for step in (-1, 0, 1, 2)
    ]


def _inside(
    x: Weights, weight: Weights, length: int, padding: str, low: float, high: float
) -> tuple[Places, Weights]:
    if padding == "zeros":
        weight = np.where((x >= 0) & (x <= length - 1), weight, 0)
    elif padding == "reflection":
        x = _reflected(x, low, high)
    return x.clip(0, length - 1).astype(np.int64), weight


def _reflected(x: Weights, low: float, high: float) -> Weights:
    if high <= low:
        return np.full_like(x, low)
    reach = (x - low) % (2 * (high - low))
    return np.where(reach > high - low, 2 * (high - low) - reach, reach) + low


def _cubic(distance: Weights) -> Weights:
    near = ((_ALPHA + 2) * distance - (_ALPHA + 3)) * distance**2 + 1
    far = _ALPHA * (((distance - 5) * distance + 8) * distance - 4)
    return np.where(distance <= 1, near, far)


RULES: Final[Mapping[str, Rule]] = {"GridSample": grid_sample}
