"""Generated frames, for verification and trials where the user gave no data.

Each frame of a few is of another kind. All are the same in every run.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from converter.graph.inputs.values import Kind, Values
from converter.model import ModelInput

_SEED: Final = 20220711
# Float16 holds it, and after a Softmax nothing is left of a score that it was added to.
_MASKED: Final = -10000.0
# The share that an attention mask leaves, frame by frame.
_LENGTHS: Final = (0.7, 1.0, 0.4, 0.9)
# Pixels as most networks normalize them, where an input of numbers has the shape of a picture.
_PIXEL_MEAN: Final = 115.0
_PIXEL_SCALE: Final = 57.0
_SMALLEST_PICTURE: Final = 8


def camera_frames(
    inputs: Sequence[ModelInput], count: int, values: Mapping[str, Values] | None = None
) -> list[dict[str, NDArray[Any]]]:
    """Generated frames, the same ones in every run.

    Args:
        values: What the graph says of the inputs' values, by name (`converter.graph.inputs.read`).

    Returns:
        For each frame, by input name, an array of the input's shape and layout. Images are uint8, 0 to
        255, BGR or gray: drawn pictures, bright and dark, whose channels differ. Other inputs have
        their dtype, and values of their kind: whole numbers over their range, masks, pictures as
        numbers, waves and noise.
    """
    known = values or {}
    return [
        {item.name: _array(item, known.get(item.name), index) for item in inputs}
        for index in range(count)
    ]


def _array(item: ModelInput, values: Values | None, index: int) -> NDArray[Any]:
    rng = np.random.default_rng([_SEED, index])
    if item.is_image:
        return _pictures(item.shape, item.layout, index, rng)
    dtype = np.dtype("bool" if item.dtype == "boolean" else item.dtype)
    kind = values.kind if values else None
    if kind is Kind.MASK:
        return _kept(item.shape, index).astype(dtype)
    if kind is Kind.ADDITIVE_MASK:
        return np.where(_kept(item.shape, index), 0, _MASKED).astype(dtype)
    if dtype.kind == "b":
        return rng.integers(0, 2, item.shape).astype(dtype)
    if dtype.kind in "iu":
        return _whole(item.shape, dtype, values, index, rng)
    if kind is Kind.STATE:
        return np.tanh(np.asarray(rng.standard_normal(item.shape)) * (index > 0)).astype(dtype)
    return _real(item, values, index, rng).astype(dtype)


# ------------------------------------------------------------- pictures


def _pictures(
    shape: Sequence[int], layout: str, index: int, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Drawn pictures as uint8 in a layout with C, H and W, in a batch one kind after another."""
    from converter.calibration.pictures import picture

    channels, height, width = (shape[layout.index(letter)] for letter in "CHW")
    batch = shape[layout.index("N")] if "N" in layout else 1
    drawn = []
    for item in range(batch):
        rgb = picture(index * batch + item, width, height, rng)
        drawn.append(_channels(rgb, channels))
    frames = np.stack(drawn) if "N" in layout else drawn[0]
    order = "NHWC" if "N" in layout else "HWC"
    return np.ascontiguousarray(frames.transpose([order.index(letter) for letter in layout]))


def _channels(rgb: NDArray[np.uint8], count: int) -> NDArray[np.uint8]:
    """A colour picture as BGR, as gray, or with more channels: shifted copies, each darker."""
    if count == 1:
        gray: NDArray[np.uint8] = (rgb @ np.array([0.3, 0.59, 0.11])).astype(np.uint8)
        return gray[:, :, None]
    planes = [
        np.roll(rgb[:, :, 2 - channel % 3], channel // 3, axis=1) // (1 + channel // 3)
        for channel in range(count)
    ]
    return np.stack(planes, axis=2)


def _picture_layout(item: ModelInput) -> str | None:
    """The layout of an input of numbers that has the shape of a picture; None for any other."""
    rank = len(item.shape)
    layouts = (
        [item.layout] if "C" in item.layout else {4: ["NCHW", "NHWC"], 3: ["CHW", "HWC"]}.get(rank, [])
    )
    for layout in layouts:
        if sorted(layout) not in (sorted("NCHW"), sorted("CHW")) or len(layout) != rank:
            continue
        channels, *sides = (item.shape[layout.index(letter)] for letter in "CHW")
        if channels <= 4 and min(sides) >= _SMALLEST_PICTURE:
            return layout
    return None


# -------------------------------------------------------------- numbers


def _kept(shape: Sequence[int], index: int) -> NDArray[np.bool_]:
    """A mask that keeps the beginning of the last axis that has a length; never nothing."""
    axis = max((axis for axis, size in enumerate(shape) if size > 1), default=None)
    if axis is None:
        return np.ones(shape, bool)
    length = max(1, round(shape[axis] * _LENGTHS[index % len(_LENGTHS)]))
    places = np.arange(shape[axis]).reshape([-1 if a == axis else 1 for a in range(len(shape))])
    return np.broadcast_to(places < length, shape).copy()


def _whole(
    shape: Sequence[int],
    dtype: np.dtype[Any],
    values: Values | None,
    index: int,
    rng: np.random.Generator,
) -> NDArray[Any]:
    """Whole numbers over their whole range, its ends among them; 0 and 1 where nothing tells."""
    limits = np.iinfo(dtype)
    low, high = (0, 1) if dtype.itemsize > 2 else (limits.min, limits.max)
    if values is not None:
        low = _within(values.low, low, limits)
        high = max(low, _within(values.high, high, limits))
    found = np.asarray(
        rng.integers(low, high, shape, np.int64 if low < 0 else np.uint64, endpoint=True)
    )
    flat = found.reshape(-1)
    if flat.size > 1:
        flat[[0, -1]] = low, high
    elif flat.size:
        flat[0] = (high, low)[index] if index < 2 else flat[0]
    return found.astype(dtype)


def _within(value: float | None, otherwise: int, limits: np.iinfo[Any]) -> int:
    """A bound as a number that the dtype has; what nothing bounds is bounded otherwise."""
    if value is None or not math.isfinite(value):
        return otherwise
    return min(max(int(value), int(limits.min)), int(limits.max))


def _real(
    item: ModelInput, values: Values | None, index: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Real numbers: a picture in a picture's shape, else noise, tones, quiet noise or a spectrum."""
    low, high = (values.low, values.high) if values else (None, None)
    layout = _picture_layout(item)
    if layout is not None:
        pixels = _pictures(item.shape, layout, index, rng).astype(np.float64)
        if low is not None and high is not None:
            return low + pixels / 255 * (high - low)
        found = (pixels - _PIXEL_MEAN) / _PIXEL_SCALE
    else:
        found = _signal(item.shape, index, rng)
    if low is not None and high is not None:
        return low + (high - low) * (0.5 + 0.5 * np.tanh(found))
    if low is not None:
        return low + np.abs(found)
    return found if high is None else high - np.abs(found)


def _signal(shape: Sequence[int], index: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Numbers that keep to what noise of a deviation of 1 reaches: inputs have one range."""
    noise = np.asarray(rng.standard_normal(shape))
    length = shape[-1] if shape else 1
    places = (np.arange(length) / max(1, length - 1)).reshape(length if shape else ())
    match index % 4:
        case 0:
            return noise
        case 1:  # tones, as in sound and sensors
            tones = sum(np.sin(rng.uniform(3, 90) * places + rng.uniform(0, 6)) for _ in range(3))
            return np.asarray(0.8 * tones + 0.1 * noise)
        case 2:
            return 0.3 * noise
        case _:  # a spectrum: it falls with the frequency and is not negative
            return np.abs(noise) * np.exp(-2 * places)
