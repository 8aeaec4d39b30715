"""Groups of an output's channels, where the graph does not show of what it consists."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from converter.graph.outputs import Part

Values = NDArray[np.float64]
_EPSILON: Final = 1e-12
# Channels whose ranges are so far apart mean different things.
_UNLIKE: Final = 32.0
_MOST_GROUPS: Final = 8
_FEW_CHANNELS: Final = 16
_MOST_CHANNELS: Final = 1024
# A range needs so many values to be one.
_LEAST_VALUES: Final = 16
# A group has two channels, and such a share: fewer are features that did not fire.
_LEAST_SHARE: Final = 1 / 32
# Of few channels the first or the last may be so far apart alone.
_ALONE: Final = 64.0


def range_groups(a: Values, layout: str) -> tuple[Part, ...]:
    """The output's channels in groups of like range; none where all are alike.

    Args:
        a: (frames, *shape).
        layout: With a C in it that axis is the channels, or the last one of rows; otherwise it is the
            axis on which the ranges differ most.
    """
    shape = a.shape[1:]
    found = next(filter(None, (_by_axes(a, axes) for axes in _axes(shape, layout))), None)
    if found is None:
        return ()
    axis, edges = found
    groups = []
    for first, last in itertools.pairwise(edges):
        box = tuple((first, last) if i == axis else (0, size) for i, size in enumerate(shape))
        groups.append(Part(tensor=f"channels {first} to {last - 1}", operator="", boxes=(box,)))
    return tuple(groups)


def _axes(shape: Sequence[int], layout: str) -> list[Sequence[int]]:
    """The axes that may be the channels, the likelier ones first.

    Of rows (N, many, few) a layout may call the second axis C, where a row's numbers are the channels.
    """
    if "C" not in layout or len(layout) != len(shape):
        return [range(len(shape))]
    channels = layout.index("C")
    of_rows = len(shape) <= 3 and channels < len(shape) - 1 and shape[-1] < shape[channels]
    return [[channels], [len(shape) - 1]] if of_rows else [[channels]]


def _by_axes(a: Values, axes: Sequence[int]) -> tuple[int, list[int]] | None:
    """The axis on which ranges differ most, and where its groups end."""
    shape = a.shape[1:]
    best: tuple[float, int, list[int]] | None = None
    for axis in axes:
        if not 2 <= shape[axis] <= _MOST_CHANNELS or a.size < _LEAST_VALUES * shape[axis]:
            continue
        ranges = np.abs(np.moveaxis(a, axis + 1, 0)).reshape(shape[axis], -1).max(1, initial=0)
        edges = _wide(_runs(ranges), ranges)
        peaks = np.maximum.reduceat(ranges, edges[:-1])
        contrast = float(peaks.max() / max(peaks.min(), _EPSILON))
        if len(edges) > 2 and (best is None or contrast > best[0]):
            best = contrast, axis, edges
    return None if best is None else best[1:]


def _runs(ranges: Values) -> list[int]:
    """Where a run of channels ends whose ranges are within a factor of each other."""
    edges, low, high = [0], ranges[0], ranges[0]
    for index, value in enumerate(ranges[1:], 1):
        if max(high, value) > _UNLIKE * max(min(low, value), _EPSILON):
            edges.append(index)
            low = high = value
        else:
            low, high = min(low, value), max(high, value)
    return [*edges, len(ranges)]


def _wide(edges: list[int], ranges: Values) -> list[int]:
    """Runs that are wide enough, few and far apart; any other joins the neighbour of the nearest range.

    Features have channels of many ranges. They are no groups: nothing is between the ranges of two.
    """
    count = len(ranges)
    least = max(2, round(count * _LEAST_SHARE))
    while len(edges) > 2:
        runs = [np.maximum(ranges[first:last], _EPSILON) for first, last in itertools.pairwise(edges)]
        narrow = np.array([len(run) < least for run in runs])
        if count <= _FEW_CHANNELS:
            # A score stands alone, at an end; one quiet channel else is a feature that did not fire.
            narrow[0] &= _apart(runs[0], runs[1]) < _ALONE
            narrow[-1] &= _apart(runs[-1], runs[-2]) < _ALONE
        apart = np.array([_apart(one, other) for one, other in itertools.pairwise(runs)])
        if narrow.any():
            # Only an edge of a narrow run may go.
            apart = np.where(narrow[:-1] | narrow[1:], apart, np.inf)
        elif apart.min() > _UNLIKE and len(edges) <= _MOST_GROUPS + 1:
            break
        del edges[int(apart.argmin()) + 1]
    return edges


def _apart(one: Values, other: Values) -> float:
    """By which factor the usual range of one run is beyond the largest of the other."""
    low, high = sorted((one, other), key=lambda run: float(run.max()))
    return float(np.median(high) / low.max())
