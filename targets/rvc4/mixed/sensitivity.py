"""What each quantization point adds to the outputs' error, in a child process.

A network with all points but one in float loses what that one point does; the squares of such losses
nearly add up.
"""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from converter.calibration.feeds import evenly, frames_of
from converter.graph.outputs import OutputFacts
from targets.rvc4.mixed.points import Point, points
from targets.rvc4.mixed.search import Step, between, probes, steps_of
from targets.rvc4.mixed.switched import Switched, write_switched
from targets.rvc4.quantization.calibrate import inputs_of
from targets.rvc4.quantization.widths import Links, spread

if TYPE_CHECKING:
    from numpy.typing import NDArray

Outputs = Mapping[str, "NDArray[Any]"]
# Elements of activations that may be computed: points times those of a frame times frames.
_BUDGET: Final = 2_000_000_000
# What a point loses depends on the frame: PP-OCR's normalized input 0.007 on one, 0.22 on another.
_LEAST_FRAMES, _MOST_FRAMES = 3, 8
_FLOOR: Final = 1e-12


def sensitivity_file(
    model: str,
    network: str,
    calibration: Mapping[str, Any],
    sources: Sequence[Mapping[str, Any]],
    inputs: Sequence[Mapping[str, Any]],
    facts: Mapping[str, Any],
    fixed: Sequence[str],
) -> dict[str, Any]:
    """Order a network's points by what they lose; each line on standard output tells how far it is.

    Args:
        model: The prepared float model; network: the integer one that was made of it.
        facts: What the outputs consist of (`OutputFacts.to_json`), by name.
        fixed: Tensors that cannot be wide, such as outputs whose type was chosen.

    Returns:
        `steps`: tensors and nodes of each step (`search.Step`); `rests`: the square of what the points
        lose that a step leaves in 8 bits; `losses`: what each tensor loses alone, as a relative RMSE;
        `frames`: on how many.
    """
    import onnx

    graph = onnx.load(model, load_external_data=False).graph
    found = points(graph, onnx.load(network, load_external_data=False).graph)
    links = Links.of(graph)
    total = int(calibration["frames"])
    cost = max(1, len(found) * _elements(graph))
    most = max(_LEAST_FRAMES, min(_MOST_FRAMES, _BUDGET // cost))
    feeds = _feeds(model, frames_of(calibration, sources, inputs), total, most)
    switched = Switched(write_switched(model, found), len(found))
    loss = Loss([switched.run(feed) for feed in feeds], facts)
    teller = _Teller(len(found) * len(feeds))

    def lost(on: Collection[int]) -> float:
        outputs = []
        for feed in feeds:
            outputs.append(switched.run(feed, on))
            teller.one_more()
        return loss.squared(outputs)

    squares = {index: lost([index]) for index in range(len(found))}
    order = sorted(squares, key=lambda index: (-squares[index], index))
    names = [found[index].tensor for index in order if found[index].tensor not in fixed]
    steps = steps_of(names, lambda tensors: spread(links, tensors))
    places = probes(len(steps))
    teller.more(len(places) * len(feeds))
    rests = {at: lost(_narrow(found, links, steps[at])) for at in places}
    return {
        "steps": [{"tensors": list(s.tensors), "nodes": sorted(s.nodes)} for s in steps],
        "rests": between(rests, len(steps)),
        "losses": {found[index].tensor: float(f"{math.sqrt(squares[index]):.3g}") for index in order},
        "frames": len(feeds),
    }


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


def _elements(graph: Any) -> int:
    """How many numbers of activations a frame makes."""
    return sum(
        math.prod(max(1, size.dim_value) for size in value.type.tensor_type.shape.dim)
        for value in (*graph.value_info, *graph.output)
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
        worst = 0.0
        for name, mask, power in self._parts:
            total, count = 0.0, 0
            for one, other in zip(self._reference, found, strict=False):
                difference = np.subtract(one[name], other[name], dtype=np.float64)
                part = difference if mask is None else difference[mask]
                total, count = total + float(np.square(part).sum()), count + part.size
            error = total / max(count, 1) / power
            worst = max(worst, error if math.isfinite(error) else math.inf)
        return worst


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
