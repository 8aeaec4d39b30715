"""Stages that move, repeat, cut or convert elements."""

from __future__ import annotations

from typing import Final

import numpy as np

from targets.rvc2.blob.memory import unwritten
from targets.rvc2.blob.running import Running, common_order
from targets.rvc2.blob.words import NotKnown

_PAD_MODES: Final = {0: "constant", 1: "edge", 2: "reflect", 3: "symmetric"}


def copy(run: Running) -> None:
    """The same elements, perhaps in another memory order. No parameters. Buffers: in, out."""
    run.parameters("")
    source, target = run.buffers(2)
    order = common_order(source, target)
    run.write(target, run.raw(source, order), order)


def convert(run: Running) -> None:
    """Another dtype: scale · x + bias.

    Parameters: f scale, bias; i from a detection's output; i batch. Buffers: in, out.
    """
    scale, bias, _from_detection, _batch = run.parameters("2f2i")
    source, target = run.buffers(2)
    order = common_order(source, target)
    values = run.raw(source, order)
    run.reads_unwritten |= unwritten(values)
    if scale != 1 or bias != 0:
        values = values.astype(np.float32) * np.float32(scale) + np.float32(bias)
    run.write(target, values, order)


def permute(run: Running) -> None:
    """The axes in another order.

    Parameters: 8 i: axis of the input for each axis of the output, fastest first, −1 behind the last.
    Buffers: in, out.
    """
    axes = run.parameters("8i")
    source, target = run.buffers(2)
    values = run.raw(source)
    rank = values.ndim
    if sorted(axes[:rank]) != list(range(rank)):
        raise ValueError(f"no permutation: {axes[:rank]}")
    run.write(target, values.transpose([rank - 1 - axis for axis in reversed(axes[:rank])]))


def pad(run: Running) -> None:
    """More elements around a tensor.

    Parameters: for 4 axes, fastest first: u begin, end; f value; u 0 value, 1 edge, 2 reflect,
    3 symmetric. Buffers: in, out.
    """
    *widths, value, mode = run.parameters("8IfI")
    source, target = run.buffers(2)
    values = run.raw(source)
    rank = values.ndim
    if mode not in _PAD_MODES or rank > 4:
        raise NotKnown(f"a pad of kind {mode} and rank {rank}")
    pairs = [(widths[2 * axis], widths[2 * axis + 1]) for axis in reversed(range(rank))]
    wanted = tuple(n + begin + end for n, (begin, end) in zip(values.shape, pairs, strict=True))
    if wanted != target.shape:
        raise ValueError(f"{values.shape} with the pads {pairs} is not {target.shape}")
    if mode == 0:
        constant = np.float32(value).astype(values.dtype)
        result = np.pad(values, pairs, constant_values=constant)
    elif mode == 1:
        result = np.pad(values, pairs, mode="edge")
    else:
        result = np.pad(values, pairs, mode="reflect" if mode == 2 else "symmetric")
    run.write(target, result)


def tile(run: Running) -> None:
    """Repeat along an axis. Parameters: i axis, fastest is 0; i times. Buffers: in, out."""
    axis, times = run.parameters("2i")
    source, target = run.buffers(2)
    values = run.raw(source)
    if values.size * times != target.size:
        raise ValueError(f"{values.shape} {times} times is not {target.shape}")
    run.write(target, np.concatenate([values] * times, axis=from_fastest(values.ndim, axis)))


def strided_slice(run: Running) -> None:
    """Every step-th element from begin to end, along each axis.

    Parameters: u masks, a bit an axis, slowest first: begin counts, end counts, new axis, axis is
    dropped, ellipsis. Buffers: in, begins, ends, [steps], out; axes slowest first.
    """
    begin_mask, end_mask, new_axes, dropped, ellipsis = run.parameters("5I")
    source, begins, ends, steps, target = run.buffers(5)
    if new_axes or ellipsis:
        raise NotKnown("a slice with new axes or an ellipsis")
    values = run.raw(source)
    first, last = (run.whole(buffer).reshape(-1).tolist() for buffer in (begins, ends))
    strides = run.whole(steps).reshape(-1).tolist() if steps.is_there else [1] * len(first)
    picked: list[slice] = []
    for axis, size in enumerate(values.shape[: len(first)]):
        if dropped >> axis & 1:
            at = first[axis] % size
            picked.append(slice(at, at + 1))
            continue
        begin = first[axis] if begin_mask >> axis & 1 else None
        end = last[axis] if end_mask >> axis & 1 else None
        picked.append(slice(begin, end, strides[axis]))
    run.write(target, values[tuple(picked)])


def from_fastest(rank: int, axis: int) -> int:
    """The axis counted from the slowest, of one counted from the fastest.

    Raises:
        ValueError: There is none.
    """
    if not 0 <= axis < rank:
        raise ValueError(f"there is no axis {axis} of {rank}")
    return rank - 1 - axis


STAGES: Final = {
    19: ("Copy", copy),
    111: ("Convert", convert),
    34: ("Permute", permute),
    71: ("Pad", pad),
    28: ("Tile", tile),
    133: ("StridedSlice", strided_slice),
}
