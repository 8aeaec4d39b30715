"""ModelConverter's quantization modes: the weights, activations and ranges of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

RangeMethod = Literal["min-max", "percentile", "mse", "best"]


@dataclass(frozen=True, kw_only=True)
class Precision:
    """Number formats of a network.

    Attributes:
        weights: Bits of the weights; activations: bits of the tensors between the nodes.
        ranges: How activation ranges are chosen: `best` tries each of BEST_OF, for all tensors and
            for groups of them (PER_TENSOR), on calibration frames and keeps what has the least error.
            None for floating point, which needs no ranges.
        per_channel: Whether the mode uses a scale for each output channel of a convolution.
    """

    weights: int
    activations: int
    ranges: RangeMethod | None
    per_channel: bool = True

    @property
    def is_float(self) -> bool:
        """Whether the network computes in float16."""
        return self.ranges is None

    @property
    def word(self) -> str:
        """The precision, as the archive's config names it."""
        return "float16" if self.is_float else f"int{self.weights}"

    def to_json(self) -> dict[str, Any]:
        """The precision as plain JSON data."""
        return {
            "weights": self.weights,
            "activations": self.activations,
            "type": "float" if self.is_float else "int",
            "ranges": self.ranges,
        }


BEST_OF: Final[Sequence[RangeMethod]] = ("min-max", "percentile", "mse")
# Each group of tensors has the method that the outputs lose least with.
PER_TENSOR: Final = "per-tensor"
CUSTOM: Final = "CUSTOM"
MODES: Final[Mapping[str, Precision]] = {
    "INT8_STANDARD": Precision(weights=8, activations=8, ranges="min-max"),
    "INT8_ACCURACY_FOCUSED": Precision(weights=8, activations=8, ranges="best"),
    "INT8_INT16_MIXED": Precision(weights=8, activations=16, ranges="min-max"),
    "INT8_INT16_MIXED_ACCURACY_FOCUSED": Precision(weights=8, activations=16, ranges="best"),
    # QNN takes per-channel scales for 8-bit weights only.
    "INT16_STANDARD": Precision(weights=16, activations=16, ranges="min-max", per_channel=False),
    "FP16_STANDARD": Precision(weights=16, activations=16, ranges=None, per_channel=False),
}
