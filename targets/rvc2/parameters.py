"""The parameters of the RVC2 compiler, as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from converter.backend import Backend
from targets.openvino.parameters import InputParameters, TensorParameters


@dataclass(frozen=True, kw_only=True)
class Parameters:
    """Everything the RVC2 toolchain needs to know.

    Attributes:
        shaves: SHAVE cores of the blob, or of a superblob's base.
        cmx_slices: CMX slices; None for as many as SHAVE cores.
        superblob: Whether all sixteen SHAVE counts are packed into one file.
        batch: The size of the batch axis; more than one needs another setting.
        backend: The toolchain.
    """

    inputs: tuple[InputParameters, ...]
    outputs: tuple[TensorParameters, ...]
    shaves: int
    cmx_slices: int | None
    superblob: bool
    simplify: bool
    batch: int
    compile_timeout_s: float
    backend: Backend

    @property
    def shave_counts(self) -> tuple[int, ...]:
        """Every SHAVE count to compile for, the base first."""
        others = [count for count in range(1, 17) if count != self.shaves]
        return (self.shaves, *others) if self.superblob else (self.shaves,)

    def settings(self, shaves: int) -> Mapping[str, str]:
        """The MYRIAD plugin's settings for one compile.

        `MYRIAD_ENABLE_MX_BOOT NO` keeps it from waiting for a device; batch detection would silently
        compile a batch of two as a batch of one.
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
