"""What the official client posts. Fields that are not named here are kept as they come."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from converter.service.bounds import plain

Name = Annotated[str, StringConstraints(min_length=1, max_length=255, pattern=r"^[^\x00-\x1f\x7f]+$")]


class _Body(BaseModel):
    model_config = ConfigDict(extra="allow", protected_namespaces=())

    @model_validator(mode="before")
    @classmethod
    def _plain(cls, value: Any) -> Any:
        return plain(value)


class ModelBody(_Body):
    """POST models."""

    name: Name
    tasks: list[Any] | None = None
    links: list[Any] | None = None


class ModelChange(_Body):
    """PATCH models: only what changes."""

    name: Name | None = None
    tasks: list[Any] | None = None
    links: list[Any] | None = None


class VariantBody(_Body):
    """POST modelVersions."""

    model_id: Name
    name: Name
    version: Name = "0.1.0"
    tags: list[str] | None = None


class InstanceBody(_Body):
    """POST modelInstances."""

    name: Name
    model_version_id: Name
    model_type: Name
    input_shape: list[list[Any]] | None = None
    tags: list[str] | None = None
    parent_id: Name | None = None


class InputBody(_Body):
    """An input of an export."""

    input_name: str | None = None
    name: str | None = None
    shape: list[int] | None = None
    encoding: dict[str, str | None] | None = None


class ExportBody(_Body):
    """POST modelInstances/{id}/export/{target}."""

    name: Name = "export"
    quantization_data: str | None = None
    target_precision: str | None = None
    max_quantization_images: Annotated[int, Field(ge=1)] | None = None
    inputs: list[InputBody] | None = None
