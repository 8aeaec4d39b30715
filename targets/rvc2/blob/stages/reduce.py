"""Sums, means, extremes and orders along axes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np

from targets.rvc2.blob.running import Array, Running
from targets.rvc2.blob.stages.shape import from_fastest
from targets.rvc2.blob.words import NotKnown


def _reduction(function: Callable[..., Any]) -> Callable[[Running], None]:
    """Reduce over axes.

    Parameters: i whether the axes are kept with the size 1. Buffers: in, out, axes (fastest is 0).
    """

    def stage(run: Running) -> None:
        run.parameters("i")
        source, target, along = run.buffers(3)
        values = run.read(source)
        axes = {from_fastest(values.ndim, int(axis)) for axis in run.whole(along).reshape(-1)}
        run.write(target, np.asarray(function(values, axis=tuple(sorted(axes)))))

    return stage


def _all(values: Array, axis: tuple[int, ...]) -> Array:
    return np.asarray(np.all(values != 0, axis=axis)).astype(np.float32)


def top_k(run: Running) -> None:
    """The largest or smallest elements along an axis.

    Parameters: i axis, fastest is 0; i 0 largest, 1 smallest; i order: 0 any, 1 by value, 2 by index;
    i whether values, indices are wanted. Buffers: in, k, [values], [indices].
    """
    axis, mode, sort, with_values, with_indices = run.parameters("5i")
    source, count, *targets = run.buffers(3, 4)
    if mode not in (0, 1) or sort not in (0, 1, 2):
        raise NotKnown(f"a choice of kind {mode}, order {sort}")
    values = run.floats(source)
    axis = from_fastest(values.ndim, axis)
    k = int(run.whole(count).reshape(-1)[0])
    if not 0 < k <= values.shape[axis] or len(targets) != bool(with_values) + bool(with_indices):
        raise ValueError(f"the {k} best of {values.shape}")
    indices = np.argsort(values if mode else -values, axis=axis, kind="stable")
    indices = np.take(indices, range(k), axis)
    if sort == 2:
        indices = np.sort(indices, axis)
    if with_values:
        run.write(targets[0], np.take_along_axis(values, indices, axis))
    if with_indices:
        run.write(targets[-1], indices)


STAGES: Final = {
    93: ("ReduceAnd", _reduction(_all)),
    105: ("ReduceMin", _reduction(np.min)),
    112: ("ReduceMax", _reduction(np.max)),
    113: ("ReduceSum", _reduction(np.sum)),
    114: ("ReduceMean", _reduction(np.mean)),
    104: ("TopK", top_k),
}
