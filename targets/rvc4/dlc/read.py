"""Reading a DLC: graph, inputs, outputs, types, encodings, operators, versions.

A DLC is a zip of stored entries whose checksums are all zero, so that Python's `zipfile` refuses it;
this module reads the central directory (PKWARE APPNOTE 6.3.9, zip64 included). Its record `model` is
eight bytes and a flatbuffer; its fields are those of the public schema in Netron (`dlc-schema.js`,
MIT).
"""

from __future__ import annotations

import math
import mmap
import re
import struct
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from converter.archive.opened import parse_json
from converter.errors import ArchiveError
from targets.rvc4.dlc.flatbuffer import BrokenBufferError, Table, root

_MAGIC: Final = 0x0AD5
_MAX_RECORDS: Final = 1000
_ZIP64: Final = 0xFFFFFFFF
# Qnn_DataType_t -> its name in a config, and whether it is a fixed-point number.
DTYPES: Final[Mapping[int, tuple[str, bool]]] = {
    0x008: ("int8", False),
    0x016: ("int16", False),
    0x032: ("int32", False),
    0x064: ("int64", False),
    0x108: ("uint8", False),
    0x116: ("uint16", False),
    0x132: ("uint32", False),
    0x164: ("uint64", False),
    0x216: ("float16", False),
    0x232: ("float32", False),
    0x264: ("float64", False),
    0x304: ("int4", True),
    0x308: ("int8", True),
    0x316: ("int16", True),
    0x332: ("int32", True),
    0x404: ("uint4", True),
    0x408: ("uint8", True),
    0x416: ("uint16", True),
    0x432: ("uint32", True),
    0x508: ("boolean", False),
}
_INPUT, _OUTPUT, STATIC = 0, 1, 4


@dataclass(frozen=True, kw_only=True)
class Encoding:
    """The real numbers of integer codes: `real = scale * (code + offset)`."""

    bitwidth: int
    scale: float
    offset: int


@dataclass(frozen=True, kw_only=True)
class DlcTensor:
    """A tensor of the graph; several `encodings` are one for each channel along `axis`."""

    name: str
    kind: int
    dtype: str
    is_fixed_point: bool
    shape: tuple[int, ...]
    encodings: tuple[Encoding, ...] = ()
    axis: int | None = None

    def to_json(self) -> dict[str, Any]:
        """The tensor as plain JSON data; of per-channel encodings only the first."""
        first = self.encodings[0] if self.encodings else None
        return {
            "name": self.name,
            "dtype": self.dtype,
            "shape": list(self.shape),
            "encoding": None
            if first is None
            else {"bitwidth": first.bitwidth, "scale": first.scale, "offset": first.offset},
        }


@dataclass(frozen=True, kw_only=True)
class DlcNode:
    """An operator of the graph, by the vendor's names."""

    name: str
    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Dlc:
    """The facts in a DLC."""

    format_version: tuple[int, int]
    graph_name: str
    tensors: tuple[DlcTensor, ...]
    nodes: tuple[DlcNode, ...]
    metadata: Mapping[str, Any]
    size_bytes: int

    def _of_kind(self, kind: int) -> tuple[DlcTensor, ...]:
        return tuple(tensor for tensor in self.tensors if tensor.kind == kind)

    @property
    def inputs(self) -> tuple[DlcTensor, ...]:
        """The graph's inputs in their order."""
        return self._of_kind(_INPUT)

    @property
    def outputs(self) -> tuple[DlcTensor, ...]:
        """The graph's outputs in their order."""
        return self._of_kind(_OUTPUT)

    @property
    def operators(self) -> Counter[str]:
        """How often each operator occurs."""
        return Counter(node.op for node in self.nodes)

    def bit_widths(self) -> tuple[Counter[str], Counter[str]]:
        """Types of the weights and of the activations, counted; biases are weights of one axis."""
        weights: Counter[str] = Counter()
        activations: Counter[str] = Counter()
        for tensor in self.tensors:
            if tensor.kind == STATIC:
                weights[tensor.dtype] += len(tensor.shape) > 1
            else:
                activations[tensor.dtype] += 1
        return +weights, +activations

    def to_json(self) -> dict[str, Any]:
        """The DLC as plain JSON data."""
        weights, activations = self.bit_widths()
        return {
            "kind": "dlc",
            "version": ".".join(map(str, self.format_version)),
            "graph": self.graph_name,
            "size_bytes": self.size_bytes,
            "inputs": [tensor.to_json() for tensor in self.inputs],
            "outputs": [tensor.to_json() for tensor in self.outputs],
            "operators": dict(sorted(self.operators.items())),
            "weight_types": dict(sorted(weights.items())),
            "activation_types": dict(sorted(activations.items())),
            "metadata": dict(self.metadata),
        }


def is_dlc(data: bytes | memoryview) -> bool:
    """Whether a file that begins with these bytes may be a DLC: a zip with a DLC's first entry."""
    head = bytes(data[:128])
    return head.startswith(b"PK\x03\x04") and (head[30:35] == b"model" or b"dlc.metadata" in head)


def read_dlc_file(path: Path) -> Dlc:
    """Read a DLC file.

    Raises:
        ArchiveError: It is none, or is damaged.
    """
    # Mapped, not read: the weights of a large one need not be in memory.
    with path.open("rb") as file:
        if not path.stat().st_size:
            return read_dlc(b"", path.name)
        return read_dlc(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), path.name)


def read_dlc(data: bytes | memoryview | mmap.mmap, name: str = "dlc") -> Dlc:
    """Read a DLC; errors as for `read_dlc_file`."""
    try:
        records = read_records(memoryview(data))
        return _read(records, len(data))
    except (struct.error, BrokenBufferError, ValueError, RecursionError) as error:
        raise ArchiveError(f"{name} is not a readable DLC ({error}).") from error


@dataclass(frozen=True, kw_only=True)
class _Entry:
    """Where an entry of the zip lies: its headers, and its content from `begin` on."""

    name: str
    central: int
    local: int
    begin: int
    size: int


def read_records(data: memoryview) -> dict[str, memoryview]:
    """The records of a DLC by name.

    Raises:
        ValueError: The zip's structure leads out of the file.
    """
    return {entry.name: data[entry.begin : entry.begin + entry.size] for entry in _entries(data)}


def _entries(data: memoryview) -> Iterator[_Entry]:
    end = bytes(data[-66_000:]).rfind(b"PK\x05\x06")
    if end < 0:
        raise ValueError("no zip directory: cut short, or no DLC")
    end += max(0, len(data) - 66_000)
    count, _size, at = struct.unpack_from("<HII", data, end + 10)
    if at == _ZIP64 or count == 0xFFFF:
        far = bytes(data[max(0, end - 1024) : end]).rfind(b"PK\x06\x06")
        if far < 0:
            raise ValueError("no zip64 directory")
        count, _size, at = struct.unpack_from("<QQQ", data, max(0, end - 1024) + far + 32)
    if count > _MAX_RECORDS:
        raise ValueError(f"{count} records")
    for _ in range(count):
        if at > len(data):
            raise ValueError("the zip directory leads out of the file")
        if bytes(data[at : at + 4]) != b"PK\x01\x02":
            raise ValueError("a broken zip directory")
        (method,) = struct.unpack_from("<H", data, at + 10)
        packed, size, name_size, extra_size, comment = struct.unpack_from("<IIHHH", data, at + 20)
        (start,) = struct.unpack_from("<I", data, at + 42)
        name = bytes(data[at + 46 : at + 46 + name_size]).decode("utf-8")
        extra = data[at + 46 + name_size : at + 46 + name_size + extra_size]
        size, packed, start = _zip64_sizes(extra, size, packed, start)
        if method != 0 or packed != size:
            raise ValueError(f"the record {name!r} is compressed")
        if start > len(data) or size > len(data):
            raise ValueError(f"the record {name!r} leads out of the file")
        local_name, local_extra = struct.unpack_from("<HH", data, start + 26)
        begin = start + 30 + local_name + local_extra
        if begin + size > len(data):
            raise ValueError(f"the record {name!r} leads out of the file")
        yield _Entry(name=name, central=at, local=start, begin=begin, size=size)
        at += 46 + name_size + extra_size + comment


_STAMP: Final = re.compile(rb"\d{4}-\d{2}-\d{2} \d{2}:\d{2}:\d{2} UTC")
_NO_TIME: Final = b"1980-01-01 00:00:00 UTC"
# The same moment as a zip writes it: time, then date (PKWARE APPNOTE 6.3.9, 4.4.6).
_NO_ZIP_TIME: Final = struct.pack("<HH", 0, 0x21)


def clear_times(path: Path) -> None:
    """Set the times of a DLC's making to one moment, in place, so that its bytes repeat."""
    with path.open("r+b") as file, mmap.mmap(file.fileno(), 0) as mapped:
        _clear(mapped)


def without_times(data: bytes) -> bytes:
    """The same DLC with the times of its making set to one moment."""
    changed = bytearray(data)
    _clear(changed)
    return bytes(changed)


def _clear(changed: bytearray | mmap.mmap) -> None:
    """Clear the times in a DLC.

    They are in the zip's headers, and in the metadata records as texts of one length. Sizes and offsets
    do not change, so nothing else is written; a changed record's checksum, if it has one, is computed
    again. (All of QNN's are zero.)
    """
    with memoryview(changed) as view:
        found = list(_entries(view))
    for entry in found:
        changed[entry.central + 12 : entry.central + 16] = _NO_ZIP_TIME
        changed[entry.local + 10 : entry.local + 14] = _NO_ZIP_TIME
        if entry.name.startswith("dlc.metadata"):
            record = bytes(changed[entry.begin : entry.begin + entry.size])
            for match in _STAMP.finditer(record):
                changed[entry.begin + match.start() : entry.begin + match.end()] = _NO_TIME
            checksum = zlib.crc32(changed[entry.begin : entry.begin + entry.size])
            for at in (entry.central + 16, entry.local + 14):
                if any(changed[at : at + 4]):
                    changed[at : at + 4] = struct.pack("<I", checksum)


def _zip64_sizes(extra: memoryview, size: int, packed: int, start: int) -> tuple[int, int, int]:
    values = [size, packed, start]
    at = 0
    while at + 4 <= len(extra):
        kind, length = struct.unpack_from("<HH", extra, at)
        if kind == 1:
            field = at + 4
            for index, value in enumerate(values):
                if value == _ZIP64:
                    (values[index],) = struct.unpack_from("<Q", extra, field)
                    field += 8
        at += 4 + length
    return values[0], values[1], values[2]


def _read(records: Mapping[str, memoryview], size: int) -> Dlc:
    if "model" not in records:
        raise ValueError(f"no record 'model' among {sorted(records)}")
    model = records["model"]
    magic, major, minor, _ = struct.unpack_from("<HHHH", model)
    if magic != _MAGIC:
        raise ValueError(f"its model's magic number is {magic:#x}, not {_MAGIC:#x}")
    graphs = root(model[8:], b"NETD").tables(0)
    if len(graphs) != 1:
        raise ValueError(f"{len(graphs)} graphs where one was expected")
    graph = graphs[0]
    metadata = {}
    for name, record in records.items():
        if name.startswith("dlc.metadata"):
            metadata[name] = parse_json(bytes(record))
    return Dlc(
        format_version=(major, minor),
        graph_name=graph.text(0),
        tensors=tuple(_tensor(table) for table in graph.tables(2)),
        nodes=tuple(
            DlcNode(
                name=table.text(0),
                op=table.text(1),
                inputs=tuple(table.texts(2)),
                outputs=tuple(table.texts(3)),
            )
            for table in graph.tables(1)
        ),
        metadata=metadata,
        size_bytes=size,
    )


def _tensor(table: Table) -> DlcTensor:
    code = int(table.number(6, "i"))
    dtype, fixed = DTYPES.get(code, (f"type {code:#x}", False))
    encodings, axis = _encodings(table.table(5)) if fixed else ((), None)
    return DlcTensor(
        name=table.text(1),
        kind=int(table.number(2, "i")),
        dtype=dtype,
        is_fixed_point=fixed,
        shape=tuple(int(dim) for dim in table.numbers(3, "i")),
        encodings=encodings,
        axis=axis,
    )


def _encodings(table: Table | None) -> tuple[tuple[Encoding, ...], int | None]:
    if table is None:
        return (), None
    if (one := table.table(2)) is not None:
        return (_encoding(one),), None
    if (many := table.table(3)) is not None:
        return tuple(_encoding(item) for item in many.tables(1)), int(many.number(0, "i"))
    return (), None


def _encoding(table: Table) -> Encoding:
    scale = float(table.number(3, "f"))
    if not math.isfinite(scale):
        raise ValueError(f"an encoding's scale is {scale}")
    return Encoding(
        bitwidth=int(table.number(0, "i")),
        scale=scale,
        offset=int(table.number(4, "i")),
    )
