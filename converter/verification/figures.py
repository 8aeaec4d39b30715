"""Figures of one output over all frames: the source's values beside the result's. Pure arithmetic."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from converter.graph.outputs import OutputFacts, Part
from converter.verification.groups import range_groups

Values = NDArray[np.float64]
_EPSILON: Final = 1e-12
# A part is judged where it varies by so many of the steps that its format has for its own range.
_STEPS_TO_JUDGE: Final = 8
# A result that varies less than this share of the source has fallen silent.
_SILENT: Final = 0.01
# With fewer steps over its whole range a part tells nothing.
_FEWEST_STEPS: Final = 2.0
# An unbounded part that reaches less than this share of a step shows nothing, if it reaches less than
# this number: beside a mask of -1e9 a step is beyond everything.
_QUIET: Final = 0.02
_NEAR_NOTHING: Final = 0.1
# Scores that vary by less than this share of what they can reach are all "no".
_LEAST_SPREAD: Final = 0.02
# float16 has 11 binary digits.
_HALF_LEVELS: Final = 2.0**11
# What 8 bits can tell: the layers before an output of 16 bits may have no more.
_BYTE_LEVELS: Final = 255
# A result that follows the frames by less than this share of the source's variation does not follow.
_FOLLOWS: Final = 0.05
# Variation between frames is judged where it is so many steps and such a share of the values.
_STEPS_TO_FOLLOW: Final = 4
_VARIES: Final = 1e-3


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
    differences up to it. beyond_bounds: rel_rmse without differences up to a step of the range that the
    output's operator keeps to, in which accelerators compute. parts: see `part_figures`.

    Args:
        a, b: The source's values and the result's, stacked: (frames, *shape).
        layout: The letters of the output's axes, where they are known.
    """
    # Where the source gives NaN (a root of a negative number), the result must, too.
    defined = np.isfinite(a)
    odd = ~defined
    agree = bool((np.isfinite(b) == defined).all() and np.array_equal(a[odd], b[odd], equal_nan=True))
    if not (agree and defined.all()):
        a, b = np.where(defined, a, 0.0), np.where(defined & np.isfinite(b), b, 0.0)
    row: dict[str, Any] = {
        "cosine": _cosine(a, b) if agree else 0.0,
        "rel_rmse": _rms(a - b) / max(_rms(a), _EPSILON) if agree else None,
        "max_abs": float(np.abs(a - b).max(initial=0)) if agree else None,
        "reference_max_abs": float(np.abs(a).max(initial=0)),
    }
    if not agree:
        return rounded(row | {"not_finite": True})
    if not a.size:
        return row
    if len(a) > 1:
        row["varies"] = _rms(a - a.mean(axis=0)) / max(_rms(a), _EPSILON)
    known = fitting(facts.parts, a.shape[1:])
    bounds = known[0].bounds if len(known) == 1 else None
    floor = resolution.floor(bounds, row["reference_max_abs"])
    if floor and row["max_abs"]:
        told = np.where(np.abs(a - b) <= floor, a, b)
        row["floor"] = floor
        row["beyond_floor"] = rounded(
            {"cosine": _cosine(a, told), "rel_rmse": _rms(a - told) / max(_rms(a), _EPSILON)}
        )
    if bounds and resolution.levels:
        own = resolution.own_step(bounds[1] - bounds[0])
        coarse = np.where(np.abs(a - b) <= own, a, b)
        row["beyond_bounds"] = _rms(a - coarse) / max(_rms(a), _EPSILON)
    if a.ndim == 3 and a.shape[1] == 1 and a.shape[2] > 1:
        row["top1"] = float((a[:, 0].argmax(1) == b[:, 0].argmax(1)).mean())
    parts = known or range_groups(a, layout)
    if len(parts) > 1:
        row["parts"] = [part_figures(a, b, part, resolution) for part in parts]
    elif lost := _lost_whole(a, b, bounds, resolution):
        row["whole"] = lost
    return rounded(row)


def fitting(parts: Sequence[Part], shape: tuple[int, ...]) -> tuple[Part, ...]:
    """Parts that cover an output of that shape; none if they were found for another one."""
    boxes = [box for part in parts for box in part.boxes]
    fit = all(
        len(box) == len(shape) and all(last <= size for (_, last), size in zip(box, shape, strict=True))
        for box in boxes
    )
    if not fit:
        return ()
    covered = np.zeros(shape, bool)
    for part in parts:
        covered |= part.mask(shape)
    return tuple(parts) if covered.all() else ()


def _lost_whole(
    a: Values, b: Values, bounds: tuple[float, float] | None, resolution: Resolution
) -> dict[str, Any] | None:
    """The figures of an output without parts that lost all that it tells; None for any other.

    An error that is small beside an offset is not seen in the figures of the whole.
    """
    box = tuple((0, size) for size in a.shape[1:])
    row = part_figures(
        a, b, Part(tensor="all of it", operator="", boxes=(box,), bounds=bounds), resolution
    )
    if row["state"] == "fell silent":
        told = max(resolution.step, _relative_step(a))
        return row if float(np.ptp(a)) >= _STEPS_TO_JUDGE * told else None
    return row if row["state"] in ("still", "dead") and (bounds or row["state"] == "still") else None


def _relative_step(values: Values) -> float:
    """What float16 rounds away from the largest of the values."""
    return float(np.abs(values).max(initial=0)) / _HALF_LEVELS


def part_figures(a: Values, b: Values, part: Part, resolution: Resolution) -> dict[str, Any]:
    """Figures of a part of an output.

    error: the RMS of the difference over the standard deviation of the source, so that a part with an
    offset is judged by what it tells. Of a part with bounds (scores) the deviation is taken for a 50th
    of the bounds at least: on frames without an object, a detector in INT8 is off by more than its
    scores vary, and so is one in float16 on the HTP, whose sigmoid is 5e-4 off near 0; both find
    nothing all the same. What float16 rounds off of the value itself is
    no error: it is a tenth of what a coordinate near 280 varies by, if that varies by 0.7.
    max_abs: the largest difference. range: the source's lowest and highest value; found: the result's.
    floor: what a part that is silent may differ by. state: `fine`, `silent` (nothing to be judged but
    that the result is silent, too: the source hardly varies), `dead` (the result's format has no steps
    for it), `fell silent`, `still` (it is the same for every frame, where the source's is not), or
    `saturated`.
    """
    mask = part.mask(a.shape[1:])
    # Outputs can be large: the whole is not copied.
    x, y = (v.reshape(len(v), -1) if mask.all() else v[:, mask] for v in (a, b))
    low, high = float(x.min(initial=0)), float(x.max(initial=0))
    given = part.bounds or (low, high)
    extent = given[1] - given[0]
    own, spread = resolution.own_step(extent), float(x.std())
    spread_found, reach = float(y.std()), float(np.ptp(x)) if x.size else 0.0
    least = _LEAST_SPREAD * extent if part.bounds else 0.0
    state = "fine"
    # What an unbounded part may reach on other frames is not known from values near to nothing.
    near = min(_QUIET * resolution.step, _NEAR_NOTHING)
    quiet = part.bounds is None and reach <= max(near, _EPSILON)
    if resolution.levels and extent < _FEWEST_STEPS * resolution.step and not quiet:
        state = "dead"
    elif quiet or reach < _STEPS_TO_JUDGE * own or (not resolution.levels and reach <= resolution.step):
        state = "silent"
    elif spread_found < _SILENT * spread:
        state = "fell silent"
    elif _is_still(x, y, max(resolution.step, own if part.bounds else 0.0, _relative_step(x))):
        state = "still"
    elif _saturates(x, y):
        state = "saturated"
    coarse = extent / min(
        resolution.levels or _HALF_LEVELS, _BYTE_LEVELS if resolution.levels else np.inf
    )
    return rounded(
        {
            "name": name_of(part),
            "where": part.where(a.shape[1:]),
            "error": _rms(resolution.beyond_rounding(x, y)) / max(spread, least, _EPSILON),
            "range": [float(x.min(initial=np.inf)), float(x.max(initial=-np.inf))],
            "found": [float(y.min(initial=np.inf)), float(y.max(initial=-np.inf))],
            "max_abs": float(np.abs(x - y).max(initial=0)),
            "step": resolution.step,
            "floor": _STEPS_TO_JUDGE * max(resolution.step, coarse if part.bounds else 0.0),
            "state": state,
        }
    )


def name_of(part: Part) -> str:
    """What a part is, in a word: scores, or the branch's tensor."""
    return "scores" if part.bounds == (0.0, 1.0) else part.tensor


def _is_still(x: Values, y: Values, step: float) -> bool:
    """Whether the result does not follow the frames, although the source does by many steps."""
    if len(x) < 2:
        return False
    varies, found = (_rms(values - values.mean(axis=0)) for values in (x, y))
    told = varies >= max(_STEPS_TO_FOLLOW * step, _VARIES * _rms(x), _EPSILON)
    return told and found < _FOLLOWS * varies


def _saturates(x: Values, y: Values) -> bool:
    """Whether the result stops at its end and thereby loses most of the error that it has."""
    error = float(np.square(x - y).sum())
    if error <= 0 or error < 0.25 * float(np.square(x - x.mean()).sum()):
        return False
    cut = ((y >= y.max()) & (x > y)) | ((y <= y.min()) & (x < y))
    return bool(cut.mean() > 0.01) and float(np.square((x - y)[cut]).sum()) > 0.5 * error


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
