"""The page of a model: each of its cells with figures, findings, tensors, times, history, downloads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any, Final

from converter.findings import Finding
from converter.html import table
from converter.zoo.gate import failure
from converter.zoo.history import Row
from converter.zoo.index import Cell
from converter.zoo.provenance import file_name
from converter.zoo.site.pages import badge, findings, framed, link
from converter.zoo.site.sparks import sparks
from converter.zoo.site.states import State, anchor_of, column_of

# From a model's page to the published folder.
_UP: Final = "../../../"
_MOST_LINES: Final = 200
# The order in which they run; documents may have sorted them.
_STAGES: Final = ("prepare", "calibrate", "quantize", "compile", "verify", "emulate", "pack")


def model_page(
    model: str,
    cells: Sequence[Cell],
    states: Mapping[str, State],
    found: Mapping[str, Sequence[Finding]],
    builds: Sequence[str],
    rows: Mapping[str, Row],
) -> str:
    """The page as HTML. Every text of a model, a manifest or a tool is escaped.

    Args:
        states, found, rows: By the cell's id.
        builds: The builds of the rows.
    """
    source = cells[0].source
    about = [str(source.get("name") or ""), str(source.get("sha256") or ""), ", ".join(cells[0].tags)]
    jumps = " ".join(
        badge(states[cell.id], column_of(cell), href=f"#{anchor_of(column_of(cell))}").replace(
            'class="label"', ""
        )
        for cell in cells
    )
    body = [
        '<nav><a href="../index.html">Model zoo</a></nav>',
        f"<header><h1>{escape(model)}</h1>",
        f'<p class="faint">{" · ".join(escape(one) for one in about if one)}</p></header>',
        f'<div class="counts">{jumps}</div>',
        *(
            _cell(cell, states[cell.id], found.get(cell.id, ()), builds, rows[cell.id])
            for cell in cells
        ),
        f"<footer>Build {escape(builds[-1])}</footer>",
    ]
    return framed(f"{model}: model zoo", "\n".join(body), up="../")


def _cell(cell: Cell, state: State, found: Sequence[Finding], builds: Sequence[str], row: Row) -> str:
    column = column_of(cell)
    parts = [
        f'<section class="cell" id="{anchor_of(column)}"><h2>{escape(column)} {badge(state)}</h2>',
        findings(found),
        _failure(cell),
        f'<div class="wide">{_facts(cell)}</div>',
        _downloads(cell),
        _warnings(cell),
        _tensors(cell),
        _figures(cell),
        _stages(cell),
        f"<h3>History</h3>{sparks(builds, row)}",
        _report(cell),
        "</section>",
    ]
    return "\n".join(part for part in parts if part)


def _failure(cell: Cell) -> str:
    if not cell.error:
        return ""
    error = cell.error
    stage = f" in stage {error['stage']}" if error.get("stage") else ""
    lines = [str(error.get("remedy") or "")]
    lines += [
        f"{one.get('where', '')}: {one.get('message', '')}".strip(": ")
        for one in error.get("findings") or ()
        if isinstance(one, Mapping)
    ]
    said = f"{error.get('kind') or 'It failed'}{stage}: {failure(cell)}"
    more = "".join(f"<li>{escape(line)}</li>" for line in lines[:_MOST_LINES] if line)
    return f'<p class="failed">{escape(said)}</p>' + (f"<ul>{more}</ul>" if more else "")


def _facts(cell: Cell) -> str:
    record = cell.verification
    rows: list[tuple[str, str]] = [
        ("compared", _compared(record)),
        *_headlines(record),
        ("toolchain", f"{cell.toolchain}: {', '.join(f'{k} {v}' for k, v in cell.tools.items())}"),
        ("size", "" if cell.size_bytes is None else f"{cell.size_bytes:,} bytes"),
        ("seconds", _seconds(cell)),
        ("SHA-256", cell.sha256 or ""),
        ("plan", cell.plan_hash or ""),
    ]
    if cell.expected:
        rows.append(("expected to fail", f"{cell.expected.reason}, until {cell.expected.until}"))
    shown = "".join(
        f'<tr><th scope="row">{escape(name)}</th><td>{escape(text)}</td></tr>'
        for name, text in rows
        if text.strip(": ")
    )
    return f'<table class="facts"><tbody>{shown}</tbody></table>'


def _seconds(cell: Cell) -> str:
    if cell.seconds is None:
        return ""
    return f"{cell.seconds:,.1f}" + (", when the cache was filled" if cell.cached else "")


def _compared(record: Mapping[str, Any]) -> str:
    if not record:
        return ""
    if record.get("status") == "passed":
        return f"passed on {record.get('checked_on')}, {record.get('frames')}"
    return f"{record.get('status')}: {record.get('reason') or 'not compared'}"


def _headlines(record: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for one in record.get("headlines") or ():
        if one.get("said"):
            yield str(one.get("output")), str(one["said"])
    accuracy = record.get("accuracy") or {}
    for name, value in (accuracy.get("compiled") or {}).items():
        before = (accuracy.get("source") or {}).get(name)
        yield f"{name}, {accuracy.get('frames')} labelled", f"{before} → {value}"


def _downloads(cell: Cell) -> str:
    links = [
        link(path, text, up=_UP, download=name)
        for path, text, name in (
            (cell.archive, f"Download {file_name(cell)}", file_name(cell)),
            (cell.provenance, "provenance", f"{file_name(cell)}.intoto.json"),
            (cell.sbom, "SBOM", f"{file_name(cell)}.cdx.json"),
            (cell.log, "log", ""),
            (cell.report, "report", ""),
        )
        if path
    ]
    return f'<p class="counts">{" ".join(links)}</p>' if links else ""


def _warnings(cell: Cell) -> str:
    if not cell.warnings:
        return ""
    items = "".join(f"<li>{escape(text)}</li>" for text in cell.warnings[:_MOST_LINES])
    return f"<h3>Warnings</h3><ul>{items}</ul>"


def _tensors(cell: Cell) -> str:
    rows = [
        (kind[:-1], *(item.get(key) for key in ("name", "dtype", "layout", "shape", "dai_type")))
        for kind in ("inputs", "outputs")
        for item in cell.tensors.get(kind) or ()
    ]
    if not rows:
        return ""
    heads = ("", "name", "dtype", "layout", "shape", "frames")
    return f'<h3>Tensors</h3><div class="wide">{table(heads, rows)}</div>'


def _figures(cell: Cell) -> str:
    """The figures of each output and part, one row each."""
    rows: list[tuple[Any, ...]] = []
    for name, row in (cell.verification.get("outputs") or {}).items():
        rows.append(
            (name, row.get("rel_rmse", row.get("wrong")), row.get("cosine"), row.get("max_abs"))
        )
        rows += [
            (f"{name}{part.get('where', '')} ({part.get('name', '')})", part.get("error"), None, None)
            for part in row.get("parts") or ()
        ]
    if not rows:
        return ""
    heads = ("output", "error", "cosine", "largest difference")
    shown = f'<div class="wide">{table(heads, rows[:_MOST_LINES])}</div>'
    return (
        f"<h3>Source against result</h3>{shown}"
        '<p class="faint">Error: relative RMSE, the share of wrong indices, or a part\'s error.</p>'
    )


def _stages(cell: Cell) -> str:
    known = {name: at for at, name in enumerate(_STAGES)}
    told = sorted(cell.timings_s.items(), key=lambda item: known.get(item[0], len(known)))
    times = {name: value for name, value in told if name != "total"}
    if not times:
        return ""
    longest = max(times.values()) or 1.0
    rows = "".join(
        f"<tr><td>{escape(name)}</td><td>{seconds:,.2f} s</td>"
        f'<td><div class="bar" style="width:{seconds / longest:.1%}"></div></td></tr>'
        for name, seconds in times.items()
    )
    return f'<h3>Stages</h3><table class="stages"><tbody>{rows}</tbody></table>'


def _report(cell: Cell) -> str:
    """The conversion's page, loaded when it is opened."""
    if not cell.report:
        return ""
    from urllib.parse import quote

    source = escape(_UP + quote(cell.report))
    return (
        "<details><summary>Report with pictures and plots</summary>"
        f'<iframe loading="lazy" sandbox src="{source}" title="Report of the conversion"></iframe>'
        "</details>"
    )
