"""Reading a flatbuffer without its schema compiler: every offset is checked against the buffer.

Format: https://flatbuffers.dev/internals. A table begins with the signed distance to its vtable, whose
16-bit entries say where each field lies, 0 for a field that is left out.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any, Final

_MAX_ITEMS: Final = 10_000_000
# Each byte is read for a field or two; more often only if many offsets lead to the same place, with
# which a small file could ask for more memory than there is.
_READINGS: Final = 8


class BrokenBufferError(ValueError):
    """An offset or a count leads out of the buffer."""


class _Left:
    """How many bytes of vectors and strings may still be read, by all tables of a buffer."""

    def __init__(self, data: memoryview) -> None:
        self._bytes = _READINGS * len(data)

    def take(self, size: int) -> None:
        """Count bytes that are going to be read."""
        self._bytes -= size
        if self._bytes < 0:
            raise BrokenBufferError("too many of its offsets lead to the same places")


@dataclass(frozen=True)
class Table:
    """A table at a position of a buffer; fields are read by their number in the schema."""

    data: memoryview
    at: int
    left: _Left

    def _field(self, number: int) -> int | None:
        vtable = self.at - int(_read(self.data, "<i", self.at))
        size = int(_read(self.data, "<H", vtable))
        if 4 + 2 * number + 2 > size:
            return None
        offset = int(_read(self.data, "<H", vtable + 4 + 2 * number))
        return self.at + offset if offset else None

    def number(self, field: int, code: str, default: Any = 0) -> Any:
        """A scalar; `code` is its `struct` letter."""
        at = self._field(field)
        return default if at is None else _read(self.data, f"<{code}", at)

    def text(self, field: int) -> str:
        """A string, empty if it is left out."""
        at = self._field(field)
        return "" if at is None else self._string(self._target(at))

    def table(self, field: int) -> Table | None:
        """A table inside this one."""
        at = self._field(field)
        return None if at is None else Table(self.data, self._target(at), self.left)

    def tables(self, field: int) -> list[Table]:
        """A vector of tables."""
        start, count = self._vector(field, 4)
        places = range(start, start + 4 * count, 4)
        return [Table(self.data, self._target(place), self.left) for place in places]

    def texts(self, field: int) -> list[str]:
        """A vector of strings."""
        start, count = self._vector(field, 4)
        return [self._string(self._target(place)) for place in range(start, start + 4 * count, 4)]

    def numbers(self, field: int, code: str) -> tuple[Any, ...]:
        """A vector of scalars."""
        start, count = self._vector(field, struct.calcsize(code))
        return struct.unpack_from(f"<{count}{code}", self.data, start)

    def raw(self, field: int) -> memoryview:
        """A vector of bytes, without copying it."""
        at = self._field(field)
        if at is None:
            return self.data[:0]
        start = self._target(at)
        size = int(_read(self.data, "<I", start))
        if start + 4 + size > len(self.data):
            raise BrokenBufferError(f"a vector of {size} bytes leads out of the buffer")
        return self.data[start + 4 : start + 4 + size]

    def _vector(self, field: int, item_size: int) -> tuple[int, int]:
        at = self._field(field)
        if at is None:
            return 0, 0
        start = self._target(at)
        count = int(_read(self.data, "<I", start))
        if count > _MAX_ITEMS or start + 4 + count * item_size > len(self.data):
            raise BrokenBufferError(f"a vector of {count} items leads out of the buffer")
        self.left.take(4 + count * item_size)
        return start + 4, count

    def _string(self, at: int) -> str:
        size = int(_read(self.data, "<I", at))
        if at + 4 + size > len(self.data):
            raise BrokenBufferError("a string leads out of the buffer")
        self.left.take(4 + size)
        return bytes(self.data[at + 4 : at + 4 + size]).decode("utf-8", "replace")

    def _target(self, at: int) -> int:
        return at + int(_read(self.data, "<I", at))


def root(data: memoryview, identifier: bytes) -> Table:
    """The root table of a buffer with that file identifier.

    Raises:
        BrokenBufferError: It is too short, or of another kind.
    """
    if bytes(data[4:8]) != identifier:
        raise BrokenBufferError(f"its identifier is {bytes(data[4:8])!r}, not {identifier!r}")
    return Table(data, int(_read(data, "<I", 0)), _Left(data))


def _read(data: memoryview, code: str, at: int) -> Any:
    if at < 0 or at + struct.calcsize(code) > len(data):
        raise BrokenBufferError("an offset leads out of the buffer")
    return struct.unpack_from(code, data, at)[0]
