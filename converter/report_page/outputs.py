"""The page's outputs: for each output and each of its parts the figures and two plots."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from html import escape
from typing import Any, Final

from converter.report_page.plots import histogram, scatter
from converter.report_page.values import Values, values_of
from converter.target import Kept

# So many outputs and parts are plotted.
_MOST_PLOTS: Final = 24
_STATES: Final[Mapping[str, str]] = {
    "silent": "not judged: the source hardly varies here",
    "dead": "the result's format has no steps for it",
    "fell silent": "the result hardly varies, the source does",
    "still": "the result is the same for every frame",
    "saturated": "the result stops at its end",
}


def outputs(kept: Kept, record: Mapping[str, Any]) -> str:
    """Each output's section, then those of its parts.

    Args:
        record: Of this stage; its figures may be missing.
    """
    tolerance = float((record.get("limits") or {}).get("max_rel_rmse", 0.01))
    sections: list[str] = []
    rest = ""
    for count, values in enumerate(values_of(kept, tolerance)):
        if count == _MOST_PLOTS:
            rest = '<p class="faint">More outputs and parts are not plotted.</p>'
            break
        sections.append(_section(values, record))
    for name, reason in (record.get("not_compared") or {}).items():
        rest += f"<p>{escape(name)} was not compared: {escape(str(reason))}.</p>"
    return (
        "<h2>Outputs, source against result</h2>"
        '<p class="faint">The first plot has the result over the source: equal values lie on the line. '
        "The second one has how often each value occurs: filled for the source, a line for the result."
        "</p>"
        f'<div class="outputs">{"".join(sections)}</div>{rest}'
    )


def _section(values: Values, record: Mapping[str, Any]) -> str:
    figures = (record.get("outputs") or {}).get(values.output) or {}
    said: list[str] = []
    if values.part:
        title = f"{values.output}{values.part}: {values.name}"
        told = _part(_part_row(figures, values.part))
    else:
        title, told = values.output, _whole(figures)
        said = (record.get("reasons") or {}).get(values.output, [])
    reasons = "".join(f'<p class="failed">{escape(line)}</p>' for line in said)
    return (
        f'<section><h3>{escape(title)}</h3>{reasons}<p class="told">{escape(", ".join(told))}</p>'
        f'<div class="plots"><figure>{scatter(values.source, values.result)}</figure>'
        f"<figure>{histogram(values.source, values.result)}</figure></div></section>"
    )


def _part_row(row: Mapping[str, Any], where: str) -> Mapping[str, Any]:
    parts: Iterable[Mapping[str, Any]] = row.get("parts", ())
    return next((part for part in parts if part.get("where") == where), {})


def _whole(row: Mapping[str, Any]) -> Iterator[str]:
    """The figures of an output in words."""
    if row.get("not_finite"):
        yield "NaN or infinity on one side alone"
    if isinstance(cosine := row.get("cosine"), int | float):
        yield f"cosine {cosine:.6f}"
    if isinstance(error := row.get("rel_rmse"), int | float):
        yield f"relative RMSE {error:.2g}"
    if isinstance(largest := row.get("max_abs"), int | float):
        of = row.get("reference_max_abs")
        until = f" (values up to {of:.3g})" if isinstance(of, int | float) else ""
        yield f"largest difference {largest:.2g}{until}"
    if isinstance(best := row.get("top1"), int | float):
        yield f"the best class is the same in {best:.0%} of the frames"


def _part(row: Mapping[str, Any]) -> Iterator[str]:
    """The figures of a part in words."""
    if isinstance(error := row.get("error"), int | float):
        yield f"error {error:.2g}"
    if isinstance(largest := row.get("max_abs"), int | float):
        yield f"largest difference {largest:.2g}"
    if isinstance(step := row.get("step"), int | float) and step:
        yield f"one step of the format {step:.2g}"
    if said := _STATES.get(str(row.get("state"))):
        yield said
