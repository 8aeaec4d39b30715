"""Kinds of compiled files that the converter can read, found by the entry points `converter.formats`.

A target makes files; a format reads them. A format may be installed without its target.
"""

from __future__ import annotations

import mmap
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from converter.profile import Profile

ENTRY_POINTS: Final = "converter.formats"
# The type of a piece whose content is not known.
BYTES: Final = "bytes"
_HEAD_BYTES: Final = 512


@dataclass(frozen=True, kw_only=True)
class Part:
    """A piece of a model file.

    Attributes:
        dtype: The element type, as the archive's config names it; `bytes` if the content is not known.
        shape: The tensor's shape, or the number of bytes.
        read: Returns an array of `shape`: for a tensor its values, quantized codes decoded to real
            numbers; for `bytes` a uint8 vector. It reads the file when it is called, and keeps nothing.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    read: Callable[[], NDArray[Any]]


@dataclass(frozen=True, kw_only=True)
class Format:
    """A kind of compiled file.

    Attributes:
        suffix: How such a file's name ends, `.blob`; where a file's first bytes do not tell, this does.
        target: The platform that runs it.
        recognizes: Whether a file that begins with these bytes (512 at most) is of this kind.
        read: The facts in a file, as plain JSON data: `kind`, which is the suffix without its dot, and
            `inputs` and `outputs`, lists of `{name, dtype, shape}`, unless the format does not contain
            them. Raises ArchiveError for a damaged file.
        summary: One line for people, made from the result of `read`.
        load_with: The expression with which DepthAI loads such a file by itself; empty if it takes it
            only inside an archive.
        parts: The content of a file in pieces to be compared: weights and code, without times and
            padding. Raises ArchiveError for a damaged file. None if the inside of the format is not
            known: two files are then only compared as a whole.
        note: What is not known of such a file, in a line made from the result of `read`; or nothing.
        profile: What the file asks of a camera. Raises ArchiveError for a damaged file. None if the
            inside of the format is not known.
    """

    suffix: str
    target: str
    recognizes: Callable[[bytes], bool]
    read: Callable[[Path], dict[str, Any]]
    summary: Callable[[Mapping[str, Any]], str]
    load_with: str
    parts: Callable[[Path], Iterable[Part]] | None = None
    note: Callable[[Mapping[str, Any]], str] = lambda _facts: ""
    profile: Callable[[Path], Profile] | None = None


@cache
def formats() -> tuple[Format, ...]:
    """The formats that are installed."""
    found = sorted(entry_points(group=ENTRY_POINTS), key=lambda entry: entry.name)
    return tuple(cast("Format", entry.load()) for entry in found)


def suffixes() -> tuple[str, ...]:
    """The suffixes of compiled files."""
    return tuple(item.suffix for item in formats())


def recognized(path: Path) -> Format | None:
    """The format of a file by its first bytes; None if no format recognizes them."""
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    return next((item for item in formats() if item.recognizes(head)), None)


def format_of(path: Path) -> Format | None:
    """The format of a file, by its first bytes or else its name; None for any other file."""
    named = (item for item in formats() if path.name.endswith(item.suffix))
    return recognized(path) or next(named, None)


def read_compiled(path: Path) -> dict[str, Any] | None:
    """The facts in a compiled file, with its `target`; None if it is not a compiled file.

    Raises:
        ArchiveError: It is damaged.
    """
    found = format_of(path)
    return None if found is None else {**found.read(path), "target": found.target}


def mapped(path: Path) -> memoryview:
    """A file's bytes; only those that are read come into memory."""
    with path.open("rb") as file:
        if path.stat().st_size == 0:
            return memoryview(b"")
        return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))


def bytes_part(name: str, data: bytes | memoryview) -> Part:
    """A piece that is compared byte by byte."""

    def read() -> NDArray[Any]:
        import numpy as np

        return np.frombuffer(data, np.uint8)

    return Part(name=name, dtype=BYTES, shape=(len(data),), read=read)
