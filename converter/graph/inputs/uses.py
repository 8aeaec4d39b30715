"""Where the values of a tensor go: its uses, through every node that hands them on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from converter.graph.moves import MOVES

if TYPE_CHECKING:
    import onnx_ir as ir
    from numpy.typing import NDArray

# These hand the values of their first input on, or some of them.
HANDS_ON: Final = (*MOVES, "Cast", "CastLike", "Concat", "Dropout", "Pad")
# A graph with more than these behind one tensor is not looked through.
MOST_TENSORS: Final = 10_000


@dataclass(frozen=True)
class Use:
    """A node that does more with a tensor than to hand it on: the input plus `offset`."""

    node: ir.Node
    index: int
    value: ir.Value
    offset: float


def uses_of(value: ir.Value) -> Iterator[Use]:
    """The uses of an input and of every tensor that hands its values on."""
    waiting = [(value, 0.0)]
    seen: set[tuple[int, float]] = set()
    while waiting:
        value, offset = waiting.pop()
        if (id(value), offset) in seen or len(seen) > MOST_TENSORS:
            continue
        seen.add((id(value), offset))
        for node, index in value.uses():
            if node.op_type in HANDS_ON and (index == 0 or node.op_type == "Concat"):
                waiting += [(output, offset) for output in node.outputs]
                continue
            yield Use(node, index, value, offset)
            if node.op_type in ("Add", "Sub") and (node.op_type, index) != ("Sub", 1):
                constant = number_of(node.inputs[1 - index])
                if constant is not None:
                    step = constant if node.op_type == "Add" else -constant
                    waiting.append((node.outputs[0], offset + step))


def is_float(value: ir.Value) -> bool:
    """Whether a tensor holds floats, or nothing says what it holds."""
    return value.dtype is None or value.dtype.is_floating_point()


def shape_of(value: ir.Value | None) -> Sequence[int | None]:
    """The sizes of the axes, None for an unknown one; empty if nothing is known."""
    shape = value.shape if value is not None else None
    return [size if isinstance(size, int) else None for size in shape or ()]


def size_of(value: ir.Value | None, axis: int) -> int | None:
    """The size of an axis, if it is known."""
    shape = shape_of(value)
    return shape[axis] if -len(shape) <= axis < len(shape) else None


def integer_of(node: ir.Node, name: str, default: int) -> int:
    """An attribute's whole number."""
    attribute = node.attributes.get(name)
    return attribute.as_int() if attribute is not None else default


def array_of(value: ir.Value | None) -> NDArray[Any] | None:
    """A constant's numbers; of a constant that a cast or another shape hides, too."""
    import onnx_ir as ir

    for _ in range(MOST_TENSORS):
        if value is None:
            return None
        constant = ir.convenience.get_const_tensor(value)
        if constant is not None:
            return constant.numpy()
        node = value.producer()
        if node is None or node.op_type not in HANDS_ON or node.op_type in ("Concat", "Gather"):
            return None
        value = node.inputs[0]
    return None


def number_of(value: ir.Value | None) -> float | None:
    """A constant's number, if it is one."""
    array = array_of(value)
    return float(array.reshape(())) if array is not None and array.size == 1 else None
