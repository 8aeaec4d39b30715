"""What came out of a toolchain: the compiled file and what was read back from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from converter.digests import sha256_of
from converter.model import Tensor
from converter.preprocessing import Preprocessing


@dataclass(frozen=True, kw_only=True)
class CompiledInput(Tensor):
    """An input as the compiled file takes it.

    Attributes:
        preprocessing: What is still to be done before the tensor goes in.
        dai_type: The frames the camera shall send; None for an input that takes no frames.
    """

    preprocessing: Preprocessing = field(default_factory=Preprocessing)
    dai_type: str | None = None


@dataclass(frozen=True, kw_only=True)
class Artifact:
    """A compiled file.

    Attributes:
        path: The file in the work folder.
        suffix: `.blob` and the like: how the file is called in the archive.
        precision: The type of the weights, as the archive's config names it.
        facts: What the file itself says, as plain JSON data.
        tools: Names and versions of the tools that made it.
        verification: How it compares with the source; None if it was not compared.
        known: The keys of ModelConverter's build record that its readers look for; see
            `converter.modelconverter.record`.
        second: The compiled second stage, for archives that have one.
    """

    path: Path
    suffix: str
    precision: str
    inputs: tuple[CompiledInput, ...]
    outputs: tuple[Tensor, ...]
    facts: Mapping[str, Any]
    tools: Mapping[str, str]
    warnings: tuple[str, ...] = ()
    verification: Mapping[str, Any] | None = None
    known: Mapping[str, Any] = field(default_factory=dict)
    second: Artifact | None = None

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of the compiled file."""
        return sha256_of(self.path)

    @property
    def verifications(self) -> dict[str, Any]:
        """The verification, with that of the second stage inside."""
        of_second = {"postprocessor": self.second.verifications} if self.second else {}
        return {**(self.verification or {}), **of_second}

    @property
    def signature(self) -> dict[str, Any]:
        """Inputs and outputs as the compiled file has them, as plain JSON data."""
        return {
            "inputs": [{**item.to_json(), "dai_type": item.dai_type} for item in self.inputs],
            "outputs": [item.to_json() for item in self.outputs],
            **({"postprocessor": self.second.signature} if self.second else {}),
        }
