"""The subject of the rules: an opened archive, and what follows from it, computed once."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import Any, Final

from converter.archive.opened import BUILDINFO, Archive
from converter.config.schema import check_schema
from converter.errors import ArchiveError, ConvertError, ModelError
from converter.findings import Finding
from converter.formats import read_compiled, recognized, suffixes
from converter.model import SourceModel
from converter.options.resolve import Options

_MAX_RECORD_BYTES: Final = 64 << 20


class Side(StrEnum):
    """Whether an archive is the source or the result of a conversion."""

    SOURCE = "source"
    TARGET = "target"


@dataclass(frozen=True, kw_only=True)
class Subject:
    """An archive to be checked.

    Attributes:
        file_name: The archive's file name; empty for one without a name.
        is_packed: Whether it is a file, or will be one.
    """

    archive: Archive
    file_name: str = ""
    is_packed: bool = True

    @cached_property
    def path(self) -> str:
        """The model's path in the config; empty if there is none."""
        value: Any = self.archive.config
        for key in ("model", "metadata", "path"):
            value = value.get(key) if isinstance(value, Mapping) else None
        return value if isinstance(value, str) else ""

    @cached_property
    def has_model(self) -> bool:
        """Whether the model's file is there, under its name."""
        return self.archive.member(self.path) is not None

    @cached_property
    def side(self) -> Side:
        """A target if the model is compiled, by its name or by its bytes."""
        if self.path.lower().endswith(suffixes()):
            return Side.TARGET
        if self.has_model and recognized(self.archive.path(self.path)):
            return Side.TARGET
        return Side.SOURCE

    @cached_property
    def model(self) -> Mapping[str, Any]:
        """The config's model; of the right shape where `schema` is empty."""
        model: Mapping[str, Any] = self.archive.config["model"]
        return model

    @cached_property
    def heads(self) -> list[Mapping[str, Any]]:
        """The config's heads, raw."""
        return list(self.model.get("heads") or ())

    @cached_property
    def outputs(self) -> tuple[str, ...] | None:
        """The outputs that heads may name, those of both stages; None if the second's are not known."""
        outputs = [item["name"] for item in self.model["outputs"]]
        for head in self.heads:
            if path := head["metadata"].get("postprocessor_path"):
                second = self._second_outputs(str(path))
                if second is None:
                    return None
                outputs += second
        return tuple(dict.fromkeys(outputs))

    def _second_outputs(self, path: str) -> list[str] | None:
        if self.side is Side.SOURCE:
            source, _ = self.understood
            second = source and source.second
            return [item.name for item in second.outputs] if second else None
        if self.archive.member(path) is None:
            return None
        try:
            facts = read_compiled(self.archive.path(path)) or {}
        except ArchiveError:
            return None
        return [item["name"] for item in facts["outputs"]] if "outputs" in facts else None

    @cached_property
    def record(self) -> tuple[Any, str]:
        """The content of buildinfo.json, or why it cannot be read; neither if there is no such file."""
        member = self.archive.member(BUILDINFO)
        if member is None:
            return None, ""
        if member.size_bytes > _MAX_RECORD_BYTES:
            return None, f"is larger than {_MAX_RECORD_BYTES:,} bytes."
        try:
            return json.loads(self.archive.path(BUILDINFO).read_bytes()), ""
        except RecursionError:
            return None, "is nested too deeply."
        except ValueError as error:
            return None, f"is not JSON ({error})."

    @cached_property
    def schema(self) -> tuple[Finding, ...]:
        """The findings of the format's schema in the config."""
        from converter.config.read import normalized

        config = self.archive.config
        return tuple(check_schema(normalized(config) if self.side is Side.SOURCE else config))

    @cached_property
    def understood(self) -> tuple[SourceModel | None, tuple[Finding, ...]]:
        """The model that a conversion would read in a source, and its findings."""
        from converter.config.read import understand

        try:
            return understand(self.archive, Options({}))
        except (ArchiveError, ModelError) as error:
            return None, error.findings or (as_finding(error, "model.not-convertible"),)

    @cached_property
    def compiled(self) -> tuple[Mapping[str, Any] | None, tuple[Finding, ...]]:
        """The facts in the compiled file; a finding if it is damaged."""
        if not self.has_model:
            return None, ()
        try:
            return read_compiled(self.archive.path(self.path)), ()
        except ArchiveError as error:
            return None, (as_finding(error, "model.unreadable"),)


def as_finding(error: ConvertError, code: str) -> Finding:
    """An error as a finding."""
    return Finding(code=code, where="", message=error.message, remedy=error.remedy)
