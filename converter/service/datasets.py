"""Calibration data that the operator offers by name, such as GENERAL."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from converter.archive.zipped import write_zip
from converter.errors import UsageError


def data_sets(folder: Path) -> Mapping[str, Path]:
    """The data sets of a service: the folders and zips in its folder `datasets`, in upper case."""
    if not folder.is_dir():
        return {}
    found = sorted(path for path in folder.iterdir() if path.is_dir() or path.suffix == ".zip")
    return {path.stem.upper(): path for path in found}


def packed(name: str, sets: Mapping[str, Path], work: Path) -> Path:
    """A data set as a zip.

    Args:
        work: An empty folder, for one that is to be packed.

    Raises:
        UsageError: The operator offers none of that name.
    """
    path = sets.get(name.upper())
    if path is None:
        known = ", ".join(sets) or "none is set up"
        raise UsageError(
            f"This server has no calibration data '{name}' ({known}).",
            remedy="Send a zip of your own, take FP16_STANDARD, or ask the operator for a folder "
            f"datasets/{name.upper()}.",
        )
    if path.is_file():
        return path
    made = work / "data.zip"
    write_zip(path, made)
    return made
