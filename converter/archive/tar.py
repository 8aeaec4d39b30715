"""The only module that reads and writes tars. Reading trusts nothing; writing is deterministic."""

from __future__ import annotations

import bz2
import contextlib
import errno
import gzip
import hashlib
import io
import itertools
import lzma
import posixpath
import tarfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final, Literal, Self, cast

from converter.archive.xz import XzWriter
from converter.digests import sha256_of
from converter.errors import ArchiveError, ConvertError, disk_error, from_findings
from converter.findings import Finding

Compression = Literal["xz", "gz", "bz2", ""]

_CHUNK: Final = 1 << 20
_READ_AHEAD: Final = 64 << 10  # how exactly the member that broke is known
_MAX_NAME: Final = 255  # bytes of one part of a path, what Linux file systems take
_MAX_PATH: Final = 1024
_MAX_REFUSALS: Final = 20


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How much of an archive may be unpacked.

    Attributes:
        total_bytes: Unpacked size of the whole archive.
        members: Number of entries.
        ratio: Unpacked over packed size, checked once `ratio_from_bytes` are unpacked. Weights pack
            to more than a hundredth of their size; a bomb of zeros to less than a thousandth.
    """

    total_bytes: int = 64 << 30
    members: int = 10_000
    ratio: float = 200.0
    ratio_from_bytes: int = 64 << 20


@dataclass(frozen=True, kw_only=True)
class Member:
    """A regular file of an archive: `name` is a relative POSIX path."""

    name: str
    size_bytes: int
    sha256: str

    @classmethod
    def of(cls, name: str, path: Path, sha256: str | None = None) -> Self:
        """The member that a file is under that name; `sha256` if it is known."""
        return cls(name=name, size_bytes=path.stat().st_size, sha256=sha256 or sha256_of(path))


class _Metered:
    """A decompressed stream that counts its bytes and refuses more than the limits."""

    def __init__(self, stream: IO[bytes], packed: IO[bytes], limits: Limits, name: str) -> None:
        self._stream, self._packed, self._limits, self._name = stream, packed, limits, name
        self._unpacked = 0

    def read(self, size: int = -1) -> bytes:
        data = self._stream.read(min(size, _CHUNK) if size >= 0 else _CHUNK)
        self._unpacked += len(data)
        limits = self._limits
        if self._unpacked > limits.total_bytes:
            raise ArchiveError(
                f"{self._name} unpacks to more than {limits.total_bytes:,} bytes.",
                remedy="It is not read further.",
            )
        if self._unpacked > limits.ratio_from_bytes:
            packed = max(1, self._packed.tell())
            if self._unpacked / packed > limits.ratio:
                raise ArchiveError(
                    f"{self._name} unpacks to over {limits.ratio:g} times its size "
                    f"({self._unpacked:,} bytes out of {packed:,}): a decompression bomb.",
                    remedy="If it is meant to be so, unpack it yourself and give the folder.",
                )
        return data


@contextlib.contextmanager
def _decompressed(packed: IO[bytes], name: str) -> Iterator[IO[bytes]]:
    """The decompressed stream; the file's first bytes decide how, never its name."""
    head = packed.read(512)
    packed.seek(0)
    if head.startswith(b"\xfd7zXZ\0"):
        with lzma.open(packed) as stream:
            yield cast("IO[bytes]", stream)
    elif head.startswith(b"\x1f\x8b"):
        with gzip.open(packed) as stream:
            yield cast("IO[bytes]", stream)
    elif head.startswith(b"BZh"):
        with bz2.open(packed) as stream:
            yield cast("IO[bytes]", stream)
    elif head[257:262] == b"ustar" or _old_tar_header(head):
        yield packed
    else:
        raise ArchiveError(
            f"{name} is not an NN Archive: it is {_what_it_is(head)}.",
            remedy="Give a tar (plain, .xz, .gz or .bz2) with a config.json and the model.",
        )


def _old_tar_header(head: bytes) -> bool:
    """Pre-POSIX tars have no magic, but the header's checksum."""
    with contextlib.suppress(ValueError):
        stored = int(head[148:156].strip(b"\0 ") or b"-", 8)
        return len(head) == 512 and sum(head[:148]) + sum(head[156:]) + 8 * 32 == stored
    return False


def _what_it_is(head: bytes) -> str:
    if not head:
        return "an empty file"
    if head.startswith(b"PK\x03\x04"):
        return "a zip"
    if head.lstrip().startswith(b"{"):
        return "text that looks like JSON"
    if (head.startswith(b"\x08") and b"onnx" in head) or b"pytorch" in head:
        return "probably a bare ONNX model"
    return "neither a tar nor a compressed tar"


def extract(source: Path, into: Path, limits: Limits | None = None) -> tuple[Member, ...]:
    """Unpack an archive into an empty folder, streaming, and return its members.

    Raises:
        ArchiveError: It is no tar, is cut short or damaged (it names the member), unpacks to more than
            the limits, or holds members that are refused (it names all of them).
        ToolError: The disk is full.
    """
    limits = limits or Limits()
    members: list[Member] = []
    refused: list[Finding] = []
    current = "the first header"
    seen: set[str] = set()
    try:
        with source.open("rb") as packed, _decompressed(packed, source.name) as stream:
            metered = _Metered(stream, packed, limits, source.name)
            with tarfile.open(
                fileobj=cast("IO[bytes]", metered), mode="r|", bufsize=_READ_AHEAD
            ) as tar:
                for count, info in enumerate(tar, 1):
                    current = repr(info.name)
                    if count > limits.members:
                        raise ArchiveError(f"{source.name} has more than {limits.members:,} members.")
                    if len(refused) >= _MAX_REFUSALS:
                        break
                    if finding := _refusal(info, seen):
                        refused.append(finding)
                    elif info.isreg() and not refused:
                        members.append(_extract_member(tar, info, into))
                    current = f"what follows {info.name!r}"
                if not refused:
                    _check_end(cast("IO[bytes]", tar.fileobj))
    except (EOFError, lzma.LZMAError, zlib.error, gzip.BadGzipFile, tarfile.TarError) as error:
        raise ArchiveError(
            f"{source.name} is cut short or damaged at {current} ({str(error) or 'no data'}).",
            remedy="Fetch or write it again.",
        ) from error
    except (
        ValueError,
        OverflowError,
        IndexError,
        KeyError,
    ) as error:  # of tarfile's own, on odd headers
        raise ArchiveError(
            f"{source.name} is damaged at {current}: a header that makes no sense ({error}).",
            remedy="Write it again.",
        ) from error
    except OSError as error:
        if error.errno is None:  # bz2 says so of broken data
            raise ArchiveError(
                f"{source.name} is damaged at {current} ({error}).", remedy="Fetch it again."
            ) from error
        raise disk_error(error, f"unpacking {source.name}") from error
    if refused:
        raise from_findings(ArchiveError, source.name, refused)
    return tuple(members)


def read_member(source: Path, name: str, *, max_bytes: int, limits: Limits) -> bytes | None:
    """One small member of an archive, without unpacking what is behind it.

    None if the file cannot be read as far as the member, has none of that name within the limits, or it
    is larger than `max_bytes`: for a look at an upload, whose conversion then says what is wrong.
    """
    unreadable = (ConvertError, OSError, EOFError, ValueError, OverflowError, IndexError, KeyError)
    with (
        contextlib.suppress(*unreadable, lzma.LZMAError, zlib.error, tarfile.TarError),
        source.open("rb") as packed,
        _decompressed(packed, source.name) as stream,
    ):
        metered = cast("IO[bytes]", _Metered(stream, packed, limits, source.name))
        with tarfile.open(fileobj=metered, mode="r|", bufsize=_READ_AHEAD) as tar:
            for info in itertools.islice(tar, limits.members):
                if info.isreg() and info.name.removeprefix("./") == name:
                    member = tar.extractfile(info) if info.size <= max_bytes else None
                    return member.read() if member is not None else None
    return None


def _check_end(stream: IO[bytes]) -> None:
    """Read to the end, so that the last checksum is checked too.

    `tarfile` takes a broken header for the archive's end; behind a true end there are only zeros.
    """
    while rest := stream.read(_CHUNK):
        if rest.strip(b"\0"):
            raise tarfile.ReadError("a broken header")


def _extract_member(tar: tarfile.TarFile, info: tarfile.TarInfo, into: Path) -> Member:
    target = into / info.name
    target.parent.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256()
    stream = tar.extractfile(info)
    assert stream is not None
    size = 0
    with target.open("xb") as out:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
            size += out.write(chunk)
    if size != info.size:
        raise tarfile.ReadError(f"{size:,} of {info.size:,} bytes")
    return Member(name=info.name, size_bytes=size, sha256=digest.hexdigest())


def _refusal(info: tarfile.TarInfo, seen: set[str]) -> Finding | None:
    """Why a member is refused, or None."""
    name = info.name
    if problem := name_problem(name):
        return Finding(code="archive.name", where=repr(name[:200]), message=problem)
    if info.isdir():
        return None
    kind = (
        "a symbolic link" if info.issym()
        else "a hard link" if info.islnk()
        else "a sparse file" if info.issparse()
        else "a device or a pipe" if not info.isreg()
        else ""
    )  # fmt: skip
    if kind:
        return Finding(
            code="archive.type",
            where=repr(name),
            message=f"is {kind}; an NN Archive holds regular files.",
            remedy="Pack the file itself (tar --dereference --hard-dereference).",
        )
    plain = posixpath.normpath(name)
    if plain in (".", ""):
        return Finding(code="archive.name", where=repr(name), message="is not a file name.")
    if any(plain.startswith(f"{other}/") or other.startswith(f"{plain}/") for other in seen):
        return Finding(
            code="archive.name",
            where=repr(name),
            message="is a file and a folder at once: another member lies below it, or it below one.",
        )
    if plain in seen:
        return Finding(
            code="archive.duplicate",
            where=repr(name),
            message="is in the archive twice; readers differ in which one they take.",
            remedy="Pack it once.",
        )
    seen.add(plain)
    return None


def name_problem(name: str) -> str:
    """What makes a member's name unfit as a path below the work folder; empty if nothing does."""
    stripped = name.removeprefix("./")
    parts = stripped.split("/")
    if name.startswith("/"):
        return "is an absolute path."
    if ".." in parts:
        return "leads out of the archive with '..'."
    if "\\" in name or "\0" in name or any(ord(letter) < 32 for letter in name):
        return "has a backslash or a control character in its name."
    if len(name.encode("utf-8", "surrogatepass")) > _MAX_PATH or any(
        len(part.encode("utf-8", "surrogatepass")) > _MAX_NAME for part in parts
    ):
        return "has too long a name."
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return "has a name that is not UTF-8."
    return ""


def write(
    target: IO[bytes],
    entries: Sequence[tuple[str, bytes | Path]],
    compression: Compression = "xz",
    *,
    threads: int | None = None,
) -> None:
    """Write files as a tar, in the order given; the same files always give the same bytes.

    Args:
        target: An open binary file.
        entries: Name in the archive, and the content or the file that holds it.
        compression: How the tar is packed.
        threads: For xz, how many blocks are compressed at once; None is one a core.
    """
    if compression == "xz":
        stream = XzWriter(target, threads=threads)
        try:
            _write_tar(cast("IO[bytes]", stream), entries)
            stream.close()
        except BaseException:
            stream.abort()
            raise
    elif compression == "gz":
        with gzip.GzipFile(fileobj=target, mode="wb", filename="", mtime=0) as packed:
            _write_tar(cast("IO[bytes]", packed), entries)
    elif compression == "bz2":
        with bz2.BZ2File(target, "wb") as packed:
            _write_tar(cast("IO[bytes]", packed), entries)
    else:
        _write_tar(target, entries)


def _write_tar(stream: IO[bytes], entries: Sequence[tuple[str, bytes | Path]]) -> None:
    with tarfile.open(fileobj=stream, mode="w|", format=tarfile.PAX_FORMAT) as tar:
        for name, content in entries:
            info = tarfile.TarInfo(name)  # mode 0644, owner 0, time 0
            info.size = len(content) if isinstance(content, bytes) else content.stat().st_size
            if isinstance(content, bytes):
                tar.addfile(info, io.BytesIO(content))
            else:
                with content.open("rb") as file:
                    tar.addfile(info, file)


def list_names(file: IO[bytes], *, limit: int) -> list[str]:
    """The names of the first members of an archive that was just written."""
    file.seek(0)
    with tarfile.open(fileobj=file, mode="r:*") as tar:
        names = []
        for info in tar:
            names.append(info.name)
            if len(names) == limit:
                break
        return names


def _said(error: Exception) -> str:
    """An error's own words; `tarfile` tells of every compression that it tried."""
    text = str(error)
    return "it is neither plain nor compressed" if text.startswith("file could not be opened") else text


def tool_names(source: Path) -> list[str]:
    """The names in a vendor's archive of tools.

    Raises:
        ArchiveError: It is no tar, or is damaged.
    """
    try:
        with tarfile.open(source) as tar:
            return [_plain(info.name) for info in tar if not info.isdir()]
    except (OSError, EOFError, lzma.LZMAError, zlib.error, tarfile.TarError) as error:
        raise ArchiveError(f"{source.name} is no readable tar ({_said(error)}).") from error


def unpack_tools(source: Path, into: Path, root: str, folders: Sequence[str]) -> None:
    """Unpack some folders of a vendor's archive of tools, links included that stay inside.

    Args:
        root: The folder in the archive that becomes `into`.
        folders: Those below it that are wanted, each ending with a slash.

    Raises:
        ArchiveError: It is damaged, or a member leads out of it.
    """
    wanted = tuple(root + folder for folder in folders)
    try:
        with tarfile.open(source) as tar:
            for info in tar:
                name = _plain(info.name)
                if not name.startswith(wanted):
                    continue
                inside = info.replace(name=name.removeprefix(root), deep=False)
                if info.islnk():  # unlike a symbolic link's, a hard link's target is a member's name
                    inside.linkname = _plain(info.linkname).removeprefix(root)
                tar.extract(inside, into, filter="data")
    except (OSError, EOFError, lzma.LZMAError, zlib.error, tarfile.TarError) as error:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise disk_error(error, f"unpacking {source.name}") from error
        raise ArchiveError(f"{source.name} cannot be unpacked ({error}).") from error


def _plain(name: str) -> str:
    return name.removeprefix("./")
