"""Two plots as inline SVG: result over source, and how often each value occurs in both.

Their colours are the page's (`style.py`), so that they follow light and dark.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

# About the pixels that a page has for a plot, so that the letters have their size.
_WIDTH: Final = 260
_HEIGHT: Final = 200
_LEFT, _RIGHT, _TOP, _BOTTOM = 62, 12, 10, 34
_BINS: Final = 48
_POINTS: Final = 1500
_WORST: Final = 100
# A longer number does not fit beside an axis.
_MOST_DIGITS: Final = 7


def scatter(a: NDArray[Any], b: NDArray[Any]) -> str:
    """The result over the source, value by value; on the line they are equal.

    Of many values some are drawn, evenly chosen, and those that are furthest apart.

    Args:
        a, b: The source's and the result's values, of the same size.
    """
    x, y = _finite(a, b)
    if not x.size:
        return _empty("no finite values")
    low, high = _range(x, y)
    chosen = _some(x, y)
    across, down = _places(x[chosen], low, high, y[chosen])
    points = "".join(f"M{u:.1f} {v:.1f}h0" for u, v in zip(across, down, strict=True))
    ends = _places(np.array([low, high]), low, high, np.array([low, high]))
    line = f"M{ends[0][0]:.1f} {ends[1][0]:.1f}L{ends[0][1]:.1f} {ends[1][1]:.1f}"
    return _svg(
        "result over source",
        f'<path class="even" d="{line}"/><path class="points" d="{points}"/>',
        (low, high),
        x_title="source",
        y_title="result",
        y_ticks=[(low, _number(low)), (high, _number(high))],
        y_range=(low, high),
    )


def histogram(a: NDArray[Any], b: NDArray[Any]) -> str:
    """How many values of source (filled) and result (line) lie where; heights are logarithms.

    Args:
        a, b: As for `scatter`.
    """
    x, y = _finite(a, b)
    if not x.size:
        return _empty("no finite values")
    low, high = _range(x, y)
    one, other = (np.histogram(values, bins=_BINS, range=(low, high))[0].tolist() for values in (x, y))
    return counted(low, high, one, other)


def counted(low: float, high: float, source: Sequence[int], result: Sequence[int]) -> str:
    """`histogram` of values that were counted, in bins of one width from `low` to `high`."""
    heights = [np.log10(1.0 + np.asarray(count)) for count in (source, result)]
    top = max(float(height.max()) for height in heights)
    edges = np.linspace(low, high, len(source) + 1)
    filled, line = (_steps(edges, height, top, low, high) for height in heights)
    most = max(int(np.max(count)) for count in (source, result))
    return _svg(
        "how often each value occurs",
        f'<path class="filled" d="{filled}Z"/><path class="line" d="{line}"/>',
        (low, high),
        x_title="value",
        y_title="how many (log)",
        y_ticks=[(0.0, "0"), (top, f"{most:,}")],
        y_range=(0.0, top),
    )


def _steps(edges: NDArray[Any], heights: NDArray[Any], top: float, low: float, high: float) -> str:
    """The outline of a histogram, from the axis to the axis."""
    x = np.repeat(edges, 2)
    y = np.concatenate([[0.0], np.repeat(heights, 2), [0.0]])
    across = _LEFT + (x - low) / (high - low) * (_WIDTH - _LEFT - _RIGHT)
    down = _HEIGHT - _BOTTOM - y / (top or 1.0) * (_HEIGHT - _TOP - _BOTTOM)
    places = [f"{u:.1f} {v:.1f}" for u, v in zip(across, down, strict=True)]
    return f"M{'L'.join(places)}"


def _finite(a: NDArray[Any], b: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    x, y = (np.asarray(values, np.float64).reshape(-1) for values in (a, b))
    both = np.isfinite(x) & np.isfinite(y)
    return x[both], y[both]


def _range(x: NDArray[Any], y: NDArray[Any]) -> tuple[float, float]:
    low, high = float(min(x.min(), y.min())), float(max(x.max(), y.max()))
    # A constant has a place in the middle.
    spread = high - low or max(abs(low), 1.0)
    return (low, high) if high > low else (low - spread / 2, high + spread / 2)


def _some(x: NDArray[Any], y: NDArray[Any]) -> NDArray[np.int64]:
    if x.size <= _POINTS:
        return np.arange(x.size)
    even = np.linspace(0, x.size - 1, _POINTS).astype(np.int64)
    worst = np.argsort(-np.abs(x - y), kind="stable")[:_WORST]
    return np.unique(np.concatenate([even, worst]))


def _places(
    x: NDArray[Any], low: float, high: float, y: NDArray[Any]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    span = high - low
    across = _LEFT + (x - low) / span * (_WIDTH - _LEFT - _RIGHT)
    down = _HEIGHT - _BOTTOM - (y - low) / span * (_HEIGHT - _TOP - _BOTTOM)
    return across, down


def _number(value: float) -> str:
    text = f"{value:.3g}"
    return text if len(text) <= _MOST_DIGITS else f"{value:.0e}"


def _svg(
    title: str,
    content: str,
    x_range: tuple[float, float],
    *,
    x_title: str,
    y_title: str,
    y_ticks: Sequence[tuple[float, str]],
    y_range: tuple[float, float],
) -> str:
    right, bottom = _WIDTH - _RIGHT, _HEIGHT - _BOTTOM
    middle = (_LEFT + right) / 2
    span = y_range[1] - y_range[0] or 1.0
    texts = [
        f'<text x="{_LEFT}" y="{bottom + 14}">{escape(_number(x_range[0]))}</text>',
        f'<text x="{right}" y="{bottom + 14}" text-anchor="end">{escape(_number(x_range[1]))}</text>',
        f'<text x="{middle}" y="{bottom + 28}" text-anchor="middle">{escape(x_title)}</text>',
        f'<text transform="translate(12 {(_TOP + bottom) / 2}) rotate(-90)" text-anchor="middle">'
        f"{escape(y_title)}</text>",
    ]
    for value, said in y_ticks:
        place = bottom - (value - y_range[0]) / span * (bottom - _TOP)
        texts.append(
            f'<text x="{_LEFT - 4}" y="{place + 4:.1f}" text-anchor="end">{escape(said)}</text>'
        )
    frame = f"M{_LEFT} {_TOP}V{bottom}H{right}"
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(title)}">'
        f'<path class="axes" d="{frame}"/>{content}{"".join(texts)}</svg>'
    )


def _empty(said: str) -> str:
    return f"<p>{escape(said)}</p>"
