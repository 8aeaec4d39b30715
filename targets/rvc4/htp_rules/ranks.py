"""Operators that the HTP has for fewer axes only: neighbours that may be one axis become one.

Measured (QAIRT 2.51): of five axes it takes sums, products and moves, but no Sqrt, Tanh, Log, Max, …;
of six nothing at all.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import onnx_ir as ir

from converter.graph.moves import source_behind
from converter.graph.rewrite import Builder, Rule, ints_attribute, static_shape
from converter.graph.rules.common import x_of
from converter.graph.rules.forms import reduced, reshaped, transposed
from converter.graph.rules.sums import axes_of

# What most of its operators take, and what its moves do.
_MOST: Final = 4
_MOST_MOVED: Final = 5
_RESHAPES: Final = ("Flatten", "Reshape", "Squeeze", "Unsqueeze")
# Sizes along one axis, of the result and of every operand.
Sizes = tuple[int, ...]


def element_by_element(node: ir.Node, b: Builder) -> Sequence[ir.Value] | None:
    """The same of four axes; a size of one goes with any neighbour."""
    shape = static_shape(node.outputs[0])
    shapes = [static_shape(value) for value in node.inputs if value is not None]
    known = [item for item in shapes if item is not None]
    if shape is None or len(shape) <= _MOST or len(known) < len(shapes) or not math.prod(shape):
        return None
    rank = len(shape)
    wide = [shape, *[(1,) * (rank - len(item)) + item for item in known]]
    axes = _merged(list(zip(*wide, strict=True)), _alike)
    if len(axes) > _MOST:
        return None
    places = iter(range(1, len(wide)))
    inputs: list[ir.Value | None] = []
    for value in node.inputs:
        place = 0 if value is None else next(places)
        # The limits of Clip are scalars.
        if value is None or static_shape(value) == ():
            inputs.append(value)
        else:
            inputs.append(reshaped(b, value, [sizes[place] for sizes in axes]))
    (made,) = b.again(node, *inputs)
    return [reshaped(b, _typed(made, node.outputs[0]), shape)]


def _alike(one: Sizes, other: Sizes) -> Sizes | None:
    """Two axes as one: the same operands are as long as the result along both."""
    full = [[size == sizes[0] for size in sizes] for sizes in (one, other)]
    if full[0] != full[1] and one[0] > 1 and other[0] > 1:
        return None
    return tuple(a * c for a, c in zip(one, other, strict=True))


def _merged(axes: list[Sizes], joined: Callable[[Sizes, Sizes], Sizes | None]) -> list[Sizes]:
    """Axes of which the first neighbours that may be one are one, until they are few enough."""
    place = 0
    while len(axes) > _MOST and place < len(axes) - 1:
        whole = joined(axes[place], axes[place + 1])
        if whole is None:
            place += 1
        else:
            axes[place : place + 2] = [whole]
    return axes


def reduction(node: ir.Node, b: Builder) -> Sequence[ir.Value] | None:
    """The same of four axes, where those that are reduced and those that are kept lie together."""
    shape, result, over = static_shape(x_of(node)), static_shape(node.outputs[0]), axes_of(node)
    if shape is None or not result or over is None or len(shape) <= _MOST or not math.prod(shape):
        return None

    def joined(one: Sizes, other: Sizes) -> Sizes | None:
        if one[1] != other[1] and one[0] > 1 and other[0] > 1:
            return None
        return one[0] * other[0], one[1] if one[0] > 1 else other[1]

    axes = _merged([(size, int(axis in over)) for axis, size in enumerate(shape)], joined)
    if len(axes) > _MOST:
        return None
    flat = reshaped(b, x_of(node), [size for size, _ in axes])
    chosen = [place for place, (_, is_reduced) in enumerate(axes) if is_reduced]
    made = reduced(b, node.op_type, flat, chosen, keepdims=True) if chosen else flat
    return [reshaped(b, _typed(made, x_of(node)), result)]


# -------------------------------------------------------------------- moves


def transposition(node: ir.Node, b: Builder) -> Sequence[ir.Value] | None:
    """A Transpose of six axes or more as some of four: neighbours that stay so are one axis.

    Where that leaves more than five, each step brings the next axes of the result to their place.
    """
    x = x_of(node)
    shape = static_shape(x)
    if shape is None or len(shape) <= _MOST_MOVED or not math.prod(shape):
        return None
    given = ints_attribute(node, "perm") or tuple(reversed(range(len(shape))))
    sizes, perm = _blocks(shape, [axis for axis in given if shape[axis] > 1])
    y = source_behind(x, _RESHAPES)  # it was given many axes only
    if len(sizes) <= _MOST_MOVED:
        y = transposed(b, reshaped(b, y, sizes or [1]), perm or [0])
        return [reshaped(b, _typed(y, x), [shape[axis] for axis in given])]
    order = list(range(len(sizes)))
    for place, axis in enumerate(perm):
        at = order.index(axis)
        if at == place:
            continue
        front, between = order[:place], order[place:at]
        blocks = [
            math.prod(sizes[item] for item in part)
            for part in (front, between, [axis], order[at + 1 :])
        ]
        y = _typed(b.op("Transpose", reshaped(b, y, blocks), perm=[0, 2, 1, 3]), x)
        order = [*front, axis, *between, *order[at + 1 :]]
    return [reshaped(b, y, [shape[axis] for axis in given])]


def _blocks(shape: Sequence[int], perm: Sequence[int]) -> tuple[list[int], list[int]]:
    """Sizes and order of axes after those that stay neighbours became one.

    Args:
        perm: The result's axes; without those of one element.
    """
    kept = sorted(perm)
    follows = {axis: kept[place + 1] for place, axis in enumerate(kept[:-1])}
    blocks: list[list[int]] = []
    for axis in perm:
        if blocks and follows.get(blocks[-1][-1]) == axis:
            blocks[-1].append(axis)
        else:
            blocks.append([axis])
    ordered = sorted(blocks)
    sizes = [math.prod(shape[axis] for axis in block) for block in ordered]
    return sizes, [ordered.index(block) for block in blocks]


def _typed(y: ir.Value, like: ir.Value) -> ir.Value:
    if like.dtype is not None:
        y.dtype = like.dtype
    return y


def reshape_of_many_axes(node: ir.Node, b: Builder) -> Sequence[ir.Value] | None:
    """A Reshape of what was reshaped to more than four axes, without that."""
    shape, given = static_shape(node.outputs[0]), static_shape(x_of(node))
    if shape is None or given is None or len(given) <= _MOST:
        return None
    source = source_behind(x_of(node), _RESHAPES)
    if source is x_of(node):
        return None
    y = source if static_shape(source) == shape else reshaped(b, source, shape)
    return [y]


# What the HTP has for four axes only, in every mode; comparisons and casts of what they give fail when
# the network is loaded.
_OF_FOUR: Final = (
    *("And", "Atan", "Ceil", "Cos", "Elu", "Equal", "Erf", "Floor", "Gelu", "Greater"),
    *("GreaterOrEqual", "HardSwish", "Less", "LessOrEqual", "Log", "Neg", "Not", "Or", "Round"),
    *("Sign", "Sin", "Softplus", "Sqrt", "Tanh"),
)
_OF_FOUR_IN_FLOAT: Final = ("Exp", "HardSigmoid", "Max", "Min", "Sigmoid")


def _cast_of_booleans(node: ir.Node, b: Builder) -> Sequence[ir.Value] | None:
    return element_by_element(node, b) if x_of(node).dtype == ir.DataType.BOOL else None


RULES: Final[Mapping[str, Rule]] = {
    **dict.fromkeys(_OF_FOUR, element_by_element),
    "Cast": _cast_of_booleans,
    "Transpose": transposition,
}
FLOAT_RULES: Final[Mapping[str, Rule]] = {
    **RULES,
    **dict.fromkeys(_OF_FOUR_IN_FLOAT, element_by_element),
    **dict.fromkeys(("ReduceMax", "ReduceMin"), reduction),
}
JOINED: Final[Mapping[str, Rule]] = dict.fromkeys(_RESHAPES, reshape_of_many_axes)
