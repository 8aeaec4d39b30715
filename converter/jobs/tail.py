"""What an attempt's child tells, read from its file of events as it grows.

The child may have been taken over by the model that it converts: lines that are no events are left
out, and beyond a bound nothing is read any more.
"""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from converter.errors import ToolError
from converter.jobs.values import Event
from converter.processes import untrusted

_MOST_BYTES: Final = 32 << 20
_LONGEST_LINE: Final = 64 << 10
_MOST_EVENTS: Final = 20_000
_MOST_FIELDS: Final = 16
# What a 32-bit column, and a number of JSON, hold.
_LAST_NUMBER: Final = 2**31 - 1
_LARGEST: Final = 2**53
# By kind, what readers of an event rely on; see `Event.data`.
_FIELDS: Final[Mapping[str, Mapping[str, type]]] = {
    "stage": {"stage": str},
    "progress": {"stage": str, "done": int, "total": int},
    "warning": {"text": str},
    "log": {"text": str},
}


class Tail:
    """Reads a file of events as it grows; from any thread."""

    def __init__(self, folder: Path, name: str) -> None:
        """The file's folder, which the child may write into, and its name."""
        self._folder, self._name = folder, name
        self._read = 0
        self._last = 0
        self._left = _MOST_EVENTS
        self._is_over = False
        self._lock = threading.Lock()

    def read(self) -> tuple[Event, ...]:
        """The events that were not read before; half a line is left for later."""
        with self._lock:
            if self._is_over:
                return ()
            return tuple(self._new())

    def _new(self) -> list[Event]:
        try:
            data = untrusted.read(
                self._folder, self._name, most_bytes=_MOST_BYTES, offset=self._read, cuts=True
            )
        except FileNotFoundError:
            return []
        except ToolError:  # what it is instead is told when the attempt's files are stored
            self._is_over = True
            return []
        whole = data[: data.rfind(b"\n") + 1]
        self._read += len(whole)
        found = []
        for line in whole.splitlines():
            event = _event(line, self._last) if self._left else None
            if event is not None:
                self._last = event.number
                self._left -= 1
                found.append(event)
        self._is_over = not self._left or self._read + len(data) - len(whole) >= _MOST_BYTES
        return found


def _event(line: bytes, last: int) -> Event | None:
    """The event that a line has; None if it is none, or was told before."""
    if len(line) > _LONGEST_LINE:
        return None
    try:
        one = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(one, dict) or one.keys() != {"number", "at", "kind", "data"}:
        return None
    number, at, kind, data = one["number"], one["at"], one["kind"], one["data"]
    if not _is_int(number) or not last < number <= _LAST_NUMBER:
        return None
    if not isinstance(at, float) or not 0 <= at < _LARGEST:  # also not a number
        return None
    if not isinstance(kind, str) or kind not in _FIELDS or not _is_flat(data):
        return None
    if any(type(data.get(name)) is not wanted for name, wanted in _FIELDS[kind].items()):
        return None
    return Event(attempt=0, number=number, at=at, kind=kind, data=data)


def _is_int(value: Any) -> bool:
    return type(value) is int and abs(value) < _LARGEST


def _is_flat(data: Any) -> bool:
    """Whether it is an object of a few plain values."""
    return (
        isinstance(data, dict)
        and len(data) <= _MOST_FIELDS
        and all(
            one is None
            or isinstance(one, str | bool)
            or _is_int(one)
            or (isinstance(one, float) and math.isfinite(one))
            for one in data.values()
        )
    )
