"""The page of an analysis: a bar for each layer, and a histogram where one is opened."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any, Final

from converter.analysis.table import filled, number, remedy
from converter.html import table, wide
from converter.report_page.place import write_text
from converter.report_page.plots import counted
from converter.report_page.style import STYLE
from converter.verification.trace import node_name

_OWN: Final = """
details { border-bottom: 1px solid var(--rule); padding: .15rem 0; }
summary {
  cursor: pointer; display: grid; gap: .6rem; grid-template-columns: minmax(8rem, 22rem) 1fr 5rem;
}
.bar { background: var(--card); align-self: center; height: .8rem; }
.bar i { display: block; height: 100%; background: var(--source); }
.bar i.bad { background: var(--result); }
"""


def write_page(place: Path, document: Mapping[str, Any]) -> None:
    """Write a page; an older one is replaced.

    Args:
        document: What `analyze_archive` returns.

    Raises:
        UsageError: It cannot be written.
    """
    write_text(place, page(document))


def page(document: Mapping[str, Any]) -> str:
    """The page as HTML. Every text of a model or an archive is escaped."""
    title = f"{document['archive']}: where the accuracy goes"
    verified = document["verification"]
    status = (
        f'<p class="verdict {escape(verified["status"])}">The verification {verified["status"]}.</p>'
    )
    body = "".join(_stage(name, stage) for name, stage in document["stages"].items())
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}{_OWN}</style></head>\n"
        f"<body><main><h1>{escape(title)}</h1>\n{status}<p>{escape(verified['message'])}</p>"
        f"{body}</main></body></html>\n"
    )


def _stage(name: str, stage: Mapping[str, Any]) -> str:
    by_name = {layer["tensor"]: layer for layer in stage["layers"]}
    worst = [by_name[tensor] for tensor in stage["worst"]]
    said = [f"On {stage['on']}, {stage['frames']} frames.", *stage["said"]]
    if stage["simulated"] is not None:
        said.append(
            "Relative RMSE of the outputs with all activations rounded and exact weights: "
            f"{number(stage['simulated'])}."
        )
    shown = table(*filled(worst))
    most = max((_weight(layer) for layer in by_name.values()), default=0.0)
    bars = "".join(_bar(layer, most, layer["tensor"] in stage["worst"]) for layer in by_name.values())
    return (
        f"<h2>{escape(name)}</h2>{''.join(f'<p>{escape(line)}</p>' for line in said)}"
        f"<h3>The worst</h3>{wide(f'The worst of {name}', shown)}"
        "<h3>All layers, in their order</h3>"
        '<p class="faint">A bar is the error that a layer adds to exact inputs, or the one up to it '
        f"where that is not known. Open a layer for its values.</p>{bars}"
    )


def _bar(layer: Mapping[str, Any], most: float, is_bad: bool) -> str:
    share = 100 * min(_weight(layer) / most, 1.0) if most else 0.0
    name = node_name(layer["node"], layer["operator"])
    return (
        f'<details><summary><span>{escape(name)}</span><span class="bar">'
        f'<i{" class=bad" if is_bad else ""} style="width:{share:.1f}%"></i></span>'
        f"<span>{escape(number(_weight(layer)))}</span></summary>{_opened(layer)}</details>"
    )


def _opened(layer: Mapping[str, Any]) -> str:
    low, high = layer["limits"] or layer["seen"]
    facts = [
        ("tensor", layer["tensor"]),
        *((key, number(layer[key])) for key in ("outputs", "alone", "accumulated", "weights")),
        ("activations", number(layer["activations"])),
        ("range of the codes", f"{number(low)} to {number(high)}" if layer["limits"] else None),
        ("seen", " to ".join(map(number, layer["seen"]))),
        ("bits", layer["bits"]),
        ("beyond the range", f"{100 * layer['clipped']:.3g} %" if layer["clipped"] else None),
        (
            "channels that dominate",
            ", ".join(f"{item['index']} (to {number(item['largest'])})" for item in layer["channels"]),
        ),
    ]
    told = [*layer["notes"], *map(remedy, layer["remedies"])]
    shape = layer["histogram"]
    plot = ""
    if shape:
        plot = (
            f"<figure>{counted(shape['low'], shape['high'], shape['source'], shape['result'])}"
            "<figcaption>Filled: the float model. Line: the converted network.</figcaption></figure>"
        )
    items = "".join(f"<li>{escape(text)}</li>" for text in told)
    return (
        wide(f"Values of {layer['tensor']}", table(["", ""], [row for row in facts if row[1]]))
        + (f"<ul>{items}</ul>" if items else "")
        + f'<div class="cards">{plot}</div>'
    )


def _weight(layer: Mapping[str, Any]) -> float:
    """The bar's length; an error that is not finite is written as text and counts as 1."""
    value = layer["alone"] if layer["alone"] is not None else layer["accumulated"]
    return 0.0 if value is None else 1.0 if isinstance(value, str) else float(value)
