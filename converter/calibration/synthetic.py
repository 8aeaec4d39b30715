"""Generated frames, for verification and trials where the user gave no data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from converter.model import ModelInput


def camera_frames(inputs: Sequence[ModelInput], count: int) -> list[dict[str, NDArray[Any]]]:
    """Generated frames, the same ones in every run.

    Returns:
        For each frame, by input name, an array of the input's shape and layout. Images are uint8, 0 to
        255, BGR or gray: gradients that differ between the channels, with patterns and noise, so that
        swapped channels and axes show. Other inputs have their dtype: floats normally distributed,
        integers 0 or 1.
    """
    rng = np.random.default_rng(20220711)
    return [{item.name: _values(item, rng) for item in inputs} for _ in range(count)]


def _values(item: ModelInput, rng: np.random.Generator) -> NDArray[Any]:
    if not item.is_image:
        if item.dtype.startswith("float"):
            return rng.standard_normal(item.shape).astype(item.dtype)
        return rng.integers(0, 2, item.shape).astype(item.dtype)
    axis = item.channel_axis
    shape = [item.shape[item.layout.index(letter)] for letter in "CHW"]
    batch = item.shape[item.layout.index("N")] if "N" in item.layout else 1
    frames = np.stack([_image(shape[0], shape[1], shape[2], rng) for _ in range(batch)])
    if "N" not in item.layout:
        frames, order = frames[0], "CHW"
    else:
        order = "NCHW"
    assert axis >= 0
    return np.ascontiguousarray(frames.transpose([order.index(letter) for letter in item.layout]))


def _image(channels: int, height: int, width: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """A (C, H, W) image whose channels differ in level, slope and pattern."""
    y, x = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]
    planes = []
    for _ in range(channels):
        level, slope_x, slope_y, frequency, phase = rng.uniform(
            [20, -120, -120, 2, 0], [200, 120, 120, 9, 6]
        )
        wave = 40 * np.sin(frequency * (x + 2 * y) + phase)
        planes.append(level + slope_x * x + slope_y * y + wave + rng.normal(0, 12, x.shape))
    image: NDArray[np.uint8] = np.clip(np.stack(planes), 0, 255).astype(np.uint8)
    return image
