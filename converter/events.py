"""What a running conversion tells its caller: stages begin and end, tools speak, things are noted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class StageStarted:
    """A stage of the conversion begins. `index` counts from 1 to `total`."""

    stage: str
    title: str
    index: int
    total: int


@dataclass(frozen=True, kw_only=True)
class StageFinished:
    """A stage ended well. `seconds` is wall time."""

    stage: str
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Progress:
    """`done` of `total` parts of a stage are ready."""

    stage: str
    done: int
    total: int


@dataclass(frozen=True, kw_only=True)
class ToolSaid:
    """A tool in a container printed a line, as it printed it."""

    stage: str
    text: str


@dataclass(frozen=True, kw_only=True)
class Notice:
    """One line that the user should read, such as a toolchain being fetched."""

    text: str


@dataclass(frozen=True, kw_only=True)
class Warned:
    """A warning: the conversion goes on, the result deserves a second look."""

    text: str


Event = StageStarted | StageFinished | Progress | ToolSaid | Notice | Warned
OnEvent = Callable[[Event], None]


def ignore(_event: Event) -> None:
    """For callers that do not listen."""
