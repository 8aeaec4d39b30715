"""What the RVC2 compiler is told, as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from converter.feeding import TargetInput


@dataclass(frozen=True, kw_only=True)
class TensorParameters:
    """How an output leaves the blob.

    Attributes:
        precision: The compiler's word: FP16 or FP32.
        dtype: The archive's word for the same.
        layout: The axes as they go out; may be empty.
        shape: Sizes in that order; None if only the compiled file tells.
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
        precision: The compiler's word: U8, FP16, FP32 or I32.
        compiler_layout: The layout to set for the compiler, or empty for row-major as declared.
    """

    precision: str = ""
    compiler_layout: str = ""

    @property
    def network_layout(self) -> str:
        """Planar even where the blob takes interleaved frames: the compiler itself turns those."""
        return "NCHW" if self.compiler_layout else self.layout

    def to_json(self) -> dict[str, Any]:
        """The input as plain JSON data."""
        return super().to_json() | {
            "precision": self.precision,
            "compiler_layout": self.compiler_layout or None,
        }


@dataclass(frozen=True, kw_only=True)
class Parameters:
    """Everything the RVC2 toolchain needs to know.

    Attributes:
        shaves: SHAVE cores of the blob; of a superblob's base.
        cmx_slices: CMX slices; None for as many as SHAVE cores.
        superblob: Whether all sixteen SHAVE counts are packed into one file.
        batch: The size of the batch axis; more than one needs a setting of its own.
    """

    inputs: tuple[InputParameters, ...]
    outputs: tuple[TensorParameters, ...]
    shaves: int
    cmx_slices: int | None
    superblob: bool
    simplify: bool
    batch: int
    compile_timeout_s: float

    @property
    def shave_counts(self) -> tuple[int, ...]:
        """Every SHAVE count to compile for, the base first."""
        others = [count for count in range(1, 17) if count != self.shaves]
        return (self.shaves, *others) if self.superblob else (self.shaves,)

    def settings(self, shaves: int) -> Mapping[str, str]:
        """The MYRIAD plugin's settings for one compile.

        `MYRIAD_ENABLE_MX_BOOT NO` keeps it from waiting for a device; batch detection would compile
        a batch of two as a batch of one and say nothing.
        """
        settings = {
            "MYRIAD_ENABLE_MX_BOOT": "NO",
            "MYRIAD_NUMBER_OF_SHAVES": str(shaves),
            "MYRIAD_NUMBER_OF_CMX_SLICES": str(self.cmx_slices or shaves),
            "MYRIAD_THROUGHPUT_STREAMS": "1",
        }
        if self.batch > 1:
            settings["MYRIAD_DETECT_NETWORK_BATCH"] = "NO"
        return settings

    def to_json(self) -> dict[str, Any]:
        """The parameters as plain JSON data; a time limit changes no result and is left out."""
        return {
            "inputs": [item.to_json() for item in self.inputs],
            "outputs": [item.to_json() for item in self.outputs],
            "number_of_shaves": self.shaves,
            "number_of_cmx_slices": self.cmx_slices,
            "superblob": self.superblob,
            "onnx_simplification": self.simplify,
            "batch": self.batch,
        }
