"""What each output of a graph consists of: the branches behind its last moves, indices, chosen rows."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from converter.graph.bounds import LIMITS
from converter.graph.branches import Box, Roots, boxes_of, source_by_element
from converter.graph.moves import source_behind
from converter.graph.rewrite import int_attribute, static_shape

# An output of more branches is one of a sequence, such as the steps of an unrolled recurrent layer.
_MOST_PARTS: Final = 48
# What is between these numbers whatever goes in.
BOUNDS: Final[Mapping[str, tuple[float, float]]] = {
    name: LIMITS[name] for name in ("HardSigmoid", "Sigmoid", "Softmax", "Tanh")
}
# What gives back some of the numbers that go in.
_KEEPS_BOUNDS: Final = frozenset({"Identity", "ReduceMax", "ReduceMin"})
# What gives the larger number for the larger one.
_RISING: Final = frozenset(
    {"Cast", "Exp", "Flatten", "Identity", "Reshape", "Sigmoid", "Sqrt", "Squeeze", "Tanh", "Unsqueeze"}
)
# What gives the numbers that go in, in another form or type.
_SAME_NUMBERS: Final = ("Cast", "Flatten", "Identity", "Reshape", "Squeeze", "Unsqueeze")
# What picks rows out of a tensor by the indices of its second input.
_GATHERS: Final = frozenset({"Gather", "GatherElements", "GatherND"})


@dataclass(frozen=True, kw_only=True)
class Part:
    """The elements of an output that one branch of the graph makes.

    Attributes:
        tensor: The branch's last tensor; operator: what makes it.
        boxes: The elements: for each box a range (first, behind the last) on each axis of the output.
        bounds: The numbers that the elements lie between whatever goes in, where the operator says so.
        ranked: Whether they are the scores by which a TopK chose the output's rows.
    """

    tensor: str
    operator: str
    boxes: tuple[Box, ...]
    bounds: tuple[float, float] | None = None
    ranked: bool = False

    def mask(self, shape: Sequence[int]) -> NDArray[np.bool_]:
        """Which elements of the output, of that shape, belong to the part."""
        found = np.zeros(tuple(shape), bool)
        for box in self.boxes:
            found[tuple(slice(first, last) for first, last in box)] = True
        return found

    def where(self, shape: Sequence[int]) -> str:
        """The elements as an index expression, such as `[:, 4:84, :]`; trailing colons are left out."""
        said = []
        for box in self.boxes[:3]:
            ranges = [
                ":"
                if (first, last) == (0, size)
                else f"{first}:{last}"
                if last > first + 1
                else str(first)
                for (first, last), size in zip(box, shape, strict=True)
            ]
            while len(ranges) > 1 and ranges[-1] == ":":
                ranges.pop()
            said.append(f"[{', '.join(ranges)}]")
        return ", ".join(said) + (f" and {len(self.boxes) - 3} more" if len(self.boxes) > 3 else "")

    def to_json(self) -> dict[str, Any]:
        """The part as plain JSON data."""
        return {
            "tensor": self.tensor,
            "operator": self.operator,
            "boxes": [[list(pair) for pair in box] for box in self.boxes],
            "bounds": None if self.bounds is None else list(self.bounds),
            "ranked": self.ranked,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """The part that `to_json` wrote down."""
        return cls(
            tensor=data["tensor"],
            operator=data["operator"],
            boxes=tuple(tuple((first, last) for first, last in box) for box in data["boxes"]),
            bounds=None if data["bounds"] is None else (data["bounds"][0], data["bounds"][1]),
            ranked=data["ranked"],
        )


@dataclass(frozen=True, kw_only=True)
class OutputFacts:
    """What the graph says of an output.

    Attributes:
        parts: Its parts; none where there is one branch only, or too many.
        indexed: Of an output of indices (ArgMax, TopK): the tensor that they point into, and along
            which of its axes.
        chosen_by: The TopK node that chose the output's rows; rows: the axis that they lie along;
            groups: how often it chose, for each of the leading axes' elements (a batch, classes).
        largest, ordered: Whether that TopK chooses the largest scores, and promises their order.
    """

    parts: tuple[Part, ...] = ()
    indexed: tuple[str, int] | None = None
    chosen_by: str | None = None
    rows: int | None = None
    groups: int = 1
    largest: bool = True
    ordered: bool = True

    def to_json(self) -> dict[str, Any]:
        """The facts as plain JSON data."""
        return {
            "parts": [part.to_json() for part in self.parts],
            "indexed": None if self.indexed is None else list(self.indexed),
            "chosen_by": self.chosen_by,
            "rows": self.rows,
            "groups": self.groups,
            "largest": self.largest,
            "ordered": self.ordered,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """The facts that `to_json` wrote down."""
        indexed = data["indexed"]
        return cls(
            parts=tuple(Part.from_json(part) for part in data["parts"]),
            indexed=None if indexed is None else (indexed[0], indexed[1]),
            chosen_by=data["chosen_by"],
            rows=data["rows"],
            groups=data["groups"],
            largest=data["largest"],
            ordered=data["ordered"],
        )


def output_facts(model: ir.Model) -> dict[str, OutputFacts]:
    """The facts of every output; shapes must be inferred."""
    return {str(value.name): _facts(value) for value in model.graph.outputs}


def _facts(value: ir.Value) -> OutputFacts:
    shape = static_shape(value)
    indexed = _indexed(value)
    if shape is None or indexed is not None:
        return OutputFacts(indexed=indexed)
    roots = Roots()
    labels = roots.labels(value)
    if labels is None or labels.shape != shape:
        return OutputFacts()
    present = [int(label) for label in np.unique(labels)]
    chosen = {id(node): node for label in present if (node := _chooser(roots.found[label]))}
    chooser = next(iter(chosen.values())) if len(chosen) == 1 else None
    rows = _row_axis(chooser, shape) if chooser is not None else None
    parts: list[Part] = []
    if 1 < len(present) <= _MOST_PARTS:
        for label in present:
            boxes = boxes_of(labels == label)
            if boxes is None:
                parts = []
                break
            parts.append(_part(roots.found[label], boxes, label in roots.changed))
    elif len(present) == 1:
        whole: Box = tuple((0, size) for size in shape)
        part = _part(roots.found[present[0]], (whole,), present[0] in roots.changed)
        parts = [part] if part.bounds or part.ranked else []
    if chooser is None or rows is None:
        return OutputFacts(parts=tuple(parts))
    return OutputFacts(
        parts=tuple(parts),
        # A node may have no name; its results have.
        chosen_by=str(chooser.outputs[0].name),
        rows=rows,
        groups=_groups(chooser),
        largest=int_attribute(chooser, "largest", 1) == 1,
        ordered=int_attribute(chooser, "sorted", 1) == 1,
    )


def _part(root: ir.Value, boxes: tuple[Box, ...], is_changed: bool) -> Part:
    node = root.producer()
    operator = node.op_type if node is not None else "input"
    return Part(
        tensor=str(root.name),
        operator=operator,
        boxes=boxes,
        bounds=None if is_changed else _bounds(root),
        ranked=not is_changed and _is_ranked(root),
    )


def _bounds(value: ir.Value | None) -> tuple[float, float] | None:
    """The numbers that a tensor lies between whatever goes in; the largest of scores is a score."""
    node = value.producer() if value is not None else None
    if node is None:
        return None
    if node.op_type in _KEEPS_BOUNDS:
        return _bounds(node.inputs[0])
    if node.op_type == "Mul" and [_bounds(item) for item in node.inputs] == [(0.0, 1.0)] * 2:
        return 0.0, 1.0
    return BOUNDS.get(node.op_type)


# ------------------------------------------------------ indices and rows


def _indexed(value: ir.Value) -> tuple[str, int] | None:
    """The tensor that an output of indices points into, and the axis."""
    indices = source_behind(value, _SAME_NUMBERS)
    node = indices.producer()
    if node is None:
        return None
    default = 0 if node.op_type in ("ArgMax", "ArgMin") else -1
    is_top = node.op_type == "TopK" and len(node.outputs) > 1 and node.outputs[1] is indices
    if not is_top and node.op_type not in ("ArgMax", "ArgMin"):
        return None
    source = node.inputs[0]
    shape = static_shape(source)
    if source is None or shape is None:
        return None
    return str(source.name), int_attribute(node, "axis", default) % len(shape)


def _is_ranked(root: ir.Value) -> bool:
    """Whether a tensor has the values of a TopK, or what rises with them."""
    value: ir.Value | None = root
    while value is not None and (node := value.producer()) is not None:
        if node.op_type == "TopK":
            return node.outputs[0] is value
        if node.op_type not in _RISING:
            return False
        value = node.inputs[0]
    return False


def _chooser(root: ir.Value) -> ir.Node | None:
    """The TopK that chose the rows of a tensor: it gave their values, or the indices to gather by."""
    node = root.producer()
    while node is not None and (source := source_by_element(node)) is not None:
        node = source.producer()
    if node is None:
        return None
    if node.op_type == "TopK":
        return node
    if node.op_type not in _GATHERS:
        return None
    seen: set[int] = set()
    waiting = [node.inputs[1]]
    while waiting:
        value = waiting.pop()
        made = value.producer() if value is not None else None
        if made is None or id(made) in seen:
            continue
        seen.add(id(made))
        if made.op_type == "TopK":
            return made
        if len(seen) > 64:
            break
        waiting += list(made.inputs)
    return None


def _groups(node: ir.Node) -> int:
    """How many times a TopK chooses, each time for itself."""
    made = static_shape(node.outputs[0]) or ()
    axis = int_attribute(node, "axis", -1) % max(len(made), 1)
    return math.prod(size for place, size in enumerate(made) if place != axis)


def _row_axis(node: ir.Node, shape: tuple[int, ...]) -> int | None:
    """The axis that has as many elements as the TopK chooses; None where that is not one axis.

    Where it chooses for several groups, they are the axes in front of it.
    """
    made = static_shape(node.outputs[0])
    if made is None:
        return None
    count = made[int_attribute(node, "axis", -1) % len(made)]
    groups = _groups(node)
    axes = [axis for axis, size in enumerate(shape) if size == count]
    if groups > 1:
        axes = [axis for axis in axes if math.prod(shape[:axis]) == groups]
    return axes[0] if len(axes) == 1 and count > 1 else None
