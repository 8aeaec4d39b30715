"""The fewest steps of an order that keep a limit, by bisection. Pure arithmetic."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Step:
    """One more tensor of the order, with all in front of it.

    Attributes:
        tensors: The tensors that are asked to be wide, the one that loses most first.
        nodes: The nodes that become wide with them.
    """

    tensors: tuple[str, ...]
    nodes: frozenset[str]


@dataclass(frozen=True, kw_only=True)
class Found:
    """What a search found.

    Attributes:
        count: How many steps were taken; None where no number of them keeps the limit.
        best: The step with the least loss that was tried.
        losses: By number of steps, of those that were tried.
    """

    count: int | None
    best: int
    losses: Mapping[int, float]


def steps_of(order: Sequence[str], spread: Callable[[Sequence[str]], frozenset[str]]) -> list[Step]:
    """The order as steps that each make at least one more node wide, the empty one first.

    A tensor that adds no node joins the step before it: it is wide there already.

    Args:
        order: Tensors, the one that loses most first.
        spread: The nodes that tensors make wide.
    """
    steps = [Step(tensors=(), nodes=frozenset())]
    for tensor in order:
        last = steps[-1]
        nodes = last.nodes | spread([tensor])
        grown = Step(tensors=(*last.tensors, tensor), nodes=nodes)
        if nodes == last.nodes and len(steps) > 1:
            steps[-1] = grown
        elif nodes != last.nodes:
            steps.append(grown)
    return steps


def fewest(last: int, loss: Callable[[int], float], limit: float, *, start: int = 0) -> Found:
    """The least number of steps whose loss is within the limit.

    From `start` the distance doubles until the limit lies in between, then it is bisected. Where
    the loss falls with every step, the number is the least there is; else one step less was tried, and
    is beyond the limit.

    Args:
        last: The greatest number of steps.
        loss: What a number of steps loses; each is asked once.
        limit: What may be lost.
        start: Where the number is expected.
    """
    losses: dict[int, float] = {}

    def keeps(count: int) -> bool:
        if count not in losses:
            losses[count] = loss(count)
        return losses[count] <= limit

    low, high = -1, last + 1  # the limit is not kept at `low`, and is at `high`
    at, distance = min(max(start, 0), last), 1
    while True:
        if keeps(at):
            high = at
            following = max(at - distance, 0)
        else:
            low = at
            following = min(at + distance, last)
        distance *= 2
        if low >= 0 and high <= last:
            break
        if following == at:
            break
        at = following
    while high - low > 1 and low >= 0 and high <= last:
        middle = (low + high) // 2
        if keeps(middle):
            high = middle
        else:
            low = middle
    best = min(losses, key=lambda count: (losses[count], count))
    return Found(count=high if high <= last else None, best=best, losses=dict(losses))
