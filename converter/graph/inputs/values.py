"""Kinds of values: what an input's numbers are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Final, Self


class Kind(StrEnum):
    """A kind of values.

    WHOLE: whole numbers. MASK: 1 for what counts, 0 for the rest. ADDITIVE_MASK: 0 for what counts, a
    large negative number for the rest. REAL: numbers of a range. STATE: what a recurrent node begins
    with, zeros at first.
    """

    WHOLE = "whole"
    MASK = "mask"
    ADDITIVE_MASK = "additive mask"
    REAL = "real"
    STATE = "state"


@dataclass(frozen=True, kw_only=True)
class Values:
    """The values of an input, from `low` to `high` inclusive; None where nothing bounds them."""

    kind: Kind
    low: float | None = None
    high: float | None = None

    def to_json(self) -> dict[str, Any]:
        """The values as plain JSON data."""
        return {"kind": self.kind.value, "low": self.low, "high": self.high}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """The values that `to_json` wrote down."""
        return cls(kind=Kind(data["kind"]), low=data["low"], high=data["high"])

    def meet(self, other: Values) -> Values:
        """What both say; where they contradict each other, this one holds."""
        if self.kind is not other.kind:
            return self if _RANK[self.kind] <= _RANK[other.kind] else other
        low = _pick(max, self.low, other.low)
        high = _pick(min, self.high, other.high)
        if low is not None and high is not None and low > high:
            return self
        return replace(self, low=low, high=high)


# The firmer knowledge first: indices out of range are an error of the runtime.
_RANK: Final = {kind: rank for rank, kind in enumerate(Kind)}


def _pick(choose: Callable[[float, float], float], a: float | None, b: float | None) -> float | None:
    if a is None or b is None:
        return b if a is None else a
    return choose(a, b)
