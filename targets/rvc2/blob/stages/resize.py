"""Stages that make an image larger or smaller."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from targets.rvc2.blob.running import IMAGE, Running
from targets.rvc2.blob.words import NotKnown

_ALIGN_CORNERS: Final = 4


def _positions(size: int, count: int, mode: int) -> NDArray[np.float64]:
    """Where `count` results lie in `size` elements; the ratio of the sizes is the scale.

    Args:
        mode: 0 half pixel, 1 half pixel but 0 for one result, 2 asymmetric, 3 half pixel without the
            shift back, 4 corners on corners.
    """
    i = np.arange(count, dtype=np.float64)
    scale = size / count
    match mode:
        case 0:
            return (i + 0.5) * scale - 0.5
        case 1:
            return (i + 0.5) * scale - 0.5 if count > 1 else i * 0
        case 2:
            return i * scale
        case 3:
            return (i + 0.5) * scale
        case 4:
            return i * (size - 1) / (count - 1) if count > 1 else i * 0
    raise NotKnown(f"coordinates of kind {mode}")


def linear(run: Running) -> None:
    """Between the two nearest elements, along height and width.

    Parameters: i corners on corners; u 1 linear, 3 linear as ONNX; u coordinates. Buffers: in, out.
    """
    align, mode, coordinates = run.parameters("i2I")
    source, target = run.buffers(2)
    if mode not in (1, 3):
        raise NotKnown(f"an interpolation of kind {mode}")
    values = run.floats(source, IMAGE)
    wanted = run.size(target, IMAGE)
    for axis in (2, 3):
        size, count = values.shape[axis], wanted[axis]
        at = np.clip(_positions(size, count, _ALIGN_CORNERS if align else coordinates), 0, size - 1)
        low = np.floor(at).astype(np.int64)
        high = np.minimum(low + 1, size - 1)
        weight = (at - low).astype(np.float32).reshape([-1 if n == axis else 1 for n in range(4)])
        run.budget.spend(float(values.size) * count / size)
        values = np.take(values, low, axis) * (1 - weight) + np.take(values, high, axis) * weight
    run.write(target, values, IMAGE)


_ROUNDINGS: Final[dict[int, Callable[[NDArray[np.float64]], NDArray[np.float64]]]] = {
    0: lambda at: np.ceil(at - 0.5),
    1: lambda at: np.floor(at + 0.5),
    2: np.floor,
    3: np.ceil,
}


def nearest(run: Running) -> None:
    """The nearest element, along height and width.

    Parameters: i antialias; f factor; u 0; u coordinates; u rounding: 0 halves down, 1 halves up,
    2 down, 3 up, 4 up when it gets smaller, else down. Buffers: in, out.
    """
    antialias, _factor, kind, coordinates, rounding = run.parameters("if3I")
    source, target = run.buffers(2)
    if kind != 0 or rounding > 4 or antialias:
        raise NotKnown(f"a resampling of kind {kind}, rounding {rounding}, antialias {antialias}")
    values = run.raw(source, IMAGE)
    wanted = run.size(target, IMAGE)
    for axis in (2, 3):
        size, count = values.shape[axis], wanted[axis]
        chosen = (3 if count < size else 2) if rounding == 4 else rounding
        at = _ROUNDINGS[chosen](_positions(size, count, coordinates))
        run.budget.spend(float(values.size) * count / size)
        values = np.take(values, np.clip(at, 0, size - 1).astype(np.int64), axis)
    run.write(target, values, IMAGE)


def upsampling(run: Running) -> None:
    """Zeros between the elements.

    Parameters: i scale along W, H, C; i pads begin, end along W, H, C. Buffers: in, out.
    """
    *scales, left, right, top, bottom, front, back = run.parameters("9i")
    source, target = run.buffers(2)
    values = run.raw(source, IMAGE)
    if scales[2] != 1 or front or back:
        raise NotKnown("zeros between channels")
    if min(scales) < 1 or min(left, right, top, bottom) < 0:
        raise ValueError("scales or pads below their least")
    result = np.zeros(run.size(target, IMAGE), values.dtype)
    height, width = values.shape[2] * scales[1], values.shape[3] * scales[0]
    place = result[:, :, top : top + height : scales[1], left : left + width : scales[0]]
    place[...] = values[:, :, : place.shape[2], : place.shape[3]]
    run.write(target, result, IMAGE)


STAGES: Final = {
    67: ("Interp", linear),
    72: ("Resample", nearest),
    73: ("Upsampling", upsampling),
}
