"""Reading a Myriad X blob: its inputs and outputs, and what it was compiled for.

The layout follows OpenVINO 2022.2's `vpu/backend/blob_format.hpp` (Apache-2.0): a 52-byte ELF-like
header, then twenty 32-bit fields, then tables of inputs and outputs whose sizes and strides are in the
section of constants. All numbers are little-endian.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from converter.errors import ArchiveError
from converter.model import Tensor

MAGIC: Final = 9709
_HEADER_AT: Final = 52
_HEADER: Final = struct.Struct("<20I")
_IO: Final = struct.Struct("<IiI")
DESCRIPTION: Final = struct.Struct("<7I")
IN_CONSTANTS: Final = 3  # vpu::Location::Blob
DTYPES: Final = {0: "float16", 1: "uint8", 2: "int32", 3: "float32", 4: "int8"}
AXES: Final = {1: "W", 2: "H", 3: "C", 4: "N", 5: "D"}
_MAX_TENSORS: Final = 10_000
_MAX_NAME: Final = 4096
MAX_RANK: Final = 8


@dataclass(frozen=True, kw_only=True)
class BlobTensor:
    """An input or output as the blob has it.

    Attributes:
        shape: Sizes in memory order, the slowest axis first.
        order: The compiler's letters for that order (NCHW, NHWC, NC, …); it calls the axes of every
            rank-4 tensor N, C, H, W, whatever they mean in the model.
        strides_bytes: Distance of neighbours along each axis, in the order of `shape`.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    order: str
    strides_bytes: tuple[int, ...]

    @property
    def is_dense(self) -> bool:
        """Whether the elements are contiguous, without padding."""
        expected, step = [], {"float16": 2, "float32": 4, "int32": 4}.get(self.dtype, 1)
        for size in reversed(self.shape):
            expected.append(step)
            step *= size
        return self.strides_bytes == tuple(reversed(expected))

    def to_tensor(self) -> Tensor:
        """The tensor as a config describes it, with the compiler's letters as its layout."""
        return Tensor(name=self.name, dtype=self.dtype, shape=self.shape, layout=self.order)


@dataclass(frozen=True, kw_only=True)
class Blob:
    """The facts in a blob's header.

    Attributes:
        stages: The number of stages.
        stages_at: Where the section of stages begins, in bytes; likewise `constants_at`.
        bss_bytes: The memory outside of CMX that the stages share.
    """

    version: tuple[int, int]
    inputs: tuple[BlobTensor, ...]
    outputs: tuple[BlobTensor, ...]
    stages: int
    shaves: int
    cmx_slices: int
    batch: int
    size_bytes: int
    constants_at: int
    stages_at: int
    bss_bytes: int

    def to_json(self) -> dict[str, Any]:
        """The blob as plain JSON data."""

        def tensor(item: BlobTensor) -> dict[str, Any]:
            return {
                "name": item.name,
                "dtype": item.dtype,
                "shape": list(item.shape),
                "order": item.order,
            }

        return {
            "kind": "blob",
            "version": ".".join(map(str, self.version)),
            "number_of_shaves": self.shaves,
            "number_of_cmx_slices": self.cmx_slices,
            "stages": self.stages,
            "size_bytes": self.size_bytes,
            "inputs": [tensor(item) for item in self.inputs],
            "outputs": [tensor(item) for item in self.outputs],
        }


def is_blob(data: bytes | memoryview) -> bool:
    """Whether a file that begins with these bytes is a Myriad X blob."""
    at = _HEADER_AT
    return len(data) >= at + 4 and int(struct.unpack_from("<I", data, at)[0]) == MAGIC


def read_blob(data: bytes | memoryview, name: str = "blob") -> Blob:
    """Read a blob's header and its tables of inputs and outputs.

    Raises:
        ArchiveError: It is not a blob, or its tables lead out of it.
    """
    try:
        return _read(memoryview(data))
    except (struct.error, ValueError, UnicodeDecodeError) as error:
        raise ArchiveError(f"{name} is not a readable Myriad X blob ({error}).") from error


def read_blob_file(path: Path) -> Blob:
    """Read a blob file; errors as for `read_blob`."""
    return read_blob(path.read_bytes(), path.name)


def _read(data: memoryview) -> Blob:
    if len(data) < _HEADER_AT + _HEADER.size:
        raise ValueError(f"only {len(data)} bytes")
    fields = _HEADER.unpack_from(data, _HEADER_AT)
    magic, size, major, minor, n_inputs, n_outputs, stages, _, _, batch = fields[:10]
    bss, cmx, shaves, _, _, _, inputs_at, outputs_at, stages_at, constants_at = fields[10:]
    if magic != MAGIC:
        raise ValueError(f"its magic number is {magic}, not {MAGIC}")
    # `size` is without the padding of the ELF-like header: files are a little longer, never shorter.
    if size > len(data):
        raise ValueError(f"it says {size} bytes and has {len(data)}: cut short")
    if constants_at > len(data):
        raise ValueError("its constants begin behind its end")
    return Blob(
        version=(major, minor),
        inputs=_tensors(data, inputs_at, n_inputs, constants_at),
        outputs=_tensors(data, outputs_at, n_outputs, constants_at),
        stages=stages,
        shaves=shaves,
        cmx_slices=cmx,
        batch=batch,
        size_bytes=len(data),
        constants_at=constants_at,
        stages_at=stages_at,
        bss_bytes=bss,
    )


def _tensors(data: memoryview, at: int, count: int, constants: int) -> tuple[BlobTensor, ...]:
    if count > _MAX_TENSORS:
        raise ValueError(f"{count} tensors")
    tensors = []
    for index in range(count):
        number, _offset, name_size = _IO.unpack_from(data, at)
        at += _IO.size
        if number != index or name_size > _MAX_NAME or at + name_size > len(data):
            raise ValueError("a broken table of tensors")
        name = bytes(data[at : at + name_size]).split(b"\0", 1)[0].decode()
        at += name_size
        dtype, code, rank, dims_in, dims_at, strides_in, strides_at = DESCRIPTION.unpack_from(data, at)
        at += DESCRIPTION.size
        if rank > MAX_RANK or dims_in != IN_CONSTANTS or strides_in != IN_CONSTANTS:
            raise ValueError(f"the tensor {name!r} has no fixed shape")
        vector = struct.Struct(f"<{rank}I")
        dims = vector.unpack_from(data, constants + dims_at)
        strides = vector.unpack_from(data, constants + strides_at)
        tensors.append(
            BlobTensor(
                name=name,
                dtype=DTYPES.get(dtype, f"type {dtype}"),
                shape=tuple(reversed(dims)),
                order=axis_order(code, rank),
                strides_bytes=tuple(reversed(strides)),
            )
        )
    return tuple(tensors)


def axis_order(code: int, rank: int) -> str:
    """The letters of an order's code, slowest axis first; the fastest axis is the lowest four bits."""
    return "".join(AXES.get(code >> 4 * position & 15, "?") for position in reversed(range(rank)))
