"""Interpolate: modes that ONNX's Resize lacks become a matrix for each axis, or a list of indices.

Formulas: OpenVINO's specifications of Interpolate-1, -4, -11; for the modes of Pillow, its source.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from converter.graph import resampling
from converter.sources.ops.elementwise import Rule
from converter.sources.ops.emitter import Emitter, Inexpressible, sizes_of

_COORDINATES: Final = frozenset({"half_pixel", "pytorch_half_pixel", "asymmetric", "align_corners"})
_NEAREST: Final = frozenset({"round_prefer_floor", "round_prefer_ceil", "floor", "ceil"})


@dataclass(frozen=True, kw_only=True)
class Resize:
    """What a node asks for, whichever its version.

    Attributes:
        scales: New size over old size, for each axis of `axes`; None if one of them is dynamic.
        by_scales: Whether the scales were given, and not the sizes.
        pads: Zeros before and behind each axis of the tensor.
    """

    mode: str
    coordinates: str
    nearest: str
    antialias: bool
    cubic: float
    axes: list[int]
    scales: list[float] | None
    by_scales: bool
    pads: tuple[list[int], list[int]]


def interpolate(e: Emitter) -> Sequence[ir.Value]:
    """Interpolate-1 (no choice of coordinates), -4 and -11 (the modes of Pillow)."""
    asked = _first(e) if e.version == "opset1" else _later(e)
    x, shape = e.x(), e.sizes()
    begin, end = asked.pads
    if any(begin) or any(end):
        x = e.op("Pad", x, e.ints(*begin, *end), e.like(0), mode="constant")
        shape = [
            None if size is None else size + b + a for size, b, a in zip(shape, begin, end, strict=True)
        ]
    return [_resized(e, x, shape, asked)]


def _first(e: Emitter) -> Resize:
    a, rank = e.attributes, e.rank()
    axes = sorted(int(axis) for axis in a["axes"])
    mode = str(a["mode"])
    if mode == "linear" and rank < 5:
        mode = "linear_onnx"
    return Resize(
        mode=mode,
        coordinates="align_corners" if a["align_corners"] else "asymmetric",
        nearest="simple",
        antialias=bool(a["antialias"]),
        cubic=-0.75,
        axes=axes,
        scales=None,
        by_scales=False,
        pads=(_all(a["pads_begin"], rank), _all(a["pads_end"], rank)),
    )


def _later(e: Emitter) -> Resize:
    a, rank = e.attributes, e.rank()
    index = 2 if e.version == "opset11" else 3
    axes = e.axes(index) if e.has(index) else list(range(rank))
    by_scales = str(a["shape_calculation_mode"]) == "scales"
    scales = None
    if by_scales:
        scales = [float(scale) for scale in e.array(index - 1).ravel()]
    return Resize(
        mode=str(a["mode"]),
        coordinates=str(a["coordinate_transformation_mode"]),
        nearest=str(a["nearest_mode"]),
        antialias=bool(a["antialias"]),
        cubic=float(a["cube_coeff"]),
        axes=axes,
        scales=scales,
        by_scales=by_scales,
        pads=(_all(a["pads_begin"], rank), _all(a["pads_end"], rank)),
    )


def _all(pads: Sequence[int], rank: int) -> list[int]:
    return [*(int(pad) for pad in pads), *[0] * (rank - len(pads))][:rank]


def _resized(e: Emitter, x: ir.Value, shape: list[int | None], asked: Resize) -> ir.Value:
    if asked.mode in ("cubic", "linear_onnx") and asked.coordinates in _COORDINATES:
        return _resize(e, x, shape, asked, asked.coordinates)
    if asked.mode == "nearest" and asked.coordinates in _COORDINATES and asked.nearest in _NEAREST:
        return _resize(e, x, shape, asked, asked.coordinates)
    if asked.mode == "nearest":
        places = [_places(*item) for item in _per_axis(e, shape, asked)]
        simple = [_floor_places(size, new, scale) for size, new, scale, _ in _per_axis(e, shape, asked)]
        if all(np.array_equal(*pair) for pair in zip(places, simple, strict=True)):
            return _resize(e, x, shape, asked, "asymmetric", "floor")
        for axis, indices in zip(asked.axes, places, strict=True):
            x = e.op("Gather", x, e.ints(*indices), axis=axis)
        return x
    if asked.mode not in ("linear", "linear_onnx", "bilinear_pillow", "bicubic_pillow"):
        raise Inexpressible(f" in the mode {asked.mode} with {asked.coordinates}")
    items = list(_per_axis(e, shape, asked))
    matrices = [_matrix(*item) for item in items]
    if asked.coordinates in _COORDINATES:
        plain = [_clamped(*item) for item in items]
        if all(np.allclose(*pair, atol=1e-6) for pair in zip(matrices, plain, strict=True)):
            return _resize(e, x, shape, asked, asked.coordinates)
    rank = len(shape)
    for axis, matrix in zip(asked.axes, matrices, strict=True):
        if matrix.shape[0] == matrix.shape[1] and np.array_equal(matrix, np.eye(len(matrix))):
            continue
        order = list(range(rank))
        order[axis], order[-1] = rank - 1, axis
        x = e.transpose(e.op("MatMul", e.transpose(x, order), e.like(matrix.T)), order)
    return x if e.nodes else e.op("Identity", x)


def _resize(
    e: Emitter,
    x: ir.Value,
    shape: list[int | None],
    asked: Resize,
    coordinates: str,
    nearest: str = "",
) -> ir.Value:
    """ONNX's Resize, over the last axes: channels that come last go to the front and back."""
    rank, out = len(shape), sizes_of(e.node.output(0))
    scales = None
    if asked.by_scales and asked.scales:
        scales = [1.0] * rank
        for axis, scale in zip(asked.axes, asked.scales, strict=True):
            scales[axis] = scale
    changed = [
        a for a in asked.axes if shape[a] is None or shape[a] != out[a] or (scales and scales[a] != 1)
    ]
    order = list(range(rank))
    if rank == 4 and changed and set(changed) <= {1, 2}:
        order = [0, 3, 1, 2]
    back = [order.index(axis) for axis in range(rank)]
    x = e.transpose(x, order)
    mode = asked.mode if asked.mode in ("nearest", "cubic") else "linear"
    more: dict[str, Any] = {"mode": mode, "coordinate_transformation_mode": coordinates}
    if mode == "nearest":
        more["nearest_mode"] = nearest or asked.nearest
    if mode == "cubic":
        more["cubic_coeff_a"] = asked.cubic
    if scales is not None:
        factors = e.constant([scales[axis] for axis in order])
        y = e.op("Resize", x, None, factors, **more)
    else:
        y = e.op("Resize", x, None, None, _new_sizes(e, x, [out[axis] for axis in order]), **more)
    return e.transpose(y, back)


def _new_sizes(e: Emitter, x: ir.Value, sizes: list[int | None]) -> ir.Value:
    """All sizes; those in front that are dynamic are the tensor's own."""
    kept = [axis for axis, size in enumerate(sizes) if size is None]
    if kept != list(range(len(kept))):
        raise Inexpressible(" of a dynamic shape")
    rest = e.ints(*(size for size in sizes if size is not None))
    if not kept:
        return rest
    front = e.slice(e.op("Shape", x), 0, 0, len(kept))
    return e.op("Concat", front, rest, axis=0)


Item = tuple[int, int, float, Resize]


def _per_axis(e: Emitter, shape: list[int | None], asked: Resize) -> list[Item]:
    """The old size, the new one and the scale of each axis."""
    items, out = [], sizes_of(e.node.output(0))
    for index, axis in enumerate(asked.axes):
        size, new = shape[axis], out[axis]
        if size is None or new is None:
            raise Inexpressible(" of a dynamic shape")
        items.append((size, new, asked.scales[index] if asked.scales else new / size, asked))
    return items


def _places(size: int, new: int, scale: float, asked: Resize) -> NDArray[np.int64]:
    """The place that is the nearest."""
    x = resampling.coordinates(asked.coordinates, size, new, scale)
    return resampling.nearest(x, asked.nearest, size, scale)


def _floor_places(size: int, new: int, scale: float) -> NDArray[np.int64]:
    return resampling.nearest(
        resampling.coordinates("asymmetric", size, new, scale), "floor", size, scale
    )


def _matrix(size: int, new: int, scale: float, asked: Resize) -> NDArray[np.float64]:
    """New size × old size: the share that each old number has in each new one."""
    if asked.mode == "linear_onnx":
        return _clamped(size, new, scale, asked)
    if asked.mode.endswith("_pillow"):
        return _pillow(size, new, asked)
    factor = scale if asked.antialias else 1.0
    reach = 2 if scale > 1 else math.ceil(2 / factor)
    x = resampling.coordinates(asked.coordinates, size, new, scale).astype(float)[:, None]
    old = np.arange(size)[None, :]
    near = np.abs(old - np.floor(x + 0.5)) <= reach
    shares = np.where(near, (1 - np.abs(factor * (x - old))).clip(0), 0)
    return np.asarray(shares / shares.sum(axis=1, keepdims=True))


def _clamped(size: int, new: int, scale: float, asked: Resize) -> NDArray[np.float64]:
    """The same as ONNX has it."""
    return resampling.linear(resampling.coordinates(asked.coordinates, size, new, scale), size)


def _pillow(size: int, new: int, asked: Resize) -> NDArray[np.float64]:
    """Pillow's resampling: the filter is as wide as a new number is in the old tensor."""
    step = size / new
    wide = max(step, 1.0)
    reach = (1 if asked.mode == "bilinear_pillow" else 2) * wide
    result = np.zeros([new, size])
    for place in range(new):
        centre = (place + 0.5) * step
        first, last = max(int(centre - reach + 0.5), 0), min(int(centre + reach + 0.5), size)
        distance = np.abs((np.arange(first, last) - centre + 0.5) / wide)
        shares = (
            (1 - distance).clip(0) if reach == wide else resampling.cubic_kernel(distance, asked.cubic)
        )
        result[place, first:last] = shares / shares.sum()
    return result


RULES: Final[Mapping[str, Rule]] = {"Interpolate": interpolate}
