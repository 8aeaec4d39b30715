"""The output of `diff`: the sections that differ, the old values beside the new."""

# ruff: noqa: T201 - printing is what this module is for

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from converter.cli import print_json
from converter.comparison.archives import Difference
from converter.comparison.archives import diff as compare
from converter.comparison.json_values import ABSENT, Change, text
from converter.comparison.weights import PartChange
from converter.formats import BYTES

_SHOWN: Final = 25  # entries of a section
_WIDTH: Final = 120  # characters of a value


def diff(old: Path, new: Path, *, as_json: bool) -> int:
    """`diff`: exit code 0 if both mean the same, 1 if not."""
    found = compare(old, new)
    if as_json:
        print_json(found.to_json())
    else:
        for line in _lines(found):
            print(line)
    return 0 if found.same else 1


def _lines(found: Difference) -> Iterator[str]:
    if found.same:
        how = "every member to the byte" if found.identical else "not to the byte"
        yield f"The same by meaning, {how}."
        return
    yield f"--- {found.old}"
    yield f"+++ {found.new}"
    for name in ("config", "tensors", "parameters", "model", "members", "provenance"):
        yield from _section(name, [_change(change) for change in getattr(found, name)])
    yield from _section("weights", [[_part(change)] for change in found.weights])
    sizes = [
        [
            f"  {text(size.member)}: {size.old_bytes:,} → {size.new_bytes:,} bytes"
            + ("" if size.percent is None else f" ({size.percent:+.1f} %)")
        ]
        for size in found.sizes
    ]
    yield from _section("sizes", sizes)


def _section(name: str, entries: Sequence[list[str]]) -> Iterator[str]:
    if not entries:
        return
    yield f"\n{name}:"
    for entry in entries[:_SHOWN]:
        yield from entry
    if len(entries) > _SHOWN:
        yield f"  … and {len(entries) - _SHOWN} more; --json has them all."


def _change(change: Change) -> list[str]:
    lines = [f"  {text(change.path)}"]
    if change.old is not ABSENT:
        lines.append(f"  - {_value(change.old)}")
    if change.new is not ABSENT:
        lines.append(f"  + {_value(change.new)}")
    return lines


def _value(value: Any) -> str:
    shown = json.dumps(value, ensure_ascii=False)
    if not shown.isprintable():
        shown = json.dumps(value)
    return shown if len(shown) <= _WIDTH else f"{shown[:_WIDTH]}… ({len(shown):,} characters)"


def _part(change: PartChange) -> str:
    name, old, new = text(change.name), change.old, change.new
    if old is None or new is None:
        only = old or new or ("", ())
        return f"  {'+' if old is None else '-'} {name}: {_signature(only)}"
    signature = _signature(old) if old == new else f"{_signature(old)} → {_signature(new)}"
    if change.bytes_changed is not None:
        length = max(old[1][0], new[1][0])
        return f"  {name}: {change.bytes_changed:,} of {length:,} bytes differ"
    if change.max_abs is None:
        return f"  {name}: {signature}, cannot be compared"
    figures = f"max abs {change.max_abs:.4g}"
    if change.rel_rmse is not None:
        figures += f", relative RMSE {change.rel_rmse:.4g}"
    return f"  {name}: {signature}, {figures}"


def _signature(part: tuple[str, tuple[int, ...]]) -> str:
    dtype, shape = part
    if dtype == BYTES:
        return f"{shape[0]:,} bytes"
    return f"{dtype} {'×'.join(map(str, shape)) or 'scalar'}"
