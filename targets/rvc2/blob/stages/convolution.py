"""Convolutions, deconvolutions and matrix products on the SHAVE cores."""

from __future__ import annotations

from typing import Final

import numpy as np

from targets.rvc2.blob.graph import Buffer
from targets.rvc2.blob.running import IMAGE, Floats, Running
from targets.rvc2.blob.stages.windows import Window, convolve, convolve_by_channel

# Up to so many weights a place of the kernel, an interleaved convolution has them by input channel.
_SMALL: Final = 256
_IM2COL: Final = 49


def convolution(run: Running) -> None:
    """A dense convolution without a bias.

    Parameters: u kernel width, height; u stride x, y; u pad left, top; u dilation x, y.
    Buffers: in, out, weights, perhaps a scratch buffer.
    """
    kx, ky, sx, sy, left, top, dx, dy = run.parameters("8I")
    source, target, weights = run.buffers(3, 4)[:3]
    image = run.floats(source, IMAGE)
    _, outputs, *size = run.size(target, IMAGE)
    window = Window(kernel=(ky, kx), stride=(sy, sx), before=(top, left), dilation=(dy, dx))
    matrix = _dense_weights(run, weights, outputs, image.shape[1], (ky, kx), source)
    result = convolve(image, matrix, window, (size[0], size[1]), run.budget)
    run.write(target, result, IMAGE)


def _dense_weights(
    run: Running, buffer: Buffer, outputs: int, into: int, kernel: tuple[int, int], source: Buffer
) -> Floats:
    """Weights as (out, in, kernel height, kernel width).

    In memory they are [out][in] for a kernel of 1 × 1, [out][place][in] for im2col, [place][in][out]
    for an interleaved image with few weights or another kernel than 3 × 3, else [place][out][in].
    """
    values = run.floats(buffer).reshape(-1)
    places = kernel[0] * kernel[1]
    if values.size != outputs * into * places:
        raise ValueError(f"{values.size} weights instead of {outputs * into * places}")
    interleaved = source.order.endswith("C")
    large = kernel == (3, 3) and into > 3 and into * outputs > _SMALL
    if places == 1:
        ordered: Floats = values.reshape(outputs, into, 1)
    elif run.stage.type == _IM2COL:
        ordered = values.reshape(outputs, places, into).transpose(0, 2, 1)
    elif interleaved and not large:
        ordered = values.reshape(places, into, outputs).transpose(2, 1, 0)
    else:
        ordered = values.reshape(places, outputs, into).transpose(1, 2, 0)
    return ordered.reshape(outputs, into, *kernel)


def convolution_by_channel(run: Running) -> None:
    """A convolution of each channel with its own kernel.

    Parameters: as for `convolution`. Buffers: in, out, weights [place][channel], perhaps scratch.
    """
    kx, ky, sx, sy, left, top, dx, dy = run.parameters("8I")
    source, target, weights = run.buffers(3, 4)[:3]
    image = run.floats(source, IMAGE)
    _, channels, *size = run.size(target, IMAGE)
    window = Window(kernel=(ky, kx), stride=(sy, sx), before=(top, left), dilation=(dy, dx))
    kernels = run.floats(weights).reshape(ky, kx, channels)
    result = convolve_by_channel(image, kernels, window, (size[0], size[1]), run.budget)
    run.write(target, result, IMAGE)


def deconvolution(run: Running) -> None:
    """A transposed convolution: the image is stretched with zeros and convolved.

    Parameters: u kernel width, height; u stride x, y; u pad left, top.
    Buffers: in, out, weights [place][out][in], already turned by 180 degrees.
    """
    kx, ky, sx, sy, left, top = run.parameters("6I")
    source, target, weights = run.buffers(3)
    image = run.floats(source, IMAGE)
    _, outputs, *size = run.size(target, IMAGE)
    out = (size[0], size[1])
    kernels = run.floats(weights).reshape(ky * kx, outputs, image.shape[1]).transpose(1, 2, 0)
    stretched = _stretched(run, image, out, (ky, kx), (sy, sx), (top, left))
    matrix = kernels.reshape(outputs, image.shape[1], ky, kx)
    run.write(target, convolve(stretched, matrix, Window(kernel=(ky, kx)), out, run.budget), IMAGE)


def deconvolution_by_channel(run: Running) -> None:
    """A transposed convolution of each channel with its own kernel.

    Parameters: as for `deconvolution`.
    Buffers: in, out, weights [place][channel] for an interleaved image, [channel][place] for a planar.
    """
    kx, ky, sx, sy, left, top = run.parameters("6I")
    source, target, weights = run.buffers(3)
    image = run.floats(source, IMAGE)
    _, channels, *size = run.size(target, IMAGE)
    out = (size[0], size[1])
    values = run.floats(weights).reshape(-1)
    if source.order.endswith("C"):
        kernels = values.reshape(ky, kx, channels)
    else:
        kernels = values.reshape(channels, ky, kx).transpose(1, 2, 0)
    stretched = _stretched(run, image, out, (ky, kx), (sy, sx), (top, left))
    result = convolve_by_channel(stretched, kernels, Window(kernel=(ky, kx)), out, run.budget)
    run.write(target, result, IMAGE)


def _stretched(
    run: Running,
    image: Floats,
    out: tuple[int, int],
    kernel: tuple[int, int],
    stride: tuple[int, int],
    pads: tuple[int, int],
) -> Floats:
    """The image with stride − 1 zeros between its pixels, as far as windows of the result see it."""
    if min(kernel) < 1 or min(stride) < 1:
        raise ValueError("a window without a size or a stride")
    sizes = [count + length - 1 for count, length in zip(out, kernel, strict=True)]
    run.budget.spend(float(image.shape[0]) * image.shape[1] * sizes[0] * sizes[1])
    result = np.zeros((*image.shape[:2], *sizes), np.float32)
    slices, parts = [], []
    for size, have, step, length, pad in zip(sizes, image.shape[2:], stride, kernel, pads, strict=True):
        at = np.arange(have, dtype=np.int64) * step + length - 1 - pad
        seen = (at >= 0) & (at < size)
        slices.append(at[seen])
        parts.append(np.flatnonzero(seen))
    rows, columns = slices
    result[:, :, rows[:, None], columns] = image[:, :, parts[0][:, None], parts[1]]
    return result


def fully_connected(run: Running) -> None:
    """A matrix product with constant weights. No parameters.

    Buffers: in, out, weights [place and input channel as the input lies][output channel].
    """
    run.parameters("")
    source, target, weights = run.buffers(3)
    values = run.floats(source).reshape(-1)
    outputs = run.size(target, "NDCHW")[2]
    matrix = run.floats(weights).reshape(-1, outputs)
    run.budget.spend(float(values.size) * outputs)
    run.write(target, values.reshape(-1, matrix.shape[0]) @ matrix)


def matrix_product(run: Running) -> None:
    """Alpha · a · b + beta · c, over all further axes.

    Parameters: f alpha, beta; i whether there is c, whether a and b are transposed.
    Buffers: a, b, [c], out.
    """
    alpha, beta, third, turn_a, turn_b = run.parameters("2f3i")
    buffers = run.buffers(4 if third else 3)
    a, b = run.floats(buffers[0]), run.floats(buffers[1])
    a = np.swapaxes(a, -1, -2) if turn_a else a
    b = np.swapaxes(b, -1, -2) if turn_b else b
    run.budget.spend(float(a.size) * b.shape[-1] + float(b.size) * a.shape[-2])
    result = np.float32(alpha) * np.matmul(a, b)
    if third:
        result = result + np.float32(beta) * run.floats(buffers[2])
    run.write(buffers[-1], result)


STAGES: Final = {
    0: ("Conv", convolution),
    _IM2COL: ("Im2ColConvolution", convolution),
    8: ("DepthConv", convolution_by_channel),
    22: ("Deconvolution", deconvolution),
    63: ("DepthDeconv", deconvolution_by_channel),
    4: ("FC", fully_connected),
    91: ("GEMM", matrix_product),
}
