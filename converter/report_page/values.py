"""The numbers of an output that a page plots: source beside result, the whole and each of its parts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from converter.graph.outputs import OutputFacts
from converter.target import Kept
from converter.verification import rows
from converter.verification.figures import name_of
from converter.verification.groups import range_groups


@dataclass(frozen=True, kw_only=True)
class Values:
    """Values of an output or a part.

    Attributes:
        part: Which elements, as an index expression; empty for the whole.
        name: What the part is; empty for the whole.
        source, result: Of the same shape.
    """

    output: str
    source: NDArray[np.float64]
    result: NDArray[np.float64]
    part: str = ""
    name: str = ""


def values_of(kept: Kept, tolerance: float) -> Iterator[Values]:
    """Each output over all frames, then its parts; rows that a TopK chose are paired first.

    Args:
        tolerance: As for `rows.matched`.
    """
    present = [name for name in kept.source[0] if name in kept.result[0]]
    facts = {name: fact for name, fact in kept.facts.items() if name in present}
    paired: dict[str, Values] = {}
    for group in rows.chosen_together(facts):
        paired |= _paired(kept, group, tolerance)
    layouts = {item.name: item.layout for item in kept.plan.model.outputs}
    for name in present:
        if name in paired:
            yield paired[name]
            continue
        a = np.stack([np.asarray(frame[name], np.float64) for frame in kept.source])
        b = np.stack(
            [np.asarray(frame[name], np.float64).reshape(a.shape[1:]) for frame in kept.result]
        )
        yield Values(output=name, source=a, result=b)
        yield from _parts(name, a, b, facts.get(name, OutputFacts()), layouts.get(name, ""))


def _parts(
    name: str, a: NDArray[Any], b: NDArray[Any], facts: OutputFacts, layout: str
) -> Iterator[Values]:
    """The parts, as `figures.figures` has them; none where there is only one."""
    parts = facts.parts or range_groups(np.where(np.isfinite(a), a, 0.0), layout)
    if len(parts) < 2:
        return
    for part in parts:
        mask = part.mask(a.shape[1:])
        yield Values(
            output=name,
            source=a[:, mask],
            result=b[:, mask],
            part=part.where(a.shape[1:]),
            name=name_of(part),
        )


def _paired(kept: Kept, group: list[str], tolerance: float) -> dict[str, Values]:
    found = [
        rows.matched(one, other, group, kept.facts, tolerance)
        for one, other in zip(kept.source, kept.result, strict=True)
    ]
    return {
        name: Values(
            output=name,
            source=np.concatenate([one[name] for one, _, _ in found]),
            result=np.concatenate([other[name] for _, other, _ in found]),
        )
        for name in group
    }
