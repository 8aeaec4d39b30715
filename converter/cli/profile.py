"""`inspect --profile`: what compiled files ask of a camera, side by side."""

# ruff: noqa: T201 - printing is what this module is for

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from converter.cli import print_json
from converter.profile import Profile

_LISTED: Final = 12
_WIDTH: Final = 44


def show(sources: Sequence[Path], *, as_json: bool) -> int:
    """Exit code 0 if every file has a profile; the first that has none is an error."""
    from converter.inspect import profile

    found = [(str(source), profile(source)) for source in sources]
    if as_json:
        documents = [{"file": name, **item.to_json()} for name, item in found]
        print_json(documents[0] if len(documents) == 1 else {"files": documents})
        return 0
    for line in lines(found):
        print(line)
    return 0


def lines(found: Sequence[tuple[str, Profile]]) -> Iterator[str]:
    """The totals, a column for each file; for one file its heaviest operators as well."""
    totals = [profile.totals() for _, profile in found]
    keys = list(dict.fromkeys(key for item in totals for key in item))
    rows = [["", *(Path(name).name for name, _ in found)]]
    rows += [[key.replace("_", " "), *(_number(item.get(key)) for item in totals)] for key in keys]
    yield from _table(rows)
    for name, profile in found:
        at = f", at {profile.peak_at!r}" if profile.peak_at else ""
        whose = f"{Path(name).name}: " if len(found) > 1 else ""
        yield f"{whose}peak live bytes {profile.peak_is}{at}."
    yield "Counts and sizes from the file; no camera ran it, and none of this is a time."
    if len(found) == 1:
        yield from _heaviest(found[0][1])


def _heaviest(profile: Profile) -> Iterator[str]:
    order = sorted(profile.nodes, key=lambda node: (-(node.macs or 0), -node.moved_bytes))
    rows = [["operator", "name", "as", "MACs", "weights", "read", "written", "MACs/byte"]]
    for node in order[:_LISTED]:
        name = node.name if len(node.name) <= _WIDTH else f"…{node.name[1 - _WIDTH :]}"
        rows.append(
            [
                node.operator,
                name,
                node.unit,
                *map(_number, (node.macs, node.weight_bytes, node.read_bytes, node.written_bytes)),
                "" if node.intensity is None else f"{node.intensity:.3g}",
            ]
        )
    yield from _table(rows, left=3)
    if len(order) > _LISTED:
        yield f"{len(order) - _LISTED} more: --json has all."


def _table(rows: Sequence[Sequence[str]], left: int = 1) -> Iterator[str]:
    """Rows in columns; from `left` on they are figures."""
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
    for row in rows:
        cells = [
            cell.ljust(width) if place < left else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        yield "  ".join(cells).rstrip()


def _number(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"
