"""The memories of a blob: inputs, outputs, constants, BSS and CMX, and tensors as views of them.

What no stage wrote is 0xFF in every byte: a NaN in float16 and float32, and one that
no arithmetic makes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from targets.rvc2.blob.graph import Buffer, Location
from targets.rvc2.blob.read import Blob, BlobTensor

CMX_SLICE_BYTES: Final = 131_072
# A Myriad X has 512 MB of memory; a blob that asks for more runs nowhere.
_MAX_BYTES: Final = 1 << 29
_MAX_CMX_SLICES: Final = 32
_UNWRITTEN: Final = 0xFF

Bytes = NDArray[np.uint8]


def extent_bytes(shape: Sequence[int], strides: Sequence[int], dtype: str) -> int:
    """How many bytes a tensor reaches over, its padding between elements included.

    Raises:
        ValueError: Elements lie over each other, so the tensor may be larger than its memory.
    """
    reach = np.dtype(dtype).itemsize
    if 0 in shape:
        raise ValueError("an axis of size 0")
    for step, size in sorted(zip(strides, shape, strict=True)):
        if size > 1:
            if step < reach:
                raise ValueError("its elements lie over each other")
            reach += step * (size - 1)
    return reach


class Memory:
    """The memories during one run.

    Args:
        blob: The header of `data`.
        data: The whole file.
    """

    def __init__(self, blob: Blob, data: bytes | memoryview) -> None:
        for what, found, limit in (
            ("bytes of memory", blob.bss_bytes, _MAX_BYTES),
            ("CMX slices", blob.cmx_slices, _MAX_CMX_SLICES),
        ):
            if found > limit:
                raise ValueError(f"{found} {what}; a Myriad X has fewer")
        self.blob = blob
        self._inputs = [_empty(_tensor_bytes(item)) for item in blob.inputs]
        self._outputs = [_empty(_tensor_bytes(item)) for item in blob.outputs]
        self._places: Mapping[Location, Bytes] = {
            Location.CONSTANT: np.frombuffer(data, np.uint8)[blob.constants_at :],
            Location.BSS: _empty(blob.bss_bytes),
            Location.CMX: _empty(blob.cmx_slices * CMX_SLICE_BYTES),
        }

    def view(self, buffer: Buffer) -> NDArray[Any]:
        """A tensor in its memory, slowest axis first; writing to it writes to the memory.

        Raises:
            ValueError: It leads out of its memory.
        """
        place = self._bytes(buffer)
        return _view(place, buffer.dtype, buffer.shape, buffer.strides_bytes, buffer.offset)

    def check(self, buffer: Buffer) -> None:
        """See that a tensor lies in its memory, each element in a place of its own.

        Raises:
            ValueError: It does not.
        """
        if not buffer.is_there:
            return
        end = buffer.offset + extent_bytes(buffer.shape, buffer.strides_bytes, buffer.dtype)
        if end > len(self._bytes(buffer)):
            raise ValueError(f"a tensor leads out of its memory ({buffer.location.name})")

    def _bytes(self, buffer: Buffer) -> Bytes:
        if (place := self._places.get(buffer.location)) is not None:
            return place
        ports = {Location.INPUT: self._inputs, Location.OUTPUT: self._outputs}.get(buffer.location, [])
        if not 0 <= buffer.io_index < len(ports):
            raise ValueError(f"there is no {buffer.location.name.lower()} {buffer.io_index}")
        return ports[buffer.io_index]

    def key(self, buffer: Buffer) -> tuple[Location, int]:
        """Which memory a buffer lies in."""
        return buffer.location, buffer.io_index

    def size_bytes(self, key: tuple[Location, int]) -> int:
        """How large a memory is."""
        location, index = key
        ports = {Location.INPUT: self._inputs, Location.OUTPUT: self._outputs}.get(location)
        return len(self._places[location] if ports is None else ports[index])

    def outputs_keys(self) -> Iterable[tuple[str, tuple[Location, int]]]:
        """The outputs' names and memories."""
        return ((item.name, (Location.OUTPUT, i)) for i, item in enumerate(self.blob.outputs))

    def start(self, feeds: Mapping[str, NDArray[Any]]) -> None:
        """Put the inputs in, and forget everything else.

        Args:
            feeds: The inputs by name; sizes as in the blob, slowest axis first, whatever dtype.

        Raises:
            ValueError: An input is missing, or of another size.
        """
        for place in (*self._outputs, self._places[Location.BSS], self._places[Location.CMX]):
            place.fill(_UNWRITTEN)
        for item, place in zip(self.blob.inputs, self._inputs, strict=True):
            if item.name not in feeds:
                raise ValueError(f"the input {item.name!r} is missing")
            values = np.asarray(feeds[item.name])
            target = _view(place, item.dtype, item.shape, item.strides_bytes, 0)
            if values.size != target.size:
                raise ValueError(
                    f"the input {item.name!r} has {values.size} elements, not {target.size}"
                )
            put(target, values.reshape(target.shape))

    def output(self, index: int) -> NDArray[Any]:
        """A copy of an output, dense, in the blob's dtype and shape."""
        item = self.blob.outputs[index]
        return _view(self._outputs[index], item.dtype, item.shape, item.strides_bytes, 0).copy()


def put(target: NDArray[Any], values: NDArray[Any]) -> None:
    """Store values in the target's type: float16 is rounded to nearest, whole numbers are cut off."""
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        if target.dtype.kind in "iu" and values.dtype.kind == "f":
            limits = np.iinfo(target.dtype)
            values = np.clip(np.trunc(values.astype(np.float64)), limits.min, limits.max)
        target[...] = values


def unwritten(view: NDArray[Any]) -> bool:
    """Whether a tensor of floats holds memory that no stage wrote."""
    if view.dtype.kind != "f":
        return False
    bits: Any = np.uint16 if view.dtype.itemsize == 2 else np.uint32
    return bool((view.view(bits) == np.iinfo(bits).max).any())


def _empty(size_bytes: int) -> Bytes:
    return np.full(size_bytes, _UNWRITTEN, np.uint8)


def _tensor_bytes(item: BlobTensor) -> int:
    if item.dtype not in ("float16", "uint8", "int32", "float32", "int8"):
        raise ValueError(f"{item.name!r} is of {item.dtype}")
    size = extent_bytes(item.shape, item.strides_bytes, item.dtype)
    # A stage may see the padding behind the last row.
    for count, step in zip(item.shape, item.strides_bytes, strict=True):
        size = max(size, count * step)
    if size > _MAX_BYTES:
        raise ValueError(f"{item.name!r} takes {size} bytes; a Myriad X has fewer")
    return size


def _view(
    place: Bytes, dtype: str, shape: tuple[int, ...], strides: tuple[int, ...], offset: int
) -> NDArray[Any]:
    return np.ndarray(shape, dtype, place.data, offset, strides)
