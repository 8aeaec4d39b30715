"""Removing a folder that a hostile child may have filled: too deep to walk, or closed to us."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

_BY_FOLDER: Final = {os.open, os.rename, os.unlink, os.rmdir, os.chmod} <= os.supports_dir_fd
_FOLDER: Final = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_NOFOLLOW", 0)


@contextlib.contextmanager
def temporary_folder(parent: Path | None = None, prefix: str | None = None) -> Iterator[Path]:
    """An empty folder, removed when the block is left; what cannot be removed is left.

    Not `tempfile.TemporaryDirectory`: before Python 3.13 it fails on a thousand levels, and in older
    ones it changes the mode of what a link leads to.
    """
    folder = Path(tempfile.mkdtemp(dir=parent, prefix=prefix))
    try:
        yield folder
    finally:
        remove(folder)


def remove(folder: Path) -> None:
    """Remove a folder with all that is in it, as far as that can be done; no link is followed.

    Nothing may work in it any more.
    """
    with contextlib.suppress(OSError, RecursionError):
        shutil.rmtree(folder)
        return
    if not _BY_FOLDER:
        shutil.rmtree(folder, ignore_errors=True)
        return
    with contextlib.suppress(OSError):
        _flatten(folder)
        folder.rmdir()


def _flatten(folder: Path) -> None:
    """Empty a folder: every folder in it is moved up to the first level before it is looked into."""
    root = os.open(folder, _FOLDER)
    try:
        left = _emptied(root, root)
        while left:
            name = left.pop()
            at = os.open(name, _FOLDER, dir_fd=root)
            try:
                left += _emptied(at, root)
            finally:
                os.close(at)
            os.rmdir(name, dir_fd=root)
    finally:
        os.close(root)


def _emptied(at: int, root: int) -> list[str]:
    """Remove a folder's files and move its folders into `root`; their names there."""
    moved = []
    with os.scandir(at) as entries:
        found = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
    for name, is_folder in found:
        if not is_folder:
            os.unlink(name, dir_fd=at)
            continue
        # Moving a folder wants the right to write into it.
        os.chmod(name, 0o700, dir_fd=at)
        fresh = secrets.token_hex(8)
        os.rename(name, fresh, src_dir_fd=at, dst_dir_fd=root)
        moved.append(fresh)
    return moved
