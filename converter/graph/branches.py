"""Where the elements of a tensor come from: the branches of a graph behind moves and joins."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from converter.graph.rewrite import (
    array_of,
    input_of,
    int_attribute,
    ints_attribute,
    static_shape,
    text_attribute,
)
from converter.graph.rules.scattering import places_of

# By axis a range: first, behind the last.
Box = tuple[tuple[int, int], ...]
_MOST_BOXES: Final = 64
# Operators that compute element by element, so that the elements stay where they are.
_ELEMENTWISE: Final = frozenset(
    {
        *("Abs", "Cast", "Ceil", "Clip", "Cos", "Dropout", "Elu", "Erf", "Exp", "Floor", "Gelu"),
        *("HardSigmoid", "HardSwish", "Identity", "LeakyRelu", "Log", "Mish", "Neg", "Reciprocal"),
        *("Relu", "Round", "Selu", "Sigmoid", "Sign", "Sin", "Softplus", "Softsign", "Sqrt", "Tanh"),
    }
)
# Those of them that leave the numbers as they are.
_SAME_NUMBERS: Final = frozenset({"Cast", "Dropout", "Identity"})
# The same with another operand, which is constant or of one branch.
_WITH_ANOTHER: Final = frozenset({"Add", "Div", "Max", "Min", "Mul", "Pow", "Sub"})
_MOVES: Final = frozenset(
    {"Flatten", "Gather", "Reshape", "Slice", "Split", "Squeeze", "Transpose", "Unsqueeze"}
)


@dataclass
class Roots:
    """The tensors behind an output's moves, each with a number that its elements carry.

    Attributes:
        changed: The numbers of those whose elements do not arrive as they are: what is computed of them
            element by element has other bounds.
    """

    changed: set[int] = field(default_factory=set)
    found: list[ir.Value] = field(default_factory=list)
    _known: dict[int, NDArray[np.int32] | None] = field(default_factory=dict)

    def labels(self, value: ir.Value) -> NDArray[np.int32] | None:
        """For each element of a value the number of the tensor that it comes from."""
        if id(value) not in self._known:
            moved = self._moved(value)
            self._known[id(value)] = self._new(value) if moved is None else moved
        return self._known[id(value)]

    def _new(self, value: ir.Value) -> NDArray[np.int32] | None:
        shape = static_shape(value)
        if shape is None:
            return None
        self.found.append(value)
        return np.full(shape, len(self.found) - 1, np.int32)

    def _moved(self, value: ir.Value) -> NDArray[np.int32] | None:
        """The labels of a value that a move made; None for any other."""
        node, shape = value.producer(), static_shape(value)
        if node is None or shape is None or node.domain not in ("", "ai.onnx"):
            return None
        if node.op_type == "Concat":
            joined = [self.labels(x) for x in node.inputs if x is not None]
            known = [x for x in joined if x is not None]
            axis = int_attribute(node, "axis", 0)
            return np.concatenate(known, axis) if len(known) == len(node.inputs) else None
        if node.op_type == "Where":
            return self._of_where(node, shape)
        if node.op_type in ("ScatterElements", "ScatterND"):
            return self._of_scatter(node, shape)
        given = self._source_labels(node, shape)
        # Only behind a move there can be several tensors: otherwise the value itself is the branch.
        if given is None or (node.op_type not in _MOVES and _single(given)):
            return None
        if node.op_type not in _MOVES | _SAME_NUMBERS:
            self.changed.update(int(label) for label in np.unique(given))
        return _apply(node, given, value, shape)

    def _of_where(self, node: ir.Node, shape: tuple[int, ...]) -> NDArray[np.int32] | None:
        """The labels of what a constant condition chooses."""
        condition = array_of(input_of(node, 0))
        if condition is None:
            return None
        chosen = [self._spread(input_of(node, index), shape) for index in (1, 2)]
        if chosen[0] is None or chosen[1] is None:
            return None
        return np.where(condition, chosen[0], chosen[1]).astype(np.int32)

    def _of_scatter(self, node: ir.Node, shape: tuple[int, ...]) -> NDArray[np.int32] | None:
        """The labels of the data, and where something is written those of the updates."""
        indices = array_of(input_of(node, 1))
        if indices is None or not indices.size or text_attribute(node, "reduction", "none") != "none":
            return None
        data, updates = (self._spread(input_of(node, index), None) for index in (0, 2))
        if data is None or updates is None or data.shape != shape:
            return None
        made = data.flatten()
        made[places_of(node, indices, shape)] = updates.ravel()
        return made.reshape(shape)

    def _spread(
        self, value: ir.Value | None, shape: tuple[int, ...] | None
    ) -> NDArray[np.int32] | None:
        """The labels of a value, spread to a shape."""
        labels = None if value is None else self.labels(value)
        return labels if labels is None or shape is None else np.broadcast_to(labels, shape)

    def _source_labels(self, node: ir.Node, shape: tuple[int, ...]) -> NDArray[np.int32] | None:
        """The labels of the tensor whose elements a node moves or changes one by one."""
        if node.op_type in _MOVES or node.op_type in _ELEMENTWISE:
            return self.labels(node.inputs[0]) if node.inputs[0] is not None else None
        if node.op_type not in _WITH_ANOTHER:
            return None
        known = [self.labels(x) for x in node.inputs if x is not None and array_of(x) is None]
        several = [x for x in known if x is not None and not _single(x) and x.shape == shape]
        # Of two operands of several branches the finer one would count; what is in both is the same.
        same = all(np.array_equal(_edges(several[0]), _edges(x)) for x in several[1:])
        return several[0] if several and same else None


def _edges(labels: NDArray[np.int32]) -> NDArray[np.int64]:
    """Labels in the order in which they come, so that two partitions can be compared."""
    _, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    order: NDArray[np.int64] = np.argsort(np.argsort(first))[inverse].reshape(labels.shape)
    return order


def _single(labels: NDArray[np.int32]) -> bool:
    return bool(labels.size) and bool((labels == labels.flat[0]).all())


def source_by_element(node: ir.Node) -> ir.Value | None:
    """The tensor that a node changes element by element; None for any other node."""
    if node.op_type in _ELEMENTWISE:
        return node.inputs[0]
    if node.op_type in _WITH_ANOTHER:
        computed = [value for value in node.inputs if array_of(value) is None]
        return computed[0] if len(computed) == 1 else None
    return None


def _apply(
    node: ir.Node, labels: NDArray[np.int32], value: ir.Value, shape: tuple[int, ...]
) -> NDArray[np.int32] | None:
    if node.op_type == "Transpose":
        order = ints_attribute(node, "perm") or tuple(reversed(range(labels.ndim)))
        return labels.transpose(order)
    if node.op_type == "Split":
        axis = int_attribute(node, "axis", 0)
        sizes = [static_shape(output) for output in node.outputs]
        if any(size is None for size in sizes):
            return None
        ends = np.cumsum([size[axis] for size in sizes if size is not None])
        return np.split(labels, ends[:-1], axis)[list(node.outputs).index(value)]
    if node.op_type == "Slice":
        return _sliced(node, labels)
    if node.op_type == "Gather":
        indices = array_of(input_of(node, 1))
        if indices is None:
            return None
        moved: NDArray[np.int32] = np.take(labels, indices, int_attribute(node, "axis", 0))
        return moved if moved.shape == shape else None
    if node.op_type in _WITH_ANOTHER | _ELEMENTWISE:
        return labels if labels.shape == shape else None
    return labels.reshape(shape)


def _sliced(node: ir.Node, labels: NDArray[np.int32]) -> NDArray[np.int32] | None:
    given = [array_of(input_of(node, index)) for index in range(1, 5)]
    starts, ends, axes, steps = given
    if starts is None or ends is None or (steps is None and input_of(node, 4) is not None):
        return None
    over = range(len(starts)) if axes is None else [int(axis) for axis in axes]
    chosen: list[slice] = [slice(None)] * labels.ndim
    for place, axis in enumerate(over):
        step = 1 if steps is None else int(steps[place])
        start, end, size = int(starts[place]), int(ends[place]), labels.shape[axis]
        # For a step back an end far below zero is the start; Python writes None for that.
        backwards = step < 0 and end < -size
        chosen[axis % labels.ndim] = slice(start, None if backwards else end, step)
    return labels[tuple(chosen)]


def boxes_of(mask: NDArray[np.bool_]) -> tuple[Box, ...] | None:
    """A mask as a few boxes: axis by axis, runs of equal slices. None where that takes too many."""

    def split(part: NDArray[np.bool_], before: Box) -> list[Box]:
        if not part.any():
            return []
        if part.ndim == 0:
            return [before]
        rows = part.reshape(len(part), -1)
        changes = np.flatnonzero((rows[1:] != rows[:-1]).any(axis=1)) + 1
        edges = [0, *(int(edge) for edge in changes), len(part)]
        if len(edges) > _MOST_BOXES:
            raise OverflowError
        found: list[Box] = []
        for first, last in itertools.pairwise(edges):
            found += split(part[first], (*before, (first, last)))
            if len(found) > _MOST_BOXES:
                raise OverflowError
        return found

    try:
        return tuple(split(mask, ()))
    except OverflowError:
        return None
