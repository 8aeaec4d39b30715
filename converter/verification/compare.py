"""The source's outputs beside the compiled network's, output by output.

The reference is always the given source model on its runtime, with its preprocessing done in NumPy. The
target decides what is compared with it; nothing here runs on a camera.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from converter.errors import ConvertError, ToolError
from converter.feeding import source_feeds
from converter.graph.outputs import OutputFacts
from converter.verification import reference as runtimes
from converter.verification import rows
from converter.verification.figures import Resolution, figures, fitting, rounded
from converter.verification.indices import index_figures

if TYPE_CHECKING:
    from converter.target import Run

Feeds = Mapping[str, NDArray[Any]]
Outputs = Mapping[str, NDArray[Any]]


@dataclass(frozen=True, kw_only=True)
class Judged:
    """What is known of the outputs that are judged; all by output name.

    Attributes:
        facts: What the graph says of them.
        resolutions: What the result's number format can tell.
        layouts: The letters of their axes.
        pointed: For outputs of indices, and for each frame: the source's tensor that they point into.
        tolerance: The relative error that is allowed; closer values are a tie.
    """

    facts: Mapping[str, OutputFacts] = field(default_factory=dict)
    resolutions: Mapping[str, Resolution] = field(default_factory=dict)
    layouts: Mapping[str, str] = field(default_factory=dict)
    pointed: Mapping[str, Sequence[NDArray[Any]]] = field(default_factory=dict)
    tolerance: float = 0.0

    @classmethod
    def of(
        cls,
        run: Run,
        facts: Mapping[str, OutputFacts],
        frames: Sequence[Feeds],
        *,
        resolutions: Mapping[str, Resolution],
        tolerance: float,
    ) -> Self:
        """What is known of a conversion's outputs; the source is run where indices point into it."""
        return cls(
            facts=facts,
            resolutions=resolutions,
            layouts={item.name: item.layout for item in run.plan.model.outputs},
            pointed=_pointed(run, facts, frames),
            tolerance=tolerance,
        )


def source_outputs(run: Run, frames: Sequence[Feeds]) -> list[dict[str, NDArray[Any]]]:
    """The source model's outputs for camera frames; errors as for `reference.run`.

    Args:
        frames: As `frames_for` gives them.

    Returns:
        For each frame, by output name, an array in the model's output shape and dtype.
    """
    model, folder = run.plan.model, run.work / "verify-source"
    folder.mkdir()
    return runtimes.run(
        run.source,
        [source_feeds(model.inputs, frame) for frame in frames],
        [output.name for output in model.outputs],
        processes=run.processes,
        work=folder,
        timeout_s=run.plan.options.number("verify.timeout_s"),
    )


def _pointed(
    run: Run, facts: Mapping[str, OutputFacts], frames: Sequence[Feeds]
) -> dict[str, list[NDArray[Any]]]:
    """The tensors that indices point into, of the source as ONNX."""
    wanted = {name: fact.indexed[0] for name, fact in facts.items() if fact.indexed is not None}
    if not wanted:
        return {}
    folder = run.work / "verify-pointed"
    folder.mkdir()
    try:
        found = runtimes.run(
            run.model,
            [source_feeds(run.plan.model.inputs, frame) for frame in frames],
            list(dict.fromkeys(wanted.values())),
            processes=run.processes,
            work=folder,
            timeout_s=run.plan.options.number("verify.timeout_s"),
            inner=True,
        )
    except ConvertError:
        # The simplified graph may have a tensor that the source has not: indices are then numbers.
        return {}
    return {name: [frame[tensor] for frame in found] for name, tensor in wanted.items()}


def compare(
    reference: Sequence[Outputs], actual: Sequence[Outputs], judged: Judged | None = None
) -> dict[str, dict[str, Any]]:
    """Figures for each output over all frames, in float64: see `figures.figures`.

    Indices are judged by what they point at (`indices.index_figures`), rows that a TopK chose in the
    order that fits best (`rows.matched`; `rows` is the share that was certain) and their scores as they
    come (`ranked`).

    Raises:
        ToolError: The result has not the source's outputs, or in other sizes.
    """
    known = judged or Judged()
    found: dict[str, dict[str, Any]] = {}
    _require_alike(reference, actual)
    present = {
        name: fact
        for name, fact in known.facts.items()
        if name in reference[0] and _has_rows(fact, np.shape(reference[0][name]))
    }
    for group in rows.chosen_together(present):
        found |= _row_figures(reference, actual, group, known)
    for name in reference[0]:
        if name in found:
            continue
        facts = known.facts.get(name, OutputFacts())
        a = np.stack([np.asarray(frame[name], np.float64) for frame in reference])
        b = np.stack([np.asarray(frame[name], np.float64).reshape(a.shape[1:]) for frame in actual])
        if facts.indexed is not None and name in known.pointed:
            pointed = np.stack([np.asarray(x, np.float64) for x in known.pointed[name][: len(a)]])
            found[name] = index_figures(a, b, pointed, facts.indexed[1], known.tolerance)
        else:
            resolution = known.resolutions.get(name, Resolution())
            found[name] = figures(a, b, facts, resolution, known.layouts.get(name, ""))
    return {name: found[name] for name in reference[0]}


def _require_alike(reference: Sequence[Outputs], actual: Sequence[Outputs]) -> None:
    """Every frame of the result has every output of the source, with as many elements."""
    if len(reference) != len(actual) or not reference:
        raise ToolError(f"{len(actual)} of {len(reference)} frames were computed.")
    for one, other in zip(reference, actual, strict=True):
        if missing := [name for name in one if name not in other]:
            raise ToolError(f"The result has no output {', '.join(map(repr, missing))}.")
        for name, values in one.items():
            if np.size(values) != np.size(other[name]):
                raise ToolError(
                    f"The output {name!r} has the shape {list(np.shape(other[name]))}; the source's "
                    f"is {list(np.shape(values))}."
                )


def _has_rows(facts: OutputFacts, shape: tuple[int, ...]) -> bool:
    """Whether the rows that the graph shows are there in an output of that shape."""
    if facts.rows is None or facts.rows >= len(shape):
        return False
    parts = fitting(facts.parts, shape)
    groups = facts.groups == 1 or math.prod(shape[: facts.rows]) == facts.groups
    return groups and len(parts) == len(facts.parts)


def _row_figures(
    reference: Sequence[Outputs], actual: Sequence[Outputs], names: Sequence[str], known: Judged
) -> dict[str, dict[str, Any]]:
    """The figures of outputs whose rows a TopK chose."""
    paired = [
        rows.matched(one, other, names, known.facts, known.tolerance)
        for one, other in zip(reference, actual, strict=True)
    ]
    share = float(np.mean([certain for _, _, certain in paired]))
    found = {}
    for name in names:
        a = np.concatenate([one[name] for one, _, _ in paired])[None]
        b = np.concatenate([other[name] for _, other, _ in paired])[None]
        row = figures(a, b, OutputFacts(), known.resolutions.get(name, Resolution()), "NC")
        row.pop("top1", None)
        if rows.ranked(known.facts[name]):
            pairs = [
                rows.in_order(one, other, name, known.facts[name])
                for one, other in zip(reference, actual, strict=True)
            ]
            one, other = (np.stack(side) for side in zip(*pairs, strict=True))
            scores = figures(one, other, OutputFacts(), known.resolutions.get(name, Resolution()), "NC")
            without = ("top1", "parts", "whole")
            kept = {key: value for key, value in scores.items() if key not in without}
            row["ranked"] = kept | rounded({"disorder": rows.disorder(one, other)})
        found[name] = row | rounded({"rows": share})
    return found
