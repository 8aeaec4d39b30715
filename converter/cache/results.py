"""The cache as `convert` uses it: an archive with what a `Conversion` tells of it."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, fields
from io import BufferedReader
from pathlib import Path
from typing import Any, Final

from converter.cache.store import ARCHIVE, Store
from converter.errors import ConvertError


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A result in the cache: its archive, open, and what a `Conversion` tells of it.

    Attributes:
        archive: It stays readable when another run removes the entry.
        warnings: The warnings of its conversion, without those of its plan.
    """

    archive: BufferedReader
    sha256: str
    size_bytes: int
    model: dict[str, Any]
    verification: dict[str, Any]
    warnings: Sequence[str]


_TOLD: Final = [field.name for field in fields(Entry) if field.name != "archive"]


def find(store: Store, key: str) -> Entry | None:
    """The result of a key, whole and unchanged; a damaged one is removed."""
    record = store.look(key)
    if record is None:
        return None
    if not {*_TOLD} <= {*record.document} or ARCHIVE not in record.files:
        store.drop(record)
        return None
    file = store.open(record)
    if file is None:
        return None
    return Entry(archive=file, **{name: record.document[name] for name in _TOLD})


def keep(store: Store, key: str, archive: Path, document: dict[str, Any], max_bytes: int) -> None:
    """Put a result into the cache, whole or not at all, and remove the oldest ones.

    The conversion has succeeded by now: it is no error if the cache cannot be written to, and the
    archive is there even if this is interrupted.

    Args:
        document: The attributes of an `Entry`, all but the archive.
    """
    with contextlib.suppress(OSError, ConvertError, KeyboardInterrupt):
        store.keep([key], {ARCHIVE: archive}, document)
        store.prune(max_bytes)
