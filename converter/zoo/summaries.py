"""The gate's verdict for CI: JUnit XML, and Markdown for a job's summary."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from html import escape
from typing import Final
from xml.etree import ElementTree as ET

from converter.findings import Finding, Severity
from converter.zoo.gate import Verdict, by_cell, failure
from converter.zoo.index import Cell, Index, Status

# GitHub cuts a summary at 1 MiB; so many rows stay far below it.
_MOST_ROWS: Final = 100
_MOST_CHARACTERS: Final = 400
SIGNS: Final = {
    Status.SUCCEEDED: "✓",
    Status.FAILED: "✗",
    Status.EXPECTED_FAILURE: "≈",
}
WORDS: Final = {
    Status.SUCCEEDED: "succeeded",
    Status.FAILED: "failed",
    Status.EXPECTED_FAILURE: "fails as expected",
}
# What XML 1.0 cannot hold, not even escaped.
_NO_XML: Final = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_LEVELS: Final = {Severity.ERROR: "✗", Severity.WARNING: "!", Severity.INFO: "·"}


# ------------------------------------------------------------------- JUnit


def junit(build: Index, verdict: Verdict) -> bytes:
    """A test case for each cell, a suite for each model, as JUnit's XML.

    A failed cell and one that the gate refuses are failures, one that fails as expected is skipped.
    Findings that are told only are in `system-out`.
    """
    found = by_cell(verdict.findings)
    models: dict[str, list[Cell]] = {}
    for cell in build.cells:
        models.setdefault(cell.model, []).append(cell)
    here = {cell.id for cell in build.cells}
    gone = [where for where in found if where not in here]
    root = ET.Element("testsuites", name="zoo", time=f"{build.build.seconds:.3f}")
    for model, cells in models.items():
        suite = ET.SubElement(root, "testsuite", name=_xml(model))
        suite.set("timestamp", build.build.started_at)
        for cell in cells:
            _case(suite, cell, found.get(cell.id, ()))
        _count(suite)
    if gone:
        suite = ET.SubElement(root, "testsuite", name="gone")
        for where in gone:
            case = ET.SubElement(suite, "testcase", name=_xml(where), classname="gone")
            _findings(case, found[where])
        _count(suite)
    _count(root)
    ET.indent(root)
    return bytes(ET.tostring(root, encoding="utf-8", xml_declaration=True)) + b"\n"


def _case(suite: ET.Element, cell: Cell, findings: Sequence[Finding]) -> None:
    case = ET.SubElement(suite, "testcase", classname=_xml(cell.model))
    case.set("name", _xml(f"{cell.target} {cell.mode}"))
    case.set("time", f"{cell.seconds or 0:.3f}")
    refused = any(one.severity is Severity.ERROR for one in findings)
    if cell.status is Status.EXPECTED_FAILURE and not refused:
        reason = cell.expected.reason if cell.expected else ""
        until = f", until {cell.expected.until}" if cell.expected else ""
        ET.SubElement(case, "skipped", message=_xml(f"expected to fail: {reason}{until}"))
    elif cell.status is Status.FAILED and not refused:
        ET.SubElement(case, "failure", message=_xml(failure(cell)))
    _findings(case, findings)


def _findings(case: ET.Element, findings: Sequence[Finding]) -> None:
    """One failure with all errors: readers show no more than the first."""
    refused = [one for one in findings if one.severity is Severity.ERROR]
    if refused:
        node = ET.SubElement(case, "failure", type=refused[0].code, message=_xml(refused[0].message))
        node.text = _xml("\n".join(f"{one.message} {one.remedy}".strip() for one in refused))
    told = [one for one in findings if one.severity is not Severity.ERROR]
    if told:
        ET.SubElement(case, "system-out").text = _xml("\n".join(one.message for one in told))


def _count(parent: ET.Element) -> None:
    cases = list(parent.iter("testcase"))
    parent.set("tests", str(len(cases)))
    parent.set("failures", str(sum(case.find("failure") is not None for case in cases)))
    parent.set("skipped", str(sum(case.find("skipped") is not None for case in cases)))
    parent.set("errors", "0")


def _xml(text: str) -> str:
    return _NO_XML.sub("\ufffd", text)


# ---------------------------------------------------------------- Markdown


def markdown(build: Index, verdict: Verdict) -> str:
    """The verdict, what is refused, the matrix by target, what is expected to fail."""
    sign = "✅" if verdict.passed else "❌"
    about = build.build
    parts = [
        f"## {sign} Model zoo, build {_text(about.id)}",
        f"{_text(verdict.said)} {len(build.cells):,} cells in {about.seconds:,.0f} s, "
        f"{sum(cell.cached for cell in build.cells):,} of them from the cache.",
        _matrix(build.cells),
    ]
    ranked = sorted(verdict.findings, key=lambda one: list(_LEVELS).index(one.severity))
    if ranked:
        rows = [
            (_LEVELS[one.severity], one.where, f"{one.message} {one.remedy}".strip()) for one in ranked
        ]
        parts += ["### Findings", _table(("", "cell", "what"), rows)]
    expected = [
        (cell.id, cell.expected.reason, cell.expected.until)
        for cell in build.cells
        if cell.status is Status.EXPECTED_FAILURE and cell.expected
    ]
    if expected:
        parts += ["### Expected to fail", _table(("cell", "why", "until"), expected)]
    return "\n\n".join(parts) + "\n"


def _matrix(cells: Iterable[Cell]) -> str:
    counts: dict[str, dict[Status, int]] = {}
    for cell in cells:
        row = counts.setdefault(f"{cell.target} {cell.mode}", dict.fromkeys(Status, 0))
        row[cell.status] += 1
    heads = ("target", *(f"{SIGNS[status]} {WORDS[status]}" for status in Status))
    rows = [(name, *(f"{row[status]:,}" for status in Status)) for name, row in counts.items()]
    return _table(heads, rows)


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(heads)} |", f"|{' --- |' * len(heads)}"]
    lines += [f"| {' | '.join(map(_text, row))} |" for row in rows[:_MOST_ROWS]]
    if len(rows) > _MOST_ROWS:
        more = f"\n\n… and {len(rows) - _MOST_ROWS:,} more: see `gate.json`."
        return "\n".join(lines) + more
    return "\n".join(lines)


def _text(text: str) -> str:
    """A text that is only text in Markdown, in one line: no link, no mention, no HTML."""
    line = " ".join(text.split())
    line = line if len(line) <= _MOST_CHARACTERS else f"{line[:_MOST_CHARACTERS]}…"
    shown = escape("".join(c if c.isprintable() else "\ufffd" for c in line), quote=False)
    return re.sub(r"([\\`*_{}\[\]()#+!|~@:]|(?<=\w)\.(?=\w))", _entity, shown)


def _entity(match: re.Match[str]) -> str:
    return f"&#{ord(match.group())};"
