"""What clients of the service's own API send."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator, model_validator

from converter.service.bounds import plain

Digest = Annotated[str, StringConstraints(pattern=r"^sha256:[0-9a-f]{64}$")]
Text = Annotated[str, StringConstraints(min_length=1, max_length=255, pattern=r"^[^\x00-\x1f\x7f]+$")]
# What a database's integers hold.
Count = Annotated[int, Field(ge=0, lt=1 << 63)]
Id = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]{1,100}$")]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _plain(cls, value: Any) -> Any:
        return plain(value)


class NewUpload(_Body):
    """A file that is to come."""

    name: Text = Field(examples=["yolov8n.tar.xz"], description="Its suffix says what it is.")
    size: Annotated[Count, Field(ge=1)]
    digest: Digest


class Conversion(_Body):
    """What is to be converted, and how: files are uploads, named by their digests."""

    source: Digest
    target: Text = Field(examples=["rvc4"])
    options: dict[str, Any] = Field(
        default_factory=dict, examples=[{"rvc4.quantization_mode": "FP16_STANDARD"}]
    )
    toolchain: Text = "auto"
    calibration: Digest | None = Field(None, description="A zip or tar of images or arrays.")
    uploads: dict[str, Digest] = Field(
        default_factory=dict, description="Files of options of type path, such as rvc4.encodings."
    )

    @field_validator("toolchain")
    @classmethod
    def _stays_here(cls, value: str) -> str:
        # Like the options `online.…`: it would send the model to another server.
        if value == "online":
            raise ValueError("'online' is for the server's operator to use: it sends models elsewhere")
        return value


class Batch(_Body):
    """Several conversions, each with its id."""

    conversions: Annotated[dict[Id, Conversion], Field(min_length=1, max_length=1000)]
