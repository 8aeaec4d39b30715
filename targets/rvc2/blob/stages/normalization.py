"""Stages that divide by what they gather over an axis."""

from __future__ import annotations

from typing import Final

import numpy as np

from targets.rvc2.blob.running import IMAGE, Running, common_order
from targets.rvc2.blob.stages.shape import from_fastest
from targets.rvc2.blob.words import NotKnown


def softmax(run: Running) -> None:
    """e^x over its sum along an axis. Parameters: i axis, fastest is 0. Buffers: in, out."""
    (axis,) = run.parameters("i")
    source, target = run.buffers(2)
    if source.order != target.order:
        raise NotKnown("a softmax that changes the memory order")
    values = run.floats(source)
    axis = from_fastest(values.ndim, axis)
    exponents = np.exp(values - values.max(axis, keepdims=True))
    run.write(target, exponents / exponents.sum(axis, keepdims=True))


def mean_variance(run: Running) -> None:
    """Subtract the mean, and divide by the deviation plus epsilon: outside of the root.

    Parameters: i whether to divide; i across the channels too; i across the width only; f epsilon.
    Buffers: in, out.
    """
    divide, across_channels, width_only, epsilon = run.parameters("3if")
    source, target = run.buffers(2)
    order = common_order(source, target)
    if "W" not in order:
        raise NotKnown(f"a normalization over {source.order}")
    letters = "W" if width_only else "WH"
    letters += "C" if across_channels else ""
    axes = tuple(order.index(letter) for letter in letters if letter in order)
    values = run.floats(source, order)
    values -= values.mean(axes, keepdims=True)
    if divide:
        variance = (values * values).mean(axes, keepdims=True)
        values /= np.sqrt(variance) + np.float32(epsilon)
    run.write(target, values, order)


def local_response(run: Running) -> None:
    """Divide by (k + alpha / size · sum of squares over neighbouring channels) ^ beta.

    Parameters: u size; h k, alpha, beta, 0. Buffers: in, out.
    """
    size, k, alpha, beta, _ = run.parameters("I4e")
    source, target = run.buffers(2)
    values = run.floats(source, IMAGE)
    channels, before = values.shape[1], (size - 1) // 2
    if size < 1:
        raise ValueError("a neighbourhood of no channels")
    sums = np.concatenate([np.zeros_like(values[:, :1]), np.cumsum(values * values, axis=1)], axis=1)
    first = np.maximum(np.arange(channels) - before, 0)
    last = np.minimum(np.arange(channels) - before + size, channels)
    squares = sums[:, last] - sums[:, first]
    factor = np.float32(k) + np.float32(alpha) / np.float32(size) * squares
    run.write(target, values / factor ** np.float32(beta), IMAGE)


def normalize(run: Running) -> None:
    """Divide by the root of the sum of squares, times a scale a channel.

    Parameters: i across the whole image; i one scale for all channels; f epsilon, inside the root.
    Buffers: in, out, scales. Not seen in a blob of ours.
    """
    across_image, _one_scale, epsilon = run.parameters("2if")
    source, target, scales = run.buffers(3)
    order = common_order(source, target)
    letters = "CHW" if across_image else "C"
    axes = tuple(order.index(letter) for letter in letters if letter in order)
    if not axes:
        raise NotKnown(f"a normalization over {source.order}")
    values = run.floats(source, order)
    values /= np.sqrt((values * values).sum(axes, keepdims=True) + np.float32(epsilon))
    run.write(target, values * run.channels(scales, order), order)


STAGES: Final = {
    3: ("SoftMax", softmax),
    62: ("MVN", mean_variance),
    11: ("LRN", local_response),
    35: ("Normalize", normalize),
}
