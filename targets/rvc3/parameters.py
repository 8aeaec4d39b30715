"""The parameters of the RVC3 compiler, as values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from converter.backend import Backend
from converter.calibration.dataset import Calibration
from targets.openvino.parameters import InputParameters, TensorParameters


@dataclass(frozen=True, kw_only=True)
class Parameters:
    """Everything the RVC3 toolchain needs to know.

    Attributes:
        superblob: Whether the blob is packed as a superblob without patches.
        calibration: The data on which INT8's ranges are measured; None for float16.
    """

    inputs: tuple[InputParameters, ...]
    outputs: tuple[TensorParameters, ...]
    superblob: bool
    simplify: bool
    calibration: Calibration | None
    compile_timeout_s: float
    backend: Backend

    @property
    def precision(self) -> str:
        """The precision, as the archive's config names it."""
        return "int8" if self.calibration else "float16"

    def to_json(self) -> dict[str, Any]:
        """The parameters as plain JSON data; a time limit changes no result and is left out."""
        return {
            "inputs": [item.to_json() for item in self.inputs],
            "outputs": [item.to_json() for item in self.outputs],
            "superblob": self.superblob,
            "onnx_simplification": self.simplify,
            "precision": self.precision,
            "calibration": self.calibration.to_json() if self.calibration else None,
        }
