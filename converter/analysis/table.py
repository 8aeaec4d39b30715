"""An analysis as lines of text: the worst layers and what helps them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from converter.verification.trace import node_name

HEADS: Final = ("layer", "outputs", "alone", "accum.", "weights", "activ.", "SQNR dB", "bits", "used")
_WIDTH: Final = 44


def lines(stage: Mapping[str, Any]) -> Iterator[str]:
    """The lines for one model (`Analysis.to_json`)."""
    by_name = {layer["tensor"]: layer for layer in stage["layers"]}
    worst = [by_name[name] for name in stage["worst"]]
    yield f"On {stage['on']}, {stage['frames']} frames, {len(by_name)} layers."
    yield from stage["said"]
    if stage["simulated"] is not None:
        yield (
            f"Relative RMSE of the outputs with all activations rounded and exact weights: "
            f"{stage['simulated']:.3g}."
        )
    if not worst:
        yield "No layer loses anything."
        return
    heads, rows = filled(worst)
    widths = [max(len(row[place]) for row in [heads, *rows]) for place in range(len(heads))]
    for row in [heads, *rows]:
        first = row[0].ljust(widths[0])
        rest = (cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))
        yield "  ".join([first, *rest])
    for layer in worst:
        told = [*layer["notes"], *map(remedy, layer["remedies"])]
        if found := _channels(layer):
            told.insert(0, found)
        if told:
            yield f"{node_name(layer['node'], layer['operator'])}:"
            yield from (f"  - {text}" for text in told)


def filled(layers: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[list[str]]]:
    """Heads and rows of a table, without the columns that are empty."""
    rows = [cells(layer) for layer in layers]
    places = [place for place in range(len(HEADS)) if any(row[place] for row in rows)]
    return [HEADS[place] for place in places], [[row[place] for place in places] for row in rows]


def cells(layer: Mapping[str, Any]) -> list[str]:
    """A layer's row, in the order of HEADS."""
    name = node_name(layer["node"], layer["operator"])
    used = layer["used"]
    return [
        name if len(name) <= _WIDTH else f"…{name[1 - _WIDTH :]}",
        *(number(layer[key]) for key in ("outputs", "alone", "accumulated", "weights", "activations")),
        "" if layer["sqnr_db"] is None else f"{layer['sqnr_db']:.1f}",
        str(layer["bits"] or ""),
        "" if used is None else f"{100 * used:.0f} %",
    ]


def number(value: Any) -> str:
    """A figure with three digits; empty where it is unknown."""
    return "" if value is None else value if isinstance(value, str) else f"{value:.3g}"


def remedy(item: Mapping[str, Any]) -> str:
    """A remedy with what it brings."""
    if item["brings"] is None:
        return f"{item['said']} (not tried)."
    return f"{item['said']}: the outputs' error falls by {item['brings']:.2g}."


def _channels(layer: Mapping[str, Any]) -> str:
    """The channels that dominate; empty where none does."""
    found = ", ".join(f"{item['index']} (to {item['largest']:.3g})" for item in layer["channels"])
    if not found:
        return ""
    return f"channels that dominate the range: {found}; half of them stay below {layer['usual']:.3g}"
