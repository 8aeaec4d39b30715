"""Files as a zip, for data that travel by their digest: the same files are the same bytes."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Final

# Zip files cannot tell an earlier time.
_TIME: Final = (1980, 1, 1, 0, 0, 0)
_CHUNK: Final = 1 << 20


def write_zip(path: Path, packed: Path) -> None:
    """The files below a folder, or one file, unpacked in size: pictures are compressed already."""
    root = path if path.is_dir() else path.parent
    files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as archive:
        for file in files:
            info = zipfile.ZipInfo(file.relative_to(root).as_posix(), _TIME)
            with file.open("rb") as source, archive.open(info, "w", force_zip64=True) as member:
                while data := source.read(_CHUNK):
                    member.write(data)
