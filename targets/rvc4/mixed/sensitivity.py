"""What each quantization point adds to the outputs' error, in a child process.

A network with all points but one in float loses what that one point does; the squares of such losses
nearly add up. Few frames have most of the error (of 32 of PP-OCR det's two have 56 %), and other points
matter on them than elsewhere: points are ordered on these frames.
"""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from converter.calibration.feeds import evenly, frames_of
from converter.graph.outputs import OutputFacts
from targets.rvc4.mixed.points import Point, points, rounded
from targets.rvc4.mixed.search import Step, between, fewest, steps_of
from targets.rvc4.quantization.calibrate import inputs_of
from targets.rvc4.quantization.switched import Codes, Switched
from targets.rvc4.quantization.trial import is_heavy, run_float
from targets.rvc4.quantization.widths import Links, spread

if TYPE_CHECKING:
    from numpy.typing import NDArray

Outputs = Mapping[str, "NDArray[Any]"]
# Elements of activations that may be computed: points times those of a frame times frames.
_BUDGET: Final = 2_000_000_000
# On so many frames points are ordered: as many as have half of the error.
_LEAST_FRAMES, _MOST_FRAMES = 2, 8
_ENOUGH: Final = 0.5
# Among so many frames these are chosen; so many numbers of outputs may be kept.
_SCANNED: Final = 32
_KEPT: Final = 32_000_000
# On so many frames it is foretold what a number of steps loses.
_FORETELLING: Final = 12
_FLOOR: Final = 1e-12


def sensitivity_file(
    model: str,
    network: str,
    calibration: Mapping[str, Any],
    sources: Sequence[Mapping[str, Any]],
    inputs: Sequence[Mapping[str, Any]],
    facts: Mapping[str, Any],
    fixed: Sequence[str],
    limit: float | None,
) -> dict[str, Any]:
    """Order a network's points by what they lose; each line on standard output tells how far it is.

    Args:
        model: The prepared float model; network: the integer one that was made of it.
        facts: What the outputs consist of (`OutputFacts.to_json`), by name.
        fixed: Tensors that cannot be wide, such as outputs whose type was chosen.
        limit: The relative RMSE that the outputs may have; None where something else is limited.

    Returns:
        `steps`: tensors and nodes of each step (`search.Step`); `rests`: the square of what a step's
        network loses against the float model, nothing without a limit; `losses`: what each tensor loses
        alone, as a relative RMSE; `frames`: on how many.
    """
    import onnx
    import onnx_ir as ir

    graph = onnx.load(model, load_external_data=False).graph
    found = points(graph, onnx.load(network, load_external_data=False).graph)
    links = Links.of(graph)
    scanned = max(_LEAST_FRAMES, min(_SCANNED, _KEPT // max(1, _elements(graph.output))))
    frames = frames_of(calibration, sources, inputs)
    feeds = _feeds(model, frames, int(calibration["frames"]), scanned)
    constants = {} if is_heavy(model) else rounded(graph, ir.load(network))
    switched = Switched(model, [point.tensor for point in found], constants)
    exact = switched.run_all(feeds)
    cost = max(1, len(found) * _elements([*graph.value_info, *graph.output]))
    chosen = heaviest(
        Loss(exact, facts).by_frame(switched.run_all(feeds, [point.codes for point in found])),
        max(_LEAST_FRAMES, min(_MOST_FRAMES, _BUDGET // cost)),
    )
    teller = _Teller(len(found) * len(chosen))

    def lost(loss: Loss, at: Sequence[int], on: Collection[int]) -> float:
        codes: list[Codes | None] = [p.codes if i in on else None for i, p in enumerate(found)]
        outputs = []
        for place in at:
            outputs.append(switched.run(feeds[place], codes))
            teller.one_more()
        return loss.squared(outputs)

    alone = Loss([exact[place] for place in chosen], facts)
    squares = {index: lost(alone, chosen, [index]) for index in range(len(found))}
    order = sorted(squares, key=lambda index: (-squares[index], index))
    names = [found[index].tensor for index in order if found[index].tensor not in fixed]
    steps = steps_of(names, lambda tensors: spread(links, tensors))
    rests: list[float] = []
    if limit is not None:
        places = evenly(len(feeds), _FORETELLING)
        whole = Loss(run_float(model, [feeds[place] for place in places]), facts)

        def foretold(count: int) -> float:
            teller.more(len(places))
            return math.sqrt(lost(whole, places, _narrow(found, links, steps[count])))

        losses = fewest(len(steps) - 1, foretold, limit).losses
        rests = between({count: loss**2 for count, loss in losses.items()}, len(steps))
    return {
        "steps": [{"tensors": list(s.tensors), "nodes": sorted(s.nodes)} for s in steps],
        "rests": rests,
        "losses": {found[index].tensor: float(f"{math.sqrt(squares[index]):.3g}") for index in order},
        "frames": len(chosen),
    }


def heaviest(squares: Sequence[float], most: int) -> list[int]:
    """The frames with the most of an error, in their order: as many as have half of it, two at least.

    Args:
        squares: Each frame's part of the squared error.
        most: How many frames there may be.
    """
    order = sorted(range(len(squares)), key=lambda index: (-squares[index], index))
    chosen: list[int] = []
    for index in order[:most]:
        if len(chosen) >= _LEAST_FRAMES and sum(squares[i] for i in chosen) >= _ENOUGH * sum(squares):
            break
        chosen.append(index)
    return sorted(chosen)


def _narrow(found: Sequence[Point], links: Links, step: Step) -> list[int]:
    """The points that keep 8 bits: a node makes them narrow, or reads them so."""
    return [
        index for index, point in enumerate(found) if not spread(links, [point.tensor]) <= step.nodes
    ]


def _feeds(model: str, frames: Any, total: int, most: int) -> list[dict[str, NDArray[Any]]]:
    """Some of the frames that were calibrated on, evenly apart, as the float model takes them."""
    kinds = {item.name: item.dtype for item in inputs_of(model)}
    wanted = set(evenly(total, most))
    found = []
    for index, feed in enumerate(frames):
        if index in wanted:
            found.append({name: values.astype(kinds[name]) for name, values in feed.items()})
        if len(found) == len(wanted):
            break
    return found


def _elements(values: Iterable[Any]) -> int:
    """How many numbers values of a graph have."""
    return sum(
        math.prod(max(1, size.dim_value) for size in value.type.tensor_type.shape.dim)
        for value in values
    )


class Loss:
    """The squared relative error of the worst part of the outputs.

    Of a part with bounds or of several the error is relative to its standard deviation, of a whole
    output to its RMS, as in `converter.verification.figures`.
    """

    def __init__(self, reference: Sequence[Outputs], facts: Mapping[str, Any]) -> None:
        from converter.verification.figures import fitting
        from converter.verification.groups import range_groups

        self._reference = reference
        self._parts: list[tuple[str, NDArray[np.bool_] | None, float]] = []
        for name in reference[0]:
            a = np.stack([np.asarray(frame[name], np.float64) for frame in reference])
            if not np.issubdtype(np.asarray(reference[0][name]).dtype, np.floating):
                continue
            known = OutputFacts.from_json(facts[name]) if name in facts else OutputFacts()
            parts = fitting(known.parts, a.shape[1:]) or range_groups(a, "")
            masks = [part.mask(a.shape[1:]) for part in parts] if len(parts) > 1 else [None]
            for mask in masks:
                values = a if mask is None else a[:, mask]
                centre = 0.0 if mask is None else float(values.mean())
                power = float(np.square(values - centre).mean()) if values.size else 0.0
                self._parts.append((name, mask, max(power, _FLOOR)))

    def squared(self, found: Sequence[Outputs]) -> float:
        """For the first frames of the reference; an error that is no number is infinite."""
        return max((_mean(sums) / power for sums, power in self._sums(found)), default=0.0)

    def by_frame(self, found: Sequence[Outputs]) -> list[float]:
        """Each frame's share in the square of the worst part; one without a number is left out."""
        rows = [
            (_mean(sums) / power, [total for total, _ in sums]) for sums, power in self._sums(found)
        ]
        worst = max(rows, key=lambda row: row[0], default=(0.0, [0.0] * len(found)))[1]
        return [share if math.isfinite(share) else 0.0 for share in worst]

    def _sums(self, found: Sequence[Outputs]) -> Iterator[tuple[list[tuple[float, int]], float]]:
        """By part the squared error and the size of each frame, and the part's power."""
        for name, mask, power in self._parts:
            sums = []
            for one, other in zip(self._reference, found, strict=False):
                difference = np.subtract(one[name], other[name], dtype=np.float64)
                part = difference if mask is None else difference[mask]
                sums.append((float(np.square(part).sum()), part.size))
            yield sums, power


def _mean(sums: Sequence[tuple[float, int]]) -> float:
    mean = sum(total for total, _ in sums) / max(sum(size for _, size in sums), 1)
    return mean if math.isfinite(mean) else math.inf


class _Teller:
    """Tells how many runs were done, of how many, and how long the rest may take."""

    def __init__(self, total: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._total, self._done, self._clock, self._began = total, 0, clock, clock()

    def more(self, runs: int) -> None:
        self._total += runs

    def one_more(self) -> None:
        self._done += 1
        each = (self._clock() - self._began) / self._done
        said = {"done": self._done, "total": max(self._total, self._done), "run_s": round(each, 4)}
        sys.stdout.write(json.dumps(said) + "\n")
        sys.stdout.flush()
