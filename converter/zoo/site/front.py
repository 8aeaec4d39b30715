"""The front page: the verdict, the matrix a hundred models at a time, a search over all of them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

from converter.findings import Severity
from converter.zoo.gate import Verdict, by_cell
from converter.zoo.index import Cell, Index
from converter.zoo.site.pages import badge, findings, framed
from converter.zoo.site.states import (
    NONE,
    STATES,
    State,
    anchor_of,
    column_of,
    page_key,
    state_of,
)

# Models that a page of the matrix shows, and findings before those that gate.json has alone.
PAGE: Final = 100
_MOST_FINDINGS: Final = 20
SCRIPTS: Final = ("data.js", "zoo.js")


@dataclass(frozen=True, kw_only=True)
class Matrix:
    """The matrix at a glance.

    Attributes:
        columns: Target and mode, in the order of the manifest.
        models: The cells of each model.
        states: The state of each cell, by its id.
    """

    columns: Sequence[str]
    models: Mapping[str, Sequence[Cell]]
    states: Mapping[str, State]

    @classmethod
    def of(cls, index: Index, verdict: Verdict) -> Matrix:
        """The matrix of a build."""
        found = by_cell(verdict.findings)
        models: dict[str, list[Cell]] = {}
        for cell in index.cells:
            models.setdefault(cell.model, []).append(cell)
        return cls(
            columns=list(dict.fromkeys(map(column_of, index.cells))),
            models=models,
            states={cell.id: state_of(cell, found.get(cell.id, ())) for cell in index.cells},
        )

    def letters(self, cells: Sequence[Cell]) -> str:
        """A model's row: a letter for each column."""
        here = {column_of(cell): self.states[cell.id].letter for cell in cells}
        return "".join(here.get(column, NONE) for column in self.columns)


def data(matrix: Matrix) -> str:
    """`data.js`: a row for each model, as [name, page, letters, tags]."""
    rows = [
        [model, page_key(model), matrix.letters(cells), list(cells[0].tags)]
        for model, cells in matrix.models.items()
    ]
    document = {
        "page": PAGE,
        "columns": list(matrix.columns),
        "anchors": [anchor_of(column) for column in matrix.columns],
        "states": {letter: [state.sign, state.words] for letter, state in STATES.items()},
        "rows": rows,
    }
    return f"window.zoo = {json.dumps(document, separators=(',', ':'))};\n"


def front(index: Index, verdict: Verdict, matrix: Matrix, *, base: str = "") -> str:
    """The page as HTML; with `base` for a page that is not in the build's folder."""
    about = index.build
    counts = Counter(state.letter for state in matrix.states.values())
    cached = sum(cell.cached for cell in index.cells)
    parts = [
        "<header><h1>Model zoo</h1>",
        f'<p class="faint">Build {escape(about.id)}, {escape(_time(about.ended_at))}, '
        f"{about.seconds:,.0f} s, nnarchive-converter {escape(about.converter)}</p></header>",
        _banner(verdict, index),
        '<div class="counts">',
        *(badge(STATES[one], f"{counts[one]:,} {STATES[one].words}") for one in STATES if counts[one]),
        f'<span class="faint">{len(matrix.models):,} models, {len(index.cells):,} cells, '
        f"{cached:,} from the cache</span></div>",
        _findings(index, verdict),
        "<h2>Matrix</h2>",
        _search(matrix),
        _table(matrix),
        _foot(about.id),
    ]
    return framed(f"Model zoo, build {about.id}", "\n".join(parts), up="", base=base, scripts=SCRIPTS)


def _time(text: str) -> str:
    return text.replace("T", " ").replace("Z", " UTC")


def _banner(verdict: Verdict, index: Index) -> str:
    state = STATES["P" if verdict.passed else "F"]
    some = ""
    if index.build.only:
        some = f" Only some cells were asked for: {escape(', '.join(index.build.only))}."
    return f'<div class="banner {state.letter}"><p>{state.sign} {escape(verdict.said)}{some}</p></div>'


def _findings(index: Index, verdict: Verdict) -> str:
    """What the gate says no for in sight, the rest behind a click."""
    order = list(Severity)
    told = sorted(
        (one for one in verdict.findings if one.severity is not Severity.ERROR),
        key=lambda one: order.index(one.severity),
    )
    shown = verdict.errors[:_MOST_FINDINGS], told[:_MOST_FINDINGS]
    wanted = {one.where for part in shown for one in part}
    cells = {
        cell.id: (cell.model, anchor_of(column_of(cell))) for cell in index.cells if cell.id in wanted
    }
    said = findings(shown[0], cells=cells)
    if told:
        listed = findings(shown[1], cells=cells)
        said += f"<details><summary>{len(told):,} findings are told only</summary>{listed}</details>"
    left = len(verdict.findings) - sum(map(len, shown))
    if left:
        said += (
            f'<p>{left:,} more are in <a href="gate.json">gate.json</a> and '
            '<a href="junit.xml">junit.xml</a>.</p>'
        )
    return f"<h2>Findings</h2>{said}" if said else ""


def _search(matrix: Matrix) -> str:
    """Hidden until the script runs."""
    choices = [("", "any state"), ("FR", "failed or worse")]
    choices += [(letter, f"{state.sign} {state.words}") for letter, state in STATES.items()]
    states = "".join(f'<option value="{value}">{escape(text)}</option>' for value, text in choices)
    columns = "".join(
        f'<option value="{at}">{escape(name)}</option>' for at, name in enumerate(matrix.columns)
    )
    return (
        '<div class="tools" id="search" role="search" hidden>'
        '<input id="query" type="search" placeholder="Search models and tags" '
        'aria-label="Search models and tags" autocomplete="off">'
        f'<select id="state" aria-label="State">{states}</select>'
        '<select id="column" aria-label="Target and mode"><option value="">all targets</option>'
        f"{columns}</select></div>"
        '<div class="tools" id="pages" hidden><button id="earlier" type="button">Previous</button>'
        '<button id="later" type="button">Next</button><span id="told" role="status"></span></div>'
    )


def _table(matrix: Matrix) -> str:
    heads = "".join(f'<th scope="col">{_head(name)}</th>' for name in matrix.columns)
    shown = list(matrix.models.items())[:PAGE]
    rows = "".join(_row(matrix, model, cells) for model, cells in shown)
    more = ""
    if len(matrix.models) > PAGE:
        more = (
            f"<noscript><p>These are the first {PAGE} of {len(matrix.models):,} models. The others "
            'need JavaScript, or <a href="index.json">index.json</a>.</p></noscript>'
        )
    return (
        '<div class="wide"><table class="matrix"><thead><tr><th scope="col">model</th>'
        f'{heads}</tr></thead><tbody id="rows">{rows}</tbody></table></div>{more}'
    )


def _head(name: str) -> str:
    target, _, mode = name.partition(" ")
    return f"{escape(target)}<small>{escape(mode)}</small>" if mode else escape(target)


def _row(matrix: Matrix, model: str, cells: Sequence[Cell]) -> str:
    here = {column_of(cell): matrix.states[cell.id] for cell in cells}
    page = f"models/{page_key(model)}.html"
    tags = "".join(f'<span class="tag">{escape(tag)}</span>' for tag in cells[0].tags)
    places = []
    for column in matrix.columns:
        state = here.get(column)
        shown = badge(state, column, href=f"{page}#{anchor_of(column)}") if state else ""
        places.append(f"<td>{shown}</td>")
    head = f'<th scope="row"><a href="{escape(page)}">{escape(model)}</a>{tags}</th>'
    return f"<tr>{head}{''.join(places)}</tr>"


def _foot(build: str) -> str:
    legend = " ".join(badge(state) for state in STATES.values())
    return (
        f'<h2>Signs</h2><div class="counts">{legend}</div><footer>'
        '<a href="index.json">index.json</a>, <a href="gate.json">gate.json</a>, '
        '<a href="junit.xml">junit.xml</a>, <a href="summary.md">summary.md</a> of build '
        f"{escape(build)}. Check this folder with <code>nnconvert zoo verify</code>.</footer>"
    )
