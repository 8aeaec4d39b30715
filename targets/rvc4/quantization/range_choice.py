"""A range for each group of tensors, chosen among several by what the outputs lose.

From the best way for all tensors on, group by group the other ways are tried on the float model with
rounded tensors (`switched`), and what brings the outputs nearer is kept.

(By what the next nodes lose, a choice is no better than one for all: outliers have most of the energy
there, even where a later node has no use for them.)
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from targets.rvc4.quantization.switched import Switched, codes_of, distance

if TYPE_CHECKING:
    from numpy.typing import NDArray

Range = tuple[float, float]
Ways = Mapping[str, Mapping[str, Range]]
# Neighbours in the graph are one group where there are more tensors.
_GROUPS: Final = 16
# The gain of a group that counts.
_FALLS: Final = 0.98


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
    switched = Switched(model, names)
    expected = switched.run_all(feeds)
    chosen = dict.fromkeys(names, start)

    def error(choice: Mapping[str, str]) -> float:
        codes = [codes_of(ways[way][name], bits) for name, way in choice.items()]
        return distance(expected, switched.run_all(feeds, codes))

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
