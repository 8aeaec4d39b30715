"""Where an archive is written: beside its place and renamed there, whole or not at all."""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Final

from converter.archive import tar
from converter.archive.opened import SUFFIXES
from converter.errors import ToolError, UsageError

_COMPRESSIONS: Final[Mapping[str, tar.Compression]] = {
    ".tar.xz": "xz",
    ".tar.gz": "gz",
    ".tar.bz2": "bz2",
    ".tar": "",
}


def output_name(archive_name: str, target: str) -> str:
    """The archive's name when the user gives none."""
    return f"{archive_name}.{target}{SUFFIXES[0]}"


def destination(output: str | os.PathLike[str] | None, name: str, *, force: bool) -> Path:
    """Where the result goes; checked before the work begins.

    Args:
        output: The user's choice: an archive's path, a folder, or None for the current folder. A name
            that ends with `/` or has no suffix is a folder, which `write_archive` makes.
        name: The archive's name in a folder.
        force: Whether an existing file may be replaced.

    Raises:
        UsageError: It is not an archive name, exists already, or cannot be written to.
    """
    path = Path(output) if output is not None else Path(name)
    is_folder = output is not None and names_folder(output)
    if is_folder:
        path = path / name
    _compression(path)
    _refuse_existing(path, force=force)
    folder = path.parent
    if is_folder:  # it may have to be made, in the nearest folder that there is
        folder = next(place for place in (folder, *folder.parents) if os.path.lexists(place))
    if not folder.is_dir():
        wrong = "is no folder" if os.path.lexists(folder) else "no such folder"
        remedy = f"Make it, or write -o {folder}/ for a folder that is made."
        raise UsageError(
            f"{folder}: {wrong}.", remedy="Write elsewhere with -o." if is_folder else remedy
        )
    if not os.access(folder, os.W_OK | os.X_OK):
        raise _not_writable(folder)
    return path


def names_folder(output: str | os.PathLike[str]) -> bool:
    """Whether a name is that of a folder: one that is there, or that ends with `/` or has no suffix."""
    written = os.fspath(output)
    ends = written.endswith(("/", os.sep))
    return ends or Path(output).is_dir() or (not Path(output).suffix and not os.path.lexists(output))


def write_archive(
    path: Path, members: Sequence[tuple[str, bytes | Path]], *, force: bool
) -> tuple[str, int]:
    """Write an archive under a temporary name beside `path` and rename it; never half of it.

    Args:
        path: The result of `destination`; the suffix decides how it is packed.
        members: Name in the archive, and the content or the file that holds it, in this order.
        force: Whether an existing file may be replaced.

    Returns:
        SHA-256 and size in bytes.
    """
    with _beside(path, force=force) as file:
        tar.write(file, members, _compression(path))
        _check_written(file, members, path)
        file.seek(0)
        digest = hashlib.sha256()
        while chunk := file.read(1 << 20):
            digest.update(chunk)
        return digest.hexdigest(), file.tell()


def copy_archive(path: Path, archive: IO[bytes], *, force: bool) -> None:
    """Copy a finished archive to its path, with a rename as in `write_archive`."""
    with _beside(path, force=force) as file:
        shutil.copyfileobj(archive, file, 1 << 20)


def suffix_of(path: Path) -> str:
    """How an archive of that name is packed: `.tar.xz` and so on.

    Raises:
        UsageError: It is not an archive name.
    """
    compression = _compression(path)
    return next(suffix for suffix, packed in _COMPRESSIONS.items() if packed == compression)


def _compression(path: Path) -> tar.Compression:
    for suffix, compression in _COMPRESSIONS.items():
        if path.name.endswith(suffix):
            return compression
    raise UsageError(
        f"{path.name} is not an archive name.",
        remedy=f"End it with {', '.join(_COMPRESSIONS)}, or with / for a folder.",
    )


def _refuse_existing(path: Path, *, force: bool) -> None:
    if os.path.lexists(path) and not force:
        raise UsageError(f"{path} exists.", remedy="Replace it with --force, or choose -o OUT.")


def _not_writable(folder: Path) -> UsageError:
    return UsageError(f"{folder} cannot be written to.", remedy="Write elsewhere with -o.")


def _check_written(file: IO[bytes], members: Sequence[tuple[str, Any]], path: Path) -> None:
    """Check that the archive has the names that it should have, the config first."""
    file.flush()
    names = tar.list_names(file, limit=2)
    if names != [name for name, _ in members][:2]:
        raise ToolError(
            f"{path.name} does not begin with {members[0][0]}: this is a bug in the converter."
        )


@contextlib.contextmanager
def _beside(path: Path, *, force: bool) -> Iterator[IO[bytes]]:
    """A file that gets its name if all goes well and is removed otherwise, with folders made for it."""
    made = [folder for folder in (path.parent, *path.parent.parents) if not folder.exists()]
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with _part(path, force=force) as file:
            yield file
    except BaseException:
        for folder in made:
            with contextlib.suppress(OSError):  # somebody put something there
                folder.rmdir()
        raise


@contextlib.contextmanager
def _part(path: Path, *, force: bool) -> Iterator[IO[bytes]]:
    """The file under its temporary name, renamed at the end."""
    part = path.parent / f".{path.name[:100]}.{secrets.token_hex(6)}.part"
    try:
        file = part.open("x+b")  # as any new file: its mode follows the umask
    except PermissionError:
        raise _not_writable(path.parent) from None
    except OSError as error:
        if error.errno == 30:  # EROFS
            raise _not_writable(path.parent) from None
        raise
    try:
        with file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if force:
            part.replace(path)
        else:
            _rename_new(part, path)
    finally:
        part.unlink(missing_ok=True)


def _rename_new(part: Path, path: Path) -> None:
    """Rename without replacing a file that somebody made in the meantime."""
    try:
        os.link(part, path)
    except FileExistsError:
        _refuse_existing(path, force=False)
    except OSError:  # a file system without hard links
        _refuse_existing(path, force=False)
        shutil.move(part, path)
