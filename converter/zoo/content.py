"""Files of a published folder under names that are their SHA-256, and other files replaced at once."""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import shutil
from pathlib import Path, PurePosixPath
from typing import Final

from converter.digests import sha256_of

FOLDER: Final = "files"
# `files/ab/SHA256.cdx.json`, `archives/digits.rvc2.default-0123456789abcdef.tar.xz`
_NAMED: Final = re.compile(
    r"(?:files/[0-9a-f]{2}/|(?:archives|reports|logs)/[^/]*-)([0-9a-f]{16,64})\.[a-z.]+"
)
_BUILD_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


def add(folder: Path, content: bytes | Path, suffix: str) -> str:
    """Put content into a published folder, whole or not at all; what is there already stays.

    Args:
        content: It, or the file that holds it, which is copied.
        suffix: `.tar.xz`, `.html` and so on.

    Returns:
        Its path, relative to the folder.

    Raises:
        OSError: It cannot be read or written.
    """
    digest = hashlib.sha256(content).hexdigest() if isinstance(content, bytes) else sha256_of(content)
    name = f"{FOLDER}/{digest[:2]}/{digest}{suffix}"
    path = folder / name
    # A file that was damaged since is written again.
    if not path.is_file() or sha256_of(path) != digest:
        path.parent.mkdir(parents=True, exist_ok=True)
        replace(path, content)
    return name


def replace(path: Path, content: bytes | Path) -> None:
    """Write a file beside its place and rename it: a reader sees the old one or the new one.

    Raises:
        OSError: It cannot be read or written.
    """
    part = path.parent / f".{path.name[:100]}.{secrets.token_hex(6)}.part"
    try:
        with part.open("xb") as file:
            if isinstance(content, bytes):
                file.write(content)
            else:
                with content.open("rb") as source:
                    shutil.copyfileobj(source, file, 1 << 20)
            file.flush()
            os.fsync(file.fileno())
        part.rename(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def is_inside(path: str) -> bool:
    """Whether a path of an index stays inside its folder, however it is read."""
    given = PurePosixPath(path)
    odd = ".." in given.parts or any(letter in path for letter in "\\:\0")
    return bool(given.parts) and not odd and not given.is_absolute() and given.as_posix() == path


def digest_in(path: str) -> str | None:
    """The digits of the SHA-256 in the name of a file of a cell; None if it has no such name."""
    found = _NAMED.fullmatch(path)
    return found[1] if found else None


def is_build_id(text: object) -> bool:
    """Whether a text may be the name of a build's folder."""
    return isinstance(text, str) and _BUILD_ID.fullmatch(text) is not None
