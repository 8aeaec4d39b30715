"""A DLC's static tensors, by name and as real numbers.

The record `model.params` lists them: in format 4.1 with the offset of each in `model.params.bin`, in
older formats with the bytes themselves (Netron's `dlc-schema.js`, MIT, has the latter; QAIRT 2.51
writes the former: a table of two 64-bit numbers, where a tensor begins and how long it is).
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from converter.errors import ArchiveError
from converter.formats import Part, bytes_part, mapped
from targets.rvc4.dlc.flatbuffer import BrokenBufferError, Table, root
from targets.rvc4.dlc.read import STATIC, DlcTensor, read_dlc, read_records

if TYPE_CHECKING:
    from numpy.typing import NDArray

_SHARED: Final = "model.params.bin"
_SKIPPED: Final = ("model", "model.params", _SHARED)


def parts(path: Path) -> Iterator[Part]:
    """The pieces of a DLC, without its metadata.

    Raises:
        ArchiveError: It is damaged.
    """
    data = mapped(path)
    tensors = {t.name: t for t in read_dlc(data, path.name).tensors if t.kind == STATIC}
    try:
        records = read_records(data)
        weights, others = _stored(records)
    except (struct.error, BrokenBufferError, ValueError) as error:
        raise ArchiveError(f"{path.name}: its weights cannot be read ({error}).") from error
    for name, stored in weights.items():
        tensor = tensors.get(name)
        read = None if tensor is None else _reader(tensor, stored)
        if tensor is None or read is None:
            yield bytes_part(name, stored)
        else:
            yield Part(name=name, dtype=tensor.dtype, shape=tensor.shape, read=read)
    yield bytes_part("(graph)", records["model"])
    yield bytes_part("(parameters of operators)", memoryview(b"".join(others)))
    for name, record in records.items():
        if name not in _SKIPPED and not name.startswith("dlc.metadata"):
            yield bytes_part(f"({name})", record)


def _stored(
    records: Mapping[str, memoryview],
) -> tuple[dict[str, memoryview], list[memoryview]]:
    """The bytes of the static tensors by name, and those of the operators' own parameters."""
    if "model.params" not in records:
        return {}, []
    shared = records.get(_SHARED, memoryview(b""))
    weights: dict[str, memoryview] = {}
    others: list[memoryview] = []
    for graph in root(records["model.params"][8:], b"NETP").tables(0):
        for table in graph.tables(1):
            weights[table.text(0)] = _content(table, shared)
        for node in graph.tables(2):
            others += [_content(table, shared) for table in node.tables(0)]
    return weights, others


def _content(table: Table, shared: memoryview) -> memoryview:
    place = table.table(3)
    if place is None:
        return table.raw(1)
    begin, size = int(place.number(0, "Q")), int(place.number(1, "Q"))
    if begin + size > len(shared):
        raise ValueError(f"the tensor {table.text(0)!r} leads out of the file")
    return shared[begin : begin + size]


_NUMPY: Final = {"boolean": "bool", "int4": "int8", "uint4": "uint8"}


def _reader(tensor: DlcTensor, data: memoryview) -> Callable[[], NDArray[Any]] | None:
    """How the tensor's values are read; None if its bytes are not those of its type and shape."""
    import numpy as np

    if tensor.dtype.startswith("type ") or min(tensor.shape, default=0) < 0:
        return None
    dtype = np.dtype(_NUMPY.get(tensor.dtype, tensor.dtype))
    count = 1
    for size in tensor.shape:
        count *= size
    if count * dtype.itemsize != len(data):
        return None
    axis, encodings = tensor.axis, tensor.encodings
    if len(encodings) > 1 and not (
        axis is not None
        and -len(tensor.shape) <= axis < len(tensor.shape)
        and tensor.shape[axis] == len(encodings)
    ):
        return None
    return partial(_values, tensor, data, dtype)


def _values(tensor: DlcTensor, data: memoryview, dtype: Any) -> NDArray[Any]:
    import numpy as np

    codes = np.frombuffer(data, dtype).reshape(tensor.shape)
    if not tensor.encodings:
        return codes
    shape = [1] * len(tensor.shape)
    if len(tensor.encodings) > 1 and tensor.axis is not None:
        shape[tensor.axis] = -1
    scale = np.array([e.scale for e in tensor.encodings], np.float32).reshape(shape)
    offset = np.array([e.offset for e in tensor.encodings], np.float32).reshape(shape)
    return np.asarray((codes.astype(np.float32) + offset) * scale)
