"""What became of each cell in the last builds: a file of lines, carried from build to build."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Final, Self

FILE: Final = "history.jsonl"
# So many builds are shown.
KEPT: Final = 30
# A build that did not have the cell.
NONE: Final = "."


@dataclass(frozen=True, kw_only=True)
class Row:
    """A cell's builds, the oldest first; all four have the same length.

    Attributes:
        states: A letter each (`converter.zoo.site.states`), `.` where there was no such cell.
        sizes: Bytes of the archive.
        seconds: Wall seconds of the conversion.
        errors: The worst figure of the verification (`regressions.worst_error`).
    """

    states: str = ""
    sizes: Sequence[int | None] = ()
    seconds: Sequence[float | None] = ()
    errors: Sequence[float | None] = ()

    def plus(self, state: str, size: int | None, seconds: float | None, error: float | None) -> Self:
        """The row with one build more; the oldest ones go."""
        return type(self)(
            states=(self.states + state)[-KEPT:],
            sizes=[*self.sizes, size][-KEPT:],
            seconds=[*self.seconds, None if seconds is None else round(seconds, 1)][-KEPT:],
            errors=[*self.errors, None if error is None else float(f"{error:.4g}")][-KEPT:],
        )

    def to_line(self, cell: str) -> str:
        """The row as a line of JSON."""
        row = [cell, self.states, self.sizes, self.seconds, self.errors]
        return json.dumps(row, separators=(",", ":"))


@dataclass(frozen=True, kw_only=True)
class History:
    """The builds before this one. Rows are parsed when they are asked for: most of it is text."""

    builds: Sequence[str] = ()
    lines: Mapping[str, str] = field(default_factory=dict)

    def row(self, cell: str) -> Row:
        """The row of a cell, as long as there are builds."""
        if cell not in self.lines:
            nothing = [None] * len(self.builds)
            return Row(states=NONE * len(self.builds), sizes=nothing, seconds=nothing, errors=nothing)
        _, states, sizes, seconds, errors = json.loads(self.lines[cell])
        return Row(states=states, sizes=sizes, seconds=seconds, errors=errors)

    def builds_with(self, build: str) -> list[str]:
        """The ids of the builds that a row has after `plus`."""
        return [*self.builds, build][-KEPT:]

    def others(self, cells: Iterable[str]) -> list[tuple[str, Row]]:
        """The rows of cells that this build has not; those that no kept build has are left out."""
        here = set(cells)
        rows = (
            (cell, self.row(cell).plus(NONE, None, None, None)) for cell in self.lines.keys() - here
        )
        return sorted((cell, row) for cell, row in rows if row.states.strip(NONE))


def read(path: Path) -> History:
    """The history that a build wrote; an empty one if there is none or it is damaged."""
    try:
        with path.open(encoding="utf-8") as file:
            builds = [str(one) for one in json.loads(next(file))]
            lines = {json.loads(line[: line.index('",') + 1] + "]")[0]: line for line in file}
    except (OSError, ValueError, StopIteration, TypeError, IndexError):
        return History()
    # A row that does not fit the others would shift all of them.
    for cell in islice(lines, 1):
        if len(json.loads(lines[cell])[1]) != len(builds):
            return History()
    return History(builds=builds, lines=lines)
