"""The parameters of OpenVINO's compilers for the tensors, as values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from converter.feeding import TargetInput


@dataclass(frozen=True, kw_only=True)
class TensorParameters:
    """How an output leaves the compiled network.

    Attributes:
        precision: The compiler's name for the type: FP16 or FP32.
        dtype: The config's name for the same.
        layout: The axes of the output; may be empty.
        shape: Sizes in that order; None if only the compiled file has them.
    """

    name: str
    precision: str
    dtype: str
    layout: str
    shape: tuple[int, ...] | None

    def to_json(self) -> dict[str, Any]:
        """The tensor as plain JSON data."""
        return {
            "name": self.name,
            "precision": self.precision,
            "dtype": self.dtype,
            "layout": self.layout or None,
            "shape": None if self.shape is None else list(self.shape),
        }


@dataclass(frozen=True, kw_only=True)
class InputParameters(TargetInput):
    """An input: how the frame becomes the model's tensor, and how the archive describes it.

    Attributes:
        precision: The compiler's name for the type: U8, FP16, FP32 or I32.
        compiler_layout: The layout to set for the compiler, or empty for row-major as declared.
    """

    precision: str = ""
    compiler_layout: str = ""

    @property
    def network_layout(self) -> str:
        """Planar even if the blob takes interleaved frames: the compiler transposes those."""
        return "NCHW" if self.compiler_layout else self.layout

    def to_json(self) -> dict[str, Any]:
        """The input as plain JSON data."""
        return super().to_json() | {
            "precision": self.precision,
            "compiler_layout": self.compiler_layout or None,
        }
