"""The page of a conversion or a comparison: frames, plots, tensors, warnings, and how to load it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any, Final

from converter.html import table, wide
from converter.plans import Plan
from converter.report_page.load import example
from converter.report_page.outputs import outputs
from converter.report_page.pictures import pictures
from converter.report_page.place import write_text
from converter.report_page.style import STYLE
from converter.target import Kept

_SKIPPED: Final[Mapping[str, Any]] = {"status": "skipped", "reason": "nothing was compared"}


@dataclass(frozen=True, kw_only=True)
class Subject:
    """What a page is about.

    Attributes:
        archive: The converted archive; its file may not be there.
        size_bytes: Its size; None if it was not written.
        source: What it was made from.
        record: The verification record; empty if there is none.
        kept: The tensors of the comparison, the second stage's behind the first's.
        error: Why the verification failed; empty if it did not.
    """

    archive: Path
    size_bytes: int | None
    source: Path | None
    plan: Plan
    record: Mapping[str, Any]
    kept: Sequence[Kept]
    warnings: Sequence[str]
    error: str = ""


@dataclass(frozen=True, repr=False)
class Page:
    """A page; a notebook shows it in a frame.

    Attributes:
        html: All of it, one document that needs no other.
        path: Where it was written, if it was.
    """

    html: str
    path: Path | None = None

    def __repr__(self) -> str:
        """Where it is, and its size."""
        return f"<Page {self.path or 'in memory'}: {len(self.html):,} characters>"

    def _repr_html_(self) -> str:
        """The page in a frame of its own, so that its style stays inside."""
        return (
            f'<iframe srcdoc="{escape(self.html)}" title="report" '
            'style="width: 100%; height: 40rem; border: 0"></iframe>'
        )


def write_page(place: Path, subject: Subject) -> Page:
    """Write a page; an older one is replaced.

    Raises:
        UsageError: It cannot be written.
    """
    written = Page(page(subject).html, place)
    write_text(place, written.html)
    return written


def page(subject: Subject) -> Page:
    """The page. Every text of a model, a config or a tool is escaped."""
    title = f"{subject.archive.name}: {subject.plan.model.name} for {subject.plan.target.upper()}"
    sections = [
        _head(subject),
        *(_stage(kept, subject.record, index) for index, kept in enumerate(subject.kept)),
        _tensors(subject.plan),
        _lines("Warnings", _without_guesses(subject)),
        _lines("What was guessed", [str(guess) for guess in subject.plan.guesses]),
        _loading(subject),
    ]
    return Page(
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head>\n"
        f"<body><main><h1>{escape(title)}</h1>\n{''.join(sections)}</main></body></html>\n"
    )


def _head(subject: Subject) -> str:
    record, plan = subject.record or _SKIPPED, subject.plan
    # A verification that failed on accuracy has no other record.
    status = "failed" if subject.error else str(record.get("status"))
    said = {
        "passed": "The converted network computes what the source does.",
        "failed": "The converted network does not compute what the source does.",
    }.get(status, f"Not compared with the source: {record.get('reason')}.")
    rows: list[tuple[str, Any]] = [
        ("compared", record.get("checked_on")),
        ("with", record.get("reference")),
        ("frames", record.get("frames")),
        *(
            (str(one.get("output")), one["said"])
            for one in record.get("headlines", ())
            if one.get("said")
        ),
        *_accuracy(record),
        ("toolchain", f"{plan.toolchain}: {plan.backend.tool} {plan.backend.version}"),
        ("source", subject.source and f"{subject.source.name}{_size(subject.source)}"),
        ("archive", _written(subject)),
    ]
    shown = table(["", ""], [row for row in rows if row[1]])
    diagnosis = [
        str(text)
        for text in (record.get("diagnosis") or {}).get("said", ())
        if str(text) not in subject.error
    ]
    return (
        f'<p class="verdict {escape(status)}">{escape(said)}</p>'
        + (f"<p>{escape(subject.error)}</p>" if subject.error else "")
        + f'<div class="facts">{shown}</div>'
        + _lines("Where the difference comes from", diagnosis)
    )


def _without_guesses(subject: Subject) -> list[str]:
    """The warnings that are no guess of the plan: those have a list of their own."""
    guessed = [guess.one_line for guess in subject.plan.guesses]
    return [text for text in subject.warnings if not text.startswith(tuple(guessed))]


def _written(subject: Subject) -> str:
    if subject.size_bytes is None:
        return "was not written"
    return f"{subject.archive.name}, {subject.size_bytes:,} bytes"


def _size(path: Path) -> str:
    return f", {path.stat().st_size:,} bytes" if path.is_file() else ""


def _accuracy(record: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    accuracy = record.get("accuracy") or {}
    for name, value in (accuracy.get("source") or {}).items():
        yield (
            f"{name}, {accuracy['frames']} labelled",
            f"{value:.4f} → {accuracy['compiled'][name]:.4f}",
        )


def _stage(kept: Kept, record: Mapping[str, Any], index: int) -> str:
    own = record if index == 0 else record.get("postprocessor") or {}
    title = "" if index == 0 else f"<h2>Second stage: {escape(kept.plan.model.path)}</h2>"
    return title + pictures(kept) + outputs(kept, own)


def _tensors(plan: Plan) -> str:
    compiled = plan.parameters.to_json()
    rows = []
    for kind, items in (("inputs", plan.model.inputs), ("outputs", plan.model.outputs)):
        made = {item["name"]: item for item in compiled.get(kind) or ()}
        for item in items:
            own = made.get(item.name) or {}
            rows.append(
                (
                    kind[:-1],
                    item.name,
                    f"{item.dtype} {item.layout} {list(item.shape)}",
                    " ".join(str(own.get(key) or "") for key in ("dtype", "layout", "shape")).strip(),
                    own.get("dai_type") or "",
                )
            )
    heads = ["", "name", "in the source", "in the archive", "frames"]
    return f"<h2>Tensors</h2>{wide('Tensors', table(heads, rows))}"


def _lines(title: str, lines: Sequence[str]) -> str:
    if not lines:
        return ""
    items = "".join(f"<li>{escape(line)}</li>" for line in lines)
    return f"<h2>{escape(title)}</h2><ul>{items}</ul>"


def _loading(subject: Subject) -> str:
    if subject.size_bytes is None:
        return ""
    heads = subject.plan.model.config["model"].get("heads") or ()
    parsers = [str(head.get("parser")) for head in heads]
    shown = escape(example(subject.archive.name, parsers))
    return f'<h2>How to load it</h2><pre tabindex="0">{shown}</pre>'
