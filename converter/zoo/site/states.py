"""What the site says of a cell: a letter in its data, a sign that needs no colour, words."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from converter.findings import Finding, Severity
from converter.zoo.index import Cell, Status


@dataclass(frozen=True, kw_only=True)
class State:
    """How a cell is shown.

    Attributes:
        letter: In `data.js`, and the name of the style.
        sign: Tells it from the others without a colour.
    """

    letter: str
    sign: str
    words: str


STATES: Final = {
    one.letter: one
    for one in (
        State(letter="P", sign="✓", words="succeeded"),
        State(letter="W", sign="!", words="succeeded, see the findings"),
        State(letter="R", sign="▼", words="worse than the published build"),
        State(letter="F", sign="✗", words="failed"),
        State(letter="E", sign="≈", words="fails as expected"),
    )
}
# A model without such a cell.
NONE: Final = "."
_NO_SLUG: Final = re.compile(r"[^A-Za-z0-9._-]+")


def state_of(cell: Cell, findings: Sequence[Finding] = ()) -> State:
    """The state of a cell with what the gate found in it."""
    levels = {one.severity for one in findings}
    if cell.status is Status.EXPECTED_FAILURE:
        return STATES["F" if Severity.ERROR in levels else "E"]
    if cell.status is Status.FAILED:
        return STATES["F"]
    if Severity.ERROR in levels:
        return STATES["R"]
    return STATES["W" if Severity.WARNING in levels else "P"]


def page_key(model: str) -> str:
    """The name of a model's page without its suffix; a model's name itself is never a path."""
    digest = hashlib.sha256(model.encode("utf-8", "surrogatepass")).hexdigest()
    return f"{_NO_SLUG.sub('-', model)[:40].strip('.-') or 'model'}-{digest[:12]}"


def column_of(cell: Cell) -> str:
    """The column of the matrix that a cell is in."""
    return cell.target if cell.mode == "default" else f"{cell.target} {cell.mode}"


def anchor_of(column: str) -> str:
    """Where a cell is on its model's page."""
    digest = hashlib.sha256(column.encode("utf-8", "surrogatepass")).hexdigest()
    return f"{_NO_SLUG.sub('-', column)[:60]}-{digest[:6]}"
