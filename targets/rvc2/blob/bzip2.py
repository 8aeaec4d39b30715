"""One bzip2 stream made of blocks compressed one by one, so that long runs of zeros cost nothing.

The differences between two blobs are nearly all zeros, and bzip2 takes seconds over them. A stream is
a header, blocks that know nothing of each other but are not aligned to bytes, and a footer with a
checksum over the blocks' checksums; so the block of a run of zeros is made once and copied.
Format: https://en.wikipedia.org/wiki/Bzip2#File_format and bzip2's own `compress.c`.
"""

from __future__ import annotations

import bz2
from collections.abc import Iterable
from functools import lru_cache
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

_END_MAGIC: Final = 0x177245385090
_BLOCK_MAGIC: Final = 0x314159265359
_BLOCK_BYTES: Final = 700_000  # run-length coding can only swell it to 875,000; a block takes 900,000
_ZERO_POWERS: Final = (24, 22, 20, 18, 16)
_MIN_RUN: Final = 1 << 16
_MASK_32, _MASK_48 = (1 << 32) - 1, (1 << 48) - 1

Part = bytes | int


class _Block(NamedTuple):
    """`length` bits of a compressed block, and its checksum."""

    bits: int
    length: int
    checksum: int


def _block(data: bytes) -> _Block:
    """Compress data that fits one block, and take the block out of the stream around it."""
    stream = bz2.compress(data, 9)
    value, length = int.from_bytes(stream[4:], "big"), (len(stream) - 4) * 8
    for padding in range(8):
        if value >> (padding + 32) & _MASK_48 == _END_MAGIC:
            break
    else:
        raise ValueError("no bzip2 footer")
    checksum = value >> padding & _MASK_32
    bits, length = value >> (padding + 80), length - padding - 80
    if bits >> (length - 48) != _BLOCK_MAGIC or bits >> (length - 80) & _MASK_32 != checksum:
        raise ValueError("more than one bzip2 block")
    return _Block(bits, length, checksum)


@lru_cache(maxsize=len(_ZERO_POWERS))
def _zeros(count: int) -> _Block:
    return _block(bytes(count))


def compress(parts: Iterable[Part]) -> bytes:
    """Compress the concatenation of the parts; an `int` means that many zero bytes."""
    blocks: list[_Block] = []
    pending = bytearray()

    def flush() -> None:
        starts = range(0, len(pending), _BLOCK_BYTES)
        blocks.extend(_block(bytes(pending[at : at + _BLOCK_BYTES])) for at in starts)
        pending.clear()

    for part in parts:
        if isinstance(part, bytes):
            pending += part
            continue
        left = part
        for power in _ZERO_POWERS:
            while left >= 1 << power:
                if pending:
                    flush()
                blocks.append(_zeros(1 << power))
                left -= 1 << power
        pending += bytes(left)
    flush()
    value = length = checksum = 0
    for block in blocks:
        value = value << block.length | block.bits
        length += block.length
        checksum = (checksum << 1 & _MASK_32 | checksum >> 31) ^ block.checksum
    value, length = value << 80 | _END_MAGIC << 32 | checksum, length + 80
    padding = -length % 8
    return b"BZh9" + (value << padding).to_bytes((length + padding) // 8, "big")


def split_zero_runs(data: NDArray[np.uint8]) -> list[Part]:
    """A uint8 vector as parts for `compress`: long runs of zeros as their length."""
    nonzero = np.flatnonzero(data)
    if not len(nonzero):
        return [len(data)]
    gaps = np.flatnonzero(np.diff(nonzero) > _MIN_RUN)
    starts = np.concatenate([nonzero[:1], nonzero[gaps + 1]])
    ends = np.concatenate([nonzero[gaps] + 1, nonzero[-1:] + 1])
    parts: list[Part] = []
    position = 0
    for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
        if start > position:
            parts.append(start - position)
        parts.append(data[start:end].tobytes())
        position = end
    if position < len(data):
        parts.append(len(data) - position)
    return parts
