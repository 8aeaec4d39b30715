"""The digest of what lies under a path: a file's bytes, or a folder's names and bytes."""

from __future__ import annotations

import hashlib
from pathlib import Path

from converter.digests import sha256_of


def digest_of(path: Path) -> str:
    r"""SHA-256 of a file, or of a folder.

    A folder's is that of the lines `<SHA-256 of the file>  <name>`, sorted by name in the locale C:
    `(find . -type f -printf '%P\0' | sort -z | xargs -0 sha256sum) | sha256sum`, called in the folder.
    Hidden files count too: another file is another folder.

    Raises:
        OSError: It cannot be read.
    """
    if not path.is_dir():
        return sha256_of(path)
    names = sorted(file.relative_to(path).as_posix() for file in path.rglob("*") if file.is_file())
    lines = [f"{sha256_of(path / name)}  {name}\n" for name in names]
    return hashlib.sha256("".join(lines).encode("utf-8", "surrogateescape")).hexdigest()


def files_of_model(path: Path) -> dict[str, str]:
    """SHA-256 by name of all files of a bare model, or of an archive: its own and those beside it.

    An ONNX file may name files that hold its weights; an IR has them in a `.bin`.

    Raises:
        OSError, ArchiveError: It cannot be read.
    """
    found = {"": digest_of(path)}
    suffix = path.suffix.lower()
    if suffix == ".xml":
        weights = path.with_suffix(".bin")
        return {**found, ".bin": sha256_of(weights)} if weights.is_file() else found
    if suffix == ".onnx" and not path.is_dir() and b"location" in path.read_bytes():
        from converter.graph.facts import read_facts

        for name in read_facts(path, path.name).external:
            beside = path.parent / name
            found[name] = sha256_of(beside) if beside.is_file() else "missing"
    return found


def state_of(path: Path) -> tuple[tuple[str, int, int], ...]:
    """Names, times and sizes of the files under a path: another state may be another content."""
    found = sorted(path.rglob("*")) if path.is_dir() else [path]
    try:
        stats = [(str(file), file.stat()) for file in found]
    except OSError:
        return ()
    return tuple((name, stat.st_mtime_ns, stat.st_size) for name, stat in stats)
