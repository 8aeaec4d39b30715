"""The constant tensors of an OpenVINO model, computed only when they are used.

A large weight stays where OpenVINO has it (its `.bin` is mapped into memory); what is computed from it
is computed when it is written, so that there is never a complete second copy of the weights in memory.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import openvino as ov
from numpy.typing import NDArray

# Bytes below which a value is computed once and kept.
_SMALL: Final = 1 << 16
# Operators between a stored weight and its use; OpenVINO evaluates all of them.
_ON_THE_WAY: Final = frozenset(
    {"Add", "Convert", "Divide", "FakeQuantize", "Multiply", "Reshape", "Squeeze", "Subtract"}
    | {"Transpose", "Unsqueeze"}
)
# Element types that are packed or that NumPy does not have, and the type that holds them exactly.
_UNPACKED: Final = {
    "bf16": "float32", "f8e4m3": "float32", "f8e5m2": "float32", "i4": "int8", "u1": "uint8",
    "u2": "uint8", "u3": "uint8", "u4": "uint8", "u6": "uint8", "nf4": "float32",
}  # fmt: skip
# The results of these do not depend on their inputs alone.
_NEVER: Final = frozenset({"RandomUniform", "Multinomial", "ReadValue", "Result", "Parameter"})


@dataclass(frozen=True, kw_only=True)
class Known:
    """A tensor that does not depend on the model's inputs: its shape and a function for its values."""

    shape: tuple[int, ...]
    get: Callable[[], NDArray[Any]]


class Constants:
    """The known tensors among those of a model; asked in topological order."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, int], Known | None] = {}

    def find(self, output: ov.Output) -> Known | None:
        """A tensor, if it is constant; None if it depends on the inputs."""
        key = (output.get_node().get_name(), output.get_index())
        if key not in self._known:
            self._known[key] = self._look(output)
        return self._known[key]

    def array(self, output: ov.Output) -> NDArray[Any] | None:
        """A constant tensor's values, in its shape and element type; None if it is not constant."""
        known = self.find(output)
        return None if known is None else known.get()

    def _look(self, output: ov.Output) -> Known | None:
        node = output.get_node()
        kind = node.get_type_name()
        if kind == "Constant":
            return Known(shape=tuple(node.get_output_shape(0)), get=lambda: stored(node))
        if kind in _NEVER or output.get_partial_shape().is_dynamic:
            return None
        shape = tuple(int(size) for size in output.get_shape())
        if kind == "ShapeOf":
            size = node.input_value(0).get_partial_shape()
            if size.is_dynamic:
                return None
            sizes = np.array(list(size.to_shape()), output.get_element_type().to_dtype())
            return Known(shape=shape, get=lambda: sizes)
        given = [self.find(value) for value in node.input_values()]
        known = [item for item in given if item is not None]
        if not known or len(known) < len(given):
            return None

        def compute() -> NDArray[Any] | None:
            return evaluate(node, [item.get() for item in known], output.get_index())

        if kind in _ON_THE_WAY and math.prod(shape) * 4 > _SMALL:
            return Known(shape=shape, get=lambda: _certain(compute(), node))
        values = compute()
        return None if values is None else Known(shape=shape, get=lambda: values)


def _certain(values: NDArray[Any] | None, node: ov.Node) -> NDArray[Any]:
    if values is None:
        raise RuntimeError(f"OpenVINO does not evaluate {node.get_friendly_name()!r}")
    return values


def stored(node: Any) -> NDArray[Any]:
    """A Constant's values in its shape: a view in its element type, or a copy if in `_UNPACKED`."""
    kind = node.get_element_type().to_string()
    values = node.get_data(dtype=np.dtype(_UNPACKED[kind])) if kind in _UNPACKED else node.data
    return np.asarray(values).reshape(tuple(node.get_output_shape(0)))


def evaluate(node: ov.Node, inputs: list[NDArray[Any]], index: int) -> NDArray[Any] | None:
    """One output of a node; None if OpenVINO computes it only on a device.

    Args:
        inputs: The values of all inputs, in their shapes.
        index: The output's index.

    Returns:
        The output's values, in its shape.
    """
    kind = node.get_type_name()
    if kind == "FakeQuantize":
        return fake_quantize(*inputs, levels=node.get_attributes()["levels"])
    names = [output.get_element_type().to_string() for output in node.outputs()]
    if kind == "Convert" and not _UNPACKED.keys() & set(names):
        dtype = node.get_output_element_type(0).to_dtype()
        return inputs[0] != 0 if names[0] == "boolean" else inputs[0].astype(dtype)
    kinds = [value.get_element_type() for value in node.input_values()]
    if _UNPACKED.keys() & ({item.to_string() for item in kinds} | set(names)):
        return None
    if any(output.get_partial_shape().is_dynamic for output in node.outputs()):
        return None
    tensors = [
        ov.Tensor(np.ascontiguousarray(array, item.to_dtype()).reshape(array.shape))
        for array, item in zip(inputs, kinds, strict=True)
    ]
    outputs = [ov.Tensor(output.get_element_type(), output.get_shape()) for output in node.outputs()]
    try:
        done = node.evaluate(outputs, tensors)
    except RuntimeError:  # "not implemented" of an operator without an evaluator
        return None
    return np.array(outputs[index].data) if done else None


def fake_quantize(
    x: NDArray[Any],
    in_low: NDArray[Any],
    in_high: NDArray[Any],
    out_low: NDArray[Any],
    out_high: NDArray[Any],
    *,
    levels: int,
) -> NDArray[Any]:
    """The real numbers that a quantized tensor represents.

    Source of the formula: OpenVINO's specification of FakeQuantize-1; halves are rounded to even.

    Args:
        x: Floats of any shape; the four limits are floats that broadcast to it.
        levels: The number of quantization levels.

    Returns:
        An array of the shape and dtype of `x`.
    """
    low, high = np.minimum(in_low, in_high), np.maximum(in_low, in_high)
    with np.errstate(divide="ignore", invalid="ignore"):
        step = np.rint((x - in_low) / (in_high - in_low) * (levels - 1))
        inside = step / (levels - 1) * (out_high - out_low) + out_low
    result = np.where(x <= low, out_low, np.where(x > high, out_high, inside))
    return result.astype(x.dtype)
