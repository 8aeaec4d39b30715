"""Rows that a TopK chose, such as detections: their order and which are the last is chance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from converter.graph.outputs import OutputFacts

Outputs = Mapping[str, NDArray[Any]]


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
) -> tuple[dict[str, NDArray[Any]], dict[str, NDArray[Any]], float]:
    """One frame's rows, paired: each of the source's with the nearest of the result's.

    Rows whose score is within the tolerance of the last one's are left out: which of them are among the
    chosen is chance.

    Args:
        reference, actual: Outputs by name, of the same shapes.
        names: The outputs whose rows belong together.
        tolerance: A share of the scores' standard deviation.

    Returns:
        The rows that are certain, (rows, values), of the source and in its order of the result; and
        their share of all rows.
    """
    a = {name: _as_rows(reference[name], facts[name].rows) for name in names}
    b = {
        name: _as_rows(np.asarray(actual[name]).reshape(reference[name].shape), facts[name].rows)
        for name in names
    }
    one, other = (np.concatenate([part[name] for name in names], 1) for part in (a, b))
    scale = np.maximum(one.std(axis=0), 1e-12)
    distance = np.square((one[:, None] - other[None]) / scale).mean(axis=2)
    pairs = _pairs(distance)
    certain = _certain(reference, names, facts, tolerance, len(one))
    return (
        {name: a[name][certain] for name in names},
        {name: b[name][pairs][certain] for name in names},
        float(certain.mean()),
    )


def _as_rows(values: NDArray[Any], axis: int | None) -> NDArray[np.float64]:
    assert axis is not None
    moved = np.moveaxis(np.asarray(values, np.float64), axis, 0)
    rows: NDArray[np.float64] = np.nan_to_num(moved.reshape(len(moved), -1))
    return rows


def _pairs(distance: NDArray[np.float64]) -> NDArray[np.int64]:
    """For each row the partner: the nearest pairs first, each row once."""
    count = len(distance)
    pairs = np.full(count, -1)
    taken = np.zeros(count, bool)
    for place in np.argsort(distance, axis=None, kind="stable"):
        row, column = divmod(int(place), count)
        if pairs[row] < 0 and not taken[column]:
            pairs[row], taken[column] = column, True
    return pairs


def _certain(
    reference: Outputs,
    names: Sequence[str],
    facts: Mapping[str, OutputFacts],
    tolerance: float,
    count: int,
) -> NDArray[np.bool_]:
    """Which rows have a score clearly above the last one's; all where no output has the scores."""
    for name in names:
        for part in facts[name].parts or ():
            if part.operator == "TopK":
                mask = part.mask(reference[name].shape)
                scores = np.moveaxis(np.asarray(reference[name], np.float64), facts[name].rows or 0, 0)
                inside = np.moveaxis(mask, facts[name].rows or 0, 0)
                column = np.where(inside, scores, -np.inf).reshape(count, -1).max(axis=1)
                clear: NDArray[np.bool_] = column > column.min() + tolerance * max(
                    float(column.std()), 1e-12
                )
                return clear
    return np.ones(count, bool)
