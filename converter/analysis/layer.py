"""A layer of a converted network: what it loses, of what range, and what helps."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, Self

from converter.verification.trace import node_name

_FIGURES: Final = ("accumulated", "alone", "weights", "activations", "outputs")


@dataclass(frozen=True, kw_only=True)
class Remedy:
    """What helps a layer.

    Attributes:
        said: The option or the step, in a sentence.
        brings: By how much the outputs' error falls with it, where that was measured (relative RMSE).
    """

    said: str
    brings: float | None = None


@dataclass(frozen=True, kw_only=True)
class Channel:
    """A channel that needs more of a tensor's range than the others: its largest absolute value."""

    index: int
    largest: float


@dataclass(frozen=True, kw_only=True)
class Histogram:
    """How many values lie where.

    Attributes:
        low, high: The outermost edges; bins are of one width.
        source, result: Counts of the float model's tensor, and of the converted network's.
    """

    low: float
    high: float
    source: tuple[int, ...]
    result: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Layer:
    """One tensor that the converted network rounds, with the nodes that compute it.

    Errors are relative: `√(Σ(result - source)² / Σ source²)` over all frames. None is unknown.

    Attributes:
        node, operator: What makes the tensor; the one with weights, where others are fused with it.
        accumulated: The tensor's error in the converted network.
        alone: The error that the layer adds to exact inputs; weights, activations: the same with
            nothing but its weights, or its output, rounded.
        outputs: The error of the network's outputs with nothing but this tensor rounded.
        bits: Of the tensor's codes; limits: the lowest and the highest number they reach.
        seen: The smallest and the largest value in the float model; clipped: the share of its values
            beyond the limits.
        channels: Those that dominate the range; usual: what half of the channels stay below.
        notes: What is remarkable beside that.
    """

    tensor: str
    node: str
    operator: str
    accumulated: float | None
    alone: float | None = None
    weights: float | None = None
    activations: float | None = None
    outputs: float | None = None
    bits: int | None = None
    limits: tuple[float, float] | None = None
    seen: tuple[float, float] = (0.0, 0.0)
    clipped: float = 0.0
    channels: Sequence[Channel] = ()
    usual: float = 0.0
    histogram: Histogram | None = None
    notes: Sequence[str] = ()
    remedies: Sequence[Remedy] = ()

    @property
    def name(self) -> str:
        """The node as the source's author knows it."""
        return node_name(self.node, self.operator)

    @property
    def sqnr_db(self) -> float | None:
        """Signal to quantization noise of the layer alone, in decibels; None where nothing is lost."""
        return None if not self.alone else -20 * math.log10(self.alone)

    @property
    def used(self) -> float | None:
        """The share of the codes' range that the values use."""
        if self.limits is None or self.limits[1] <= self.limits[0]:
            return None
        low, high = max(self.seen[0], self.limits[0]), min(self.seen[1], self.limits[1])
        return max(high - low, 0.0) / (self.limits[1] - self.limits[0])

    @property
    def weight(self) -> float:
        """How much it matters: at the outputs where that is known, else in its own tensor."""
        return next((e for e in (self.outputs, self.alone, self.accumulated) if e is not None), 0.0)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON data with four digits, and what follows from it."""
        rounded: dict[str, Any] = _rounded({**asdict(self), "sqnr_db": self.sqnr_db, "used": self.used})
        return rounded

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """The value that `to_json` wrote down."""
        known: dict[str, Any] = {
            # What is not finite is text.
            key: float(value) if key in _FIGURES and value is not None else value
            for key, value in data.items()
            if key not in ("sqnr_db", "used")
        }
        shape = known.get("histogram")
        return cls(
            **{
                **known,
                "limits": tuple(known["limits"]) if known.get("limits") else None,
                "seen": tuple(known["seen"]),
                "channels": tuple(Channel(**item) for item in known["channels"]),
                "histogram": shape
                and Histogram(
                    **{**shape, "source": tuple(shape["source"]), "result": tuple(shape["result"])}
                ),
                "notes": tuple(known["notes"]),
                "remedies": tuple(Remedy(**item) for item in known["remedies"]),
            }
        )


@dataclass(frozen=True, kw_only=True)
class Analysis:
    """What a target found of a network.

    Attributes:
        layers: In the order in which they are computed.
        on: What was run.
        frames: How many frames; simulated: the outputs' error with all activations rounded, which the
            layers' `outputs` and the remedies' gains are of; None where nothing is simulated.
        said: What holds for the whole network.
    """

    layers: Sequence[Layer]
    on: str
    frames: int
    simulated: float | None = None
    said: Sequence[str] = ()

    def worst(self, count: int = 10) -> list[Layer]:
        """The layers that matter most; those that lose nothing are not among them."""
        found = sorted(self.layers, key=lambda layer: -layer.weight)[:count]
        return [layer for layer in found if layer.weight > 0]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON data."""
        return {
            "on": self.on,
            "frames": self.frames,
            "simulated": _rounded(self.simulated),
            "said": list(self.said),
            "worst": [layer.tensor for layer in self.worst()],
            "layers": [layer.to_json() for layer in self.layers],
        }


def _rounded(value: Any) -> Any:
    """Numbers with four digits; what is not finite as text, which JSON has no number for."""
    if isinstance(value, bool | int | str) or value is None:
        return value
    if isinstance(value, float):
        return float(f"{value:.4g}") if math.isfinite(value) else str(value)
    if isinstance(value, Mapping):
        return {key: _rounded(item) for key, item in value.items()}
    return [_rounded(item) for item in value]
