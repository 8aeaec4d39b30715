"""Kinds of compiled files that we can read, found through the entry points `converter.formats`.

A target makes files; a format reads them. Some files can be read by people who cannot make them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

if TYPE_CHECKING:
    from converter.parts import Part

ENTRY_POINTS: Final = "converter.formats"
_HEAD_BYTES: Final = 512


@dataclass(frozen=True, kw_only=True)
class Format:
    """A kind of compiled file.

    Attributes:
        suffix: How such a file's name ends, `.blob`; where a file's first bytes do not tell, this does.
        target: The platform that runs it.
        recognizes: Whether a file that begins with these bytes (512 at most) is of this kind.
        read: What a file says of itself, as plain JSON data: `kind`, which is the suffix without its
            dot, and `inputs` and `outputs`, lists of `{name, dtype, shape}`, unless the format does not
            tell. Raises ArchiveError for a damaged file.
        summary: One line for people, out of what `read` returned.
        load_with: The expression with which DepthAI loads such a file by itself; empty if it takes it
            only inside an archive.
        parts: All of a file that means something, in pieces to be compared: weights, code, but no times
            and no padding. Raises ArchiveError for a damaged file. None where nothing is known of the
            inside: files are then the same or not.
    """

    suffix: str
    target: str
    recognizes: Callable[[bytes], bool]
    read: Callable[[Path], dict[str, Any]]
    summary: Callable[[Mapping[str, Any]], str]
    load_with: str
    parts: Callable[[Path], Iterable[Part]] | None = None


@cache
def formats() -> tuple[Format, ...]:
    """The formats that are installed."""
    found = sorted(entry_points(group=ENTRY_POINTS), key=lambda entry: entry.name)
    return tuple(cast("Format", entry.load()) for entry in found)


def suffixes() -> tuple[str, ...]:
    """How the names of compiled files end."""
    return tuple(item.suffix for item in formats())


def recognized(path: Path) -> Format | None:
    """The format of a file by its first bytes; None if they tell of none."""
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    return next((item for item in formats() if item.recognizes(head)), None)


def format_of(path: Path) -> Format | None:
    """The format of a file, by its first bytes or else its name; None for any other file."""
    named = (item for item in formats() if path.name.endswith(item.suffix))
    return recognized(path) or next(named, None)


def read_compiled(path: Path) -> dict[str, Any] | None:
    """What a compiled file says of itself, with its `target`; None if it is not one.

    Raises:
        ArchiveError: It is damaged.
    """
    found = format_of(path)
    return None if found is None else {**found.read(path), "target": found.target}
