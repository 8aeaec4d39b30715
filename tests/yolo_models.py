"""Small exports of detectors with random weights, in the forms that exporters write.

Each has a strided convolution for each stride and the family's own head and decoding behind it, as the
packages' exports have them (Ultralytics, YOLOv5, v6, v7, YOLOX); no package's code or weights are used.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


@dataclass
class Net:
    """A graph that grows: each method appends nodes and returns the name of what they make."""

    height: int = 64
    width: int = 96
    strides: Sequence[int] = (8, 16, 32)
    opset: int = 12
    seed: int = 0
    nodes: list[Any] = field(default_factory=list)
    weights: list[Any] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.random = np.random.default_rng(self.seed)

    def constant(self, values: Any, dtype: Any = np.float32) -> str:
        name = f"c{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.asarray(values, dtype), name))
        return name

    def op(self, kind: str, *inputs: str, outputs: int = 1, **attributes: Any) -> Any:
        names = [f"t{len(self.nodes)}_{index}" for index in range(outputs)]
        self.nodes.append(helper.make_node(kind, list(inputs), names, **attributes))
        return names[0] if outputs == 1 else names

    def conv(self, stride: int, channels: int, spread: float = 1.0, middle: float = 0.0) -> str:
        """A grid of the frame: [1, channels, H / stride, W / stride], values around `middle`."""
        scale = spread / np.sqrt(3 * stride * stride) * 2
        kernel = self.random.normal(0, scale, (channels, 3, stride, stride))
        bias = self.random.normal(middle, spread, channels)
        return self.op(
            "Conv", "images", self.constant(kernel), self.constant(bias), strides=[stride, stride]
        )

    def reshape(self, value: str, *shape: int) -> str:
        return self.op("Reshape", value, self.constant(shape, np.int64))

    def slice(self, value: str, start: int, end: int, axis: int) -> str:
        ints = [self.constant([number], np.int64) for number in (start, end, axis)]
        return self.op("Slice", value, *ints)

    def cells(self, stride: int) -> tuple[int, int]:
        return self.height // stride, self.width // stride

    @property
    def count(self) -> int:
        return sum(h * w for h, w in map(self.cells, self.strides))

    def centres(self, offset: float = 0.5) -> np.ndarray:
        """Columns and rows of all cells, (2, cells)."""
        grids = []
        for height, width in map(self.cells, self.strides):
            rows, columns = np.meshgrid(np.arange(height), np.arange(width), indexing="ij")
            grids.append(np.stack([columns, rows]).reshape(2, -1) + offset)
        return np.concatenate(grids, 1)

    def scales(self) -> np.ndarray:
        """The stride of every cell, (1, cells)."""
        return np.concatenate([np.full(h * w, s) for s in self.strides for h, w in [self.cells(s)]])[
            None
        ]

    def flat(self, values: Sequence[str], channels: int) -> str:
        """Grids behind each other: [1, channels, cells]."""
        return self.op("Concat", *(self.reshape(value, 1, channels, -1) for value in values), axis=2)

    def boxes(self, distances: str, *, corners: bool = False) -> str:
        """Boxes in pixels out of distances [1, 4, cells], as Ultralytics writes it."""
        anchors = self.constant(self.centres()[None])
        low = self.op("Sub", anchors, self.slice(distances, 0, 2, 1))
        high = self.op("Add", anchors, self.slice(distances, 2, 4, 1))
        if not corners:
            middle = self.op("Div", self.op("Add", low, high), self.constant(2.0))
            low, high = middle, self.op("Sub", high, low)
        return self.op("Mul", self.op("Concat", low, high, axis=1), self.constant(self.scales()))

    def distances(self, values: str, bins: int) -> str:
        """Distances [1, 4, cells] out of distributions [1, 4 · bins, cells]."""
        if bins == 1:
            return values
        apart = self.op("Transpose", self.reshape(values, 1, 4, bins, self.count), perm=[0, 3, 1, 2])
        chances = self.op("Transpose", self.op("Softmax", apart, axis=3), perm=[0, 3, 2, 1])
        kernel = self.constant(np.arange(bins).reshape(1, bins, 1, 1))
        return self.reshape(self.op("Conv", chances, kernel), 1, 4, self.count)

    def model(self, *outputs: str, metadata: dict[str, str] | None = None) -> onnx.ModelProto:
        names = [f"output{index}" for index in range(len(outputs))]
        for name, value in zip(names, outputs, strict=True):
            self.nodes.append(helper.make_node("Identity", [value], [name]))
        shape = [1, 3, self.height, self.width]
        graph = helper.make_graph(
            self.nodes,
            "net",
            [helper.make_tensor_value_info("images", TensorProto.FLOAT, shape)],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names],
            self.weights,
        )
        opsets = [helper.make_opsetid("", self.opset)]
        made = helper.make_model(graph, opset_imports=opsets, ir_version=8)
        made = onnx.shape_inference.infer_shapes(made, data_prop=True)
        helper.set_model_props(made, metadata or {})
        onnx.checker.check_model(made)
        return made


def ultralytics(
    net: Net,
    classes: int = 3,
    *,
    bins: int = 16,
    joined: bool = False,
    end_to_end: bool = False,
    masks: int = 0,
    keypoints: tuple[int, int] | None = None,
    newer: bool = False,
    names: bool = True,
    suppressed: bool = False,
) -> onnx.ModelProto:
    """YOLOv8 and its successors.

    Args:
        bins: 16 up to YOLO12, 1 for YOLO26.
        joined: Boxes and classes concatenated for each stride, as releases before 8.4 do.
        end_to_end: The best boxes sorted out in the graph.
        newer: The keypoints' formula of Pose26.
        names: Whether the file says its classes.
        suppressed: The boxes that a suppression of overlaps leaves, [1, boxes, 6], as nms=True.
    """
    middle = 2.0 if bins == 1 else 0.0
    raw = [(net.conv(s, 4 * bins, 0.3, middle), net.conv(s, classes)) for s in net.strides]
    if joined:
        both = [net.op("Concat", box, scores, axis=1) for box, scores in raw]
        whole = net.flat(both, 4 * bins + classes)
        box, scores = (
            net.slice(whole, 0, 4 * bins, 1),
            net.slice(whole, 4 * bins, 4 * bins + classes, 1),
        )
    else:
        box = net.flat([pair[0] for pair in raw], 4 * bins)
        scores = net.flat([pair[1] for pair in raw], classes)
    parts = [
        net.boxes(net.distances(box, bins), corners=end_to_end or suppressed),
        net.op("Sigmoid", scores),
    ]
    outputs = []
    if masks:
        parts.append(net.flat([net.conv(s, masks) for s in net.strides], masks))
        outputs.append(net.op("Relu", net.conv(4, masks)))
    if keypoints:
        parts.append(_keypoints(net, *keypoints, newer=newer))
    joined_parts = net.op("Concat", *parts, axis=1)
    if end_to_end:
        joined_parts = _best(net, joined_parts, classes)
    if suppressed:
        rows = net.op("Transpose", joined_parts, perm=[0, 2, 1])
        ends = net.slice(rows, 0, 4, 2), net.slice(rows, 4, 4 + classes, 2)
        left = net.op("Concat", *_suppressed(net, *ends)[1:], axis=1)
        joined_parts = net.op("Unsqueeze", left, axes=[0])
    said = {
        "description": "Ultralytics test model",
        "author": "Ultralytics",
        "task": "segment" if masks else "pose" if keypoints else "detect",
        "stride": str(max(net.strides)),
        "imgsz": str([net.height, net.width]),
        "names": str({index: f"class {index}" for index in range(classes)}),
    }
    return net.model(joined_parts, *outputs, metadata=said if names else None)


def _keypoints(net: Net, count: int, values: int, *, newer: bool) -> str:
    raw = net.flat([net.conv(s, count * values) for s in net.strides], count * values)
    each = net.reshape(raw, 1, count, values, -1)
    xy = net.slice(each, 0, 2, 2)
    origin = net.constant(net.centres(0.5 if newer else 0.0)[None, None])
    xy = net.op("Add", xy if newer else net.op("Mul", xy, net.constant(2.0)), origin)
    xy = net.op("Mul", xy, net.constant(net.scales()))
    parts = [xy, *([net.op("Sigmoid", net.slice(each, 2, 3, 2))] if values == 3 else [])]
    return net.reshape(net.op("Concat", *parts, axis=2), 1, count * values, -1)


def _best(net: Net, rows: str, classes: int, count: int = 30) -> str:
    """The best boxes, one for a cell and class: x1, y1, x2, y2, score, class, extras."""
    first = net.op("Transpose", rows, perm=[0, 2, 1])
    scores = net.reshape(net.slice(first, 4, 4 + classes, 2), 1, -1)
    amount = net.constant([count], np.int64)
    best, places = net.op("TopK", scores, amount, outputs=2, axis=1)
    many = net.constant([classes], np.int64)
    cells, kinds = net.op("Div", places, many), net.op("Mod", places, many)
    chosen = net.op("Gather", net.op("Squeeze", first, axes=[0]), cells, axis=0)
    boxes = net.slice(chosen, 0, 4, 2)
    extra = net.slice(chosen, 4 + classes, 1 << 30, 2)
    columns = [net.reshape(best, 1, count, 1), net.reshape(net.op("Cast", kinds, to=1), 1, count, 1)]
    return net.op("Concat", boxes, *columns, extra, axis=2)


def rotated(net: Net, classes: int = 3) -> onnx.ModelProto:
    """Ultralytics' oriented boxes: the offset of the centre turns with the angle."""
    box = net.flat([net.conv(s, 64, 0.3) for s in net.strides], 64)
    scores = net.op("Sigmoid", net.flat([net.conv(s, classes) for s in net.strides], classes))
    angle = net.flat([net.conv(s, 1) for s in net.strides], 1)
    distances = net.distances(box, 16)
    low, high = net.slice(distances, 0, 2, 1), net.slice(distances, 2, 4, 1)
    half = net.op("Div", net.op("Sub", high, low), net.constant(2.0))
    x, y = net.slice(half, 0, 1, 1), net.slice(half, 1, 2, 1)
    cos, sin = net.op("Cos", angle), net.op("Sin", angle)
    turned = net.op(
        "Concat",
        net.op("Sub", net.op("Mul", x, cos), net.op("Mul", y, sin)),
        net.op("Add", net.op("Mul", x, sin), net.op("Mul", y, cos)),
        axis=1,
    )
    centre = net.op("Add", turned, net.constant(net.centres()[None]))
    boxes = net.op("Concat", centre, net.op("Add", low, high), axis=1)
    boxes = net.op("Mul", boxes, net.constant(net.scales()))
    return net.model(net.op("Concat", boxes, scores, angle, axis=1))


def version_6(net: Net, classes: int = 3, *, bins: int = 1) -> onnx.ModelProto:
    """YOLOv6 from its second release on: [1, cells, 5 + classes] with a confidence of 1."""
    scores = [net.op("Sigmoid", net.conv(s, classes)) for s in net.strides]
    box = net.flat([net.conv(s, 4 * bins, 0.3, 2.0) for s in net.strides], 4 * bins)
    boxes = net.op("Transpose", net.boxes(net.distances(box, bins)), perm=[0, 2, 1])
    ones = net.constant(np.ones((1, net.count, 1)))
    rows = net.op("Transpose", net.flat(scores, classes), perm=[0, 2, 1])
    return net.model(net.op("Concat", boxes, ones, rows, axis=2))


def anchor_free(net: Net, classes: int = 3, *, decoded: bool = True) -> onnx.ModelProto:
    """YOLOv6's first release (decoded) and YOLOX (which is not)."""
    grids = []
    for s in net.strides:
        parts = [net.conv(s, 4, 0.5), net.op("Sigmoid", net.conv(s, 1))]
        grids.append(net.op("Concat", *parts, net.op("Sigmoid", net.conv(s, classes)), axis=1))
    rows = net.op("Transpose", net.flat(grids, 5 + classes), perm=[0, 2, 1])
    if not decoded:
        return net.model(rows)
    scales = net.constant(net.scales().T[None])
    centre = net.op("Add", net.slice(rows, 0, 2, 2), net.constant(net.centres(0.0).T[None]))
    size = net.op("Exp", net.slice(rows, 2, 4, 2))
    boxes = [net.op("Mul", part, scales) for part in (centre, size)]
    return net.model(net.op("Concat", *boxes, net.slice(rows, 4, 5 + classes, 2), axis=2))


ANCHORS = {
    8: ((10, 13), (16, 30), (33, 23)),
    16: ((30, 61), (62, 45), (59, 119)),
    32: ((116, 90), (156, 198), (373, 326)),
}


def with_anchors(
    net: Net,
    classes: int = 3,
    *,
    masks: int = 0,
    seventh: bool = False,
    raw_levels: bool = False,
    decoded: bool = True,
    suppressed: bool = False,
) -> onnx.ModelProto:
    """YOLOv5, with masks too, and YOLOv7, which multiplies its constants out.

    Args:
        raw_levels: The raw numbers of each stride as outputs, too.
        decoded: Whether the decoded rows are an output.
        suppressed: The boxes that a suppression of overlaps leaves, [boxes, 7], as YOLOv7 --end2end.
    """
    size, levels, raws = 5 + classes + masks, [], []
    for s in net.strides:
        height, width = net.cells(s)
        rows, columns = np.meshgrid(np.arange(height), np.arange(width), indexing="ij")
        origin = np.stack([columns, rows], -1)[None, None]
        pairs = np.array(ANCHORS[s]).reshape(1, 3, 1, 1, 2)
        raw = net.reshape(net.conv(s, 3 * size), 1, 3, size, height, width)
        raw = net.op("Transpose", raw, perm=[0, 1, 3, 4, 2])
        raws.append(raw)
        rest = net.slice(raw, 5 + classes, size, 4)
        active = net.op("Sigmoid", net.slice(raw, 0, 5 + classes, 4))
        xy, wh = net.slice(active, 0, 2, 4), net.slice(active, 2, 4, 4)
        if seventh:
            xy = net.op("Mul", xy, net.constant(2.0 * s))
            xy = net.op("Add", xy, net.constant((origin - 0.5) * s))
            wh = net.op("Mul", net.op("Mul", wh, wh), net.constant(4.0 * pairs))
        else:
            xy = net.op("Add", net.op("Mul", xy, net.constant(2.0)), net.constant(origin - 0.5))
            xy = net.op("Mul", xy, net.constant(float(s)))
            wh = net.op("Pow", net.op("Mul", wh, net.constant(2.0)), net.constant(2.0))
            wh = net.op("Mul", wh, net.constant(pairs))
        parts = [xy, wh, net.slice(active, 4, 5 + classes, 4), *([rest] if masks else [])]
        levels.append(net.reshape(net.op("Concat", *parts, axis=4), 1, -1, size))
    rows = net.op("Concat", *levels, axis=1)
    outputs = [_left(net, rows, classes) if suppressed else rows] if decoded else []
    if masks:
        outputs.append(net.op("Relu", net.conv(4, masks)))
    return net.model(*outputs, *(raws if raw_levels else []))


def _left(net: Net, rows: str, classes: int) -> str:
    """Boxes that are left: batch, x1, y1, x2, y2, class, score, as YOLOv7 writes it."""
    centre, size = net.slice(rows, 0, 2, 2), net.slice(rows, 2, 4, 2)
    half = net.op("Mul", size, net.constant(0.5))
    boxes = net.op("Concat", net.op("Sub", centre, half), net.op("Add", centre, half), axis=2)
    scores = net.op("Mul", net.slice(rows, 5, 5 + classes, 2), net.slice(rows, 4, 5, 2))
    found, box, best, kind = _suppressed(net, boxes, scores)
    batch = net.op("Cast", net.slice(found, 0, 1, 1), to=1)
    return net.op("Concat", batch, box, kind, best, axis=1)


def _suppressed(net: Net, boxes: str, scores: str) -> list[str]:
    """Overlaps suppressed, whatever the class: what was selected, and its boxes, scores and classes."""
    best = net.op("ReduceMax", scores, axes=[2], keepdims=1)
    kind = net.op("Cast", net.op("ArgMax", scores, axis=2, keepdims=1), to=1)
    limits = [net.constant([50], np.int64), net.constant([0.5]), net.constant([0.2])]
    chances = net.op("Transpose", best, perm=[0, 2, 1])
    found = net.op("NonMaxSuppression", boxes, chances, *limits)
    cells = net.op("Squeeze", net.slice(found, 2, 3, 1), axes=[1])
    parts = [net.op("Gather", part, cells, axis=1) for part in (boxes, best, kind)]
    return [found, *(net.op("Squeeze", part, axes=[0]) for part in parts)]
