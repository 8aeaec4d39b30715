"""The folder that a build is written to: files named by their content, `index.json` renamed in last.

Until then a reader sees the build before; after it, this one. What is not finished leaves nothing.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import secrets
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from converter.digests import sha256_of
from converter.errors import UsageError, disk_error
from converter.storage import Storage
from converter.zoo.content import FOLDER
from converter.zoo.documents import BUILDS, LOCK
from converter.zoo.index import FILE, Index

# What is written, by kind: the folder, and how its files end.
_KINDS: Final = {
    "archive": ("archives", ".tar.xz"),
    "report": ("reports", ".html"),
    "log": ("logs", ".txt"),
}
_DIGITS: Final = 16
# What a first publishing that was interrupted may leave.
_NAMES: Final = frozenset({*(folder for folder, _ in _KINDS.values()), FOLDER, BUILDS, LOCK})
_OWN: Final = re.compile(rf"-[0-9a-f]{{{_DIGITS}}}\.(tar\.xz|html|txt)$")


class Output:
    """A build's folder, as a context manager: leaving it before `finish` removes what was added.

    One build at a time has it. The lock is on the folder itself and ends with the process, however that
    ends; a file system that cannot lock folders (NFS) has none.
    """

    def __init__(self, folder: Path) -> None:
        """Take a folder.

        Raises:
            UsageError: It is none, or holds something that no build wrote.
        """
        self.folder = folder
        self._added: list[Path] = []
        if os.path.lexists(folder) and not folder.is_dir():
            raise UsageError(f"--out {folder} is no folder.", remedy="Name a folder.")
        foreign = folder.is_dir() and any(path.name not in _NAMES for path in folder.iterdir())
        if foreign and not (folder / FILE).is_file():
            raise UsageError(
                f"--out {folder} is not empty, and no zoo build wrote it.", remedy="Name a new folder."
            )

    def __enter__(self) -> Self:
        """Make and lock the folder.

        Raises:
            UsageError: Another build has it.
            ToolError: It cannot be made.
        """
        self._made = [path for path in (self.folder, *self.folder.parents) if not path.exists()]
        try:
            self._lock = self._locked()
        except OSError as error:
            raise disk_error(error, f"building {self.folder}") from error
        return self

    def _locked(self) -> int:
        """The folder, open and locked."""
        while True:
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = os.open(self.folder, os.O_RDONLY)
            try:
                with contextlib.suppress(FileNotFoundError):
                    if _lock(lock) and os.path.samestat(os.fstat(lock), self.folder.stat()):
                        return lock
            except BlockingIOError:
                os.close(lock)
                raise UsageError(
                    f"--out {self.folder}: another zoo build writes to it.",
                    remedy="Wait until it ends, or name another folder.",
                ) from None
            os.close(lock)  # a build that failed has removed the folder: make it again

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for path in self._added:
            path.unlink(missing_ok=True)
        if kind is not None:
            for folder, _ in _KINDS.values():
                with contextlib.suppress(OSError):
                    (self.folder / folder).rmdir()
            for path in self._made:
                with contextlib.suppress(OSError):
                    path.rmdir()
        os.close(self._lock)

    def has(self, name: str, sha256: str) -> bool:
        """Whether a file is there, whole."""
        try:
            return sha256_of(self.folder / name) == sha256
        except OSError:
            return False

    def add(self, cell: str, what: str, storage: Storage, digest: str) -> str:
        """Add a file of a cell, unless it is there; its path, relative.

        Args:
            cell: The cell's id; what: `archive`, `report` or `log`.

        Raises:
            Missing, Corrupt, ToolError: See `Storage.fetch`.
            OSError: The folder cannot be written to.
        """
        name = path_of(cell, what, digest)
        path = self.folder / name
        if not self.has(name, digest.removeprefix("sha256:")):
            path.parent.mkdir(parents=True, exist_ok=True)
            is_new = not path.exists()
            storage.fetch(digest, path)
            if is_new:
                self._added.append(path)
        return name

    def finish(self, index: Index) -> None:
        """Put the index into its place, and remove the files of older builds.

        Raises:
            ToolError: The folder cannot be written to.
        """
        part = self.folder / f".{secrets.token_hex(6)}.part"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            index.write_to(part)
            with part.open("rb") as file:
                os.fsync(file.fileno())
            part.replace(self.folder / FILE)
        except OSError as error:
            raise disk_error(error, f"writing {self.folder}") from error
        finally:
            part.unlink(missing_ok=True)
        self._added = []
        self._tidy(index)

    def keep(self) -> None:
        """Leave what was added: somebody else put the build into place."""
        self._added = []

    def _tidy(self, index: Index) -> None:
        """Remove what is named like a file of a build, and is none of this one."""
        named = {path for cell in index.cells for path in (cell.archive, cell.report, cell.log) if path}
        for folder, _ in _KINDS.values():
            for path in (self.folder / folder).glob("*"):
                is_ours = _OWN.search(path.name) is not None
                if is_ours and path.relative_to(self.folder).as_posix() not in named:
                    path.unlink(missing_ok=True)


def _lock(folder: int) -> bool:
    """Lock an open folder; True also where the file system has no such locks.

    Raises:
        BlockingIOError: Another process has it.
    """
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except OSError:
        return True
    return True


def path_of(cell: str, what: str, digest: str) -> str:
    """Where a cell's file lies in a build's folder: the same content has the same path."""
    folder, suffix = _KINDS[what]
    digits = digest.removeprefix("sha256:")[:_DIGITS]
    return f"{folder}/{cell.replace('/', '.')}-{digits}{suffix}"
