"""Writes the site of a build into a folder, a model at a time: memory does not grow with the pages."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path

from converter.zoo.gate import Verdict, by_cell
from converter.zoo.history import FILE as HISTORY
from converter.zoo.history import History
from converter.zoo.index import Index
from converter.zoo.regressions import worst_error
from converter.zoo.site.front import Matrix, data, front
from converter.zoo.site.model_page import model_page
from converter.zoo.site.states import page_key
from converter.zoo.site.style import STYLE

FRONT = "index.html"


def write_site(folder: Path, index: Index, verdict: Verdict, history: History, *, base: str) -> str:
    """Write all pages of a build and its history.

    Args:
        folder: The build's own, which exists.
        history: Of the builds before.
        base: From the place where the front page also is to `folder`.

    Returns:
        The front page for that place.
    """
    matrix = Matrix.of(index, verdict)
    found = by_cell(verdict.findings)
    builds = history.builds_with(index.build.id)
    (folder / "models").mkdir()
    with (folder / HISTORY).open("w", encoding="utf-8") as lines:
        lines.write(json.dumps(builds) + "\n")
        for model, cells in matrix.models.items():
            rows = {
                cell.id: history.row(cell.id).plus(
                    matrix.states[cell.id].letter,
                    cell.size_bytes,
                    cell.seconds,
                    worst_error(cell.verification),
                )
                for cell in cells
            }
            page = model_page(model, cells, matrix.states, found, builds, rows)
            _write(folder / "models" / f"{page_key(model)}.html", page)
            lines.writelines(row.to_line(cell) + "\n" for cell, row in rows.items())
        lines.writelines(row.to_line(cell) + "\n" for cell, row in history.others(matrix.states))
    _write(folder / "style.css", STYLE)
    _write(folder / "data.js", data(matrix))
    _write(folder / "zoo.js", (files(__package__) / "zoo.js").read_text(encoding="utf-8"))
    _write(folder / FRONT, front(index, verdict, matrix))
    return front(index, verdict, matrix, base=base)


def _write(path: Path, text: str) -> None:
    # Half a character, which JSON can escape, has no UTF-8.
    path.write_text(text, encoding="utf-8", errors="replace")
