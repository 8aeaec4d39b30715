"""Stages that look elements up, or put them, by indices."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from targets.rvc2.blob.running import Array, Running
from targets.rvc2.blob.stages.shape import from_fastest
from targets.rvc2.blob.words import NotKnown

Indices = NDArray[np.int64]


def _within(indices: Indices, size: int) -> Indices:
    """Indices that are in range. What the camera does with others is not known."""
    if indices.size and not (int(indices.min()) >= 0 and int(indices.max()) < size):
        raise NotKnown(f"an index outside of 0 to {size - 1}")
    return indices


def gather(run: Running) -> None:
    """Slices along an axis. Parameters: i axis, fastest is 0. Buffers: in, out, indices."""
    (axis,) = run.parameters("i")
    source, target, places = run.buffers(3)
    values, indices = run.raw(source), run.whole(places)
    axis = from_fastest(values.ndim, axis)
    if indices.size * values.size // values.shape[axis] != target.size:
        raise ValueError(f"{indices.size} slices of {values.shape} are not {target.shape}")
    run.write(target, np.take(values, _within(indices, values.shape[axis]), axis=axis))


def gather_elements(run: Running) -> None:
    """An element for each index.

    Parameters: i axis, slowest is 0; i whether rows are given. Buffers: in, out, indices, [rows].
    """
    axis, rows = run.parameters("2i")
    source, target, places = run.buffers(3, 4)[:3]
    if rows:
        raise NotKnown("elements by rows")
    values, indices = run.raw(source), run.whole(places)
    if not 0 <= axis < values.ndim:
        raise ValueError(f"there is no axis {axis}")
    _within(indices, values.shape[axis])
    run.write(target, np.take_along_axis(values, indices, axis))


def gather_nd(run: Running) -> None:
    """Slices by tuples of indices, which lie along the fastest axis.

    Parameters: i how many axes are the batch. Buffers: in, out, indices.
    """
    (batch,) = run.parameters("i")
    source, target, places = run.buffers(3)
    values, indices = run.raw(source), run.whole(places)
    if not 0 <= batch < min(values.ndim, indices.ndim):
        raise ValueError(f"a batch of {batch} axes")
    if indices.shape[-1] > values.ndim - batch:
        raise ValueError(f"tuples of {indices.shape[-1]} for {values.shape}")
    items = values.reshape(-1, *values.shape[batch:])
    tuples = indices.reshape(-1, *indices.shape[batch:])
    if len(items) != len(tuples):
        raise ValueError(f"{len(tuples)} batches of indices for {len(items)}")
    for number in range(indices.shape[-1]):
        _within(tuples[..., number], values.shape[batch + number])
    slice_size = int(np.prod(values.shape[batch + indices.shape[-1] :], dtype=np.int64))
    if indices.size // indices.shape[-1] * slice_size != target.size:
        raise ValueError(f"slices of {values.shape} are not {target.shape}")
    picked = [item[tuple(np.moveaxis(at, -1, 0))] for item, at in zip(items, tuples, strict=True)]
    run.write(target, np.stack(picked))


def scatter_update(run: Running) -> None:
    """A copy in which slices along the slowest axis are replaced.

    No parameters. Buffers: in, out, indices, updates, [axis].
    """
    run.parameters("")
    source, target, places, updates = run.buffers(4, 5)[:4]
    values, indices = run.raw(source).copy(), run.whole(places)
    fresh = run.raw(updates)
    values[_within(indices, values.shape[0])] = fresh.reshape(*indices.shape, *values.shape[1:])
    run.write(target, values)


def scatter_elements(run: Running) -> None:
    """A copy in which elements along an axis are replaced.

    No parameters. Buffers: in, out, indices, updates, axis (slowest is 0).
    """
    run.parameters("")
    source, target, places, updates, along = run.buffers(5)
    values, indices = run.raw(source).copy(), run.whole(places)
    axis = int(run.whole(along).reshape(-1)[0])
    axis += values.ndim if axis < 0 else 0
    if not 0 <= axis < values.ndim or indices.ndim != values.ndim:
        raise ValueError(f"there is no axis {axis}")
    at: list[Array] = list(np.indices(indices.shape, sparse=True))
    at[axis] = _within(indices, values.shape[axis])
    values[tuple(at)] = run.raw(updates)
    run.write(target, values)


def one_hot(run: Running) -> None:
    """One value where an index says, another elsewhere; an index that is out of range sets none.

    Parameters: i axis, fastest is 0; u depth; f on, off. Buffers: indices, out.
    """
    axis, depth, on, off = run.parameters("iI2f")
    source, target = run.buffers(2)
    indices, rank = run.whole(source), len(target.shape)
    axis = from_fastest(rank, axis)
    if depth != target.shape[axis] or indices.size * depth != target.size:
        raise ValueError(f"{indices.shape} of {depth} are not {target.shape}")
    shape = [-1 if number == axis else 1 for number in range(rank)]
    indices = indices.reshape(*target.shape[:axis], 1, *target.shape[axis + 1 :])
    hit = indices == np.arange(depth).reshape(shape)
    run.write(target, np.where(hit, np.float32(on), np.float32(off)))


STAGES: Final = {
    100: ("Gather", gather),
    139: ("GatherElements", gather_elements),
    136: ("GatherND", gather_nd),
    103: ("ScatterUpdate", scatter_update),
    126: ("ScatterElementsUpdate", scatter_elements),
    117: ("OneHot", one_hot),
}
