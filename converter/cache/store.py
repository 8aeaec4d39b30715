"""Where results are kept: files by their content, and a document under each key that names them.

A document is written after its files, so that whoever reads it finds them. Any number of processes and
machines may use a store at once: what another one removes at this moment is a miss, never an error and
never another result. Files are checked as they are read; what is damaged is dropped, and made again.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from io import BufferedReader
from pathlib import Path
from typing import Any, Final

from converter.cache.documents import Documents
from converter.errors import ConvertError
from converter.storage import Corrupt, Missing, Storage

ARCHIVE: Final = "archive"
# The key of a document that is told of a stage (`converter.cache.stages`): what it made.
STAGE: Final = "stage"
# What part of the store stages may take: results save a whole conversion, and must not go for them.
_STAGES_PART: Final = 0.25


@dataclass(frozen=True, kw_only=True)
class Record:
    """What is kept under a key.

    Attributes:
        files: The digest of each file (`sha256:…`) by what it is: `archive`, `report`, `log`.
        sizes: Their sizes in bytes.
        document: What is told of the result, plain JSON data.
        used: When it was used last, in seconds since 1970.
    """

    key: str
    files: Mapping[str, str]
    sizes: Mapping[str, int]
    document: Mapping[str, Any]
    used: float | None = None

    @property
    def stage(self) -> str | None:
        """What a stage made; None for the result of a whole conversion."""
        return self.document.get(STAGE)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON data."""
        return {
            "key": self.key,
            "files": dict(self.files),
            "sizes": dict(self.sizes),
            "document": dict(self.document),
        }


@dataclass(frozen=True, kw_only=True)
class Summary:
    """What a store holds.

    Attributes:
        results: How many results of whole conversions.
        size_bytes: The size of all files, those of stages with them.
        stages: How many stages there are, and the size of their files, by what they made.
        damaged: What `verify` found and dropped: keys.
    """

    url: str
    results: int
    size_bytes: int
    stages: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    damaged: Sequence[str] = ()


def folder() -> Path:
    """The user's own store: `$XDG_CACHE_HOME/nnconvert/results`, or in the system's cache folder."""
    import platformdirs

    return Path(platformdirs.user_cache_dir("nnconvert", appauthor=False)) / "results"


class Store:
    """Results by their keys, in a folder or behind an fsspec URL."""

    def __init__(self, url: str | None = None) -> None:
        """Open a store; None is the user's own.

        Raises:
            UsageError: There is no such kind of store.
            ToolError: The folder cannot be made.
        """
        self.storage = Storage(folder() if url is None else url)
        self._documents = Documents(self.storage)

    # ------------------------------------------------------------ out

    def look(self, key: str) -> Record | None:
        """What is kept under a key; its files are not read. A damaged document is dropped."""
        try:
            text = self._documents.read(key)
        except OSError:
            return None  # a store that does not answer is an empty one
        if text is None:
            return None
        record = _record(key, text)
        if record is None:
            self._documents.delete(key)
        return record

    def open(self, record: Record, what: str = ARCHIVE) -> BufferedReader | None:
        """A file, whole and at its beginning; None, and the result is dropped, if it is not whole.

        It stays readable when another process removes it.
        """
        digest = record.files[what]
        place = self.storage.path(digest)
        try:
            if place is not None:
                file = place.open("rb")
                if f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}" == digest:
                    file.seek(0)
                    self._documents.touch(record.key, record.to_json())
                    return file
                file.close()
                raise Corrupt(f"{digest} is damaged.")
            with tempfile.TemporaryDirectory(prefix="nnconvert-") as work:
                self.storage.fetch(digest, Path(work) / "file")
                self._documents.touch(record.key, record.to_json(), record.used)
                return (Path(work) / "file").open("rb")
        except (Missing, Corrupt, FileNotFoundError):
            self.drop(record)
        except (OSError, ConvertError):
            pass  # the disk is full, or the store does not answer: nothing is wrong with the result
        return None

    def fetch(self, record: Record, what: str, to: Path) -> bool:
        """Copy a file, checked as it is read; False, and the result is dropped, if it is not whole."""
        try:
            self.storage.fetch(record.files[what], to)
        except (Missing, Corrupt):
            self.drop(record)
            return False
        except (OSError, ConvertError):
            return False
        self._documents.touch(record.key, record.to_json(), record.used)
        return True

    def used(self, record: Record) -> None:
        """Write down that a result was used, though no file of it was read."""
        self._documents.touch(record.key, record.to_json(), record.used)

    # ------------------------------------------------------------ in

    def keep(
        self, keys: Sequence[str], files: Mapping[str, Path | str], document: Mapping[str, Any]
    ) -> Record:
        """Keep a result under keys that mean the same.

        Args:
            files: By what they are; a digest for what is in the storage already.

        Raises:
            OSError, ConvertError: It cannot be written.
        """
        digests = {
            what: file if isinstance(file, str) else self.storage.put(file)
            for what, file in files.items()
        }
        # Not asked of the storage: another process may have removed a file there, which is a miss.
        sizes = {
            what: self.storage.size(file) if isinstance(file, str) else file.stat().st_size
            for what, file in files.items()
        }
        records = [
            Record(key=key, files=digests, sizes=sizes, document=document)
            for key in dict.fromkeys(keys)
        ]
        for record in records:
            self._documents.write(record.key, record.to_json())
        return records[0]

    # ------------------------------------------------------------ all of them

    def drop(self, record: Record) -> None:
        """Remove a result with its damaged files; those that are whole may be another's, too."""
        self._documents.delete(record.key)
        for digest in record.files.values():
            with contextlib.suppress(OSError, ConvertError):
                self.storage.verify(digest)

    def records(self) -> Iterator[Record]:
        """Every result, with when it was used last; damaged documents are dropped."""
        for key, used in list(self._documents.all()):
            with contextlib.suppress(OSError):
                text = self._documents.read(key)
                record = None if text is None else _record(key, text, used)
                if record is not None:
                    yield record
                elif text is not None:
                    self._documents.delete(key)

    def info(self) -> Summary:
        """How much there is; nothing is checked."""
        return _summary(self.storage.url, list(self.records()))

    def verify(self) -> Summary:
        """Read every file, and drop the results whose files are not whole."""
        whole: dict[str, bool] = {}
        left, damaged = [], []
        for record in self.records():
            for digest in record.files.values():
                if digest not in whole:
                    whole[digest] = self.storage.verify(digest)
            if all(whole[digest] for digest in record.files.values()):
                left.append(record)
            else:
                self._documents.delete(record.key)
                damaged.append(record.key)
        return _summary(self.storage.url, left, damaged)

    def prune(self, max_bytes: int) -> Summary:
        """Remove what was used longest ago, until the rest is small enough; and what nobody names.

        Stages may take a quarter; the rest is for results.
        """
        records = sorted(self.records(), key=lambda record: record.used or 0.0, reverse=True)
        stages, _ = _fitting([one for one in records if one.stage], int(max_bytes * _STAGES_PART))
        may_stay = {one.key for one in stages}
        kept, sizes = _fitting(
            [one for one in records if not one.stage or one.key in may_stay], max_bytes
        )
        stays = {one.key for one in kept}
        for record in records:
            if record.key in stays:
                continue
            self._documents.delete(record.key)
            for digest in record.files.values():
                if digest not in sizes:
                    with contextlib.suppress(OSError, ConvertError):
                        self.storage.delete(digest)
        self.storage.sweep(sizes)
        return _summary(self.storage.url, kept)


def _record(key: str, text: bytes, used: float | None = None) -> Record | None:
    """The record in a document; None if it is damaged."""
    try:
        told = json.loads(text)
        files, sizes = dict(told["files"]), dict(told["sizes"])
        if told["key"] != key or not isinstance(told["document"], dict) or {*files} != {*sizes}:
            return None
        in_words = told.get("used")
        return Record(
            key=key,
            files={str(what): str(digest) for what, digest in files.items()},
            sizes={str(what): int(size) for what, size in sizes.items()},
            document=told["document"],
            used=used if used is not None else in_words,
        )
    except (ValueError, KeyError, TypeError):
        return None


def _fitting(records: Sequence[Record], max_bytes: int) -> tuple[list[Record], dict[str, int]]:
    """The first records whose files are small enough together, and the sizes of those files."""
    kept: list[Record] = []
    sizes: dict[str, int] = {}
    total = 0
    for record in records:
        own = {digest: record.sizes[what] for what, digest in record.files.items()}
        total += sum(size for digest, size in own.items() if digest not in sizes)
        if total > max_bytes:
            break
        sizes |= own
        kept.append(record)
    return kept, sizes


def _summary(url: str, records: Sequence[Record], damaged: Sequence[str] = ()) -> Summary:
    stages = {}
    for name in sorted({one.stage for one in records if one.stage}):
        alike = [one for one in records if one.stage == name]
        stages[name] = len(alike), sum(_sizes(alike).values())
    return Summary(
        url=url,
        results=sum(not one.stage for one in records),
        size_bytes=sum(_sizes(records).values()),
        stages=stages,
        damaged=damaged,
    )


def _sizes(records: Sequence[Record]) -> dict[str, int]:
    return {digest: record.sizes[what] for record in records for what, digest in record.files.items()}
