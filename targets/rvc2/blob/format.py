"""Blobs and superblobs, for everything that only reads them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from converter.formats import Format, Part, bytes_part, mapped
from converter.profile import Profile
from targets.rvc2.blob.read import is_blob, read_blob
from targets.rvc2.blob.superblob import is_superblob, read_superblob


def _read_blob(path: Path) -> dict[str, Any]:
    return read_blob(path.read_bytes(), path.name).to_json()


def _read_superblob(path: Path) -> dict[str, Any]:
    superblob = read_superblob(path.read_bytes(), path.name)
    return superblob.header.to_json() | {
        "kind": "superblob",
        "size_bytes": path.stat().st_size,
        "base_size_bytes": len(superblob.base),
        "patch_size_bytes": {str(shaves): len(patch) for shaves, patch in superblob.patches.items()},
    }


def _summary(facts: Mapping[str, Any]) -> str:
    cores, slices = facts["number_of_shaves"], facts["number_of_cmx_slices"]
    return (
        f"{facts['kind']} for rvc2, version {facts['version']}, {cores} SHAVE cores, "
        f"{slices} CMX slices, {facts['stages']} stages"
    )


def _blob_parts(path: Path) -> Iterator[Part]:
    return _parts(mapped(path), path.name)


def _superblob_parts(path: Path) -> Iterator[Part]:
    superblob = read_superblob(path.read_bytes(), path.name)
    yield from _parts(superblob.base, path.name)
    yield bytes_part("(patches)", b"".join(superblob.patches.values()))


def _parts(data: bytes | memoryview, name: str) -> Iterator[Part]:
    """The code, and the constants as one piece: only the code knows where each of them is."""
    at = read_blob(data, name).constants_at
    yield bytes_part("(code)", data[:at])
    yield bytes_part("(weights)", data[at:])


def _profile(path: Path) -> Profile:
    from targets.rvc2.blob.profile import profile_file

    return profile_file(path)


BLOB: Final = Format(
    suffix=".blob",
    target="rvc2",
    recognizes=is_blob,
    read=_read_blob,
    summary=_summary,
    load_with="dai.OpenVINO.Blob",
    parts=_blob_parts,
    profile=_profile,
)
SUPERBLOB: Final = Format(
    suffix=".superblob",
    target="rvc2",
    recognizes=is_superblob,
    read=_read_superblob,
    summary=_summary,
    load_with="dai.OpenVINO.SuperBlob",
    parts=_superblob_parts,
    profile=_profile,
)
