"""Resampling along one axis: where each new place lies in the old axis, and the matrix that follows.

Formulas: ONNX Resize (https://onnx.ai/onnx/operators/onnx__Resize.html); rounding: ONNX Runtime. The
coordinates are float32: they decide which of two neighbours is the nearest.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

COORDINATES: Final = frozenset(
    {
        *("align_corners", "asymmetric", "half_pixel", "half_pixel_symmetric", "pytorch_half_pixel"),
        *("tf_crop_and_resize", "tf_half_pixel_for_nn"),
    }
)
ROUNDINGS: Final = frozenset({"ceil", "floor", "round_prefer_ceil", "round_prefer_floor"})

Places = NDArray[np.float32]


def coordinates(
    mode: str, size: int, new: int, scale: float, start: float = 0.0, end: float = 1.0
) -> Places:
    """Where in the old axis each of `new` places lies.

    Args:
        mode: One of COORDINATES.
        size: Of the old axis.
        scale: New length over the old one; with `floor` of a product it is not new / size.
        start, end: The region of `tf_crop_and_resize`, as parts of the axis.
    """
    x, factor = np.arange(new, dtype=np.float32), np.float32(scale)
    half = np.float32(0.5)
    match mode:
        case "asymmetric":
            return x / factor
        case "tf_half_pixel_for_nn":
            return (x + half) / factor
        case "align_corners":
            return x * 0 if new == 1 else x * np.float32(size - 1) / np.float32(new - 1)
        case "pytorch_half_pixel" if new == 1:
            return x * 0
        case "half_pixel_symmetric":
            kept = np.float32(new) / (factor * np.float32(size))
            offset = np.float32(size / 2) * (np.float32(1) - kept)
            return offset + (x + half) / factor - half
        case "tf_crop_and_resize" if new == 1:
            return x * 0 + half * np.float32(start + end) * np.float32(size - 1)
        case "tf_crop_and_resize":
            step = x * (np.float32(end) - np.float32(start)) * np.float32(size - 1)
            return np.float32(start) * np.float32(size - 1) + step / np.float32(new - 1)
        case _:
            return (x + half) / factor - half


def nearest(x: Places, rounding: str, size: int, scale: float) -> NDArray[np.int64]:
    """The place that is the nearest to each coordinate.

    Args:
        rounding: One of ROUNDINGS, or `simple`: up where the axis shrinks, else down.
    """
    match rounding:
        case "round_prefer_floor":
            rounded = np.ceil(x - np.float32(0.5))
        case "round_prefer_ceil":
            rounded = np.floor(x + np.float32(0.5))
        case "ceil":
            rounded = np.ceil(x)
        case "simple" if scale < 1:
            rounded = np.ceil(x)
        case _:
            rounded = np.floor(x)
    inside: NDArray[np.int64] = rounded.clip(0, size - 1).astype(np.int64)
    return inside


def linear(x: Places, size: int) -> NDArray[np.float64]:
    """New size × old size: shares of the two neighbours, the last number beyond an end."""
    inside = x.astype(float).clip(0, size - 1)[:, None]
    return (1 - np.abs(inside - np.arange(size)[None, :])).clip(0)


def cubic(x: Places, size: int, a: float, *, exclude_outside: bool) -> NDArray[np.float64]:
    """New size × old size: shares of four neighbours; the end's number stands for those outside.

    Args:
        a: The coefficient of the kernel.
        exclude_outside: Leave neighbours outside out instead, and divide by the sum of the others.
    """
    first = np.floor(x.astype(float)).astype(int)[:, None] + np.arange(-1, 3)
    shares = cubic_kernel(np.abs(x.astype(float)[:, None] - first), a)
    return _gathered(first, shares, size, exclude_outside=exclude_outside)


def antialiased(
    x: Places, size: int, scale: float, *, a: float | None, exclude_outside: bool
) -> NDArray[np.float64]:
    """New size × old size: a kernel that is wider where the axis shrinks.

    Args:
        a: The coefficient of a cubic kernel; None for a linear one.
    """
    wide = max(1 / scale, 1.0)
    reach = (1.0 if a is None else 2.0) * wide
    centre = x.astype(float)[:, None] + 0.5
    first, last = np.floor(centre - reach + 0.5), np.floor(centre + reach + 0.5)
    places = (first + np.arange(int(np.ceil(reach)) * 2 + 2)).astype(int)
    distance = np.abs((places - centre + 0.5) / wide)
    shares = (1 - distance).clip(0) if a is None else cubic_kernel(distance, a)
    return _gathered(places, np.where(places < last, shares, 0), size, exclude_outside=exclude_outside)


def _gathered(
    places: NDArray[Any], shares: NDArray[np.float64], size: int, *, exclude_outside: bool
) -> NDArray[np.float64]:
    """The matrix with each row's shares at its places, the sum of a row being 1."""
    if exclude_outside:
        shares = np.where((places >= 0) & (places < size), shares, 0)
    result = np.zeros([len(places), size])
    rows = np.broadcast_to(np.arange(len(places))[:, None], places.shape)
    np.add.at(result, (rows, places.clip(0, size - 1)), shares)
    total = result.sum(axis=1, keepdims=True)
    return result / np.where(total == 0, 1, total)


def cubic_kernel(x: NDArray[np.float64], a: float) -> NDArray[np.float64]:
    """Keys' kernel at distances that are not negative."""
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = (((x - 5) * x + 8) * x - 4) * a
    return np.where(x < 1, near, np.where(x < 2, far, 0.0))
