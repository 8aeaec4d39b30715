"""What tests set up once and keep: other people's packages, images. A new version is set up anew."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable
from pathlib import Path

import platformdirs

FOLDER = platformdirs.user_cache_path("nnconvert-tests")


def kept(name: str, make: Callable[[Path], None]) -> Path:
    """A folder of that name, which holds what `make` once put there.

    Args:
        name: It tells versions apart: whatever changes the content is part of it.
        make: Fills an empty folder; one that fails leaves nothing.
    """
    place = FOLDER / name
    if not place.is_dir():
        FOLDER.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=FOLDER, prefix=f".{name}-") as folder:
            part = Path(folder) / "part"
            part.mkdir()
            make(part)
            # Whoever was first keeps it.
            with contextlib.suppress(OSError):
                part.rename(place)
    return place
