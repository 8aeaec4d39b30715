"""The outputs that parsers read, written behind the grids of an export.

Form, order and names are those of Luxonis' export tool (luxonis/tools), which DepthAI and depthai-nodes
read; `converter.yolo.families` has their names.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
import onnx_ir as ir

from converter.graph.end import end_at, tensors_of
from converter.graph.rewrite import Builder
from converter.yolo import decode
from converter.yolo.detector import Detector, Form, Keypoints
from converter.yolo.families import Names, names_of
from converter.yolo.grids import Grid, Part

# ReduceMax takes its axes as an input from here on.
_AXES_ARE_INPUTS: Final = 18


def write(model: ir.Model, detector: Detector) -> ir.Model:
    """Replace the outputs of an export by those that parsers read.

    Args:
        model: The export, which is changed in place; the shapes of its inputs are fixed.
        detector: What was found in it.

    Raises:
        KeyError: The model has no tensor of a name in `detector`.
    """
    tail = _Tail(model)
    names = names_of(detector)
    outputs: dict[str, ir.Value] = {}
    for index, grid in enumerate(detector.grids):
        outputs[names.grids[index]] = tail.grid(detector, grid)
        if detector.n_masks:
            outputs[names.masks[index]] = tail.masks(detector, grid)
        if detector.keypoints is not None and detector.extra is not None:
            outputs[names.keypoints[index]] = tail.keypoints(
                detector.keypoints, grid, grid.parts[detector.extra]
            )
    if detector.protos:
        outputs[names.protos] = tail.tensors[detector.protos]
    model.graph.extend(tail.builder.nodes)
    return end_at(model, _in_order(outputs, names))


def _in_order(outputs: dict[str, ir.Value], names: Names) -> dict[str, ir.Value]:
    """Grids first, then what belongs to them."""
    return {name: outputs[name] for name in names.all if name in outputs}


class _Tail:
    """Makes the nodes behind the grids; every tensor is [N, C, H, W]."""

    def __init__(self, model: ir.Model) -> None:
        self.builder = Builder(model.graph, "head")
        self.tensors = tensors_of(model.graph)
        self._opset = model.graph.opset_imports.get("", 0)

    def _part(self, part: Part) -> ir.Value:
        return self.tensors[part.name]

    def _constant(self, values: object, like: ir.Value) -> ir.Value:
        """Numbers in the type of a tensor, which a float16 export needs."""
        dtype = like.dtype.numpy() if like.dtype is not None else np.float32
        return self.builder.constant(values, dtype)

    def _batch(self, value: ir.Value) -> int:
        size = value.shape[0] if value.shape is not None else 1
        return size if isinstance(size, int) else 1

    def _probability(self, part: Part) -> ir.Value:
        value = self._part(part)
        return value if part.activated else self.builder.op("Sigmoid", value)

    def _channels(self, value: ir.Value, start: int, end: int, axis: int = 1) -> ir.Value:
        ints = self.builder.ints
        return self.builder.op("Slice", value, ints(start), ints(end), ints(axis))

    def grid(self, detector: Detector, grid: Grid) -> ir.Value:
        """Boxes, a confidence and the classes of one stride."""
        op = self.builder.op
        boxes = grid.parts[detector.boxes]
        match detector.form:
            case Form.DISTANCES:
                classes = self._probability(grid.parts[detector.classes])
                best = self._best(classes)
                return op("Concat", self._distances(grid, boxes, detector.bins), best, classes, axis=1)
            case Form.ANCHOR_FREE:
                # The readers take the class for the score: it is multiplied by the objectness here.
                assert detector.objectness is not None
                objectness = self._probability(grid.parts[detector.objectness])
                classes = op("Mul", self._probability(grid.parts[detector.classes]), objectness)
                return op("Concat", self._part(boxes), objectness, classes, axis=1)
            case Form.ANCHORS:
                return self._anchors(detector, grid, boxes)

    def _best(self, classes: ir.Value) -> ir.Value:
        if self._opset >= _AXES_ARE_INPUTS:
            return self.builder.op("ReduceMax", classes, self.builder.ints(1), keepdims=1)
        return self.builder.op("ReduceMax", classes, axes=[1], keepdims=1)

    def _distances(self, grid: Grid, part: Part, bins: int) -> ir.Value:
        """The expectations of the distributions; the softmax is over the last axis in every opset."""
        value = self._part(part)
        if bins == 1:
            return value
        op, batch = self.builder.op, self._batch(value)
        apart = op("Reshape", value, self.builder.ints(batch, 4, bins, grid.cells))
        last = op("Softmax", op("Transpose", apart, perm=[0, 1, 3, 2]), axis=3)
        weights = self._constant(np.arange(bins).reshape(1, bins, 1, 1), value)
        mean = op("Conv", op("Transpose", last, perm=[0, 3, 1, 2]), weights)
        return op("Reshape", mean, self.builder.ints(batch, 4, grid.height, grid.width))

    def _anchors(self, detector: Detector, grid: Grid, part: Part) -> ir.Value:
        if not detector.n_masks:
            return self._probability(part)
        return self._of_each_anchor(
            detector, grid, part, lambda each: self._channels(each, 0, 5 + detector.n_classes, 2), True
        )

    def _of_each_anchor(
        self,
        detector: Detector,
        grid: Grid,
        part: Part,
        taken: Callable[[ir.Value], ir.Value],
        activate: bool,
    ) -> ir.Value:
        """Some channels of each anchor, behind each other."""
        op, ints = self.builder.op, self.builder.ints
        value = self._part(part)
        batch, count = self._batch(value), len(detector.anchors[0])
        each = op("Reshape", value, ints(batch, count, part.channels // count, grid.cells))
        kept = op("Reshape", taken(each), ints(batch, -1, grid.height, grid.width))
        return op("Sigmoid", kept) if activate else kept

    def masks(self, detector: Detector, grid: Grid) -> ir.Value:
        """The coefficients of the prototypes, raw."""
        if detector.form is not Form.ANCHORS:
            assert detector.extra is not None
            return self._part(grid.parts[detector.extra])
        first = 5 + detector.n_classes
        part = grid.parts[detector.boxes]
        return self._of_each_anchor(
            detector,
            grid,
            part,
            lambda each: self._channels(each, first, first + detector.n_masks, 2),
            False,
        )

    def keypoints(self, meaning: Keypoints, grid: Grid, part: Part) -> ir.Value:
        """[N, 3 · keypoints, H · W]: x and y in pixels of the frame, visibility before its sigmoid."""
        op, ints = self.builder.op, self.builder.ints
        value = self._part(part)
        batch = self._batch(value)
        each = op("Reshape", value, ints(batch, meaning.count, meaning.values, grid.cells))
        columns, rows = decode.cells(grid.height, grid.width)
        origin = np.stack([columns, rows]).reshape(1, 1, 2, -1) + meaning.offset
        xy = each if meaning.values == 2 else self._channels(each, 0, 2, 2)
        xy = op("Mul", xy, self._constant(meaning.factor * grid.stride, value))
        xy = op("Add", xy, self._constant(origin * grid.stride, value))
        if meaning.values == 3:
            seen = self._channels(each, 2, 3, 2)
        else:
            # Readers want three numbers. A keypoint without visibility is certain: sigmoid(20) is 1.
            shape = (batch, meaning.count, 1, grid.cells)
            seen = self._constant(np.full(shape, 20.0), value)
        joined = op("Concat", xy, seen, axis=2)
        return op("Reshape", joined, ints(batch, 3 * meaning.count, grid.cells))
