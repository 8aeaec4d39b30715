"""A fast, deterministic `.xz` writer for model weights: independent blocks, compressed in parallel.

Concatenated xz streams are a valid `.xz` file (https://tukaani.org/xz/xz-file-format.txt, section 2),
so each block is one stream. In weights matches hardly matter, but the position of a byte in its number
does: LZMA2's literal coder with the element width (`lp`, `pb`) packs 16-bit weights 5 % smaller and
four times faster than preset 6. A sample of each block decides on its coder, so the same bytes always
give the same file, whatever the number of threads.
"""

from __future__ import annotations

import lzma
from collections import deque
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import IO, Any, Final

from converter.system import usable_cores

BLOCK_BYTES: Final = 4 << 20
_SAMPLE_BYTES: Final = 16 << 10
_SAMPLES: Final = 2
# The general coder is three times slower: it must win by this share of the packed size.
_GENERAL_GAIN: Final = 0.02

_Filter = Mapping[str, Any]


def _literals(*, dict_size: int, lc: int, lp: int, pb: int) -> _Filter:
    return {
        "id": lzma.FILTER_LZMA2,
        "preset": 0,
        "mode": lzma.MODE_FAST,
        "mf": lzma.MF_HC3,
        "nice_len": 4,
        "depth": 1,
        "dict_size": dict_size,
        "lc": lc,
        "lp": lp,
        "pb": pb,
    }


_WEIGHT_CODERS: Final[tuple[_Filter, ...]] = (
    _literals(dict_size=4 << 10, lc=3, lp=1, pb=1),  # 16-bit numbers
    _literals(dict_size=64 << 10, lc=2, lp=2, pb=2),  # 32-bit numbers
)
_GENERAL: Final[_Filter] = {
    "id": lzma.FILTER_LZMA2,
    "preset": 6,
    "dict_size": BLOCK_BYTES,
}


class XzWriter:
    """A write-only binary stream that compresses into `target`.

    Args:
        target: Where the compressed bytes go, in order.
        threads: How many blocks are compressed at once; None takes one for each usable core.
    """

    def __init__(self, target: IO[bytes], *, threads: int | None = None) -> None:
        self._target = target
        self._threads = threads or usable_cores()
        self._pool = ThreadPoolExecutor(self._threads, thread_name_prefix="xz")
        self._pending: deque[Future[bytes]] = deque()
        self._buffer = bytearray()
        self._blocks = 0

    def write(self, data: bytes | memoryview) -> int:
        """Take bytes; blocks are compressed and written as they fill."""
        self._buffer += data
        while len(self._buffer) >= BLOCK_BYTES:
            block = bytes(memoryview(self._buffer)[:BLOCK_BYTES])
            del self._buffer[:BLOCK_BYTES]
            self._submit(block)
        return len(data)

    def close(self) -> None:
        """Compress what is left and end the file; `target` stays open."""
        try:
            if self._buffer or not self._blocks:
                self._submit(bytes(self._buffer))
                self._buffer.clear()
            while self._pending:
                self._target.write(self._pending.popleft().result())
        finally:
            self.abort()

    def abort(self) -> None:
        """Stop without writing the rest."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _submit(self, block: bytes) -> None:
        self._blocks += 1
        self._pending.append(self._pool.submit(compress_block, block))
        # Two blocks waiting for each thread keep them busy and bound the memory.
        while len(self._pending) > 2 * self._threads:
            self._target.write(self._pending.popleft().result())


def compress_block(block: bytes) -> bytes:
    """One xz stream of the block, with the coder that packs a sample of it best."""
    return _pack(block, _choose(block))


def _choose(block: bytes) -> _Filter:
    if len(block) < 4 * _SAMPLES * _SAMPLE_BYTES:
        return _GENERAL  # a few milliseconds either way
    # Samples start at a multiple of 16 bytes, or the element width would be out of step.
    step = len(block) // (_SAMPLES + 1) & ~15
    sample = b"".join(block[i * step : i * step + _SAMPLE_BYTES] for i in range(1, _SAMPLES + 1))
    sizes = [len(_pack(sample, coder)) for coder in _WEIGHT_CODERS]
    best = min(range(len(sizes)), key=sizes.__getitem__)
    general = len(_pack(sample, _GENERAL))
    return _GENERAL if general < sizes[best] * (1 - _GENERAL_GAIN) else _WEIGHT_CODERS[best]


def _pack(data: bytes, coder: _Filter) -> bytes:
    return lzma.compress(data, format=lzma.FORMAT_XZ, check=lzma.CHECK_CRC64, filters=[dict(coder)])
