"""Writes blobs of a few stages, with any parameters and memory orders; no compiler wrote them.

Format: `targets.rvc2.blob.read` and `targets.rvc2.blob.graph`, header version 6.0.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from targets.rvc2.blob.execute import Execution, execute

_DTYPES = {"float16": 0, "uint8": 1, "int32": 2, "float32": 3, "int8": 4}
_ORDERS = {0: "", 1: "C", 2: "NC", 3: "CHW", 4: "NCHW", 5: "NCDHW"}
_LETTERS = {"W": 1, "H": 2, "C": 3, "N": 4, "D": 5}
INPUT, OUTPUT, CONSTANT, BSS, CMX = 1, 2, 3, 4, 5
END_MARK = 0x7F83FF19


@dataclass(frozen=True)
class Tensor:
    """A tensor in memory: sizes and strides slowest axis first."""

    dtype: str
    order: str
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    location: int
    io_index: int = 0
    offset: int = 0

    @property
    def size_bytes(self) -> int:
        return int(np.prod(self.shape)) * np.dtype(self.dtype).itemsize

    def at(self, offset: int) -> Tensor:
        return replace(self, offset=offset)


NOTHING = Tensor("float16", "", (), (), 0)


def tensor(
    shape: Sequence[int], location: int, dtype: str = "float16", order: str = "", **more: int
) -> Tensor:
    """A dense tensor; the order is the usual one of its rank if it is not said."""
    strides, step = [], np.dtype(dtype).itemsize
    for size in reversed(shape):
        strides.append(step)
        step *= size
    order = order or _ORDERS[len(shape)]
    return Tensor(dtype, order, tuple(shape), tuple(reversed(strides)), location, **more)


class BlobWriter:
    """Collects tensors and stages."""

    def __init__(self, *, bss_bytes: int = 1 << 16, slices: int = 1) -> None:
        self._bss_bytes, self._slices = bss_bytes, slices
        self._inputs: list[Tensor] = []
        self._outputs: list[Tensor] = []
        self._constants = bytearray()
        self._stages: list[bytes] = []

    def input(self, shape: Sequence[int], dtype: str = "float16", order: str = "") -> Tensor:
        """An input, named x0, x1, …"""
        self._inputs.append(tensor(shape, INPUT, dtype, order, io_index=len(self._inputs)))
        return self._inputs[-1]

    def output(self, shape: Sequence[int], dtype: str = "float16", order: str = "") -> Tensor:
        """An output, named y0, y1, …"""
        self._outputs.append(tensor(shape, OUTPUT, dtype, order, io_index=len(self._outputs)))
        return self._outputs[-1]

    def constant(self, values: Any, dtype: str = "float16", order: str = "") -> Tensor:
        """A constant tensor."""
        array: NDArray[Any] = np.asarray(values).astype(dtype)
        return tensor(array.shape, CONSTANT, dtype, order, offset=self._put(array.tobytes()))

    def _put(self, data: bytes) -> int:
        self._constants += bytes(-len(self._constants) % 4)
        at = len(self._constants)
        self._constants += data
        return at

    def _vector(self, values: Sequence[int]) -> int:
        return self._put(struct.pack(f"<{len(values)}I", *reversed(values)))

    def _description(self, item: Tensor) -> bytes:
        code = sum(_LETTERS[letter] << 4 * at for at, letter in enumerate(reversed(item.order)))
        places = CONSTANT, self._vector(item.shape), CONSTANT, self._vector(item.strides)
        return struct.pack("<7I", _DTYPES[item.dtype], code, len(item.shape), *places)

    def _buffer(self, item: Tensor) -> bytes:
        data = self._description(item) + struct.pack("<I", item.location)
        if item.location in (INPUT, OUTPUT):
            data += struct.pack("<2I", item.io_index, item.size_bytes)
        return data + struct.pack("<I", item.offset)

    def encoded(self, kind: int, parameters: bytes, buffers: bytes) -> bytes:
        """A stage as bytes."""
        length = 16 + len(parameters) + len(buffers) + 8
        head = struct.pack("<4I", length, kind, 4, len(parameters) + 4)
        return head + parameters + buffers + struct.pack("<2I", kind, END_MARK)

    def stage(self, kind: int, form: str, values: Sequence[Any], *buffers: Tensor) -> None:
        """Add a stage; `form` has a letter of `struct` for each value."""
        data = b"".join(self._buffer(item) for item in buffers)
        self._stages.append(self.encoded(kind, struct.pack(f"<{form}", *values), data))

    def hardware(self, words: bytes, *buffers: Tensor, injected: bytes = b"") -> None:
        """Add a stage of the convolution unit; `words` are its operations."""
        data = struct.pack("<I", len(buffers)) + b"".join(self._buffer(item) for item in buffers)
        words += struct.pack("<I", bool(injected)) + injected
        self._stages.append(self.encoded(38, words, data))

    def to_bytes(self) -> bytes:
        """The file."""
        tables = [b"".join(map(self._port, ports, range(len(ports)), [letter] * len(ports)))
                  for ports, letter in ((self._inputs, "x"), (self._outputs, "y"))]  # fmt: skip
        stages = b"".join(self._stages)
        inputs_at = 52 + 80
        outputs_at = inputs_at + len(tables[0])
        stages_at = outputs_at + len(tables[1])
        constants_at = stages_at + len(stages)
        fields = [
            9709, constants_at + len(self._constants), 6, 0, len(self._inputs), len(self._outputs),
            len(self._stages), 0, 0, 1, self._bss_bytes, self._slices, 1, 1, 1, 1,
            inputs_at, outputs_at, stages_at, constants_at,
        ]  # fmt: skip
        header = b"\x7felf" + bytes(48) + struct.pack("<20I", *fields)
        return b"".join([header, *tables, stages, bytes(self._constants)])

    def _port(self, item: Tensor, index: int, letter: str) -> bytes:
        name = f"{letter}{index}".encode().ljust(4, b"\0")
        return struct.pack("<IiI", index, 0, len(name)) + name + self._description(item)

    def run(self, *feeds: Any) -> Execution:
        """Execute what was written."""
        return execute(self.to_bytes(), {f"x{number}": feed for number, feed in enumerate(feeds)})


def run_one(
    kind: int,
    form: str,
    values: Sequence[Any],
    feed: NDArray[Any],
    shape: Sequence[int],
    *constants: Any,
    order: str = "",
    dtype: str = "float16",
) -> NDArray[Any]:
    """Execute a blob of one stage with the buffers in, out, constants.

    Args:
        feed: The input, axes as in its usual order.
        shape: Of the output, likewise.
        order: Memory order of input and output.
        dtype: Of the output.
    """
    writer = BlobWriter()
    usual = _ORDERS[feed.ndim]
    axes = [usual.index(letter) for letter in order or usual]
    moved = feed.transpose(axes)
    into = writer.input(moved.shape, feed.dtype.name, order)
    out_order = order if len(shape) == feed.ndim else ""
    out_axes = axes if out_order else list(range(len(shape)))
    out = writer.output([shape[axis] for axis in out_axes], dtype, out_order)
    given = [item if isinstance(item, Tensor) else writer.constant(item) for item in constants]
    writer.stage(kind, form, values, into, out, *given)
    done = writer.run(moved)
    assert not done.unknown, done.unknown
    return done.outputs["y0"].transpose(np.argsort(out_axes))
