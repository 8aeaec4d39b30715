"""Calibration data that the operator offers by name, such as GENERAL."""

from __future__ import annotations

import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

from converter.errors import UsageError


def data_sets(folder: Path) -> Mapping[str, Path]:
    """The data sets of a service: the folders and zips in its folder `datasets`, in upper case."""
    if not folder.is_dir():
        return {}
    found = sorted(path for path in folder.iterdir() if path.is_dir() or path.suffix == ".zip")
    return {path.stem.upper(): path for path in found}


def packed(name: str, sets: Mapping[str, Path], work: Path) -> Path:
    """A data set as a zip.

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
    with tempfile.NamedTemporaryFile(dir=work, suffix=".zip", delete=False) as file:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as pack:
            for one in sorted(path.rglob("*")):
                if one.is_file():
                    # The same bytes for the same files: their digest names the data.
                    info = zipfile.ZipInfo(str(one.relative_to(path)))
                    pack.writestr(info, one.read_bytes())
        return Path(file.name)
