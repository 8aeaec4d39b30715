"""The folder in which everything lies that a run writes besides its output."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, TypeVar

from converter.errors import ArchiveError, ToolError, UsageError, disk_error
from converter.processes.owner import Owner
from converter.processes.removal import remove, temporary_folder
from converter.system import user_id

Read = TypeVar("Read")
_PREFIX: Final = "nnconvert-"
_OWNER: Final = "owner"
_FULL_BYTES: Final = 64 << 10


@contextlib.contextmanager
def work_folder(keep: str | os.PathLike[str] | None = None) -> Iterator[Path]:
    """An empty folder; removed when the block is left, unless it is one to keep.

    Those of runs that were killed are removed on the way in.

    Args:
        keep: A new or empty folder of the user's, which stays as it is left.

    Raises:
        UsageError: The folder to keep is not empty, or cannot be made.
    """
    if keep is not None:
        yield _kept(Path(keep).absolute())
        return
    tidy()
    with temporary_folder(prefix=_PREFIX) as folder:
        (folder / _OWNER).write_text(Owner.current().to_text())
        work = folder / "work"
        work.mkdir()
        yield work


def tidy() -> None:
    """Remove the folders of runs that were killed, never those of a run that lives."""
    for mark in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*/{_OWNER}"):
        with contextlib.suppress(OSError):
            owner = (
                Owner.from_text(mark.read_text()) if mark.stat().st_uid == (user_id() or 0) else None
            )
            if owner is not None and owner.is_gone():
                remove(mark.parent)


def is_full(folder: Path) -> bool:
    """Whether a folder's disk is as good as full: native tools write half a file and say nothing."""
    return shutil.disk_usage(folder).free < _FULL_BYTES


def full(doing: str) -> ToolError:
    """What to tell a user whose disk is full."""
    return disk_error(OSError(errno.ENOSPC, "no space"), doing)


def read_made(path: Path, read: Callable[[], Read]) -> Read:
    """Read a file that a tool has just made: what is wrong with it is the tool's fault, or the disk's.

    Args:
        read: Reads it, and raises ArchiveError for a damaged one.

    Raises:
        ToolError: It is damaged.
    """
    try:
        return read()
    except ArchiveError as error:
        if is_full(path.parent):
            raise full("compiling") from error
        raise ToolError(f"The compiler wrote something unreadable: {error.message}") from error


def _kept(folder: Path) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"--keep-work {folder}: {error.strerror}.", remedy="Name a new folder."
        ) from error
    if any(folder.iterdir()):
        raise UsageError(f"--keep-work {folder} is not empty.", remedy="Name a new folder.")
    return folder
