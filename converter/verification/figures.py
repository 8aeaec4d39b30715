"""Figures of one output over all frames: the source's values beside the result's. Pure arithmetic."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from converter.graph.outputs import OutputFacts, Part

Values = NDArray[np.float64]
_EPSILON: Final = 1e-12
# A part is judged where it varies by so many of the steps that its format has for its own range.
_STEPS_TO_JUDGE: Final = 8
# A result that varies less than this share of the source has fallen silent.
_SILENT: Final = 0.01
# With fewer steps over its whole range a part tells nothing.
_FEWEST_STEPS: Final = 2.0
# An unbounded part that reaches less than this share of a step shows nothing.
_QUIET: Final = 0.02
# Channels whose ranges are so far apart mean different things.
_UNLIKE: Final = 32.0
_MOST_GROUPS: Final = 8
_FEW_CHANNELS: Final = 16
_MOST_CHANNELS: Final = 1024
# A range needs so many values to be one.
_LEAST_VALUES: Final = 16
# Scores that vary by less than this share of what they can reach are all "no".
_LEAST_SPREAD: Final = 0.02
# float16 has 11 binary digits.
_HALF_LEVELS: Final = 2.0**11


@dataclass(frozen=True, kw_only=True)
class Resolution:
    """What the number format of a result can tell.

    Attributes:
        step: The smallest difference, in the output's unit: one quantization step, or float16's
            smallest normal number. Differences up to it are none.
        levels: How many steps a range has; None for floating point.
    """

    step: float = 0.0
    levels: int | None = None

    def own_step(self, extent: float) -> float:
        """The step that a tensor has whose values extend over that range."""
        return extent / (self.levels or _HALF_LEVELS)

    def beyond_rounding(self, x: Values, y: Values) -> Values:
        """The differences, without those of less than one step of float16 at that value."""
        if self.levels or not self.step:
            return x - y
        # 11 binary digits: the distance of two neighbours between 2^k and 2^(k + 1) is 2^(k - 10).
        _, exponent = np.frexp(x)
        return np.where(np.abs(x - y) <= np.ldexp(1.0, exponent - 11), 0.0, x - y)

    def floor(self, bounds: tuple[float, float] | None, largest: float) -> float:
        """The difference that is none in an output.

        Args:
            bounds: What the operator that makes it keeps to. Values that are all below one step of that
                range are none, however fine the step that was measured on them.
            largest: The largest absolute value.
        """
        own = self.own_step(bounds[1] - bounds[0]) if bounds and self.levels else 0.0
        return max(self.step, own) if largest <= own else self.step


def figures(
    a: Values, b: Values, facts: OutputFacts, resolution: Resolution, layout: str = ""
) -> dict[str, Any]:
    """Figures of an output of real numbers.

    cosine: of the two as vectors. rel_rmse: the RMS of the difference over the RMS of the source.
    max_abs: the largest difference. top1: for outputs of one row of scores, the share of frames whose
    best class is the same. varies: the RMS difference of the source's frames from their mean, over the
    RMS. floor: the difference that the format cannot tell; beyond_floor: cosine and rel_rmse without
    differences up to it. parts: see `part_figures`.

    Args:
        a, b: The source's values and the result's, stacked: (frames, *shape).
        layout: The letters of the output's axes, where they are known.
    """
    # Where the source gives NaN (a root of a negative number), the result must, too.
    defined = np.isfinite(a)
    odd = ~defined
    agree = bool((np.isfinite(b) == defined).all() and np.array_equal(a[odd], b[odd], equal_nan=True))
    a, b = np.where(defined, a, 0.0), np.where(defined & np.isfinite(b), b, 0.0)
    row: dict[str, Any] = {
        "cosine": _cosine(a, b) if agree else 0.0,
        "rel_rmse": _rms(a - b) / max(_rms(a), _EPSILON) if agree else None,
        "max_abs": float(np.abs(a - b).max(initial=0)) if agree else None,
        "reference_max_abs": float(np.abs(a).max(initial=0)),
    }
    if not agree:
        return rounded(row | {"not_finite": True})
    if len(a) > 1:
        row["varies"] = _rms(a - a.mean(axis=0)) / max(_rms(a), _EPSILON)
    bounds = facts.parts[0].bounds if len(facts.parts) == 1 else None
    floor = resolution.floor(bounds, row["reference_max_abs"])
    if floor and row["max_abs"]:
        told = np.where(np.abs(a - b) <= floor, a, b)
        row["floor"] = floor
        row["beyond_floor"] = rounded(
            {"cosine": _cosine(a, told), "rel_rmse": _rms(a - told) / max(_rms(a), _EPSILON)}
        )
    if a.ndim == 3 and a.shape[1] == 1 and a.shape[2] > 1:
        row["top1"] = float((a[:, 0].argmax(1) == b[:, 0].argmax(1)).mean())
    parts = facts.parts or range_groups(a, layout)
    if len(parts) > 1:
        row["parts"] = [part_figures(a, b, part, resolution) for part in parts]
    return rounded(row)


def part_figures(a: Values, b: Values, part: Part, resolution: Resolution) -> dict[str, Any]:
    """Figures of a part of an output.

    error: the RMS of the difference over the standard deviation of the source, so that a part with an
    offset is judged by what it tells. Of a part with bounds (scores) the deviation is taken for a 50th
    of the bounds at least: on frames without an object, a detector in INT8 is off by more than its
    scores vary, and so is one in float16 on the HTP, whose sigmoid is 5e-4 off near 0; both find
    nothing all the same. What float16 rounds off of the value itself is no error: it is a tenth of what
    a coordinate near 280 varies by, if that varies by 0.7.
    range: the source's lowest and highest value; found: the result's. state: `fine`, `silent` (nothing
    to be judged: the source hardly varies), `dead` (the result's format has no steps for it),
    `fell silent`, or `saturated`.
    """
    mask = part.mask(a.shape[1:])
    x, y = a[:, mask], b[:, mask]
    low, high = float(x.min(initial=0)), float(x.max(initial=0))
    given = part.bounds or (low, high)
    extent = given[1] - given[0]
    own, spread = resolution.own_step(extent), float(x.std())
    spread_found, reach = float(y.std()), float(np.ptp(x)) if x.size else 0.0
    least = _LEAST_SPREAD * extent if part.bounds else 0.0
    state = "fine"
    # What an unbounded part may reach on other frames is not known from values near to nothing.
    quiet = part.bounds is None and reach <= max(_QUIET * resolution.step, _EPSILON)
    if resolution.levels and extent < _FEWEST_STEPS * resolution.step and not quiet:
        state = "dead"
    elif quiet or reach < _STEPS_TO_JUDGE * own or (not resolution.levels and reach <= resolution.step):
        state = "silent"
    elif spread_found < _SILENT * spread:
        state = "fell silent"
    elif _saturates(x, y):
        state = "saturated"
    return rounded(
        {
            "name": name_of(part),
            "where": part.where(a.shape[1:]),
            "error": _rms(resolution.beyond_rounding(x, y)) / max(spread, least, _EPSILON),
            "range": [float(x.min(initial=np.inf)), float(x.max(initial=-np.inf))],
            "found": [float(y.min(initial=np.inf)), float(y.max(initial=-np.inf))],
            "step": resolution.step,
            "state": state,
        }
    )


def name_of(part: Part) -> str:
    """What a part is, in a word: scores, or the branch's tensor."""
    return "scores" if part.operator in ("Sigmoid", "Softmax", "HardSigmoid") else part.tensor


def _saturates(x: Values, y: Values) -> bool:
    """Whether the result stops at its end and thereby loses most of the error that it has."""
    error = float(np.square(x - y).sum())
    if error <= 0 or error < 0.25 * float(np.square(x - x.mean()).sum()):
        return False
    cut = ((y >= y.max()) & (x > y)) | ((y <= y.min()) & (x < y))
    return bool(cut.mean() > 0.01) and float(np.square((x - y)[cut]).sum()) > 0.5 * error


def range_groups(a: Values, layout: str) -> tuple[Part, ...]:
    """The output's channels in groups of like range; none where all are alike.

    Args:
        a: (frames, *shape).
        layout: With a C in it that axis is the channels; otherwise it is the axis on which the ranges
            differ most.
    """
    shape = a.shape[1:]
    axes = [layout.index("C")] if "C" in layout and len(layout) == len(shape) else range(len(shape))
    best: tuple[float, int, list[int]] | None = None
    for axis in axes:
        if not 2 <= shape[axis] <= _MOST_CHANNELS or a.size < _LEAST_VALUES * shape[axis]:
            continue
        ranges = np.abs(np.moveaxis(a, axis + 1, 0)).reshape(shape[axis], -1).max(1, initial=0)
        edges = _runs(ranges)
        contrast = float(ranges.max() / max(ranges.min(), _EPSILON))
        # One quiet channel of many is a feature that did not fire.
        least = 1 if shape[axis] <= _FEW_CHANNELS else 2
        wide = all(last - first >= least for first, last in itertools.pairwise(edges))
        if wide and 2 < len(edges) <= _MOST_GROUPS + 1 and (best is None or contrast > best[0]):
            best = contrast, axis, edges
    if best is None:
        return ()
    _, axis, edges = best
    groups = []
    for first, last in itertools.pairwise(edges):
        box = tuple((first, last) if i == axis else (0, size) for i, size in enumerate(shape))
        groups.append(Part(tensor=f"channels {first} to {last - 1}", operator="", boxes=(box,)))
    return tuple(groups)


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


def index_figures(
    a: NDArray[Any], b: NDArray[Any], pointed: Values, axis: int, tolerance: float
) -> dict[str, Any]:
    """Figures of an output of indices, judged by what they point at.

    agreement: the share of equal indices. wrong: the share of those that differ and whose values in the
    source are further apart than `tolerance` times the values' standard deviation.

    Args:
        a, b: Indices, (frames, *shape).
        pointed: The source's tensor that they point into, (frames, *its shape).
        axis: The axis of it that they run along, frames not counted.
    """
    rows = np.moveaxis(pointed, axis + 1, -1)
    count = rows.shape[-1]
    flat = rows.reshape(-1, count)
    one = _laid(a, rows.shape[:-1], axis)
    other = _laid(np.round(b), rows.shape[:-1], axis)
    inside = (other >= 0) & (other < count)
    first = np.take_along_axis(flat, one, 1)
    second = np.take_along_axis(flat, np.clip(other, 0, count - 1), 1)
    far = np.abs(first - second) > tolerance * float(flat.std())
    different = one != other
    return rounded(
        {
            "agreement": float((~different).mean()),
            "wrong": float((different & (far | ~inside)).mean()),
            "margin": tolerance,
        }
    )


def _laid(indices: NDArray[Any], outer: Sequence[int], axis: int) -> NDArray[np.int64]:
    """Indices as (everything else, how many each): one for ArgMax, k for TopK."""
    total = int(np.prod(outer))
    each = indices.size // total
    shape = list(outer)
    # The axis of the indices is where that of the values was, in frames first.
    shape.insert(axis + 1, each)
    return np.moveaxis(indices.reshape(shape), axis + 1, -1).reshape(total, each).astype(np.int64)


def rounded(row: Mapping[str, Any]) -> dict[str, Any]:
    """Numbers as the record has them: six digits."""
    return {key: _six(value) for key, value in row.items()}


def _six(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.6g}")
    return [_six(item) for item in value] if isinstance(value, list) else value


def _rms(values: Values) -> float:
    return float(np.sqrt(np.mean(np.square(values)))) if values.size else 0.0


def _cosine(a: Values, b: Values) -> float:
    product = float(np.linalg.norm(a) * np.linalg.norm(b))
    if product < _EPSILON:
        # Two outputs that are all zero agree; one that became zero does not.
        return 1.0 if float(np.abs(a - b).max(initial=0)) < _EPSILON else 0.0
    return float(np.vdot(a, b) / product)
