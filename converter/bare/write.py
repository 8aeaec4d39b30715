"""A source archive written from a bare model."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from converter.archive.guesses import guesses_json
from converter.archive.opened import BUILDINFO, CONFIG, SUFFIXES, Archive
from converter.archive.tar import name_problem
from converter.archive.write import destination, write_archive
from converter.bare.config import Draft
from converter.bare.open import as_archive
from converter.calibration.dataset import FOLDER, find
from converter.config.read import understand
from converter.errors import UsageError, disk_error, from_findings
from converter.findings import Finding
from converter.model import SourceModel
from converter.options.resolve import Layer, Options, resolve

if TYPE_CHECKING:
    from converter.sources.cut import Cut

# The member that RVC4 reads as AIMET's overrides.
ENCODINGS: Final = "encodings.json"


@dataclass(frozen=True, kw_only=True)
class SourceArchive:
    """A source archive that was written.

    Attributes:
        config: Its `config.json`.
        guesses: The guesses in it.
        warnings: What else the user should check.
    """

    output: Path
    sha256: str
    size_bytes: int
    config: Mapping[str, Any]
    guesses: tuple[Finding, ...]
    warnings: tuple[Finding, ...]

    def to_json(self) -> dict[str, Any]:
        """The document that `--json` prints."""
        return {
            "output": str(self.output),
            "sha256": self.sha256,
            "config": dict(self.config),
            "guesses": [guess.to_json() for guess in self.guesses],
            "warnings": [warning.to_json() for warning in self.warnings],
        }


def place_for(model: Path, output: str | os.PathLike[str] | None, *, force: bool) -> Path:
    """The archive's path: `<model's stem>.tar.xz` in the current folder if none is given.

    Raises:
        UsageError: As `converter.archive.write.destination`.
    """
    return destination(output, f"{model.stem}{SUFFIXES[0]}", force=force)


def write_source(
    model: Path,
    drafted: Draft,
    *,
    output: str | os.PathLike[str] | None = None,
    cut: Cut | None = None,
    encodings: Path | None = None,
    calibration: Path | None = None,
    force: bool = False,
) -> SourceArchive:
    """Write a model, its further files and its config as an NN Archive.

    Args:
        model: The model's file; weights in other files lie beside it and keep their names.
        drafted: Its config; `converter.bare.config.draft` makes one.
        output: The archive; its suffix decides how it is packed.
        cut: The cut model that takes the model's place.
        encodings: AIMET's encodings, which become `encodings.json`.
        calibration: A folder of frames, which become `calibration/`.
        force: Replace an existing output.

    Raises:
        ConvertError: One of its subclasses; nothing was written then.
    """
    place = place_for(model, output, force=force)
    archive = as_archive(model.absolute(), drafted, cut=cut)
    # Refuse now what a conversion of the archive would refuse.
    source, warnings = understand(archive, Options({}))
    entries: list[tuple[str, bytes | Path]] = [(CONFIG, _json(drafted.config))]
    if record := _record(drafted, cut):
        entries.append((BUILDINFO, _json(record)))
    entries += [(member.name, archive.path(member.name)) for member in archive.members]
    if encodings is not None:
        entries.append((ENCODINGS, _encodings(encodings)))
    if calibration is not None:
        frames, found = _frames(archive, source, calibration)
        warnings += found
        entries += frames
    _check_names([name for name, _ in entries])
    try:
        sha256, size = write_archive(place, entries, force=force)
    except OSError as error:
        raise disk_error(error, f"writing {place.name}") from error
    return SourceArchive(
        output=place,
        sha256=sha256,
        size_bytes=size,
        config=drafted.config,
        guesses=drafted.guesses,
        warnings=warnings,
    )


def _record(drafted: Draft, cut: Cut | None) -> dict[str, Any]:
    """What a conversion takes over into its build record: guesses, and how the model was cut."""
    record: dict[str, Any] = {}
    if drafted.guesses:
        record["guesses"] = guesses_json(drafted.guesses)
    if cut is not None:
        record["cut"] = dict(cut.described)
    return record


def _frames(
    archive: Archive, source: SourceModel, folder: Path
) -> tuple[list[tuple[str, bytes | Path]], tuple[Finding, ...]]:
    """The calibration data of a folder as members, chosen by the rules of a conversion."""
    if not folder.is_dir():
        raise UsageError(f"--calibration: {folder} is not a folder.", remedy="Give a folder of frames.")
    values = {"calibration.path": str(folder.absolute()), "calibration.max_images": -1}
    chosen = resolve([Layer(origin="command line", values=values)])
    found, warnings = find(source, archive, chosen)
    assert found is not None
    names = sorted({name for data in found.inputs for name in data.files})
    return [(f"{FOLDER}/{name}", folder / name) for name in names], tuple(warnings)


def _encodings(path: Path) -> bytes:
    """AIMET's file as it is; the target checks its content."""
    try:
        content = path.read_bytes()
        document = json.loads(content)
    except OSError as error:
        raise UsageError(f"--encodings: {path} cannot be read: {error.strerror}.") from error
    except (ValueError, RecursionError) as error:
        raise UsageError(f"--encodings: {path} is not JSON: {error}.") from error
    if not isinstance(document, dict):
        raise UsageError(f"--encodings: {path} is not a JSON object.", remedy="Give AIMET's file.")
    return content


def _check_names(names: Sequence[str]) -> None:
    findings = [
        Finding(code="archive.name", where=repr(name), message=problem, remedy="Rename the file.")
        for index, name in enumerate(names)
        if (
            problem := name_problem(name)
            or ("would be in the archive twice." * (name in names[:index]))
        )
    ]
    if findings:
        raise from_findings(UsageError, "The archive", findings)


def _json(config: Mapping[str, Any]) -> bytes:
    try:
        return json.dumps(config, indent=2, ensure_ascii=False, allow_nan=False).encode()
    except ValueError as error:  # NaN, infinities, half characters: of a head's metadata, of a name
        raise UsageError(f"The config cannot be written as JSON: {error}.") from error
