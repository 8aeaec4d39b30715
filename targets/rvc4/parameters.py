"""What an RVC4 toolchain is told, as values: shared by QNN and SNPE, and QNN's own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Self

from converter.backend import Backend
from converter.calibration.dataset import Calibration
from converter.feeding import TargetInput
from converter.model import Tensor
from targets.rvc4.mixed.wanted import Wanted
from targets.rvc4.quantization.encodings import Encodings
from targets.rvc4.quantization.modes import Precision


@dataclass(frozen=True, kw_only=True)
class Parameters:
    """What every RVC4 toolchain needs to know.

    Attributes:
        outputs: The source's, whose element types the mode decides.
        per_channel: Whether convolutions' 8-bit weights get a scale for each output channel.
        percentile: What share of the values a range covers, in percent, where that is the method.
        calibration: Where ranges are measured; None for floating point.
        encodings: Given ranges, which win over measured ones.
        output_type: The element type that float outputs leave in; `auto` for the mode's.
        mixed: Which tensors of an 8-bit network are to have 16 bits.
        bias_correction: Whether biases are corrected for the rounding of weights.
        recorded: The ranges of a build record, to make its network again; None to measure.
        backend: What converts.
    """

    inputs: tuple[TargetInput, ...]
    outputs: tuple[Tensor, ...]
    mode: str
    precision: Precision
    per_channel: bool
    percentile: float
    simplify: bool
    calibration: Calibration | None
    encodings: Encodings | None
    timeout_s: float
    backend: Backend
    output_type: str = "auto"
    mixed: Wanted = field(default_factory=Wanted)
    bias_correction: bool = False
    recorded: Mapping[str, Any] | None = None

    @classmethod
    def extending(cls, shared: Parameters, **own: Any) -> Self:
        """A toolchain's parameters: the shared ones and its own; `own` wins."""
        return cls(**{item.name: getattr(shared, item.name) for item in fields(Parameters)} | own)

    @property
    def deciding(self) -> Calibration | None:
        """The calibration data that decides: without the frames that a search is judged on."""
        if self.calibration is None or self.mixed.max_drop is None:
            return self.calibration
        if self.mixed.metric == "labels":  # only labelled frames judge
            return self.calibration
        return self.calibration.split()[0]

    def to_json(self) -> dict[str, Any]:
        """The parameters as plain JSON data; a time limit changes no result and is left out."""
        return {
            "inputs": [item.to_json() for item in self.inputs],
            "outputs": [item.to_json() for item in self.outputs],
            "quantization_mode": self.mode,
            "precision": self.precision.to_json(),
            "per_channel": self.per_channel,
            "output_type": self.output_type,
            "bias_correction": self.bias_correction,
            "percentile": self.percentile if self.precision.ranges in ("percentile", "best") else None,
            "soc": None,
            "onnx_simplification": self.simplify,
            "calibration": self.calibration.to_json() if self.calibration else None,
            "encodings": self.encodings.to_json() if self.encodings else None,
            **({"mixed": self.mixed.to_json()} if self.mixed else {}),
        }


@dataclass(frozen=True, kw_only=True)
class QnnParameters(Parameters):
    """What QNN is told.

    Attributes:
        soc: The chip.
    """

    soc: str

    def to_json(self) -> dict[str, Any]:
        """The parameters as plain JSON data."""
        return super().to_json() | {"soc": self.soc}
