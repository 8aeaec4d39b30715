"""The page of a conversion or a comparison: frames, plots, tensors, warnings, and how to load it."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from converter.drawing.draw import picture_of, tensor_picture
from converter.drawing.sides import image_of, pairs
from converter.errors import ConvertError
from converter.feeding import source_feeds
from converter.html import table
from converter.model import ModelInput
from converter.plans import Plan
from converter.preprocessing import Color
from converter.report_page.load import example
from converter.report_page.place import write_text
from converter.report_page.plots import histogram, scatter
from converter.report_page.style import STYLE
from converter.report_page.values import values_of
from converter.target import Kept

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

# So many frames are shown, and outputs or parts plotted.
_MOST_FRAMES: Final = 4
_MOST_PLOTS: Final = 24
# A larger picture is written as JPEG.
_MOST_PNG_BYTES: Final = 150_000
# How a reader tells swapped colours, by the colours that the config says the network takes.
_SWAPPED: Final[Mapping[Color | None, str]] = {
    Color.RGB: "The config says RGB, so these colours should look right.",
    Color.BGR: "The config says BGR, so these colours look swapped. If the network was trained on RGB "
    "pictures, the config is wrong.",
}
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


def write_page(place: Path, subject: Subject) -> None:
    """Write a page; an older one is replaced.

    Raises:
        UsageError: It cannot be written.
    """
    write_text(place, page(subject))


def page(subject: Subject) -> str:
    """The page as HTML. Every text of a model, a config or a tool is escaped."""
    title = f"{subject.archive.name}: {subject.plan.model.name} for {subject.plan.target.upper()}"
    sections = [
        _head(subject),
        *(_stage(kept, subject.record, index) for index, kept in enumerate(subject.kept)),
        _tensors(subject.plan),
        _lines("Warnings", subject.warnings),
        _lines("What was guessed", [guess.one_line for guess in subject.plan.guesses]),
        _loading(subject),
    ]
    return (
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
    diagnosis = [str(text) for text in (record.get("diagnosis") or {}).get("said", ())]
    return (
        f'<p class="verdict {escape(status)}">{escape(said)}</p>'
        + (f"<p>{escape(subject.error)}</p>" if subject.error else "")
        + f'<div class="wide">{shown}</div>'
        + _lines("Where the difference comes from", diagnosis)
    )


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
    return title + _pictures(kept) + _plots(kept, own)


# ---------------------------------------------------------------- pictures


def _pictures(kept: Kept) -> str:
    model = kept.plan.model
    if image_of(model) is None or model.link is not None:
        return ""
    parts = ["<h2>What it sees and finds</h2>"]
    found = _found(kept)
    sent = {item.name: item.dai_type for item in getattr(kept.plan.parameters, "inputs", ())}
    for at, frame in enumerate(kept.frames[:_MOST_FRAMES]):
        feeds = source_feeds(model.inputs, frame)
        cards = []
        for image in (item for item in model.inputs if item.is_image):
            cards += [
                _figure(
                    picture_of(frame[image.name], image),
                    f"Frame {at + 1}{_of(image, model.inputs)}: what the camera sends"
                    + (f" ({sent[image.name]})" if sent.get(image.name) else ""),
                ),
                _figure(tensor_picture(feeds[image.name], image), _seen(image, feeds[image.name])),
            ]
        cards += found.get(at, [])
        parts.append(f'<div class="cards">{"".join(cards)}</div>')
    return "".join(parts)


def _of(image: ModelInput, inputs: Sequence[ModelInput]) -> str:
    return f", {image.name}" if len(inputs) > 1 else ""


def _found(kept: Kept) -> dict[int, list[str]]:
    """By frame the figures of what source and result found; a batch shows its first picture."""
    cards: dict[int, list[str]] = {}
    image = image_of(kept.plan.model)
    assert image is not None
    batch = image.shape[image.layout.index("N")] if "N" in image.layout else 1
    try:
        for pair in pairs(kept, _MOST_FRAMES * batch):
            frame, item = divmod(pair.index, batch)
            if item == 0:
                cards.setdefault(frame, []).extend(
                    [
                        _figure(pair.source, f"The source, {pair.title}"),
                        _figure(pair.result, f"The result, {pair.title}. {pair.said}"),
                    ]
                )
    except (ConvertError, KeyError, ValueError, IndexError):
        return {}  # outputs that are not what the head says: the plots are left
    return cards


def _seen(image: ModelInput, tensor: Any) -> str:
    """What a network's input holds, and how to tell swapped colours."""
    values = np.moveaxis(np.asarray(tensor, np.float64), image.channel_axis, 0)
    ranges = ", ".join(f"{channel.min():.3g} to {channel.max():.3g}" for channel in values)
    swapped = _SWAPPED.get(image.preprocessing.color, "")
    first = "its first channel as red, " if len(values) == 3 else ""
    return f"What the network gets, {first}lowest value black. Channels: {ranges}. {swapped}"


def _figure(picture: Picture, caption: str) -> str:
    return (
        f'<figure><img alt="{escape(caption)}" src="{_uri(picture)}">'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


def _uri(picture: Picture) -> str:
    """A picture as a data URI: PNG, or JPEG where that would be large."""
    stream = io.BytesIO()
    picture.save(stream, "PNG")
    kind = "png"
    if stream.tell() > _MOST_PNG_BYTES:
        stream, kind = io.BytesIO(), "jpeg"
        picture.convert("RGB").save(stream, "JPEG", quality=88)
    return f"data:image/{kind};base64,{base64.b64encode(stream.getvalue()).decode()}"


# ------------------------------------------------------------------- plots


def _plots(kept: Kept, record: Mapping[str, Any]) -> str:
    """Each output's figures and plots, then those of its parts."""
    figures = record.get("outputs") or {}
    tolerance = float((record.get("limits") or {}).get("max_rel_rmse", 0.01))
    parts = ["<h2>Outputs, source against result</h2>"]
    reasons = record.get("reasons") or {}
    for count, values in enumerate(values_of(kept, tolerance)):
        if count == _MOST_PLOTS:
            parts.append('<p class="faint">More outputs and parts are not plotted.</p>')
            break
        if values.part:
            parts.append(
                f"<h3>{escape(values.output)}{escape(values.part)}: {escape(values.name)}</h3>"
            )
            row = _part_row(figures.get(values.output) or {}, values.part)
        else:
            parts.append(f"<h3>{escape(values.output)}</h3>")
            row = figures.get(values.output) or {}
            parts += [
                f'<p class="failed">{escape(said)}</p>' for said in reasons.get(values.output, ())
            ]
        single = {key: value for key, value in row.items() if isinstance(value, int | float | str)}
        told = ", ".join(f"{key} {value}" for key, value in single.items())
        parts.append(
            f'<p class="faint">{escape(told)}</p><div class="cards">'
            f"<figure>{scatter(values.source, values.result)}</figure>"
            f"<figure>{histogram(values.source, values.result)}<figcaption>Filled: the source. "
            "Line: the result.</figcaption></figure></div>"
        )
    for name, reason in (record.get("not_compared") or {}).items():
        parts.append(f"<p>{escape(name)} was not compared: {escape(str(reason))}.</p>")
    return "".join(parts)


def _part_row(row: Mapping[str, Any], where: str) -> Mapping[str, Any]:
    parts: Iterable[Mapping[str, Any]] = row.get("parts", ())
    return next((part for part in parts if part.get("where") == where), {})


# ------------------------------------------------------------------ tables


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
    return f'<h2>Tensors</h2><div class="wide">{table(heads, rows)}</div>'


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
    return f"<h2>How to load it</h2><pre>{escape(example(subject.archive.name, parsers))}</pre>"
