"""What a source archive means, as values: the model, its tensors and their preprocessing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from converter.preprocessing import Preprocessing


@dataclass(frozen=True, kw_only=True)
class Tensor:
    """A graph input or output.

    Attributes:
        dtype: The element type in the archive's words, `float32` and the like.
        shape: Sizes of the axes, all positive.
        layout: One letter for each axis, `NCHW`; empty if the axes have no names.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    layout: str = ""

    def __str__(self) -> str:
        """Name, type, shape and layout: `images uint8 [1, 3, 32, 32] NCHW`."""
        return f"{self.name} {self.dtype} {list(self.shape)} {self.layout}".rstrip()

    def to_json(self) -> dict[str, Any]:
        """The tensor as plain JSON data."""
        return {
            "name": self.name,
            "dtype": self.dtype,
            "shape": list(self.shape),
            "layout": self.layout or None,
        }


@dataclass(frozen=True, kw_only=True)
class ModelInput(Tensor):
    """A graph input of the source: `is_image` if it takes camera frames."""

    is_image: bool = False
    preprocessing: Preprocessing = field(default_factory=Preprocessing)

    @property
    def channel_axis(self) -> int:
        """The index of C in the layout; the last axis for a layout without C."""
        return self.layout.index("C") if "C" in self.layout else len(self.shape) - 1

    def to_json(self) -> dict[str, Any]:
        """The input as plain JSON data."""
        return super().to_json() | {
            "input_type": "image" if self.is_image else "raw",
            "preprocessing": self.preprocessing.to_json(),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """The input that `to_json` wrote down."""
        return cls(
            name=data["name"],
            dtype=data["dtype"],
            shape=tuple(data["shape"]),
            layout=data["layout"] or "",
            is_image=data["input_type"] == "image",
            preprocessing=Preprocessing.from_json(data["preprocessing"]),
        )


@dataclass(frozen=True, kw_only=True)
class Link:
    """Where the inputs of a second stage come from.

    Attributes:
        model: The first stage.
        outputs: For each input of the second stage, the output of the first that feeds it, if known.
    """

    model: SourceModel
    outputs: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class SourceModel:
    """The model of a source archive, checked against its config.

    Attributes:
        archive_name: The archive's file name without its suffix.
        path: The model file's member name.
        files: SHA-256 of each file that the model is made of, by member name.
        format: What the model file is: `ONNX`, `OpenVINO IR` or `TFLite`.
        opset: The version of the ONNX operator set, of the IR or of the TFLite schema.
        config: The archive's `config.json`, `config_version` filled in and nothing else changed.
        link: For a second stage: what feeds it.
        second: For a first stage: the model that a head names as its postprocessor.
        cut: How the outputs were chosen among the tensors of `files`; None if they are the file's own.
    """

    archive_name: str
    name: str
    path: str
    files: Mapping[str, str]
    inputs: tuple[ModelInput, ...]
    outputs: tuple[Tensor, ...]
    opset: int
    config: Mapping[str, Any]
    format: str = "ONNX"
    link: Link | None = None
    second: SourceModel | None = None
    cut: Mapping[str, Any] | None = None

    @property
    def names(self) -> list[str]:
        """The names of the inputs and outputs."""
        return [item.name for item in (*self.inputs, *self.outputs)]

    @property
    def onnx(self) -> str:
        """The ONNX file that the first step of a target takes: the model itself, or what it became."""
        return self.path if self.format == "ONNX" else "source.onnx"

    def input(self, name: str) -> ModelInput:
        """The input of that name."""
        return next(item for item in self.inputs if item.name == name)

    def to_json(self) -> dict[str, Any]:
        """The model as plain JSON data; what a plan's hash covers of the source."""
        return {
            "name": self.name,
            "path": self.path,
            "files": dict(self.files),
            "format": self.format,
            "opset": self.opset,
            "inputs": [item.to_json() for item in self.inputs],
            "outputs": [item.to_json() for item in self.outputs],
            **({"fed_by": dict(self.link.outputs)} if self.link else {}),
            **({"cut": dict(self.cut)} if self.cut else {}),
        }
