"""The grids of a detector: the tensors [N, C, H, W] from which its decoding starts.

They are found by the graph's structure. Going back from an output, the first tensors whose height and
width divide those of the frame by the same number are the grids; nodes between them and the output are
the decoding.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from converter.graph.rewrite import int_attribute, static_shape


@dataclass(frozen=True, kw_only=True)
class Part:
    """A tensor [N, channels, height, width] of a grid.

    Attributes:
        name: The tensor's name in the graph.
        activated: Whether a sigmoid was applied to it already.
    """

    name: str
    channels: int
    activated: bool


@dataclass(frozen=True, kw_only=True)
class Grid:
    """The parts of one stride: boxes, classes and what else the head computes for each cell.

    Attributes:
        stride: Pixels of the frame in a cell, on both axes.
    """

    stride: int
    height: int
    width: int
    parts: tuple[Part, ...]

    @property
    def cells(self) -> int:
        """The number of cells."""
        return self.height * self.width


def grids_behind(outputs: Iterable[ir.Value], frame: tuple[int, int]) -> tuple[Grid, ...]:
    """The grids that outputs are computed from, in the order in which the decoding joins them.

    Args:
        outputs: Outputs of a graph whose shapes are known.
        frame: Height and width of the frame in pixels.

    Returns:
        Grids with the same number of parts each; nothing if there are none.
    """
    found: dict[int, dict[str, ir.Value]] = {}
    seen: set[int] = set()
    stack = list(outputs)[::-1]
    while stack:
        value = stack.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        stride = _stride(value, frame)
        if stride:
            assert value.name is not None
            found.setdefault(stride, {})[value.name] = value
        elif (node := value.producer()) is not None and node.op_type != "Shape":
            stack += [item for item in reversed(node.inputs) if item is not None]
    grids = [_grid(stride, list(values.values())) for stride, values in found.items()]
    counts = {tuple(part.channels for part in grid.parts) for grid in grids}
    return tuple(grids) if len(counts) == 1 else ()


def _stride(value: ir.Value, frame: tuple[int, int]) -> int:
    """The stride of a tensor that is a grid; 0 for others."""
    shape = static_shape(value)
    if shape is None or len(shape) != 4 or value.producer() is None or not all(shape):
        return 0
    stride = frame[0] // shape[2]
    fits = stride > 1 and shape[2] * stride == frame[0] and shape[3] * stride == frame[1]
    return stride if fits else 0


def _grid(stride: int, values: Sequence[ir.Value]) -> Grid:
    parts: dict[str, Part] = {}
    for value in values:
        for item in _apart(value):
            shape, node = static_shape(item), item.producer()
            assert shape is not None
            assert item.name is not None
            is_activated = node is not None and node.op_type == "Sigmoid"
            parts[item.name] = Part(name=item.name, channels=shape[1], activated=is_activated)
    height, width = (static_shape(values[0]) or ())[2:]
    return Grid(stride=stride, height=height, width=width, parts=tuple(parts.values()))


def _apart(value: ir.Value) -> list[ir.Value]:
    """The tensors that a tensor was concatenated from along its channels."""
    node = value.producer()
    if node is None or node.op_type != "Concat" or int_attribute(node, "axis", 1) not in (1, -3):
        return [value]
    inputs = [item for item in node.inputs if item is not None]
    known = all(static_shape(item) is not None and item.producer() is not None for item in inputs)
    return [part for item in inputs for part in _apart(item)] if known else [value]
