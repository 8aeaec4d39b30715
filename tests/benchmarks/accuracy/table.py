"""The rows as tables: a short one for the README, all of it for docs/accuracy.md and the results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from tests.benchmarks.accuracy.measure import FLOAT, ROOT, VARIANTS, Row

_SHORT: Final = (FLOAT, "INT8_STANDARD", "INT8_STANDARD, max_drop", "INT8_INT16_MIXED", "FP16_STANDARD")
_NOTE: Final = (
    "Measured on the HTP emulator, not on a camera, on frames that neither training nor calibration saw; "
    "`nox -s accuracy_rvc4` measures and writes this."
)


def short_table(rows: Sequence[Row]) -> str:
    """A row for each network: its figure in the modes that people choose from."""
    cells = {(row.net, row.variant): row for row in rows}
    lines = [f"| network | {' | '.join(_SHORT)} |", "|---|" + "---|" * len(_SHORT)]
    for net in dict.fromkeys(row.net for row in rows):
        told = next(row.told for row in rows if row.net == net)
        shown = [_cell(cells.get((net, variant))) for variant in _SHORT]
        lines.append(f"| {net}: {told} | {' | '.join(shown)} |")
    return "\n".join([_noted(rows), "", *lines])


def _noted(rows: Sequence[Row]) -> str:
    dates = sorted({row.date for row in rows})
    return f"{_NOTE} ({' and '.join(dict.fromkeys([dates[0], dates[-1]]))}; {_versions(rows)}.)"


def _versions(rows: Sequence[Row]) -> str:
    return "; ".join(sorted({row.versions for row in rows}))


def _cell(row: Row | None) -> str:
    if row is None:
        return "not measured"
    if row.figure is None:
        return row.failed.partition(":")[0]
    wide = f" ({row.wide[0]} of {row.wide[1]} nodes)" if row.wide else ""
    return f"{row.figure} %{wide}"


def full_table(rows: Sequence[Row]) -> str:
    """All rows with their errors, network by network."""
    heads = (
        "network",
        "mode",
        "figure",
        "relative RMSE",
        "16-bit nodes",
        "biases",
        "ranges",
        "date",
        "revision",
    )
    lines = [f"| {' | '.join(heads)} |", "|---|" + "---|" * (len(heads) - 1)]
    order = list(VARIANTS)
    nets = list(dict.fromkeys(row.net for row in rows))
    for row in sorted(rows, key=lambda row: (nets.index(row.net), order.index(row.variant))):
        limit = "" if row.limit is None else f" {row.limit}"
        error = "" if row.rel_rmse is None else row.rel_rmse
        wide = f"{row.wide[0]} of {row.wide[1]}" if row.wide else ""
        figure = row.failed if row.figure is None else f"{row.figure} %"
        biases = {"kept": "corrected", "not kept": "as they are: no gain"}.get(row.bias, "")
        named = (row.net, f"{row.variant}{limit}")
        cells = (*named, figure, error, wide, biases, row.ranges, row.date, row.revision)
        lines.append(f"| {' | '.join(map(str, cells))} |")
    figures = "; ".join(f"{net}: {next(row.told for row in rows if row.net == net)}" for net in nets)
    return "\n".join([_noted(rows), "", f"Figures: {figures}.", "", *lines])


def put(path: Path, text: str) -> None:
    """Replace what is between the markers of a page."""
    start, end = "<!-- accuracy-rvc4 -->", "<!-- /accuracy-rvc4 -->"
    before, rest = path.read_text(encoding="utf-8").split(start)
    path.write_text(f"{before}{start}\n{text}\n{end}{rest.split(end)[1]}", encoding="utf-8")


def write(rows: Sequence[Row], pages: Mapping[str, str]) -> None:
    """Put texts into the pages of the repository that have the markers."""
    for name, text in pages.items():
        put(ROOT / name, text)
