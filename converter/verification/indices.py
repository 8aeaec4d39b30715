"""Figures of outputs of indices: ArgMax, ArgMin, TopK."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from converter.verification.figures import rounded

Values = NDArray[np.float64]
# A cluster of values is judged by its own spread if it has so many and such a share of all.
_LEAST_VALUES: Final = 16
_LEAST_SHARE: Final = 0.05
# An index that the source has so often must be found again in half of its places.
_OFTEN: Final = 32
_MOST_NAMED: Final = 4


def index_figures(
    a: NDArray[Any], b: NDArray[Any], pointed: Values, axis: int, tolerance: float
) -> dict[str, Any]:
    """Figures of an output of indices, judged by what they point at.

    agreement: the share of equal indices. wrong: the share of those that differ and whose values in the
    source are further apart than `tolerance` times the values' standard deviation. lost: the indices
    that the source has often and that are wrong in more than half of their places, such as a class that
    the result never gives. Values that are masked (infinite, or far off) have no part in the deviation.

    Args:
        a, b: Indices, (frames, *shape).
        pointed: The source's tensor that they point into, (frames, *its shape).
        axis: The axis of it that they run along, frames not counted.
    """
    rows = np.moveaxis(pointed, axis + 1, -1)
    count = rows.shape[-1]
    flat = rows.reshape(-1, count)
    one = _laid(a, rows.shape[:-1], axis)
    known = np.isfinite(b)
    other = _laid(np.where(known, np.round(np.where(known, b, 0)), -1), rows.shape[:-1], axis)
    inside = (other >= 0) & (other < count)
    first = np.take_along_axis(flat, one, 1)
    second = np.take_along_axis(flat, np.clip(other, 0, count - 1), 1)
    # What is not finite is apart from all but its like.
    apart = np.where(first == second, 0.0, np.inf)
    finite = np.isfinite(first) & np.isfinite(second)
    apart[finite] = np.abs(first[finite] - second[finite])
    different = one != other
    wrong = different & ((apart > tolerance * _spread(flat, first)) | ~inside)
    lost = _lost(one, wrong) if one.shape[1] == 1 else []
    return rounded(
        {
            "agreement": float((~different).mean()) if one.size else 1.0,
            "wrong": float(wrong.mean()) if one.size else 0.0,
            "margin": tolerance,
            **({"lost": lost} if lost else {}),
        }
    )


def _spread(values: Values, chosen: Values) -> float:
    """The standard deviation of the values that can be chosen.

    Masks put some far off, at -10000: a gap of more than half of the range. Only those on the side of
    what was chosen count.
    """
    found = np.sort(values[np.isfinite(values)], axis=None)
    picked = chosen[np.isfinite(chosen)]
    if found.size < 2 or not picked.size:
        return 0.0
    gaps = np.diff(found)
    place = int(gaps.argmax())
    if gaps[place] > 0.5 * (found[-1] - found[0]):
        above = bool(np.median(picked) > found[place])
        side = found[place + 1 :] if above else found[: place + 1]
        if side.size >= max(_LEAST_VALUES, _LEAST_SHARE * found.size):
            return float(side.std())
    return float(found.std())


def _lost(indices: NDArray[np.int64], wrong: NDArray[np.bool_]) -> list[int]:
    """The indices that are often in the source and mostly wrong in the result; frequent ones first."""
    counts = np.bincount(indices.ravel())
    missed = np.bincount(indices[wrong], minlength=len(counts))
    lost = np.flatnonzero((counts >= _OFTEN) & (missed > 0.5 * counts))
    return [int(index) for index in lost[np.argsort(-counts[lost], kind="stable")][:_MOST_NAMED]]


def _laid(indices: NDArray[Any], outer: Sequence[int], axis: int) -> NDArray[np.int64]:
    """Indices as (everything else, how many each): one for ArgMax, k for TopK."""
    total = int(np.prod(outer))
    each = indices.size // max(total, 1)
    shape = list(outer)
    # The axis of the indices is where that of the values was, in frames first.
    shape.insert(axis + 1, each)
    return np.moveaxis(indices.reshape(shape), axis + 1, -1).reshape(total, each).astype(np.int64)
