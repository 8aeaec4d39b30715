"""Failures that the manifest expects until a day: whether an error is one of them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

from converter.zoo.manifest import ExpectedFailure


def meant(several: Sequence[ExpectedFailure], exit_code: int | None) -> list[ExpectedFailure]:
    """The entries that are about an error, whatever day it is."""
    return [one for one in several if one.exit_code is None or one.exit_code == exit_code]


def covers(several: Sequence[ExpectedFailure], exit_code: int | None, today: date) -> bool:
    """Whether an error is expected today."""
    return any(today <= one.until for one in meant(several, exit_code))


def latest(several: Sequence[ExpectedFailure]) -> ExpectedFailure | None:
    """The entry with the last day."""
    return max(several, key=lambda one: one.until, default=None)
