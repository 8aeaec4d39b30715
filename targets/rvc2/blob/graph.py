"""The stages of a blob: their parameters, and where their buffers lie.

Format: blob 6.0, measured on blobs of OpenVINO 2022.2's MYRIAD compiler. A stage is {u32 length of the
whole, type, SHAVE cores, length of the parameters with this word, parameters, buffers, type again, end
mark}. All numbers are little-endian.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from converter.errors import ArchiveError
from targets.rvc2.blob.hardware_words import HARDWARE, HardwareOperation, read_operations
from targets.rvc2.blob.read import DESCRIPTION, DTYPES, MAX_RANK, Blob, axis_order
from targets.rvc2.blob.words import NotKnown, Words

_HEAD: Final = struct.Struct("<4I")
_TAIL: Final = struct.Struct("<2I")
_END_MARK: Final = 0x7F83FF19
_MAX_STAGES: Final = 100_000


class Location(IntEnum):
    """In which memory a buffer lies."""

    NONE = 0
    INPUT = 1
    OUTPUT = 2
    CONSTANT = 3
    BSS = 4
    CMX = 5


@dataclass(frozen=True, kw_only=True)
class Buffer:
    """A tensor in memory.

    Attributes:
        dtype: NumPy's name.
        order: Letters of the axes, slowest first (NCHW); the letters name memory orders, no meanings.
        shape: Sizes in that order.
        strides_bytes: Distances of neighbours along each axis, in that order.
        location: In which memory it lies; NONE if the stage does without it.
        io_index: Which input or output, where `location` is one of these.
        offset: Where it begins in its memory, in bytes.
    """

    dtype: str
    order: str
    shape: tuple[int, ...]
    strides_bytes: tuple[int, ...]
    location: Location
    io_index: int
    offset: int

    @property
    def is_there(self) -> bool:
        """Whether the stage has this buffer."""
        return self.location is not Location.NONE

    @property
    def is_planar(self) -> bool:
        """Whether the axes lie in the usual order, each image's channels one behind the other."""
        return self.order in ("", "C", "NC", "CHW", "NCHW", "NCDHW") or "?" in self.order

    @property
    def size(self) -> int:
        """The number of elements."""
        size = 1
        for count in self.shape:
            size *= count
        return size


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A step of a blob's schedule.

    Attributes:
        index: Its place in the schedule.
        parameters: The words of its parameters.
        buffers: Inputs and outputs in the type's own order.
        operations: What the convolution unit does, in a stage of that unit.
        injected: A stage that runs on the SHAVE cores beside the convolution unit.
        problem: Why the stage cannot be read whole; empty if it can.
    """

    index: int
    type: int
    parameters: bytes = b""
    buffers: tuple[Buffer, ...] = ()
    operations: tuple[HardwareOperation, ...] = ()
    injected: Stage | None = None
    problem: str = ""


def read_stages(data: bytes | memoryview, blob: Blob, name: str = "blob") -> tuple[Stage, ...]:
    """Read the schedule of a blob.

    Args:
        blob: The header of `data`.

    Raises:
        ArchiveError: The section of stages is damaged.
    """
    stages, at = [], blob.stages_at
    reader = _Reader(memoryview(data), blob.constants_at)
    try:
        if blob.stages > _MAX_STAGES:
            raise ValueError(f"{blob.stages} stages")
        for index in range(blob.stages):
            stage, at = reader.stage(at, blob.constants_at, index)
            stages.append(stage)
    except (struct.error, ValueError) as error:
        raise ArchiveError(f"{name}: the stage {len(stages)} is damaged ({error}).") from error
    return tuple(stages)


@dataclass(frozen=True)
class _Reader:
    """Reads stages, their axes' sizes and strides out of the section of constants."""

    data: memoryview
    constants_at: int

    def stage(self, at: int, end: int, index: int, *, nested: bool = False) -> tuple[Stage, int]:
        """The stage that begins at a byte, and where it ends."""
        length, kind, _shaves, parameters_length = _HEAD.unpack_from(self.data, at)
        stop = at + length
        tail = stop - _TAIL.size
        split = at + 12 + parameters_length
        if stop > min(end, len(self.data)) or parameters_length < 4 or split > tail:
            raise ValueError("its lengths lead out of it")
        if _TAIL.unpack_from(self.data, tail) != (kind, _END_MARK):
            raise ValueError("it does not end as it begins")
        parameters = bytes(self.data[at + _HEAD.size : split])
        try:
            if kind == HARDWARE:
                if nested:
                    raise NotKnown("a stage of the convolution unit inside of another")
                return self._hardware(index, parameters, at + _HEAD.size, split, tail), stop
            buffers = self._buffers(split, tail)
        except NotKnown as unknown:
            return Stage(index=index, type=kind, parameters=parameters, problem=str(unknown)), stop
        return Stage(index=index, type=kind, parameters=parameters, buffers=buffers), stop

    def _hardware(self, index: int, parameters: bytes, at: int, split: int, tail: int) -> Stage:
        words = Words(parameters)
        operations = read_operations(words)
        injected = None
        if words.unsigned():
            injected, _ = self.stage(at + words.at, split, index, nested=True)
        elif not words.is_read:
            raise NotKnown("parameters behind those of the convolution unit")
        (count,) = struct.unpack_from("<I", self.data, split)
        buffers = self._buffers(split + 4, tail)
        if count != len(buffers):
            raise ValueError(f"{len(buffers)} buffers instead of {count}")
        for operation in operations:
            operation.check(count)
        return Stage(
            index=index,
            type=HARDWARE,
            parameters=parameters,
            buffers=buffers,
            operations=operations,
            injected=injected,
        )

    def _buffers(self, at: int, end: int) -> tuple[Buffer, ...]:
        buffers = []
        while at < end:
            buffer, at = self._buffer(at)
            buffers.append(buffer)
        if at != end:
            raise NotKnown("its buffers have another form")
        return tuple(buffers)

    def _buffer(self, at: int) -> tuple[Buffer, int]:
        dtype, code, rank, *places = DESCRIPTION.unpack_from(self.data, at)
        at += DESCRIPTION.size
        vectors = tuple(zip(places[::2], places[1::2], strict=True))
        if dtype not in DTYPES or rank > MAX_RANK:
            raise NotKnown("its buffers have another form")
        (location,) = struct.unpack_from("<I", self.data, at)
        at += 4
        if location not in Location.__members__.values():
            raise NotKnown(f"a buffer in memory {location}")
        io_index = -1
        if location in (Location.INPUT, Location.OUTPUT):
            (io_index,) = struct.unpack_from("<I", self.data, at)
            at += 8
        if any(where != Location.CONSTANT for where, _ in vectors):
            raise NotKnown("a tensor whose shape is computed on the camera")
        (offset,) = struct.unpack_from("<I", self.data, at)
        shape, strides = (self._vector(position, rank) for _, position in vectors)
        buffer = Buffer(
            dtype=DTYPES[dtype],
            order=axis_order(code, rank),
            shape=shape,
            strides_bytes=strides,
            location=Location(location),
            io_index=io_index,
            offset=offset,
        )
        return buffer, at + 4

    def _vector(self, at: int, rank: int) -> tuple[int, ...]:
        values = struct.unpack_from(f"<{rank}I", self.data, self.constants_at + at)
        return tuple(reversed(values))
