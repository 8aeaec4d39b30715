"""The manifest of a zoo: models, targets, limits and expected failures, as YAML with a JSON schema."""

from __future__ import annotations

import re
from collections import Counter
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from converter.config.schema import json_path, known_keys
from converter.errors import UsageError, from_findings
from converter.findings import Finding, perhaps
from converter.zoo.thresholds import Thresholds

# Names are parts of selectors and of file names.
_NAME: Final = r"^[A-Za-z0-9][A-Za-z0-9._+-]*$"
Name = Annotated[str, Field(pattern=_NAME, max_length=100)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
_URL: Final = re.compile(r"^[a-z][a-z0-9+.-]+://", re.IGNORECASE)


class _Strict(BaseModel):
    """An unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Files(_Strict):
    """A file or folder; a text in its place is its path.

    Attributes:
        path: Against the manifest's folder, then the current folder; or an fsspec URL of a file.
        sha256: What its content must be; wanted for a URL. For a folder see `converter.cache.contents`.
    """

    path: Annotated[str, Field(min_length=1)]
    sha256: Sha256 | None = None

    @model_validator(mode="before")
    @classmethod
    def _of_text(cls, value: Any) -> Any:
        return {"path": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _pinned(self) -> Files:
        if self.is_url and self.sha256 is None:
            raise ValueError(f"{self.path} is a URL, whose content may change: add its sha256")
        return self

    @property
    def is_url(self) -> bool:
        """Whether it is fetched."""
        return _URL.match(self.path) is not None


class Labels(_Strict):
    """Labelled frames to measure the accuracy on: `verify.data` and `verify.labels`."""

    labels: Files
    data: Files | None = None


class ExpectedFailure(_Strict):
    """Cells of a model that are known to fail.

    Attributes:
        target, mode: Globs.
        until: The last day on which the failure is expected.
        exit_code: The only kind of failure that is meant; None for any.
    """

    target: str = "*"
    mode: str = "*"
    reason: Annotated[str, Field(min_length=1)]
    until: date
    exit_code: Annotated[int, Field(ge=1, le=7)] | None = None


class Model(_Strict):
    """A model: an archive or a bare model.

    Attributes:
        targets: The targets that it is for, as globs; all of the manifest's if not set.
        tags: Words for searching.
    """

    name: Name
    source: Files
    sha256: Sha256 | None = None
    calibration: Files | None = None
    labels: Labels | None = None
    options: dict[str, Any] = {}
    targets: list[str] = ["*"]
    expected_failures: list[ExpectedFailure] = []
    tags: list[str] = []

    @model_validator(mode="before")
    @classmethod
    def _hash_of_source(cls, value: Any) -> Any:
        """`sha256` beside `source` is that of the source."""
        if not isinstance(value, dict) or "sha256" not in value or "source" not in value:
            return value
        source = value["source"]
        inner = {"path": source} if isinstance(source, str) else source
        if isinstance(inner, dict) and "sha256" not in inner:
            return {**value, "source": {**inner, "sha256": value["sha256"]}}
        return value


class Mode(_Strict):
    """One way to convert for a target; a text in its place is a quantization mode.

    Attributes:
        quantization: The target's `quantization_mode`.
        options: What is set beside it.
    """

    name: Name
    quantization: str | None = None
    options: dict[str, Any] = {}

    @model_validator(mode="before")
    @classmethod
    def _of_text(cls, value: Any) -> Any:
        return {"name": value, "quantization": value} if isinstance(value, str) else value


class Target(_Strict):
    """A target with its toolchain and modes.

    Attributes:
        target: A target, or a camera's name.
        version: What the version of the toolchain must begin with: `2022.2`. With another one the cells
            fail before anything is converted.
        image: The id of the container's image, which must be the one that is found.
        optional: Whether a machine without the toolchain leaves the target's cells out; they fail there
            otherwise.
    """

    target: str
    toolchain: str = "auto"
    version: str | None = None
    image: Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")] | None = None
    optional: bool = False
    modes: Annotated[list[Mode], Field(min_length=1)] | None = None
    options: dict[str, Any] = {}


class Limits(_Strict):
    """What a build may use.

    Attributes:
        cell_timeout_s: Wall seconds that a conversion may take.
        retries: How often a cell is tried again whose worker was lost; a tool's error fails at once.
        parallel: How many conversions run at once on this machine; as many as cores if not set.
        memory_gb: How much memory they may have together; what is free if not set.
    """

    cell_timeout_s: Annotated[float, Field(gt=0)] = 3600
    retries: Annotated[int, Field(ge=0, le=20)] = 2
    parallel: Annotated[int, Field(ge=1)] | None = None
    memory_gb: Annotated[float, Field(gt=0)] | None = None


class Manifest(_Strict):
    """The whole manifest.

    Attributes:
        options: Options for every cell, by key; those of a model, a target and a mode come on top.
        selectors: Names for lists of selectors, which `--only` takes.
        report: Whether each conversion writes its page.
    """

    version: Literal[1]
    models: Annotated[list[Model], Field(min_length=1)]
    targets: Annotated[list[Target], Field(min_length=1)]
    options: dict[str, Any] = {}
    limits: Limits = Limits()
    gate: Thresholds = Thresholds()
    selectors: dict[Name, list[str]] = {}
    report: bool = True


def schema() -> dict[str, Any]:
    """The manifest's JSON schema, for editors."""
    return Manifest.model_json_schema()


def read(path: Path) -> Manifest:
    """The manifest in a YAML or JSON file.

    Raises:
        UsageError: It cannot be read; it names every unknown key (and the nearest known one) and every
            wrong value by its JSON path.
    """
    from converter.options.yaml import load

    document = load(path)
    findings = []
    try:
        manifest = Manifest.model_validate(document)
    except ValidationError as error:
        findings += [_finding(problem) for problem in error.errors(include_url=False)]
    if findings := [*findings, *_clashes(document)]:
        raise from_findings(UsageError, str(path), findings)
    return manifest


def _clashes(document: Any) -> list[Finding]:
    """Names that are there twice, in a document whose other values may be wrong."""
    given = document if isinstance(document, dict) else {}
    models = given.get("models")
    rows = [row for row in models if isinstance(row, dict)] if isinstance(models, list) else []
    counts = Counter(row["name"] for row in rows if isinstance(row.get("name"), str))
    said = {f"two models are called {name!r}.": "models" for name, count in counts.items() if count > 1}
    selectors = given.get("selectors")
    for name in selectors if isinstance(selectors, dict) else ():
        if name in counts:
            said[f"{name!r} is the name of a model."] = "selectors"
    return [Finding(code="zoo.value", where=where, message=message) for message, where in said.items()]


def _finding(problem: Any) -> Finding:
    loc, where = problem["loc"], json_path(problem["loc"])
    match problem["type"]:
        case "extra_forbidden":
            near = perhaps(str(loc[-1]), known_keys(Manifest, loc))
            remedy = near or f"There are: {', '.join(known_keys(Manifest, loc))}."
            return Finding(
                code="zoo.unknown-key", where=where, message="there is no such key.", remedy=remedy
            )
        case "missing":
            return Finding(code="zoo.missing-key", where=where, message="is missing.", remedy="Add it.")
    said = str(problem["msg"]).removeprefix("Value error, ")
    value = repr(problem.get("input"))
    given = f"{value} is not valid: " if isinstance(problem.get("input"), str | int | float) else ""
    return Finding(
        code="zoo.value", where=where, message=f"{given}{said[:1].lower()}{said[1:].rstrip('.')}."
    )
