"""Where the elements of a tensor come from: the branches of a graph behind moves and joins."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from converter.graph.rewrite import array_of, input_of, int_attribute, ints_attribute, static_shape

# By axis a range: first, behind the last.
Box = tuple[tuple[int, int], ...]
_MOST_BOXES: Final = 64
# Operators that compute element by element, so that the elements stay where they are.
_ELEMENTWISE: Final = frozenset(
    {"Abs", "Cast", "Clip", "Dropout", "Exp", "Identity", "Neg", "Relu", "Sigmoid", "Sqrt", "Tanh"}
)
# The same with a constant as the other operand.
_WITH_CONSTANT: Final = frozenset({"Add", "Div", "Mul", "Sub"})


@dataclass
class Roots:
    """The tensors behind an output's moves, each with a number that its elements carry."""

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
        source = _moving_input(node)
        if source is None:
            return None
        # Only behind a move there can be several tensors: otherwise the value itself is the branch.
        given = self.labels(source)
        if given is None or (node.op_type in (_ELEMENTWISE | _WITH_CONSTANT) and _single(given)):
            return None
        return _apply(node, given, value, shape)


def _single(labels: NDArray[np.int32]) -> bool:
    return bool(labels.size) and bool((labels == labels.flat[0]).all())


def _moving_input(node: ir.Node) -> ir.Value | None:
    """The tensor whose elements a node moves or changes one by one."""
    if node.op_type in ("Flatten", "Reshape", "Slice", "Split", "Squeeze", "Transpose", "Unsqueeze"):
        return node.inputs[0]
    if node.op_type in _ELEMENTWISE:
        return node.inputs[0]
    if node.op_type in _WITH_CONSTANT:
        computed = [value for value in node.inputs if array_of(value) is None]
        return computed[0] if len(computed) == 1 else None
    return None


def source_by_element(node: ir.Node) -> ir.Value | None:
    """The tensor that a node changes element by element; None for any other node."""
    return _moving_input(node) if node.op_type in (_ELEMENTWISE | _WITH_CONSTANT) else None


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
    if node.op_type in _WITH_CONSTANT:
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
