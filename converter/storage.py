"""Files by their content: `sha256:…` names a file, in a folder or an object store.

A file is there whole or not at all: it is written beside its place, synced and renamed. It is checked
whenever it is read; a damaged one is removed, so that it can be put again.

With fsspec the same works on object stores, where a file appears when its upload has ended.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import re
import secrets
import time
from collections.abc import Collection, Iterator
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import IO, Any, BinaryIO, Final, Protocol, cast

from converter.errors import ToolError, UsageError, disk_error

_CHUNK: Final = 1 << 20
_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")
# Stores in which a file that is being written is not seen by others.
_ATOMIC: Final = frozenset({"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "adl", "oci", "memory"})
# Nothing is removed that is younger: a job that will name it may be about to.
_GRACE_S: Final = 3600.0


class Stream(Protocol):
    """What a file is stored from; one that cannot be rewound is read once."""

    def read(self, size: int = ..., /) -> bytes:
        """The next bytes; none at the end."""
        ...

    def seekable(self) -> bool:
        """Whether it can be rewound."""
        ...


class Missing(UsageError):  # noqa: N818 - what happened
    """There is no such job, or no such file in the storage."""


class Corrupt(ToolError):  # noqa: N818 - what happened
    """A file of the storage was damaged; it was removed."""


class Storage:
    """A store of files by their content; any number of processes and machines may use it at once."""

    def __init__(self, url: str | os.PathLike[str]) -> None:
        """Open a store; a folder is made if there is none.

        Args:
            url: A folder, or a URL that fsspec knows, such as `s3://bucket/prefix`.

        Raises:
            UsageError: There is no such kind of store, or its package is not installed.
        """
        self.url = os.fspath(url)
        self._folder: Path | None = None
        self._fs: Any = None
        if "://" not in self.url or self.url.startswith("file://"):
            self._folder = Path(self.url.removeprefix("file://")).absolute()
            self.url = str(self._folder)
            with _disk("opening the storage"):
                (self._folder / "sha256").mkdir(parents=True, exist_ok=True)
            return
        import fsspec

        try:
            self._fs, self._root = fsspec.core.url_to_fs(self.url)  # type: ignore[no-untyped-call]
        except (ImportError, ValueError) as error:
            raise UsageError(
                f"{self.url}: {error}", remedy="Install the package that it names."
            ) from error
        kinds = self._fs.protocol
        self._is_atomic = not _ATOMIC.isdisjoint([kinds] if isinstance(kinds, str) else kinds)

    @property
    def fs(self) -> Any:
        """The file system of fsspec; None for a folder of this machine."""
        return self._fs

    @property
    def root(self) -> str:
        """The folder, or where the store begins in the file system."""
        return str(self._root) if self._folder is None else str(self._folder)

    # ------------------------------------------------------------ in

    def put(self, source: str | os.PathLike[str] | bytes | Stream) -> str:
        """Store a file, or bytes, or what a stream gives; one that is there already is kept.

        Returns:
            Its digest, `sha256:` and 64 hexadecimal digits.

        Raises:
            ToolError: It cannot be written: the disk is full, or the store does not answer.
        """
        with _disk("storing a file"), contextlib.ExitStack() as stack:
            if isinstance(source, bytes):
                stream: Stream = io.BytesIO(source)
            elif isinstance(source, str | os.PathLike):
                stream = stack.enter_context(Path(source).open("rb"))
            else:
                stream = source
            return self._put_local(stream) if self._folder else self._put_remote(stream)

    def _put_local(self, stream: Stream) -> str:
        assert self._folder is not None
        part = self._folder / "sha256" / f".{secrets.token_hex(8)}.part"
        try:
            with part.open("xb") as file:
                digest = _copied(stream, file)
                file.flush()
                os.fsync(file.fileno())
            place = self._local(digest)
            place.parent.mkdir(exist_ok=True)
            # An old one is replaced, for it may be damaged, and the new one is young.
            part.replace(place)
            _sync(place.parent)
        finally:
            part.unlink(missing_ok=True)
        return digest

    def _put_remote(self, stream: Stream) -> str:
        if stream.seekable():
            rewound = cast("BinaryIO", stream)
            at = rewound.tell()
            digest = _copied(stream)
            rewound.seek(at)
            if self._is_atomic:
                with self._opened(self._remote(digest), "wb") as file:
                    _copied(stream, file)
                return digest
        part = f"{self._root}/sha256/.{secrets.token_hex(8)}.part"
        try:
            self._fs.makedirs(str(PurePosixPath(part).parent), exist_ok=True)
            with self._opened(part, "wb") as file:
                digest = _copied(stream, file)
            place = self._remote(digest)
            self._fs.makedirs(str(PurePosixPath(place).parent), exist_ok=True)
            self._fs.mv(part, place)
        except BaseException:
            with contextlib.suppress(OSError):
                self._fs.rm(part)
            raise
        return digest

    # ------------------------------------------------------------ out

    def fetch(self, digest: str, to: Path) -> None:
        """Copy a file out of the store; nothing is at `to` before all of it was found to be whole.

        Raises:
            Missing: There is no such file.
            Corrupt: It was damaged, and is removed now.
            ToolError: The disk is full, or the store does not answer.
        """
        part = to.with_name(f".{secrets.token_hex(8)}.part")
        try:
            with _disk("fetching a file"), part.open("xb") as file, self._read(digest) as stream:
                found = _copied(stream, file)
            if found != digest:
                self.delete(digest)
                raise Corrupt(
                    f"{digest} was damaged in the storage; it was removed.", remedy="Hand it in again."
                )
            part.replace(to)
        finally:
            part.unlink(missing_ok=True)

    @contextlib.contextmanager
    def open(self, digest: str) -> Iterator[BinaryIO]:
        """A stored file, to be read in any order; it is not checked.

        Raises:
            Missing: There is no such file.
        """
        with self._read(digest) as stream:
            yield stream

    def _read(self, digest: str) -> BinaryIO:
        try:
            if self._folder:
                return self._local(digest).open("rb")
            return self._opened(self._remote(digest), "rb")
        except FileNotFoundError:
            raise Missing(f"{digest} is not in the storage.", remedy="Hand it in again.") from None

    def path(self, digest: str) -> Path | None:
        """Where a file lies, if the store is a folder; it must not be changed."""
        return self._local(digest) if self._folder else None

    def has(self, digest: str) -> bool:
        """Whether a file is there."""
        if self._folder:
            return self._local(digest).is_file()
        return bool(self._fs.exists(self._remote(digest)))

    def size(self, digest: str) -> int:
        """A file's size in bytes.

        Raises:
            Missing: There is no such file.
        """
        try:
            if self._folder:
                return self._local(digest).stat().st_size
            return int(self._fs.size(self._remote(digest)))
        except FileNotFoundError:
            raise Missing(f"{digest} is not in the storage.") from None

    def verify(self, digest: str) -> bool:
        """Whether a file is there and whole; a damaged one is removed."""
        try:
            with self._read(digest) as stream:
                is_whole = _copied(stream) == digest
        except Missing:
            return False
        if not is_whole:
            self.delete(digest)
        return is_whole

    # ------------------------------------------------------------ all of them

    def delete(self, digest: str) -> None:
        """Remove a file; one that is not there is no error."""
        with contextlib.suppress(FileNotFoundError):
            if self._folder:
                self._local(digest).unlink()
            else:
                self._fs.rm(self._remote(digest))

    def digests(self) -> Iterator[str]:
        """The digest of every file."""
        for digest, _ in self._all():
            yield digest

    def _all(self) -> Iterator[tuple[str, float]]:
        """Every file, with when it was last put, in seconds since 1970."""
        if self._folder:
            for path in (self._folder / "sha256").glob("??/*"):
                with contextlib.suppress(FileNotFoundError):
                    if _DIGEST.fullmatch(f"sha256:{path.name}"):
                        yield f"sha256:{path.name}", path.stat().st_mtime
            return
        with contextlib.suppress(FileNotFoundError):
            for place, told in self._fs.find(f"{self._root}/sha256", detail=True).items():
                name = f"sha256:{PurePosixPath(place).name}"
                if _DIGEST.fullmatch(name):
                    yield name, modified(told)

    def sweep(self, keep: Collection[str], *, grace_s: float = _GRACE_S) -> int:
        """Remove the files that nobody names, and what killed writers left; how many bytes that were.

        Args:
            keep: The digests that somebody names; see `Rows.digests`.
            grace_s: Younger files are kept: a job may be about to name them.
        """
        before = time.time() - grace_s
        freed = 0
        for digest, put in list(self._all()):
            if put < before and digest not in keep and not self._is_young(digest, before):
                with contextlib.suppress(Missing):
                    freed += self.size(digest)
                self.delete(digest)
        if self._folder:
            for part in (self._folder / "sha256").glob(".*.part"):
                with contextlib.suppress(FileNotFoundError):
                    if part.stat().st_mtime < before:
                        part.unlink()
        return freed

    def _is_young(self, digest: str, before: float) -> bool:
        """Whether a file was put again since it was listed; an object store is not asked."""
        if self._folder is None:
            return False
        with contextlib.suppress(FileNotFoundError):
            return self._local(digest).stat().st_mtime >= before
        return False

    def _local(self, digest: str) -> Path:
        assert self._folder is not None
        name = _name(digest)
        return self._folder / "sha256" / name[:2] / name

    def _remote(self, digest: str) -> str:
        name = _name(digest)
        return f"{self._root}/sha256/{name[:2]}/{name}"

    def _opened(self, place: str, mode: str) -> BinaryIO:
        return cast("BinaryIO", self._fs.open(place, mode))


def _name(digest: str) -> str:
    """The hexadecimal digits of a digest, which are its file's name: nothing else becomes a path."""
    if not _DIGEST.fullmatch(digest):
        raise Missing(f"{digest!r} is no digest.", remedy="It is sha256: and 64 hexadecimal digits.")
    return digest.removeprefix("sha256:")


def _copied(stream: Stream, to: IO[bytes] | None = None) -> str:
    """Read a stream to its end, and write it on; the digest of what was read."""
    whole = hashlib.sha256()
    while part := stream.read(_CHUNK):
        whole.update(part)
        if to is not None:
            to.write(part)
    return f"sha256:{whole.hexdigest()}"


def _sync(folder: Path) -> None:
    """Make a rename survive a power cut: fsync(2) says that the folder is synced by itself."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def modified(told: dict[str, Any]) -> float:
    """When a store says that a file was written; now where it does not say."""
    for key in ("mtime", "LastModified", "last_modified", "updated", "created"):
        value = told.get(key)
        if isinstance(value, int | float):
            return float(value)
        if isinstance(value, datetime):
            return value.timestamp()
    return time.time()


@contextlib.contextmanager
def _disk(doing: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise disk_error(error, doing) from error
