"""The arguments of a rule: the node to translate, the known values, and the builder for new nodes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np
import onnx_ir as ir
import openvino as ov
from numpy.typing import ArrayLike, NDArray

from converter.graph.rewrite import Builder
from converter.sources.ops.constants import Constants, Known

# Element types; float16 is computed in float32, as every target takes its models.
_TYPES: Final[Mapping[str, ir.DataType]] = {
    "boolean": ir.DataType.BOOL,
    "bf16": ir.DataType.FLOAT,
    "f16": ir.DataType.FLOAT,
    "f32": ir.DataType.FLOAT,
    "f64": ir.DataType.DOUBLE,
    "i4": ir.DataType.INT8,
    "i8": ir.DataType.INT8,
    "i16": ir.DataType.INT16,
    "i32": ir.DataType.INT32,
    "i64": ir.DataType.INT64,
    "u1": ir.DataType.UINT8,
    "u4": ir.DataType.UINT8,
    "u8": ir.DataType.UINT8,
    "u16": ir.DataType.UINT16,
    "u32": ir.DataType.UINT32,
    "u64": ir.DataType.UINT64,
}
FLOATS: Final = (ir.DataType.FLOAT, ir.DataType.DOUBLE)
INTS: Final = (ir.DataType.INT8, ir.DataType.INT16, ir.DataType.INT32, ir.DataType.INT64)


class Inexpressible(Exception):  # noqa: N818 - what it is, not what went wrong
    """ONNX has no operators for this node; `str` is a clause that says why."""


class NewerOpset(Exception):  # noqa: N818 - what it is, not what went wrong
    """The graph needs a newer opset than it was begun with."""

    def __init__(self, opset: int) -> None:
        super().__init__(opset)
        self.opset = opset


class Values:
    """The ONNX values of an OpenVINO model's tensors, made when they are first used.

    Attributes:
        saturates: Whether a float that is cast to whole numbers of few bits stops at their ends; else
            it wraps around.
    """

    def __init__(
        self, graph: ir.Graph, opset: int, reserved: Sequence[str], *, saturates: bool = False
    ) -> None:
        self.graph = graph
        self.saturates = saturates
        self.opset = opset
        self.constants = Constants()
        self._values: dict[tuple[str, int], ir.Value] = {}
        self._names = set(reserved)

    def name(self, wanted: str) -> str:
        """A name that no other value has."""
        name, count = wanted, 0
        while name in self._names:
            count += 1
            name = f"{wanted}.{count}"
        self._names.add(name)
        return name

    def set(self, output: ov.Output, value: ir.Value) -> None:
        """Remember the ONNX value of a tensor."""
        self._values[_key(output)] = value

    def get(self, output: ov.Output) -> ir.Value:
        """The ONNX value of a tensor; a constant one becomes an initializer, once."""
        key = _key(output)
        if key not in self._values:
            known = self.constants.find(output)
            assert known is not None, f"{key} was not visited"
            self._values[key] = self.initializer(
                output.get_node().get_friendly_name(), known, onnx_type(output)
            )
        return self._values[key]

    def initializer(
        self,
        name: str,
        known: Known,
        dtype: ir.DataType,
        change: Callable[[NDArray[Any]], NDArray[Any]] | None = None,
        shape: Sequence[int] | None = None,
    ) -> ir.Value:
        """Register a constant whose values are computed when the model is written.

        Args:
            change: From the values of `known` to those of the initializer, in `shape`; they are cast to
                `dtype`.
            shape: The initializer's shape, if `change` changes it.
        """
        wanted = dtype.numpy()

        def tensor() -> ir.TensorProtocol:
            array = known.get() if change is None else change(known.get())
            return ir.Tensor(np.ascontiguousarray(array, wanted).reshape(array.shape), dtype=dtype)

        name = self.name(name)
        size = ir.Shape(known.shape if shape is None else shape)
        value = ir.Value(
            name=name,
            shape=size,
            type=ir.TensorType(dtype),
            const_value=ir.LazyTensor(tensor, dtype=dtype, shape=size, name=name),
        )
        self.graph.register_initializer(value)
        return value


def onnx_type(output: ov.Output) -> ir.DataType:
    """The ONNX type of a tensor."""
    kind = output.get_element_type().to_string()
    if kind not in _TYPES:
        raise Inexpressible(f" of the element type {kind}")
    return _TYPES[kind]


def _key(output: ov.Output) -> tuple[str, int]:
    return output.get_node().get_name(), output.get_index()


class Emitter(Builder):
    """Builds the ONNX nodes for one OpenVINO node.

    Attributes:
        node: The node.
        attributes: Its attributes.
        version: The opset that defines it, `"opset1"`.
    """

    def __init__(self, values: Values, node: ov.Node) -> None:
        super().__init__(values.graph, node.get_friendly_name())
        self.values = values
        self.node = node
        self.attributes: dict[str, Any] = node.get_attributes()
        self.version: str = node.get_type_info().version_id

    # ------------------------------------------------------- what is given

    def has(self, index: int) -> bool:
        """Whether there is an input with that index."""
        return bool(index < self.node.get_input_size())

    def x(self, index: int = 0) -> ir.Value:
        """An input."""
        return self.values.get(self.node.input_value(index))

    def inputs(self) -> list[ir.Value]:
        """All inputs."""
        return [self.x(index) for index in range(self.node.get_input_size())]

    def known(self, index: int) -> NDArray[Any] | None:
        """A constant input's values, in its shape and element type; None if it is computed."""
        return self.values.constants.array(self.node.input_value(index))

    def array(self, index: int) -> NDArray[Any]:
        """A constant input's values, in its shape and element type.

        Raises:
            Inexpressible: The input is computed.
        """
        values = self.known(index)
        if values is None:
            raise Inexpressible(f" whose input {index} is computed")
        return values

    def ints_of(self, index: int) -> list[int]:
        """A constant input of integers, flat."""
        return [int(value) for value in self.array(index).ravel()]

    def scalar(self, index: int) -> float:
        """A constant input of one number."""
        return float(self.array(index).ravel()[0])

    def shape(self, index: int = 0) -> list[int]:
        """An input's static shape."""
        return fixed(self.node.input_value(index))

    def sizes(self, index: int = 0) -> list[int | None]:
        """An input's shape, None for each size that is not known."""
        return sizes_of(self.node.input_value(index))

    def rank(self, index: int = 0) -> int:
        """How many axes an input has."""
        return len(self.sizes(index))

    def out_shape(self, index: int = 0) -> list[int]:
        """An output's static shape."""
        return fixed(self.node.output(index))

    def dtype(self, index: int = 0) -> ir.DataType:
        """An input's type."""
        return onnx_type(self.node.input_value(index))

    def out_dtype(self, index: int = 0) -> ir.DataType:
        """An output's type."""
        return onnx_type(self.node.output(index))

    def is_read(self, index: int) -> bool:
        """Whether a node or the model reads an output."""
        return bool(self.node.output(index).get_target_inputs())

    def axes(self, index: int) -> list[int]:
        """A constant input with axes of the first input, as indices from the start."""
        rank = self.rank()
        return [axis % rank for axis in self.ints_of(index)]

    def need(self, opset: int) -> None:
        """Ask for a newer opset."""
        if self.values.opset < opset:
            raise NewerOpset(opset)

    # ------------------------------------------------------ what is made

    def like(self, values: ArrayLike, index: int = 0) -> ir.Value:
        """A constant of an input's type."""
        return self.constant(values, self.dtype(index).numpy())

    def weight(
        self,
        index: int,
        shape: Sequence[int],
        change: Callable[[NDArray[Any]], NDArray[Any]] | None = None,
    ) -> ir.Value | None:
        """A constant input as an initializer of another shape; None if it is computed.

        Args:
            shape: The new shape.
            change: From the input's values to an array of `shape`; a reshape by default.
        """
        source = self.node.input_value(index)
        known = self.values.constants.find(source)
        if known is None:
            return None
        name = source.get_node().get_friendly_name()
        alter = change or (lambda array: array.reshape(shape))
        return self.values.initializer(name, known, onnx_type(source), alter, shape)

    def cast(self, value: ir.Value, dtype: ir.DataType, old: ir.DataType | None = None) -> ir.Value:
        """The value in another type; `old` is its present type."""
        return value if dtype == old else self.op("Cast", value, to=int(dtype))

    def i64(self, index: int) -> ir.Value:
        """An input as ONNX takes shapes and indices."""
        values = self.known(index)
        if values is not None:
            return self.constant(values.astype(np.int64), np.int64)
        return self.cast(self.x(index), ir.DataType.INT64, self.dtype(index))

    def vector(self, index: int) -> ir.Value:
        """The same with one axis, even if the input is a scalar."""
        values = self.known(index)
        if values is not None:
            return self.ints(*(int(value) for value in values.ravel()))
        value = self.i64(index)
        return value if self.rank(index) == 1 else self.op("Reshape", value, self.ints(-1))

    def reshape(self, x: ir.Value, shape: Sequence[int]) -> ir.Value:
        """The same numbers in another shape."""
        return self.op("Reshape", x, self.ints(*shape))

    def transpose(self, x: ir.Value, order: Sequence[int]) -> ir.Value:
        """The axes in another order; no node if they are in that order."""
        return x if list(order) == list(range(len(order))) else self.op("Transpose", x, perm=order)

    def unsqueeze(self, x: ir.Value, *axes: int) -> ir.Value:
        """New axes of size one."""
        return self.op("Unsqueeze", x, self.ints(*axes)) if axes else x

    def squeeze(self, x: ir.Value, *axes: int) -> ir.Value:
        """Without these axes of size one."""
        return self.op("Squeeze", x, self.ints(*axes)) if axes else x

    def reduce(self, kind: str, x: ir.Value, axes: Sequence[int], keep: bool) -> ir.Value:
        """A reduction; opset 18 takes the axes as an input, as the sum did before."""
        if not axes:
            return self.op("Identity", x)
        if kind == "ReduceSum" or self.values.opset >= 18:
            return self.op(kind, x, self.ints(*axes), keepdims=int(keep))
        return self.op(kind, x, axes=list(axes), keepdims=int(keep))

    def slice(self, x: ir.Value, axis: int, start: int, stop: int, step: int = 1) -> ir.Value:
        """A part of one axis."""
        ends = (self.ints(value) for value in (start, stop, axis, step))
        return self.op("Slice", x, *ends)


def sizes_of(output: ov.Output) -> list[int | None]:
    """A shape whose unknown sizes are None."""
    shape = output.get_partial_shape()
    if shape.rank.is_dynamic:
        raise Inexpressible(" of unknown rank")
    return [None if size.is_dynamic else int(size.get_length()) for size in shape]


def fixed(output: ov.Output) -> list[int]:
    """A shape that must be static."""
    known = [size for size in sizes_of(output) if size is not None]
    if len(known) < len(output.get_partial_shape()):
        raise Inexpressible(" of a dynamic shape")
    return known
