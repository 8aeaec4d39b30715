"""What helps the layers of a quantized network that matter most, tried on the float model.

Tried is on the float model with rounded tensors (`switched`): weights are not rounded there, so that a
figure is of activations alone.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Protocol

from converter.analysis.layer import Analysis, Layer, Remedy
from targets.rvc4.quantization.switched import Switched, codes_of, distance

if TYPE_CHECKING:
    from numpy.typing import NDArray

# So many layers are tried alone, by their own errors; on so many frames.
_TRIED: Final = 32
_FRAMES: Final = 4
_WORST: Final = 10
# A gain of less of the outputs' error is not told.
_TOLD: Final = 0.02
# A share of clipped values that calibration data should not have left.
_CLIPPED: Final = 1e-3
# The share of a range that the narrower one has which is tried.
_NARROWER: Final = (0.5, 0.25, 0.1)


class HasLimits(Protocol):
    """The codes of a tensor."""

    @property
    def bits(self) -> int:
        """How many."""
        ...

    @property
    def limits(self) -> tuple[float, float]:
        """The lowest and the highest number."""
        ...


def with_remedies(
    model: str,
    layers: Sequence[Layer],
    codes: Mapping[str, HasLimits],
    feeds: Sequence[Mapping[str, NDArray[Any]]],
    *,
    widens: bool,
) -> tuple[list[Layer], float | None]:
    """The layers with the outputs' error of each alone, and remedies for the worst ten.

    Args:
        model: The float model's file; codes: By tensor.
        feeds: Frames as the float model takes them.
        widens: Whether `rvc4.wide` can be had: modes of 16-bit activations refuse it.

    Returns:
        The layers, and the outputs' error with all of their tensors rounded.
    """
    if not layers:
        return list(layers), None
    names = [layer.tensor for layer in layers]
    feeds = feeds[:_FRAMES]
    switched = Switched(model, names)
    exact = switched.run_all(feeds)
    given = [codes_of(codes[name].limits, codes[name].bits) for name in names]

    def error(choice: Sequence[Any]) -> float:
        return distance(exact, switched.run_all(feeds, choice))

    def but(index: int, other: Any, base: Sequence[Any]) -> list[Any]:
        return [other if place == index else item for place, item in enumerate(base)]

    whole = error(given)
    order = sorted(range(len(layers)), key=lambda index: -layers[index].weight)
    found = list(layers)
    for index in order[:_TRIED]:
        alone = error(but(index, given[index], [None] * len(names)))
        found[index] = dataclasses.replace(found[index], outputs=alone)
    worst = {layer.tensor for layer in Analysis(layers=found, on="", frames=0).worst(_WORST)}
    for index, layer in enumerate(found):
        if layer.tensor not in worst:
            continue
        remedies = []
        if layer.bits == 8 and widens:
            wide = whole - error(but(index, codes_of(codes[layer.tensor].limits, 16), given))
            if wide > _TOLD * whole:
                said = f"rvc4.wide={layer.tensor} gives it 16 bits"
                remedies.append(Remedy(said=said, brings=wide))
        narrow = max(
            whole - error(but(index, codes_of(limits, layer.bits or 8), given))
            for limits in _narrower(codes[layer.tensor].limits)
        )
        if narrow > _TOLD * whole:
            said = "a narrower range: an …_ACCURACY_FOCUSED mode tries some for groups of tensors"
            remedies.append(Remedy(said=said, brings=narrow))
        remedies += _untried(layer)
        remedies.sort(key=lambda item: -(item.brings or 0.0))
        found[index] = dataclasses.replace(layer, remedies=tuple(remedies))
    return found, whole


def _narrower(limits: tuple[float, float]) -> Iterator[tuple[float, float]]:
    yield from ((limits[0] * share, limits[1] * share) for share in _NARROWER)


def _untried(layer: Layer) -> Iterator[Remedy]:
    """What the figures say helps, without a figure of how much."""
    if layer.clipped > _CLIPPED:
        yield Remedy(
            said=f"calibration data like these frames: {100 * layer.clipped:.2g} % of the values are "
            "beyond its range"
        )
    if (layer.weights or 0.0) > (layer.activations or 0.0):
        yield Remedy(
            said="its weights lose more than its output: rvc4.quantization_mode=INT16_STANDARD has 16 "
            "bits for them"
        )
