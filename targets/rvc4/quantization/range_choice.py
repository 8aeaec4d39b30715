"""A range for each group of tensors, chosen among several by what the outputs lose.

The float model is run with every tensor rounded and cut to the codes of a range that is an input of the
session. So one session has the outputs for any choice of ranges. From the best choice for all tensors
on, group by group the other ways are tried, and what brings the outputs nearer is kept.

(By what the next nodes lose, a choice is no better than one for all: outliers have most of the energy
there, even where a later node has no use for them.)
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import onnx_ir as ir

from converter.graph.rewrite import Builder

if TYPE_CHECKING:
    from numpy.typing import NDArray

Range = tuple[float, float]
Ways = Mapping[str, Mapping[str, Range]]
# Neighbours in the graph are one group where there are more tensors.
_GROUPS: Final = 16
# The gain of a group that counts.
_FALLS: Final = 0.98
_TINY: Final = 1e-30


def search(
    model: str,
    ways: Ways,
    start: str,
    quantized: Collection[str],
    bits: int,
    feeds: Sequence[Mapping[str, NDArray[Any]]],
) -> dict[str, str]:
    """The way by tensor, for those that gain from another one than the others have.

    Args:
        model: The float model's file, with static shapes.
        ways: Ranges by the way in which they were found and by tensor.
        start: The way that is best for all tensors.
        quantized: The tensors that have codes.
        bits: Of the codes.
        feeds: Frames as the float model takes them, by input name.
    """
    names = [name for name in ways[start] if name in quantized and len(_different(name, ways)) > 1]
    if not names:
        return {}
    session = _session(model, names)
    expected = _run(session, feeds, dict.fromkeys(names), bits)
    chosen = dict.fromkeys(names, start)

    def error(choice: Mapping[str, str]) -> float:
        ranges = {name: ways[way][name] for name, way in choice.items()}
        return _distance(expected, _run(session, feeds, ranges, bits))

    least = error(chosen)
    for group in _groups(names):
        for way in ways:
            tried = chosen | dict.fromkeys(group, way)
            if _same(tried, chosen, ways):
                continue
            found = error(tried)
            if found < _FALLS * least:
                least, chosen = found, tried
    return {name: way for name, way in chosen.items() if ways[way][name] != ways[start][name]}


def mixed(ways: Ways, start: str, chosen: Mapping[str, str]) -> dict[str, Range]:
    """The ranges that were chosen, and the start's for the others."""
    return {name: ways[chosen.get(name, start)][name] for name in ways[start]}


def _different(name: str, ways: Ways) -> set[Range]:
    return {tuple(ranges[name]) for ranges in ways.values()}  # type: ignore[misc]  # two numbers


def _same(one: Mapping[str, str], other: Mapping[str, str], ways: Ways) -> bool:
    return all(ways[one[name]][name] == ways[other[name]][name] for name in one)


def _groups(names: Sequence[str]) -> list[list[str]]:
    """Names in at most so many groups of neighbours."""
    size = -(-len(names) // _GROUPS)
    return [list(names[first : first + size]) for first in range(0, len(names), size)]


def _session(model: str, names: Sequence[str]) -> Any:
    """The float model with step, lowest and highest code of each tensor as further inputs."""
    from converter.sources.onnx_session import session_of

    made = ir.load(model)
    graph = made.graph
    values = {str(value.name): value for value in graph.inputs}
    values |= {str(value.name): value for node in graph for value in node.outputs}
    for index, name in enumerate(names):
        value = values[name]
        readers = list(value.uses())
        limits = [
            ir.Value(
                name=f"nnconvert:{kind}:{index}",
                shape=ir.Shape([]),
                type=ir.TensorType(ir.DataType.FLOAT),
            )
            for kind in ("step", "low", "high")
        ]
        graph.inputs.extend(limits)
        step, low, high = limits
        b = Builder(graph, f"{name}/codes")
        codes = b.op("Round", b.op("Div", value, step))
        coded = b.op("Mul", b.op("Min", b.op("Max", codes, low), high), step)
        for node, place in readers:
            node.replace_input_with(place, coded)
        maker = value.producer()
        if maker is None:
            graph.insert_before(graph[0], b.nodes)
        else:
            graph.insert_after(maker, b.nodes)
    path = f"{model}.ranges.onnx"
    ir.save(made, path, external_data=f"{Path(path).name}.data", size_threshold_bytes=4096)
    return session_of(path)


def _run(
    session: Any,
    feeds: Sequence[Mapping[str, NDArray[Any]]],
    ranges: Mapping[str, Range | None],
    bits: int,
) -> list[list[NDArray[Any]]]:
    """The outputs of each frame; without a range a tensor's steps are too small to matter."""
    told: dict[str, NDArray[np.float32]] = {}
    for index, limits in enumerate(ranges.values()):
        codes = (2.0**-40, -np.inf, np.inf) if limits is None else _codes(limits, bits)
        for kind, number in zip(("step", "low", "high"), codes, strict=True):
            told[f"nnconvert:{kind}:{index}"] = np.array(number, np.float32)
    return [session.run(None, {**feed, **told}) for feed in feeds]


def _codes(limits: Range, bits: int) -> tuple[float, float, float]:
    """The step of a range, its lowest and its highest code; 0 is one of them."""
    low, high = min(limits[0], 0.0), max(limits[1], 0.0)
    step = (high - low) / (2**bits - 1) or 1.0
    zero = round(-low / step)
    return step, -float(zero), float(2**bits - 1 - zero)


def _distance(
    expected: Sequence[Sequence[NDArray[Any]]], found: Sequence[Sequence[NDArray[Any]]]
) -> float:
    """The mean over the float outputs of the relative RMSE over all frames."""
    errors = []
    for one, other in zip(zip(*expected, strict=True), zip(*found, strict=True), strict=True):
        if one[0].dtype.kind != "f":
            continue
        a, b = (np.concatenate([np.ravel(x) for x in side]).astype(np.float64) for side in (one, other))
        energy = np.square(a - a.mean()).sum() if a.size > 1 else np.square(a).sum()
        errors.append(np.sqrt(np.square(a - b).sum() / max(energy, _TINY)))
    return float(np.mean(errors)) if errors else 0.0
