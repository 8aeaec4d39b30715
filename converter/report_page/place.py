"""Where a page goes. Nothing is loaded for it."""

from __future__ import annotations

import os
from pathlib import Path

from converter.errors import UsageError


def write_text(place: Path, page: str) -> None:
    """Write a page; an older one is replaced.

    Raises:
        UsageError: It cannot be written.
    """
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(page, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"The report {place} cannot be written: {error.strerror or error}.") from error


def page_place(path: str | os.PathLike[str] | None) -> Path | None:
    """Where a page is written.

    Raises:
        UsageError: It is no HTML file, or its folder cannot be made.
    """
    if path is None:
        return None
    place = Path(path)
    if place.suffix.lower() not in (".html", ".htm"):
        raise UsageError(f"{place}: the report is a page.", remedy="End its name in .html.")
    if place.is_dir():
        raise UsageError(f"{place} is a folder.", remedy="Name a file for the report.")
    return place
