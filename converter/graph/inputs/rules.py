"""What each operator says of the values that it takes.

A rule gets a node, the index of its input, and the tensor there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Final

from converter.graph.inputs.uses import (
    HANDS_ON,
    MOST_TENSORS,
    Use,
    array_of,
    integer_of,
    is_float,
    number_of,
    size_of,
    uses_of,
)
from converter.graph.inputs.values import Kind, Values

if TYPE_CHECKING:
    import onnx_ir as ir

_COMPARES: Final = ("Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual")
_LOGIC: Final = ("And", "Or", "Xor", "Not")
# On the way from a sum to its Softmax, and from attention's product to the sum.
_SCALES: Final = (*HANDS_ON, "Add", "Mul", "Div", "Sub", "Where", "Clip", "Max", "Min")
_PRODUCTS: Final = ("MatMul", "Gemm", "Einsum")
# A number like this, added to a score, leaves nothing of it after a Softmax.
_LARGE_NEGATIVE: Final = -100.0

Rule = Callable[["ir.Node", int, "ir.Value"], Iterator[Values]]


def _nothing(_node: ir.Node, _index: int, _value: ir.Value) -> Iterator[Values]:
    return iter(())


def _gather(node: ir.Node, index: int, _value: ir.Value) -> Iterator[Values]:
    """Indices count the entries of an axis: Gather, GatherElements, ScatterElements."""
    size = size_of(node.inputs[0], integer_of(node, "axis", 0))
    if index == 1 and size:
        yield Values(kind=Kind.WHOLE, low=0, high=size - 1)


def _gather_nd(node: ir.Node, index: int, value: ir.Value) -> Iterator[Values]:
    """Every row of indices names one entry: the smallest of the axes bounds all of them."""
    axes = size_of(value, -1)
    first = integer_of(node, "batch_dims", 0)
    sizes = [size_of(node.inputs[0], first + axis) for axis in range(axes or 0)]
    if index == 1 and sizes and all(sizes):
        yield Values(kind=Kind.WHOLE, low=0, high=min(size for size in sizes if size) - 1)


def _one_hot(node: ir.Node, index: int, _value: ir.Value) -> Iterator[Values]:
    depth = number_of(node.inputs[1])
    if index == 0 and depth:
        yield Values(kind=Kind.WHOLE, low=0, high=depth - 1)


def _recurrent(node: ir.Node, index: int, _value: ir.Value) -> Iterator[Values]:
    """Lengths of sequences, and the states to begin with."""
    if index == 4:
        steps = size_of(node.inputs[0], 1 if integer_of(node, "layout", 0) else 0)
        yield Values(kind=Kind.WHOLE, low=1, high=steps)
    elif index in (5, 6):
        yield Values(kind=Kind.STATE)


def _reverse_sequence(node: ir.Node, index: int, _value: ir.Value) -> Iterator[Values]:
    if index == 1:
        yield Values(
            kind=Kind.WHOLE, low=1, high=size_of(node.inputs[0], integer_of(node, "time_axis", 0))
        )


def _compare(node: ir.Node, index: int, _value: ir.Value) -> Iterator[Values]:
    """Compared with one number from 0 to 1: a mask. With many (positions): a count of them."""
    other = node.inputs[1 - index]
    constants = array_of(other)
    if constants is None or constants.size == 0:
        return
    low, high = float(constants.min()), float(constants.max())
    if constants.size == 1 and 0 <= low <= 1:
        yield Values(kind=Kind.MASK)
    elif constants.size > 1 and low >= 0 and (constants % 1 == 0).all():
        yield Values(kind=Kind.WHOLE, low=low, high=high + 1)


def _logic(_node: ir.Node, _index: int, _value: ir.Value) -> Iterator[Values]:
    yield Values(kind=Kind.MASK)


def _where(_node: ir.Node, index: int, _value: ir.Value) -> Iterator[Values]:
    if index == 0:
        yield Values(kind=Kind.MASK)


def _sub(node: ir.Node, index: int, _value: ir.Value) -> Iterator[Values]:
    """`(1 - mask) · -10000`, as transformers write it."""
    if index == 1 and number_of(node.inputs[0]) == 1 and _is_made_large(node.outputs[0]):
        yield Values(kind=Kind.MASK)


def _is_made_large(value: ir.Value) -> bool:
    """Whether a tensor is multiplied by a large negative number, or chooses one (Where)."""
    for use in uses_of(value):
        factor = number_of(use.node.inputs[1 - use.index]) if use.node.op_type == "Mul" else None
        if factor is not None and factor <= _LARGE_NEGATIVE:
            return True
        if use.node.op_type == "Where" and use.index == 0:
            return True
    return False


def _add(node: ir.Node, index: int, value: ir.Value) -> Iterator[Values]:
    """Added to the product of attention on its way to a Softmax: zeros and large negative numbers."""
    if is_float(value) and _reaches_softmax(node) and _is_of_product(node.inputs[1 - index]):
        yield Values(kind=Kind.ADDITIVE_MASK)


def _reaches_softmax(node: ir.Node) -> bool:
    waiting = [node]
    seen: set[ir.Node] = set()
    while waiting and len(seen) < MOST_TENSORS:
        node = waiting.pop()
        if node in seen:
            continue
        seen.add(node)
        if node.op_type in ("Softmax", "LogSoftmax"):
            return True
        if node.op_type in _SCALES:
            waiting += [user for output in node.outputs for user, _ in output.uses()]
    return False


def _is_of_product(value: ir.Value | None) -> bool:
    waiting = [value]
    seen: set[ir.Node] = set()
    while waiting and len(seen) < MOST_TENSORS:
        value = waiting.pop()
        node = value.producer() if value is not None else None
        if node is None or node in seen:
            continue
        seen.add(node)
        if node.op_type in _PRODUCTS:
            return True
        if node.op_type in _SCALES:
            waiting += node.inputs
    return False


def _attention(_node: ir.Node, index: int, value: ir.Value) -> Iterator[Values]:
    """ONNX's own operator takes a mask of either kind, by its type."""
    if index == 3:
        yield Values(kind=Kind.ADDITIVE_MASK if is_float(value) else Kind.MASK)


def _from(low: float, high: float | None = None) -> Rule:
    def rule(_node: ir.Node, index: int, _value: ir.Value) -> Iterator[Values]:
        if index == 0:
            yield Values(kind=Kind.REAL, low=low, high=high)

    return rule


def _power(node: ir.Node, index: int, _value: ir.Value) -> Iterator[Values]:
    exponent = number_of(node.inputs[1])
    if index == 0 and (exponent is None or exponent % 1 or exponent < 0):
        yield Values(kind=Kind.REAL, low=_NOT_ZERO if exponent is None or exponent < 0 else 0)


def _division(node: ir.Node, index: int, value: ir.Value) -> Iterator[Values]:
    """A divisor is not zero; that it is positive is the usual case."""
    if index == 0 and node.op_type != "Reciprocal":
        return
    if is_float(value):
        yield Values(kind=Kind.REAL, low=_NOT_ZERO)
    else:
        yield Values(kind=Kind.WHOLE, low=1)


def _cast(node: ir.Node, index: int, _value: ir.Value) -> Iterator[Values]:
    """A number beyond a narrow type's range becomes anything."""
    if (bits := _BITS.get(integer_of(node, "to", 0))) and index == 0:
        yield Values(kind=Kind.REAL, low=-(2 ** (bits - 1)), high=2 ** (bits - 1) - 1)


def _grid(_node: ir.Node, index: int, _value: ir.Value) -> Iterator[Values]:
    """GridSample's places are from -1 to 1."""
    if index == 1:
        yield Values(kind=Kind.REAL, low=-1, high=1)


def _pixels(node: ir.Node, index: int, _value: ir.Value) -> Iterator[Values]:
    """Divided by 255 or so, or multiplied with its inverse: the pixels of a picture."""
    number = number_of(node.inputs[1 - index])
    if number and node.op_type == "Mul":
        number = 1 / number
    if number and (index == 0 or node.op_type == "Mul") and 127 <= number <= 256:
        yield Values(kind=Kind.REAL, low=0, high=255)


def _less_mean(node: ir.Node, index: int, _value: ir.Value) -> Iterator[Values]:
    """Less the mean of pixels, one number or one for each channel."""
    mean = array_of(node.inputs[1]) if index == 0 else None
    if mean is not None and mean.size in (1, 3) and mean.min() >= 20 and mean.max() <= 255:
        yield Values(kind=Kind.REAL, low=0, high=255)


def _either(*rules: Rule) -> Rule:
    def rule(node: ir.Node, index: int, value: ir.Value) -> Iterator[Values]:
        for one in rules:
            yield from one(node, index, value)

    return rule


_NOT_ZERO: Final = 0.1
# Of INT8 and INT16, by their numbers in ONNX.
_BITS: Final = {3: 8, 5: 16}
_RULES: Final[Mapping[str, Rule]] = {
    "Gather": _gather,
    "GatherElements": _gather,
    "ScatterElements": _gather,
    "GatherND": _gather_nd,
    "ScatterND": _gather_nd,
    "OneHot": _one_hot,
    **dict.fromkeys(("LSTM", "GRU", "RNN"), _recurrent),
    "ReverseSequence": _reverse_sequence,
    **dict.fromkeys(_COMPARES, _compare),
    **dict.fromkeys(_LOGIC, _logic),
    "Where": _where,
    "Sub": _either(_sub, _less_mean),
    "Add": _add,
    "Cast": _cast,
    "Attention": _attention,
    "Sqrt": _from(0),
    "Log": _from(_NOT_ZERO),
    "Pow": _power,
    "Div": _either(_division, _pixels),
    "Mod": _division,
    "Mul": _pixels,
    "Reciprocal": _division,
    "GridSample": _grid,
    **dict.fromkeys(("Asin", "Acos"), _from(-1, 1)),
    "Atanh": _from(-0.95, 0.95),
    "Acosh": _from(1),
}


def facts_of(use: Use) -> Iterator[Values]:
    """What a node says of the values that it uses."""
    rule = _RULES.get(use.node.op_type)
    return rule(use.node, use.index, use.value) if rule else iter(())
