"""The history of a cell as small inline SVGs: its states, size, error and seconds over the builds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape
from typing import Final

from converter.zoo.history import Row
from converter.zoo.site.states import STATES

_WIDTH, _HEIGHT, _EDGE = 260, 44, 6
# By letter: a mark around (0, 0) that needs no colour.
_MARKS: Final = {
    "P": "M-4 0l3 3 5-7",
    "W": "M0-5v6M0 4v1",
    "R": "M-4-3h8l-4 7z",
    "F": "M-4-4l8 8M4-4l-8 8",
    "E": "M-4-1q2-3 4 0t4 0M-4 3q2-3 4 0t4 0",
}


def sparks(builds: Sequence[str], row: Row) -> str:
    """The figures that there are."""
    figures = [_states(builds, row.states)]
    for title, values, shown in (
        ("size", row.sizes, lambda value: f"{value:,.0f} bytes"),
        ("worst error", row.errors, lambda value: f"{value:.4g}"),
        ("seconds", row.seconds, lambda value: f"{value:,.1f} s"),
    ):
        if any(value is not None for value in values):
            figures.append(_line(title, builds, values, shown))
    return f'<div class="sparks">{"".join(figures)}</div>'


def _places(count: int) -> list[float]:
    """Across, the newest build at the right."""
    step = (_WIDTH - 2 * _EDGE) / max(count - 1, 1)
    return [_WIDTH - _EDGE - step * (count - 1 - at) for at in range(count)]


def _states(builds: Sequence[str], states: str) -> str:
    marks = []
    for x, build, letter in zip(_places(len(states)), builds, states, strict=True):
        state = STATES.get(letter)
        said = escape(f"{build}: {state.words if state else 'no such cell'}")
        kind = f"mark {letter}" if state else "none"
        path = _MARKS[letter] if state else "M-3 0h6"
        marks.append(
            f'<path class="{kind}" transform="translate({x:.1f} {_HEIGHT / 2})" d="{path}">'
            f"<title>{said}</title></path>"
        )
    count = sum(letter in "PWE" for letter in states)
    caption = f"{count} of {len(states.replace('.', ''))} builds were good"
    return _figure("states by build", "".join(marks), caption)


def _line(
    title: str,
    builds: Sequence[str],
    values: Sequence[float | None],
    shown: Callable[[float], str],
) -> str:
    known = [value for value in values if value is not None]
    low, high = min(known), max(known)
    span = (high - low) or 1.0
    path, dots, pen = [], [], "M"
    for x, build, value in zip(_places(len(values)), builds, values, strict=True):
        if value is None:
            pen = "M"
            continue
        part = (value - low) / span if high > low else 0.5
        y = _HEIGHT - _EDGE - part * (_HEIGHT - 2 * _EDGE)
        path.append(f"{pen}{x:.1f} {y:.1f}")
        pen = "L"
        said = escape(f"{build}: {shown(value)}")
        dots.append(
            f'<circle class="dot" cx="{x:.1f}" cy="{y:.1f}" r="2.5"><title>{said}</title></circle>'
        )
    drawn = f'<path class="spark" d="{"".join(path)}"/>{"".join(dots)}'
    caption = f"{title}: {shown(known[-1])}"
    if high > low:
        caption += f" (from {shown(low)} to {shown(high)})"
    return _figure(f"{title} by build", drawn, caption)


def _figure(label: str, drawn: str, caption: str) -> str:
    return (
        f'<figure><svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(label)}">'
        f"{drawn}</svg><figcaption>{escape(caption)}</figcaption></figure>"
    )
