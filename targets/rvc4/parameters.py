"""What the RVC4 toolchain is told, as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from converter.backend import Backend
from converter.calibration import Calibration
from converter.feeding import TargetInput
from converter.model import Tensor
from targets.rvc4.encodings import Encodings
from targets.rvc4.modes import Precision
from targets.rvc4.snpe.parameters import SnpeParameters


@dataclass(frozen=True, kw_only=True)
class Parameters:
    """Everything the RVC4 toolchain needs to know.

    Attributes:
        outputs: The source's, whose element types the mode decides.
        per_channel: Whether convolutions' 8-bit weights get a scale for each output channel.
        percentile: What share of the values a range covers, in percent, where that is the method.
        soc: The chip.
        calibration: Where ranges are measured; None for floating point.
        encodings: Given ranges, which win over measured ones.
        recorded: The ranges of a build record, to make its network again; None to measure.
        backend: What converts.
        snpe: What SNPE's tools are told besides; of no meaning to QNN.
    """

    inputs: tuple[TargetInput, ...]
    outputs: tuple[Tensor, ...]
    mode: str
    precision: Precision
    per_channel: bool
    percentile: float
    soc: str
    simplify: bool
    calibration: Calibration | None
    encodings: Encodings | None
    timeout_s: float
    backend: Backend
    snpe: SnpeParameters
    recorded: Mapping[str, Any] | None = None

    def to_json(self) -> dict[str, Any]:
        """The parameters as plain JSON data; a time limit changes no result and is left out."""
        return {
            "inputs": [item.to_json() for item in self.inputs],
            "outputs": [item.to_json() for item in self.outputs],
            "quantization_mode": self.mode,
            "precision": self.precision.to_json(),
            "per_channel": self.per_channel,
            "percentile": self.percentile if self.precision.ranges in ("percentile", "best") else None,
            "soc": None if self.uses_snpe else self.soc,
            "onnx_simplification": self.simplify,
            "calibration": self.calibration.to_json() if self.calibration else None,
            "encodings": self.encodings.to_json() if self.encodings else None,
            **({"snpe": self.snpe.to_json()} if self.uses_snpe else {}),
        }

    @property
    def uses_snpe(self) -> bool:
        """Whether SNPE's tools convert, and not QNN."""
        return self.backend.toolchain == "container"
