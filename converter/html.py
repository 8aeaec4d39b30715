"""Tables for notebooks: what a value shows of itself as HTML."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import Any


def table(heads: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A table; every cell is escaped."""
    head = "".join(f"<th style='text-align:left'>{escape(name)}</th>" for name in heads)
    body = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


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
