"""Paths in a file of ModelConverter: they are meant beside the file."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final

from converter.errors import UsageError
from converter.options.resolve import kind_of

_URL: Final = re.compile(r"([a-z][a-z0-9+.-]+):/+[^/]", re.IGNORECASE)


def located(given: str, folder: Path, key: str) -> str:
    """A path of the file, absolute: beside the file, else in the current folder.

    Raises:
        UsageError: It is an address on the network or the name of a dataset, or two files have it.
    """
    if found := _URL.match(given):
        raise UsageError(
            f"{key}: {given}: the converter fetches no URL ({found[1]}).",
            remedy="Download it and write its path.",
        )
    try:
        path = Path(given).expanduser()
        beside, here = (folder / path).absolute(), path.absolute()
        there = [place for place in dict.fromkeys((beside, here)) if place.exists()]
    except (OSError, RuntimeError) as error:
        raise UsageError(f"{key}: {given[:200]!r} is not a path here ({error}).") from error
    if len(there) > 1 and not there[0].samefile(there[1]):
        raise UsageError(
            f"{key}: {given} may be {there[0]} or {there[1]}.", remedy="Write the absolute path."
        )
    if not there and key.endswith("calibration.path") and ":" in given:
        raise UsageError(
            f"{key}: there is no folder {given}; datasets in LDF (NAME:SPLIT) are not read.",
            remedy="Write the images into a folder and give its path.",
        )
    return str(there[0] if there else beside)


def with_places(key: str, raw: Any, folder: Path) -> Any:
    """The value with its paths made absolute: they are relative to the file's folder."""
    kind = kind_of(key)
    if kind == "path" and isinstance(raw, str):
        return located(raw, folder, key)
    if kind == "args" and isinstance(raw, list):
        return [
            str((folder / word).absolute())
            if isinstance(word, str) and not word.startswith("-") and (folder / word).is_file()
            else word
            for word in raw
        ]
    return raw
