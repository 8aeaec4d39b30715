"""Files that a child left behind, read as a stranger's: a hostile model may have taken the child over.

Such a file may be a link to a file of the server or of another tenant, a pipe that blocks for ever,
endless, or changed while it is read. So it is opened once, by plain names below a folder that this
process chose, without following a link. What was opened is checked, and read from that descriptor.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final, cast

from converter.errors import ToolError, disk_error

# Windows has none of them.
_NO_LINK: Final = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
_FILE: Final = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0) | _NO_LINK
_FOLDER: Final = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | _NO_LINK
_BY_FOLDER: Final = os.open in os.supports_dir_fd
# The disk's own, and not what a child can make of a file.
_OF_DISK: Final = frozenset({errno.EIO, errno.ESTALE, errno.ENOMEM, errno.EMFILE, errno.ENFILE})


class Bounded:
    """A stream of at most so many bytes, which cannot be rewound.

    Attributes:
        size_bytes: How many were read.
    """

    def __init__(self, file: BinaryIO, most_bytes: int, name: str, *, cuts: bool) -> None:
        self._file = file
        self._left = most_bytes
        self._name = name
        self._cuts = cuts
        self.size_bytes = 0

    def seekable(self) -> bool:
        """It is not: a second reading might find other bytes."""
        return False

    def read(self, size: int = -1) -> bytes:
        """The next bytes.

        Raises:
            ToolError: There are more than there may be, and they are not to be cut off.
        """
        wanted = self._left if size < 0 else min(size, self._left)
        part = self._file.read(wanted)
        self._left -= len(part)
        self.size_bytes += len(part)
        if not part and wanted == 0 and size != 0 and not self._cuts and self._file.read(1):
            raise _refused(self._name, f"has more than {self.size_bytes:,} bytes")
        return part


@contextlib.contextmanager
def opened(
    folder: Path, *names: str, most_bytes: int, offset: int = 0, cuts: bool = False
) -> Iterator[Bounded]:
    """Open a regular file below a folder.

    Args:
        folder: A folder whose place is this process's to choose.
        names: The file's name; before it those of the folders in which it is. Each is a plain name.
        most_bytes: How much of it is read at most; it must not have more, unless `cuts`.
        offset: Where reading begins; the bytes before it count.
        cuts: Whether the rest is left out.

    Raises:
        FileNotFoundError: There is none.
        ToolError: It is a link, a pipe, a device or a folder, or has a second name (a hard link); or
            the disk fails.
    """
    with contextlib.ExitStack() as stack:
        *between, last = names
        at: int | None = None
        place = folder
        for name in (None, *between):
            if name is not None:
                place = place / _plain(name)
            if _BY_FOLDER:
                at = _opened(place if at is None else str(name), place.name, _FOLDER, at)
                stack.callback(os.close, at)
        name = _plain(last)
        descriptor = _opened(place / name if at is None else name, name, _FILE, at)
        file = cast("BinaryIO", stack.enter_context(os.fdopen(descriptor, "rb", buffering=0)))
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise _refused(name, "is no regular file")
        if found.st_nlink != 1:
            raise _refused(name, "is a file of another place, too")
        if found.st_size > most_bytes and not cuts:
            raise _refused(name, f"has {found.st_size:,} bytes, and may have {most_bytes:,}")
        file.seek(offset)
        yield Bounded(file, max(0, most_bytes - offset), name, cuts=cuts)


def read(folder: Path, *names: str, most_bytes: int, offset: int = 0, cuts: bool = False) -> bytes:
    """The bytes of such a file; arguments and errors as for `opened`."""
    with opened(folder, *names, most_bytes=most_bytes, offset=offset, cuts=cuts) as file:
        parts = []
        while part := file.read(1 << 20):
            parts.append(part)
        return b"".join(parts)


def _plain(name: str) -> str:
    if name in ("", ".", "..") or any(letter in name for letter in "/\\\0"):
        raise _refused(name, "is no plain name")
    return name


def _opened(path: str | Path, name: str, flags: int, at: int | None) -> int:
    try:
        return os.open(path, flags, dir_fd=at)
    except FileNotFoundError:
        raise
    except OSError as error:
        if error.errno in _OF_DISK:
            raise disk_error(error, f"reading {name}") from error
        said = "is a link" if error.errno == errno.ELOOP else f"cannot be read: {error.strerror}"
        raise _refused(name, said) from None


def _refused(name: str, said: str) -> ToolError:
    return ToolError(f"The conversion left a file that is not taken: {name!r} {said}.")
