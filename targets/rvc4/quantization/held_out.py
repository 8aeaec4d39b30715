"""Which calibration frames are kept apart: a choice is judged on frames that did not decide it."""

from __future__ import annotations

from typing import Final

# With fewer frames all of them are needed for the ranges.
_ENOUGH: Final = 25
_EVERY: Final = 5
# Frames behind these are not read again.
_READ: Final = 320


def is_held_out(index: int, total: int) -> bool:
    """Whether a frame is one of the fifth that is kept apart; none are where there are too few.

    Args:
        index: The frame's; total: how many there are.
    """
    return total >= _ENOUGH and index % _EVERY == _EVERY - 1


def some(total: int, most: int, *, held_out: bool) -> list[int]:
    """Up to `most` frames, evenly apart: of those that are kept apart, or of the others."""
    among = [i for i in range(min(total, _READ)) if is_held_out(i, total) == held_out]
    if len(among) <= most:
        return among
    return [among[place * len(among) // most] for place in range(most)]
