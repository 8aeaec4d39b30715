"""`index.json`: what a build of the zoo gave, cell by cell. Other tools rely on its names.

A build's folder holds files whose digests are part of their names, and `index.json`, which is renamed
into place last: a reader sees the whole of one build, never half of two.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, Self

from converter.errors import UsageError

VERSION: Final = 1
FILE: Final = "index.json"
# The mode of a target that has none: the manifest names no mode, and the target no option of that kind.
DEFAULT_MODE: Final = "default"


class Status(StrEnum):
    """What became of a cell.

    `SUCCEEDED` is green. `EXPECTED_FAILURE` failed, and the manifest says so with a reason and a date
    that has not passed.
    """

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    EXPECTED_FAILURE = "expected_failure"

    @property
    def is_good(self) -> bool:
        """Whether a build with nothing but such cells ends with exit code 0."""
        return self in (Status.SUCCEEDED, Status.EXPECTED_FAILURE)


@dataclass(frozen=True, kw_only=True)
class Expected:
    """A failure that the manifest expects.

    Attributes:
        reason: Why, for people.
        until: The last day on which it is expected, `2027-01-31`.
    """

    reason: str
    until: str


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One conversion of the matrix: a model for a target in a mode.

    Attributes:
        model: The name of the model in the manifest.
        mode: The quantization mode, a name of the manifest, or `default`.
        cached: Whether nothing was converted, because the cache had the result.
        archive: The archive, relative to the folder of `index.json`; None unless it succeeded.
        sha256: Of the archive.
        seconds: Wall seconds of the conversion, of the one that filled the cache if `cached`; None
            where nothing ran.
        verification: How the result compares with the source; as in `convert --json`.
        toolchain: `native`, `container` or `online`; as asked for where the plan could not be made.
        size_bytes: Of the archive.
        source: `{name, sha256}` of the model as it was given; without a digest if it cannot be read.
        key: The key of the result in the cache; None where there is none.
        plan_hash, warnings, timings_s, peak_bytes: As in `convert --json`.
        tensors: Inputs and outputs as the compiled file has them (`model` of `convert --json`).
        tools: Names and versions of what made it.
        error: `{kind, exit_code, message, remedy, findings, stage}` where it failed.
        expected: The manifest expects it to fail. A cell that succeeds all the same is green, and the
            entry wants to be removed.
        report, log: The conversion's HTML page and its log, relative; None where there is none.
        provenance, sbom: How the archive was made and of what (`converter.zoo.provenance`), relative;
            publishing writes them.
        tags: Words of the manifest for the model, for searching.
    """

    model: str
    target: str
    mode: str
    status: Status
    cached: bool = False
    archive: str | None = None
    sha256: str | None = None
    seconds: float | None = None
    verification: Mapping[str, Any] = field(default_factory=dict)
    toolchain: str = "auto"
    size_bytes: int | None = None
    source: Mapping[str, Any] = field(default_factory=dict)
    key: str | None = None
    plan_hash: str | None = None
    warnings: Sequence[str] = ()
    timings_s: Mapping[str, float] = field(default_factory=dict)
    peak_bytes: Mapping[str, int] = field(default_factory=dict)
    tensors: Mapping[str, Any] = field(default_factory=dict)
    tools: Mapping[str, str] = field(default_factory=dict)
    error: Mapping[str, Any] | None = None
    expected: Expected | None = None
    report: str | None = None
    log: str | None = None
    provenance: str | None = None
    sbom: str | None = None
    tags: Sequence[str] = ()

    @property
    def id(self) -> str:
        """`digits/rvc4/INT8_STANDARD`: what selectors match."""
        return f"{self.model}/{self.target}/{self.mode}"

    def to_json(self) -> dict[str, Any]:
        """The cell as plain JSON data."""
        told = {item.name: getattr(self, item.name) for item in dataclasses.fields(self)}
        return {
            **told,
            "status": self.status.value,
            "warnings": list(self.warnings),
            "tags": list(self.tags),
            "expected": dataclasses.asdict(self.expected) if self.expected else None,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """The cell that `to_json` wrote down; keys of later versions are left out."""
        known = {item.name: data[item.name] for item in dataclasses.fields(cls) if item.name in data}
        expected = known.get("expected")
        return cls(
            **{
                **known,
                "status": Status(known["status"]),
                "warnings": tuple(known.get("warnings", ())),
                "tags": tuple(known.get("tags", ())),
                "expected": Expected(**expected) if expected else None,
            }
        )


@dataclass(frozen=True, kw_only=True)
class Build:
    """About the whole build.

    Attributes:
        id: Unique, and sorted by time: `20261129T012345Z-1a2b3c4d`.
        started_at, ended_at: UTC, ISO 8601.
        seconds: Wall seconds.
        converter: The version of this tool.
        manifest: The file's name; manifest_sha256: its content's.
        only: The selectors, where not all cells were asked for.
    """

    id: str
    started_at: str
    ended_at: str
    seconds: float
    converter: str
    manifest: str
    manifest_sha256: str
    only: Sequence[str] = ()

    def to_json(self) -> dict[str, Any]:
        """The same as plain JSON data."""
        return {**dataclasses.asdict(self), "only": list(self.only)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """What `to_json` wrote down."""
        known = {item.name: data[item.name] for item in dataclasses.fields(cls) if item.name in data}
        return cls(**{**known, "only": tuple(known.get("only", ()))})


@dataclass(frozen=True, kw_only=True)
class Index:
    """A build and its cells, in the order of the manifest.

    Attributes:
        gate: What the gate said (`converter.zoo.gate`); empty where it was not asked.
    """

    build: Build
    cells: Sequence[Cell]
    gate: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The document `index.json`."""
        return {
            "version": VERSION,
            "build": self.build.to_json(),
            "gate": dict(self.gate),
            "cells": [cell.to_json() for cell in self.cells],
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """What `to_json` wrote down.

        Raises:
            KeyError, TypeError, ValueError: It is something else.
        """
        if data["version"] != VERSION:
            raise ValueError(f"version {data['version']!r}, expected {VERSION}")
        return cls(
            build=Build.from_json(data["build"]),
            cells=tuple(Cell.from_json(cell) for cell in data["cells"]),
            gate=data.get("gate", {}),
        )

    def write_to(self, path: Path) -> None:
        """Write the document; the caller renames the file into place."""
        text = json.dumps(self.to_json(), indent=1, ensure_ascii=False, allow_nan=False)
        path.write_text(text + "\n", encoding="utf-8")


def read(folder: Path) -> Index:
    """The index of a build's folder, or of a file.

    Raises:
        UsageError: There is none, or it is not one.
    """
    path = folder / FILE if folder.is_dir() else folder
    try:
        return Index.from_json(json.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        remedy = "Give the folder of a zoo build."
        raise UsageError(f"{path} cannot be read: {error.strerror}.", remedy=remedy) from error
    except (KeyError, TypeError, ValueError) as error:
        said = f"no {error}" if isinstance(error, KeyError) else str(error)
        raise UsageError(
            f"{path} is no index of a zoo build ({said}).",
            remedy="Build it again with nnconvert zoo build.",
        ) from error
