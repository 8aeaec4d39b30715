"""Figures of one tensor over frames: its error, range, channels and histogram."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from converter.analysis.layer import Channel, Histogram

if TYPE_CHECKING:
    from numpy.typing import NDArray

_BINS: Final = 48
# Beyond this multiple of what half of the channels reach, a channel dominates.
_DOMINATES: Final = 6.0
_LISTED: Final = 3
_TINY: Final = 1e-30


@dataclass
class Sums:
    """What is added up of a tensor.

    Attributes:
        low, high: The histogram's ends; values beyond them are counted in the outermost bins.
        errors: Sums of squared differences, by what was rounded.
    """

    low: float
    high: float
    energy: float = 0.0
    count: int = 0
    clipped: int = 0
    seen_low: float = np.inf
    seen_high: float = -np.inf
    channels: NDArray[np.float64] | None = None
    errors: dict[str, float] = field(default_factory=dict)
    _counts: dict[str, NDArray[np.int64]] = field(default_factory=dict)

    def see(self, source: NDArray[Any], limits: tuple[float, float] | None = None) -> None:
        """Add the float model's tensor of one frame, of any shape.

        Args:
            limits: Beyond which values are clipped.
        """
        values = source.astype(np.float64)
        self.energy += float(np.square(values).sum())
        self.count += values.size
        self.seen_low = min(self.seen_low, float(values.min(initial=np.inf)))
        self.seen_high = max(self.seen_high, float(values.max(initial=-np.inf)))
        if limits is not None:
            self.clipped += int(((values < limits[0]) | (values > limits[1])).sum())
        if values.ndim > 2 and values.shape[1] > 1:
            peaks = np.abs(np.moveaxis(values, 1, 0)).reshape(values.shape[1], -1).max(axis=1)
            self.channels = peaks if self.channels is None else np.maximum(self.channels, peaks)
        self._add("source", values)

    def differ(self, kind: str, source: NDArray[Any], other: NDArray[Any]) -> None:
        """Add the squared difference of one frame; `result` is counted in the histogram as well."""
        a, b = source.astype(np.float64), other.astype(np.float64).reshape(source.shape)
        total = float(np.square(a - b).sum())
        self.errors[kind] = self.errors.get(kind, 0.0) + (total if np.isfinite(total) else np.inf)
        if kind == "result":
            self._add("result", b)

    def error(self, kind: str) -> float | None:
        """The relative error of a kind; None if it was not seen."""
        found = self.errors.get(kind)
        return None if found is None else float(np.sqrt(found / max(self.energy, _TINY)))

    @property
    def usual(self) -> float:
        """What half of the channels stay below; 0 where there are none."""
        return 0.0 if self.channels is None else float(np.median(self.channels))

    def dominating(self) -> tuple[Channel, ...]:
        """The channels that reach far beyond the others, the largest first."""
        if self.channels is None:
            return ()
        order = np.argsort(-self.channels, kind="stable")[:_LISTED]
        return tuple(
            Channel(index=int(index), largest=float(self.channels[index]))
            for index in order
            if self.channels[index] > _DOMINATES * max(self.usual, _TINY)
        )

    def histogram(self) -> Histogram | None:
        """How many values lie where; None where nothing was counted."""
        if not self._counts:
            return None
        empty = np.zeros(_BINS, np.int64)
        return Histogram(
            low=self.low,
            high=self.high,
            source=tuple(self._counts.get("source", empty).tolist()),
            result=tuple(self._counts.get("result", empty).tolist()),
        )

    def _add(self, side: str, values: NDArray[np.float64]) -> None:
        if not self.high > self.low:
            return
        finite = values[np.isfinite(values)]
        counts = np.histogram(
            np.clip(finite, self.low, self.high), bins=_BINS, range=(self.low, self.high)
        )[0]
        self._counts[side] = self._counts.get(side, 0) + counts
