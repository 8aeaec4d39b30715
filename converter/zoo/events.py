"""What a build of the zoo tells its caller."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from converter.zoo.index import Cell


@dataclass(frozen=True, kw_only=True)
class Began:
    """The plan is made.

    Attributes:
        total: How many cells there are; to_run: how many are converted.
        estimate_s: How long that takes in all, one after another; None if too little is known.
        at_once: How many are converted at a time; 0 if that is not known.
    """

    total: int
    to_run: int
    estimate_s: float | None
    at_once: int


@dataclass(frozen=True, kw_only=True)
class CellStarted:
    """A cell is being converted; `cost_s` is what it is expected to take."""

    id: str
    cost_s: float | None


@dataclass(frozen=True, kw_only=True)
class CellTold:
    """A cell that is converted is at a stage, or something went wrong on its way; `text` says what."""

    id: str
    text: str


@dataclass(frozen=True, kw_only=True)
class CellEnded:
    """A cell is done."""

    cell: Cell


ZooEvent = Began | CellStarted | CellTold | CellEnded
OnZooEvent = Callable[[ZooEvent], None]
