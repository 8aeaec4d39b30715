"""Files that travel with the package but are no code: `configs` and `docker`."""

from __future__ import annotations

from pathlib import Path


def folder(name: str) -> Path:
    """A folder of the project: inside the installed package, or in the checkout beside it."""
    here = Path(__file__).parent
    inside = here / name
    return inside if inside.is_dir() else here.parent / name
