"""The convolution unit ("NCE"): convolutions with their pools, and pools."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np

from targets.rvc2.blob.graph import Buffer
from targets.rvc2.blob.hardware_words import HARDWARE, HardwareOperation, Rectifier, Unit
from targets.rvc2.blob.memory import put, unwritten
from targets.rvc2.blob.running import IMAGE, Array, Floats, Running
from targets.rvc2.blob.stages.windows import Window, convolve, pool
from targets.rvc2.blob.words import NotKnown


def hardware(run: Running) -> None:
    """Convolutions or pools over ranges of output channels of one tensor.

    Parameters: as `hardware_words` reads them. Buffers: as the operations number them; the weights are
    [out / 8][in][kernel height · kernel width][8].
    """
    operations = _merged(run.stage.operations)
    first = operations[0]
    same = {(o.unit, o.source, o.target, o.weights, o.kernel, o.stride, o.padded) for o in operations}
    if len(same) != 1:
        raise NotKnown("operations of the convolution unit that differ")
    if first.unit is Unit.POOL:
        _pool(run, operations)
    else:
        _convolve(run, operations)


def _convolve(run: Running, operations: Sequence[HardwareOperation]) -> None:
    """act((sum of in · weights + bias) · scale), then perhaps a pool of 2 × 2 windows."""
    buffers, first = run.stage.buffers, operations[0]
    source, target, kernel = buffers[first.source], buffers[first.target], first.kernel[::-1]
    weights = _weights(run, buffers[first.weights], kernel)
    image = _image(run, source)
    channels = min(image.shape[1], weights.shape[1])
    image, weights = image[:, :channels], weights[:, :channels]
    if unwritten(image):
        # Channels that the compiler added have no weights; what lies there is nobody's.
        used = np.asarray(weights.any(axis=(0, 2, 3)))
        used[0] |= not used.any()
        image, weights = image[:, used], weights[:, used]
        run.reads_unwritten |= unwritten(image)
    image = image.astype(np.float32)
    result = run.target(target, IMAGE)
    before = (kernel[0] // 2, kernel[1] // 2) if first.padded else (0, 0)
    window = Window(kernel=kernel, stride=(first.stride, first.stride), before=before)
    size = (result.shape[2], result.shape[3])
    for operation in operations:
        begin = operation.first_channel
        end = min(begin + operation.channels, result.shape[1])
        if begin >= end:
            continue
        pooled = operation.unit is Unit.CONVOLUTION_POOL
        out = (image.shape[2], image.shape[3]) if pooled else size
        values = convolve(image, weights[begin:end], window, out, run.budget)
        for number, combine in ((operation.bias, np.add), (operation.scale, np.multiply)):
            if number >= 0:
                by_channel = run.floats(buffers[number]).reshape(-1)[begin:end]
                combine(values, by_channel[:, None, None], out=values)
        values = _activate(values, operation)
        if pooled:
            pool_window = Window(kernel=operation.pool_kernel[::-1], stride=(2, 2))
            values = pool(values, pool_window, size, run.budget, maximum=True)
        put(result[:, begin:end], values)


def _image(run: Running, buffer: Buffer) -> Array:
    """What the unit reads, in float16; a part may be left unwritten."""
    image = run.raw(buffer, IMAGE)
    if image.dtype != np.float16:
        raise NotKnown(f"the convolution unit on {image.dtype}")
    return image


def _merged(operations: Sequence[HardwareOperation]) -> list[HardwareOperation]:
    """The operations with neighbouring ranges of channels put together, which are else the same."""
    merged: list[HardwareOperation] = []
    for operation in operations:
        if merged:
            last = merged[-1]
            longer = replace(operation, first_channel=last.first_channel, channels=last.channels)
            if longer == last and last.first_channel + last.channels == operation.first_channel:
                merged[-1] = replace(last, channels=last.channels + operation.channels)
                continue
        merged.append(operation)
    return merged


def _weights(run: Running, buffer: Buffer, kernel: tuple[int, int]) -> Floats:
    """Weights as (out channels, in channels, kernel height, kernel width)."""
    values = run.floats(buffer)
    values = values.reshape((1,) * (4 - values.ndim) + values.shape)
    blocks, into, places, eight = values.shape
    if places != kernel[0] * kernel[1] or eight != 8:
        raise NotKnown("weights of another form")
    return values.transpose(0, 3, 1, 2).reshape(blocks * 8, into, *kernel)


def _activate(values: Floats, operation: HardwareOperation) -> Floats:
    if (rectifier := operation.rectifier) is not None:
        values = _rectify(values, rectifier)
    if operation.upper is not None:
        np.clip(values, 0, np.float32(operation.upper), out=values)
    return values


def _rectify(values: Floats, rectifier: Rectifier) -> Floats:
    below, above = np.float32(rectifier.below), np.float32(rectifier.above)
    if (rectifier.threshold, rectifier.below, rectifier.above) == (0, 0, 1):
        return np.maximum(values, np.float32(0), out=values)
    return np.where(values < rectifier.threshold, values * below, values * above)


def _pool(run: Running, operations: Sequence[HardwareOperation]) -> None:
    """Maxima or averages. An average divides by the whole window, at the borders too."""
    first = operations[0]
    source, target = run.stage.buffers[first.source], run.stage.buffers[first.target]
    image, result = _image(run, source), run.target(target, IMAGE)
    # The batch lies in the channels.
    channels = image.reshape(1, -1, *image.shape[2:])
    kernel, size = first.kernel[::-1], (result.shape[2], result.shape[3])
    batch, per_item = result.shape[:2]
    for operation in operations:
        window = Window(
            kernel=kernel,
            stride=(first.stride, first.stride),
            before=_pool_pads(operation, (image.shape[2], image.shape[3]), size),
        )
        begin = operation.first_channel
        end = min(begin + operation.channels, batch * per_item, channels.shape[1])
        if begin >= end:
            continue
        part = channels[:, begin:end]
        run.reads_unwritten |= unwritten(part)
        values = pool(part.astype(np.float32), window, size, run.budget, maximum=not operation.average)
        if operation.average:
            values /= np.float32(kernel[0] * kernel[1])
        values = _activate(values, operation)
        for item in range(begin // per_item, (end - 1) // per_item + 1):
            low, high = max(begin, item * per_item), min(end, (item + 1) * per_item)
            put(
                result[item, low - item * per_item : high - item * per_item],
                values[0, low - begin : high - begin],
            )


def _pool_pads(
    operation: HardwareOperation, size: tuple[int, int], out: tuple[int, int]
) -> tuple[int, int]:
    """The pads above and at the left."""
    if not operation.padded:
        return (0, 0)
    kernel = operation.kernel[::-1]
    if not operation.average:
        return (
            kernel[0] // 2 if operation.pad_sides & 4 else 0,
            kernel[1] // 2 if operation.pad_sides & 8 else 0,
        )
    top, left = (
        _average_pad(length, max(0, (count - 1) * operation.stride + length - have))
        for count, length, have in zip(out, kernel, size, strict=True)
    )
    return top, left


def _average_pad(length: int, missing: int) -> int:
    """The pad before an axis, of which the parameters say nothing, by what both pads must make up.

    Raises:
        NotKnown: They are on one side only, and nothing says on which.
    """
    if missing == 0:
        return 0
    if missing <= (length - 1) // 2:
        raise NotKnown("an average pool with pads on one side only")
    return length // 2


STAGES: Final = {HARDWARE: ("MyriadXHwOp", hardware)}
