"""Tables as HTML: what a value shows of itself in a notebook, and parts of pages."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import Any


def table(heads: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A table; every cell is escaped. An empty name heads nothing, and so do none."""
    names = "".join(
        f"<th style='text-align:left'>{escape(name)}</th>" if name else "<td></td>" for name in heads
    )
    head = f"<thead><tr>{names}</tr></thead>" if any(heads) else ""
    body = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in rows)
    return f"<table>{head}<tbody>{body}</tbody></table>"


def wide(label: str, part: str) -> str:
    """A part of a page that scrolls by itself where it is too wide, also by keyboard.

    Args:
        label: What it is, for a screen reader.
        part: HTML.
    """
    return f'<div class="wide" tabindex="0" role="region" aria-label="{escape(label)}">{part}</div>'


def titled(title: str, *parts: str, lines: Iterable[str] = ()) -> str:
    """A title, lines of text, and parts that are HTML already."""
    said = "".join(f"<div>{escape(line)}</div>" for line in lines)
    return f"<div><b>{escape(title)}</b>{said}{''.join(parts)}</div>"


def _cell(cell: Any) -> str:
    return f"<td style='text-align:left'>{escape(_text(cell))}</td>"


def _text(cell: Any) -> str:
    if cell is None:
        return ""
    if isinstance(cell, float):
        return f"{cell:.6g}"
    if isinstance(cell, list | tuple):
        return " × ".join(map(str, cell))
    return str(cell)
