"""Rows that a TopK chose, such as detections: which are the last, and the order of ties, is chance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from converter.graph.outputs import OutputFacts

Outputs = Mapping[str, NDArray[Any]]
Values = NDArray[np.float64]
_EPSILON: Final = 1e-12
# A column that varies less than this share of its values tells no rows apart.
_VARIES: Final = 1e-3
# Many equal rows have no nearest ones: after so many rounds they are taken as they come.
_MOST_ROUNDS: Final = 64


def chosen_together(facts: Mapping[str, OutputFacts]) -> list[list[str]]:
    """The outputs whose rows one TopK chose, group by group."""
    groups: dict[str, list[str]] = {}
    for name, fact in facts.items():
        if fact.chosen_by is not None:
            groups.setdefault(fact.chosen_by, []).append(name)
    return list(groups.values())


def matched(
    reference: Outputs,
    actual: Outputs,
    names: Sequence[str],
    facts: Mapping[str, OutputFacts],
    tolerance: float,
) -> tuple[dict[str, Values], dict[str, Values], float]:
    """One frame's rows, paired: each of the source's with the nearest of the result's.

    Rows whose score is within the tolerance of the last one's are left out: which of them are among the
    chosen is chance. A row that is not finite where the source's is finite stays.

    Args:
        reference, actual: Outputs by name, of the same shapes.
        names: The outputs whose rows belong together.
        tolerance: A share of the scores' standard deviation.

    Returns:
        The rows that are certain, (rows, values), of the source and in its order of the result; and
        their share of all rows.
    """
    a = {name: table(reference[name], facts[name]) for name in names}
    b = {name: table(np.reshape(actual[name], reference[name].shape), facts[name]) for name in names}
    one, other = (np.concatenate([part[name] for name in names], 2) for part in (a, b))
    scores = _scores(reference, names, facts)
    found: tuple[list[Values], list[Values]] = ([], [])
    share = []
    for group in range(len(one)):
        pairs = _pairs(_distance(one[group], other[group]))
        x, y = one[group], other[group][pairs]
        certain = np.ones(len(x), bool)
        if scores is not None:
            certain = _certain(scores[group], facts[names[0]].largest, tolerance)
        share.append(float(certain.mean()))
        certain |= (np.isfinite(x) != np.isfinite(y)).any(axis=1)
        found[0].append(x[certain])
        found[1].append(y[certain])
    widths = np.cumsum([a[name].shape[2] for name in names])[:-1]
    sides = [
        dict(zip(names, np.split(np.concatenate(side), widths, axis=1), strict=True)) for side in found
    ]
    return sides[0], sides[1], float(np.mean(share))


def in_order(
    reference: Outputs, actual: Outputs, name: str, facts: OutputFacts
) -> tuple[Values, Values]:
    """One frame's scores that a TopK gave, (groups, rows) of each, in the order in which the rows are.

    The best scores are the same whichever of equal rows are chosen. A TopK that promises no order gets
    that of the scores.
    """
    sides = []
    for values in (reference[name], np.reshape(actual[name], reference[name].shape)):
        found = _scores({name: values}, [name], {name: facts}, shaped=reference[name])
        assert found is not None
        sides.append(found if facts.ordered else np.sort(found, axis=1))
    return sides[0], sides[1]


def disorder(a: Values, b: Values) -> float:
    """How far a result's scores are from falling, or rising, where the source's do: 0 if sorted.

    Args:
        a, b: Scores, (..., rows), of the source and of the result.

    Returns:
        The RMS difference from the sorted ones, over the standard deviation.
    """
    steps = np.diff(a, axis=-1)
    fall, rise = bool((steps <= 0).all()), bool((steps >= 0).all())
    if fall == rise or not np.isfinite(b).all():
        return 0.0
    wanted = np.sort(b, axis=-1)[..., ::-1] if fall else np.sort(b, axis=-1)
    return float(np.sqrt(np.mean(np.square(b - wanted)))) / max(float(b.std()), _EPSILON)


def ranked(facts: OutputFacts) -> bool:
    """Whether an output has the scores by which its rows were chosen."""
    return any(part.ranked for part in facts.parts)


def table(values: NDArray[Any], facts: OutputFacts) -> Values:
    """An output as (groups that were chosen for themselves, rows, values)."""
    assert facts.rows is not None
    array = np.asarray(values, np.float64)
    if facts.groups == 1:
        array = np.moveaxis(array, facts.rows, 0)[None]
        return array.reshape(1, array.shape[1], -1)
    return array.reshape(facts.groups, array.shape[facts.rows], -1)


def _scores(
    values: Outputs,
    names: Sequence[str],
    facts: Mapping[str, OutputFacts],
    shaped: NDArray[Any] | None = None,
) -> Values | None:
    """The scores by which rows were chosen, (groups, rows); None where no output has them."""
    for name in names:
        for part in facts[name].parts:
            if part.ranked:
                shape = np.shape(values[name] if shaped is None else shaped)
                inside = table(part.mask(shape), facts[name])[0, 0] > 0
                return table(values[name], facts[name])[:, :, inside][:, :, 0]
    return None


def _distance(one: Values, other: Values) -> Values:
    """The squared distance of each row from each, by columns in units of their spread."""
    x, y = np.nan_to_num(one, posinf=0, neginf=0), np.nan_to_num(other, posinf=0, neginf=0)
    reach = np.abs(x).max(axis=0, initial=0)
    scale = np.maximum(x.std(axis=0), np.maximum(_VARIES * reach, _VARIES**2 * reach.max(initial=0)))
    found = np.zeros((len(x), len(y)))
    for column in range(x.shape[1]):
        found += np.square((x[:, None, column] - y[None, :, column]) / max(scale[column], _EPSILON))
    return found


def _pairs(distance: Values) -> NDArray[np.int64]:
    """For each row the partner: the nearest pairs first, each row once; of equal ones its own."""
    left = np.minimum(distance, np.finfo(np.float64).max)
    pairs = np.full(len(left), -1)
    own = left.diagonal()
    rows = np.flatnonzero((own <= left.min(axis=1)) & (own <= left.min(axis=0)))
    _take(left, pairs, rows, rows)
    for _ in range(_MOST_ROUNDS):
        if (pairs >= 0).all():
            break
        # A row and a column that are each other's nearest are a pair, whatever comes before.
        nearest, back = left.argmin(axis=1), left.argmin(axis=0)
        rows = np.flatnonzero((pairs < 0) & (back[nearest] == np.arange(len(left))))
        _take(left, pairs, rows, nearest[rows])
    for row in np.flatnonzero(pairs < 0):
        _take(left, pairs, row, left[row].argmin())
    return pairs


def _take(left: Values, pairs: NDArray[np.int64], rows: Any, columns: Any) -> None:
    pairs[rows] = columns
    left[rows] = np.inf
    left[:, columns] = np.inf


def _certain(scores: Values, largest: bool, tolerance: float) -> NDArray[np.bool_]:
    """Which rows have a score clearly better than the last one's."""
    good = scores if largest else -scores
    finite = good[np.isfinite(good)]
    spread = float(finite.std()) if finite.size else 0.0
    clear: NDArray[np.bool_] = good > good.min() + tolerance * max(spread, _EPSILON)
    return clear
