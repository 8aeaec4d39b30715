"""VPUX blobs, as far as the format is public: recognizing them, not reading their content.

A blob is a flatbuffer with the identifier `BLOB`; no schema is published, so inputs and outputs cannot
be read back. A superblob for RVC3 is one blob after a header of seventeen big-endian sizes, sixteen of
them zero: there are no SHAVE counts to choose from, and no patches.
"""

from __future__ import annotations

import struct
from typing import Final

from converter.errors import ArchiveError

_IDENTIFIER: Final = b"BLOB"
_HEADER: Final = struct.Struct(">17q")
_LEAST_BYTES: Final = 16


def is_vpux(data: bytes | memoryview) -> bool:
    """Whether a file that begins with these bytes is a VPUX blob."""
    return bytes(data[4:8]) == _IDENTIFIER


def is_vpux_superblob(data: bytes | memoryview) -> bool:
    """Whether a file that begins with these bytes is a superblob of a VPUX blob."""
    if len(data) < _HEADER.size + 8:
        return False
    return _HEADER.unpack_from(data)[0] > 0 and is_vpux(memoryview(data)[_HEADER.size :])


def check_vpux(data: bytes | memoryview, name: str = "blob") -> None:
    """Check that a file is a VPUX blob, as far as the format is public.

    Raises:
        ArchiveError: It is not, or its first table is outside of it.
    """
    if not is_vpux(data) or len(data) < _LEAST_BYTES:
        raise ArchiveError(f"{name} is not a VPUX blob.")
    (root,) = struct.unpack_from("<I", data)
    if not 8 <= root <= len(data) - 4:
        raise ArchiveError(f"{name} is a damaged VPUX blob: its root leads out of it.")


def make_superblob(blob: bytes) -> bytes:
    """A superblob of one blob, without patches."""
    return _HEADER.pack(len(blob), *[0] * 16) + blob


def read_superblob(data: bytes, name: str = "superblob") -> bytes:
    """The blob of a superblob.

    Raises:
        ArchiveError: It is not such a superblob, is cut short, or has patches.
    """
    if not is_vpux_superblob(data):
        raise ArchiveError(f"{name} is not a superblob of a VPUX blob.")
    size, *patches = _HEADER.unpack_from(data)
    if any(patches) or _HEADER.size + size != len(data):
        raise ArchiveError(f"{name} is cut short or damaged: its parts do not add up to its size.")
    blob = data[_HEADER.size :]
    check_vpux(blob, name)
    return blob
