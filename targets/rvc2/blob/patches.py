"""BSDIFF40 patches between blobs of one network, made fast by what is known of the blob format.

bsdiff sorts the suffixes of the whole old file: minutes for sixteen blobs. But blobs for different
SHAVE counts share their section of constants, except for pieces that moved or have another memory
order. So the pieces are found by content, and bsdiff itself only reads the small section of stages.
Format: http://www.daemonology.net/bsdiff/ (`bspatch.c`): triples of (bytes to add to the old, new
bytes, seek in the old), the differences, and the new bytes, each bzip2-compressed.
"""

from __future__ import annotations

import bz2
import struct
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from converter.errors import ArchiveError
from targets.rvc2.blob import bzip2
from targets.rvc2.blob.read import read_blob

MAGIC: Final = b"BSDIFF40"
_CHUNK: Final = 64
_SHIFTED_CHUNKS: Final = 256  # below this, differing chunks are not worth looking up
_MIN_SAME, _MIN_MOVED = 4, 16  # chunks a run must have to be worth a triple
_WINDOW: Final = 1 << 15
_SMALL: Final = 1 << 16
_NOWHERE: Final = np.iinfo(np.int64).min
# Odd multipliers for a 64-bit sum over the eight words of a chunk; a wrong guess only costs size.
_MULTIPLIERS: Final = np.array(
    [
        0x9E3779B97F4A7C15,
        0xC2B2AE3D27D4EB4F,
        0x165667B19E3779F9,
        0xD6E8FEB86659FD93,
        0xFF51AFD7ED558CCD,
        0xC4CEB9FE1A85EC53,
        0x2545F4914F6CDD1D,
        0x9FB21C651E98DF25,
    ],
    np.uint64,
)


class _Run(NamedTuple):
    """`new[start:end]` of the constants comes from `old`, or is new."""

    start: int
    end: int
    old: int | None

    @property
    def shift(self) -> int | None:
        """The offset of the old bytes minus that of the new ones."""
        return None if self.old is None else self.old - self.start


class Base:
    """The blob that the patches start from."""

    def __init__(self, blob: bytes) -> None:
        self.blob = blob
        self.constants_at = _constants_at(blob)
        self._constants: NDArray[np.uint8] | None = None
        if self.constants_at is not None:
            self._constants = np.frombuffer(blob, np.uint8)[self.constants_at :]
        self._index: tuple[NDArray[np.uint64], NDArray[np.intp]] | None = None

    def patch_to(self, new: bytes) -> bytes:
        """A patch that makes `new` out of this blob."""
        import bsdiff4

        at = _constants_at(new)
        if at is None or self._constants is None or self.constants_at is None:
            return bytes(bsdiff4.diff(self.blob, new))  # type: ignore[no-untyped-call]
        return self._patch(new, at)

    def _patch(self, new: bytes, new_at: int) -> bytes:
        import bsdiff4.core

        assert self._constants is not None
        assert self.constants_at is not None
        writer = _Writer(*bsdiff4.core.diff(self.blob[: self.constants_at], new[:new_at]))
        constants = np.frombuffer(new, np.uint8)[new_at:]
        for run in self._runs(constants):
            piece = constants[run.start : run.end]
            old_end = -1 if run.old is None else run.old + len(piece)
            if run.old is not None and run.old >= 0 and old_end <= len(self._constants):
                old = self._constants[run.old : old_end]
                writer.add(self.constants_at + run.old, piece - old)
            elif len(piece) <= _SMALL and len(self._constants):
                self._patch_small(writer, run, piece)
            else:
                writer.insert(piece.tobytes())
        return writer.finish(len(new))

    def _patch_small(self, writer: _Writer, run: _Run, piece: NDArray[np.uint8]) -> None:
        """A small new region: let bsdiff find it in a window of the old constants."""
        import bsdiff4.core

        assert self._constants is not None
        assert self.constants_at is not None
        size = len(self._constants)
        start = max(0, min(run.start, size) - _WINDOW)
        end = min(size, run.end + _WINDOW)
        start = min(start, max(0, end - 2 * _WINDOW))
        found = bsdiff4.core.diff(self._constants[start:end].tobytes(), piece.tobytes())
        writer.splice(self.constants_at + start, *found)

    def _runs(self, new: NDArray[np.uint8]) -> list[_Run]:
        """Cover the new constants with runs from the old ones."""
        assert self._constants is not None
        common = min(len(self._constants), len(new)) // _CHUNK
        chunks = len(new) // _CHUNK
        same = (_words(self._constants, common) == _words(new, common)).all(1)
        shift = np.full(chunks, _NOWHERE, np.int64)  # in chunks, from new to old
        shift[:common][same] = 0
        differing = np.flatnonzero(shift != 0)
        if len(differing) > _SHIFTED_CHUNKS:
            hashes, order = self._chunk_index()
            wanted = _hashes(_words(new, chunks)[differing])
            at = np.searchsorted(hashes, wanted)
            at[at == len(hashes)] = 0
            hit = hashes[at] == wanted
            shift[differing[hit]] = order[at[hit]] - differing[hit]
        return _join(shift, len(new))

    def _chunk_index(self) -> tuple[NDArray[np.uint64], NDArray[np.intp]]:
        if self._index is None:
            assert self._constants is not None
            hashes = _hashes(_words(self._constants, len(self._constants) // _CHUNK))
            order = np.argsort(hashes, kind="stable")
            self._index = hashes[order], order
        return self._index


class _Writer:
    """Collects triples, differences and new bytes; keeps track of the position in the old file."""

    def __init__(self, triples: bytes, differences: bytes, extra: bytes) -> None:
        self._triples = _decode(triples)
        self._differences = [np.frombuffer(differences, np.uint8)]
        self._extra = [extra]
        self._position = sum(triple[0] + triple[2] for triple in self._triples)

    def _seek(self, old: int) -> None:
        if not self._triples:
            self._triples.append([0, 0, 0])
        self._triples[-1][2] += old - self._position
        self._position = old

    def add(self, old: int, difference: NDArray[np.uint8]) -> None:
        """Append bytes that are the old ones at `old` plus `difference`, a uint8 vector, modulo 256."""
        self._seek(old)
        self._triples.append([len(difference), 0, 0])
        self._differences.append(difference)
        self._position += len(difference)

    def insert(self, data: bytes) -> None:
        """Append new bytes."""
        self._triples.append([0, len(data), 0])
        self._extra.append(data)

    def splice(self, old: int, triples: bytes, differences: bytes, extra: bytes) -> None:
        """Append bsdiff's result for a window of the old file that begins at `old`."""
        decoded = _decode(triples)
        if not decoded:
            self.insert(extra)
            return
        self._seek(old)
        self._triples += decoded
        self._position += sum(triple[0] + triple[2] for triple in decoded)
        self._differences.append(np.frombuffer(differences, np.uint8))
        self._extra.append(extra)

    def finish(self, new_size: int) -> bytes:
        """The patch file."""
        control = bz2.compress(
            b"".join(_encode(value) for triple in self._triples for value in triple), 9
        )
        differences = bzip2.compress(
            part for array in self._differences for part in bzip2.split_zero_runs(array)
        )
        extra = bz2.compress(b"".join(self._extra), 9)
        sizes = _encode(len(control)) + _encode(len(differences)) + _encode(new_size)
        return MAGIC + sizes + control + differences + extra


def _join(shift: NDArray[np.int64], size: int) -> list[_Run]:
    """Runs of equal shift, short ones dropped; gaps within one shift become differences."""
    edges = np.flatnonzero(np.diff(shift)) + 1
    starts = np.concatenate([[0], edges]) if len(shift) else np.array([], np.int64)
    ends = np.concatenate([edges, [len(shift)]]) if len(shift) else starts
    runs: list[_Run] = []

    def add(start: int, end: int, old: int | None) -> None:
        if start >= end:
            return
        last = runs[-1] if runs else None
        if last and last.end == start and old is not None and last.shift == old - start:
            runs[-1] = _Run(last.start, end, last.old)
            return
        runs.append(_Run(start, end, old))

    position = 0
    for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
        by = int(shift[start])
        length = end - start
        if by == _NOWHERE or length < (_MIN_SAME if by == 0 else _MIN_MOVED):
            continue
        begin, stop, offset = start * _CHUNK, end * _CHUNK, by * _CHUNK
        last = runs[-1] if runs else None
        goes_on = last is not None and last.shift == offset
        add(position, begin, position + offset if goes_on else None)
        add(begin, stop, begin + offset)
        position = stop
    add(position, size, None)
    return runs


def _words(data: NDArray[np.uint8], chunks: int) -> NDArray[np.uint64]:
    words: NDArray[np.uint64] = np.ascontiguousarray(data[: chunks * _CHUNK]).view(np.uint64)
    return words.reshape(-1, _CHUNK // 8)


def _hashes(words: NDArray[np.uint64]) -> NDArray[np.uint64]:
    total: NDArray[np.uint64] = (words * _MULTIPLIERS).sum(1, dtype=np.uint64)
    return total


def _constants_at(blob: bytes) -> int | None:
    """The offset of a blob's constants; None for a file with an unknown header."""
    try:
        return read_blob(blob).constants_at
    except ArchiveError:
        return None


def _encode(value: int) -> bytes:
    """A signed integer in bsdiff's format: 63 bits of magnitude, one of sign."""
    return struct.pack("<Q", abs(value) | (1 << 63 if value < 0 else 0))


def _decode(data: bytes | list[tuple[int, int, int]]) -> list[list[int]]:
    """Triples in either form that bsdiff4's core gives: encoded, or as tuples."""
    if not isinstance(data, bytes):
        return [list(triple) for triple in data]
    numbers = struct.unpack(f"<{len(data) // 8}Q", data)
    low = (1 << 63) - 1
    values = [-(number & low) if number >> 63 else number for number in numbers]
    return [values[at : at + 3] for at in range(0, len(values), 3)]
