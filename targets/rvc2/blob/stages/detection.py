"""Stages of detectors."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from targets.rvc2.blob.running import IMAGE, Floats, Running
from targets.rvc2.blob.words import NotKnown

_PLAIN: Final = 2  # the other steps of ROIAlign lay the image out anew


def roi_align(run: Running) -> None:
    """Each region of an image, resized by bilinear samples in each cell.

    Parameters: u cells along width, height; u samples along each (0: as many as pixels); f scale of the
    regions; i 0 mean, 1 maximum; i step of three, 2 for the one that stands alone.
    Buffers: image, regions (x1, y1, x2, y2), batch indices, out [region][channel][cell y][cell x].
    """
    across, down, samples, scale, mode, step = run.parameters("3If2i")
    source, regions, batches, target = run.buffers(4)
    if step != _PLAIN or mode not in (0, 1):
        raise NotKnown(f"regions of kind {mode}, step {step}")
    image = run.floats(source, IMAGE)
    boxes = run.floats(regions).reshape(-1, 4) * np.float32(scale)
    numbers = run.whole(batches).reshape(-1)
    shape = run.size(target, IMAGE)
    if shape != (len(boxes), image.shape[1], down, across) or len(numbers) != len(boxes):
        raise ValueError(f"{len(boxes)} regions of {down} × {across} cells are not {shape}")
    if numbers.size and not 0 <= numbers.min() <= numbers.max() < len(image):
        raise NotKnown("a region of an image outside of the batch")
    result = np.empty(shape, np.float32)
    for number, (left, top, right, bottom) in enumerate(boxes):
        width, height = max(right - left, 1), max(bottom - top, 1)
        y, per_y = _samples(run, top, height, down, samples)
        x, per_x = _samples(run, left, width, across, samples)
        run.budget.spend(4.0 * y.size * x.size * image.shape[1])
        points = _bilinear(image[numbers[number]], y, x, maximum=bool(mode))
        cells = points.reshape(-1, down, per_y, across, per_x)
        result[number] = cells.max((2, 4)) if mode else cells.mean((2, 4))
    run.write(target, result, IMAGE)


def _samples(
    run: Running, begin: float, length: float, cells: int, samples: int
) -> tuple[NDArray[Any], int]:
    """Where samples lie along an axis, and how many there are a cell."""
    if not (np.isfinite(begin) and np.isfinite(length)) or cells < 1:
        raise NotKnown("a region that is no number")
    count = samples or int(np.ceil(length / cells))
    run.budget.spend(float(cells) * count)
    step = float(length) / cells / count
    return float(begin) + (np.arange(cells * count) + 0.5) * step, count


def _bilinear(image: Floats, y: NDArray[Any], x: NDArray[Any], *, maximum: bool) -> Floats:
    """Values between the pixels; 0 more than a pixel outside. (channels, y, x)."""
    axes = []
    for at, size in ((y, image.shape[1]), (x, image.shape[2])):
        outside = (at < -1) | (at > size)
        at = np.clip(at, 0, size - 1)
        low = at.astype(np.int64)
        high = np.minimum(low + 1, size - 1)
        part = (at - low).astype(np.float32)
        axes.append((outside, ((low, 1 - part), (high, part))))
    (out_y, rows), (out_x, columns) = axes
    corners = [
        image[:, row[:, None], column] * (above[:, None] * beside)
        for row, above in rows
        for column, beside in columns
    ]
    result: Floats = np.max(corners, axis=0) if maximum else np.sum(corners, axis=0)
    result[:, out_y] = 0
    result[:, :, out_x] = 0
    return result


STAGES: Final = {123: ("ROIAlign", roi_align)}
