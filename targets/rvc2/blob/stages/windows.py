"""Sums and maxima over windows: what convolutions and pools of every kind have in common.

Arrays are float32 of the shape (N, C, H, W).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np

from targets.rvc2.blob.running import Array, Budget, Floats

_COLUMN_BYTES: Final = 1 << 24  # of the columns that are multiplied at once


@dataclass(frozen=True, kw_only=True)
class Window:
    """How a window goes over an image; each pair is (vertical, horizontal).

    Attributes:
        before: The pads above and at the left. Those below and at the right are as many as it takes.
    """

    kernel: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    before: tuple[int, int] = (0, 0)
    dilation: tuple[int, int] = (1, 1)

    def padded(self, image: Floats, out: tuple[int, int], value: float, budget: Budget) -> Floats:
        """The part of an image that windows at `out` places see, with `value` outside of it."""
        if min(self.kernel) < 1 or min(self.stride) < 1 or min(self.before) < 0:
            raise ValueError("a window without a size or a stride")
        seen = [
            (count - 1) * stride + (size - 1) * dilation + 1
            for count, stride, size, dilation in zip(
                out, self.stride, self.kernel, self.dilation, strict=True
            )
        ]
        height, width = image.shape[2:]
        (top, left), (rows, columns) = self.before, seen
        budget.spend(float(image.shape[0]) * image.shape[1] * rows * columns)
        if top == left == 0 and rows <= height and columns <= width:
            return image[:, :, :rows, :columns]
        result = np.full((*image.shape[:2], rows, columns), value, np.float32)
        part = image[:, :, : max(0, rows - top), : max(0, columns - left)]
        result[:, :, top : top + part.shape[2], left : left + part.shape[3]] = part
        return result

    def shifted(
        self, padded: Array, rows: int, columns: int, first_row: int = 0
    ) -> Iterator[tuple[int, int, Array]]:
        """For every place in the kernel: its row, its column, and what it sees."""
        (sy, sx), (dy, dx) = self.stride, self.dilation
        top = first_row * sy
        for y in range(self.kernel[0]):
            for x in range(self.kernel[1]):
                down = slice(top + y * dy, top + y * dy + (rows - 1) * sy + 1, sy)
                across = slice(x * dx, x * dx + (columns - 1) * sx + 1, sx)
                yield y, x, padded[:, :, down, across]


def convolve(
    image: Floats, weights: Floats, window: Window, out: tuple[int, int], budget: Budget
) -> Floats:
    """A dense convolution.

    Args:
        image: (N, in, H, W).
        weights: (out channels, in, kernel height, kernel width).
        out: Height and width of the result.
    """
    count, into = image.shape[:2]
    outputs, places = weights.shape[0], window.kernel[0] * window.kernel[1]
    budget.spend(float(count) * into * outputs * places * out[0] * out[1])
    image = window.padded(image, out, 0, budget)
    matrix = np.ascontiguousarray(weights.reshape(outputs, into * places))
    result = np.empty((count, outputs, *out), np.float32)
    row_bytes = max(1, 4 * into * places * out[1])
    step = out[0] if places == 1 else max(1, min(out[0], _COLUMN_BYTES // row_bytes))
    for item in range(count):
        for first in range(0, out[0], step):
            rows = min(step, out[0] - first)
            columns = _columns(image[item : item + 1], window, rows, out[1], first)
            product = matrix @ columns.reshape(into * places, rows * out[1])
            result[item, :, first : first + rows] = product.reshape(outputs, rows, out[1])
    return result


def _columns(image: Floats, window: Window, rows: int, columns: int, first_row: int) -> Floats:
    """What each window of some rows sees, as (in, kernel height, kernel width, rows, columns)."""
    if window.kernel == (1, 1):
        ((_, _, pixels),) = window.shifted(image, rows, columns, first_row)
        return np.asarray(pixels[0], np.float32)
    result = np.empty((image.shape[1], *window.kernel, rows, columns), np.float32)
    for y, x, seen in window.shifted(image, rows, columns, first_row):
        result[:, y, x] = seen[0]
    return result


def convolve_by_channel(
    image: Floats, weights: Floats, window: Window, out: tuple[int, int], budget: Budget
) -> Floats:
    """A convolution of each channel with its own kernel.

    Args:
        weights: (kernel height, kernel width, C).
    """
    budget.spend(float(image[:, :, 0, 0].size) * out[0] * out[1] * weights[..., 0].size)
    image = window.padded(image, out, 0, budget)
    result = np.zeros((*image.shape[:2], *out), np.float32)
    for y, x, seen in window.shifted(image, *out):
        result += seen * weights[y, x][:, None, None]
    return result


def pool(
    image: Floats, window: Window, out: tuple[int, int], budget: Budget, *, maximum: bool
) -> Floats:
    """The maximum of each window, or its sum."""
    budget.spend(float(image[:, :, 0, 0].size) * out[0] * out[1] * window.kernel[0] * window.kernel[1])
    image = window.padded(image, out, -np.inf if maximum else 0, budget)
    result = np.full((*image.shape[:2], *out), -np.inf if maximum else 0, np.float32)
    combine = np.maximum if maximum else np.add
    for _, _, seen in window.shifted(image, *out):
        combine(result, seen, out=result)
    return result


def inside(window: Window, size: tuple[int, int], out: tuple[int, int]) -> Floats:
    """How many places of each window lie in the image, as (out height, out width)."""
    counts = []
    for axis in (0, 1):
        first = np.arange(out[axis]) * window.stride[axis] - window.before[axis]
        last = np.minimum(first + window.kernel[axis], size[axis])
        counts.append(last - np.maximum(first, 0))
    down, across = counts
    return np.asarray(np.multiply.outer(down, across), np.float32)
