"""Superblobs: a blob and patches that turn it into the blob for any number of SHAVE cores.

Its content: seventeen big-endian 64-bit sizes (the base blob, then the patches for 1 to 16 SHAVEs, zero
for the base's count), the base, the patches. DepthAI's `OpenVINO::SuperBlob` reads it like this.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from converter.errors import ArchiveError, ToolError
from targets.rvc2.blob.patches import MAGIC, Base
from targets.rvc2.blob.read import Blob, is_blob, read_blob

SHAVE_COUNTS: Final = tuple(range(1, 17))
_HEADER: Final = struct.Struct(">17q")


@dataclass(frozen=True, kw_only=True)
class Superblob:
    """A superblob taken apart; it has a patch for every SHAVE count except the base's."""

    base: bytes
    patches: Mapping[int, bytes]

    @property
    def header(self) -> Blob:
        """The base blob's header."""
        return read_blob(self.base)

    def blob(self, shaves: int) -> bytes:
        """The blob for a number of SHAVE cores.

        Raises:
            KeyError: There is no blob for this count.
            ArchiveError: Its patch is damaged.
        """
        if shaves == self.header.shaves:
            return self.base
        import bsdiff4

        try:
            return bytes(bsdiff4.patch(self.base, self.patches[shaves]))  # type: ignore[no-untyped-call]
        except (ValueError, MemoryError, OSError, OverflowError) as error:
            raise ArchiveError(
                f"The superblob's patch for {shaves} SHAVE cores is damaged ({error})."
            ) from error

    def to_bytes(self) -> bytes:
        """The file."""
        patches = [self.patches.get(shaves, b"") for shaves in SHAVE_COUNTS]
        sizes = [len(self.base), *(len(patch) for patch in patches)]
        return b"".join([_HEADER.pack(*sizes), self.base, *patches])


def make_superblob(base: bytes, patches: Mapping[int, bytes]) -> Superblob:
    """Pack a base blob and checked patches to the blobs for the other SHAVE counts.

    Raises:
        ToolError: A count is missing.
    """
    own = read_blob(base).shaves
    missing = [count for count in SHAVE_COUNTS if count != own and count not in patches]
    if missing:
        raise ToolError(f"No superblob: the blobs for {missing} SHAVE cores are missing.")
    return Superblob(base=base, patches=dict(sorted(patches.items())))


def checked_patch(base: Base, new: bytes) -> bytes:
    """A patch to `new` that has been applied and compared with it.

    Raises:
        ToolError: It does not give exactly the blob.
    """
    import bsdiff4

    patch = base.patch_to(new)
    if bsdiff4.patch(base.blob, patch) != new:  # type: ignore[no-untyped-call]
        raise ToolError(
            "A superblob's patch does not give its blob back.",
            remedy="Please report this model; rvc2.superblob=false writes a plain blob.",
        )
    return patch


def is_superblob(data: bytes | memoryview) -> bool:
    """Whether a file that begins with these bytes is a superblob."""
    if len(data) < _HEADER.size + 64:
        return False
    return _HEADER.unpack_from(data)[0] > 0 and is_blob(memoryview(data)[_HEADER.size :])


def read_superblob(data: bytes, name: str = "superblob") -> Superblob:
    """Take a superblob apart.

    Raises:
        ArchiveError: It is not a superblob, is cut short, or a patch is not a BSDIFF40.
    """
    if not is_superblob(data):
        raise ArchiveError(f"{name} is not a superblob.")
    base_size, *sizes = _HEADER.unpack_from(data)
    if min(sizes) < 0 or _HEADER.size + base_size + sum(sizes) != len(data):
        raise ArchiveError(f"{name} is cut short or damaged: its parts do not add up to its size.")
    at = _HEADER.size + base_size
    base = data[_HEADER.size : at]
    patches = {}
    for shaves, size in zip(SHAVE_COUNTS, sizes, strict=True):
        patch = data[at : at + size]
        at += size
        if size and not patch.startswith(MAGIC):
            raise ArchiveError(f"{name}: the patch for {shaves} SHAVE cores is not a BSDIFF40.")
        if size:
            patches[shaves] = patch
    own = read_blob(base, name).shaves
    missing = [count for count in SHAVE_COUNTS if count != own and count not in patches]
    if missing:
        raise ArchiveError(f"{name} has no patch for {missing} SHAVE cores.")
    return Superblob(base=base, patches=patches)
