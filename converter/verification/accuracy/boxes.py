"""Boxes out of a detector's outputs: what cameras' parsers decode, and what exporters write.

Formulas: DepthAI's DetectionParser (depthai 3.12) and Ultralytics' heads. A result is (n, 6): left,
top, right and bottom in the input's pixels, score, class.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Outputs = Mapping[str, NDArray[Any]]

# Below it a box changes no average precision; how many are looked at, and kept.
_LEAST_SCORE: Final = 0.001
_MOST_CANDIDATES: Final = 3000
_MOST_BOXES: Final = 300
_ANCHORED: Final = ("yolov5", "yolov5-u", "yolov7", "yolo-p")
_ANCHORED_LOGITS: Final = ("yolov3", "yolov3-tiny", "yolov4", "yolov4-tiny")
_CENTRED: Final = ("yolov6", "yolov6r1")


@dataclass(frozen=True, kw_only=True)
class YoloGrids:
    """A YOLO head: a grid of boxes for each stride, (1, anchors · (5 + classes), H, W) or NHWC.

    Attributes:
        outputs: In the order of the anchors.
        anchors: By output, width and height in pixels; empty for a head without.
        interleaved: The outputs whose channels are their last axis.
        size: The input's width and height.
    """

    outputs: tuple[str, ...]
    subtype: str
    n_classes: int
    size: tuple[int, int]
    iou: float
    anchors: Sequence[Sequence[Sequence[float]]] = ()
    interleaved: frozenset[str] = frozenset()

    def decode(self, outputs: Outputs) -> NDArray[np.float64]:
        """The boxes of one item; overlapping ones of a class are dropped, the better one is kept."""
        return self.found(outputs)[0]

    def found(self, outputs: Outputs) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """The boxes of one item, and the index of each one's cell.

        Cells are counted over all grids, one behind the other, in each by anchor, row and column.
        """
        if self.is_finished:
            rows = outputs[self.outputs[0]].reshape(-1, 5 + self.n_classes).astype(np.float64)
            return chosen(rows[:, :4], rows[:, 5:], iou=1.0)
        parts = [self._grid(outputs[name], name) for name in self.outputs]
        boxes, scores = (np.concatenate(each) for each in zip(*parts, strict=True))
        return chosen(boxes, scores, iou=self.iou)

    @property
    def is_finished(self) -> bool:
        """Whether the network decodes its boxes itself, as YOLO26's end-to-end head does."""
        return self.subtype in ("yolo26", "yolov26")

    def _grid(self, output: NDArray[Any], name: str) -> tuple[NDArray[Any], NDArray[Any]]:
        anchors = self.anchors[self.outputs.index(name)] if self.anchors else ()
        count, width = max(1, len(anchors)), 5 + self.n_classes
        grid: NDArray[Any] = output.astype(np.float64).reshape(output.shape[-3:])
        if name in self.interleaved:
            grid = grid.transpose(2, 0, 1)
        rows, columns = int(grid.shape[1]), int(grid.shape[2])
        stride = self.size[1] / rows
        values = grid.reshape(count, width, rows * columns).transpose(0, 2, 1)
        y, x = (axis.reshape(-1) for axis in np.mgrid[0:rows, 0:columns].astype(np.float64))
        # By anchor and cell the values; by value then one plane each.
        a, b, c, d, confidence = (values[..., k] for k in range(5))
        scores = values[..., 5:]
        if self.subtype in _ANCHORED_LOGITS:
            a, b, confidence, scores = (1 / (1 + np.exp(-v)) for v in (a, b, confidence, scores))
        if anchors:
            sizes = np.asarray(anchors, np.float64)
            w, h = sizes[:, :1], sizes[:, 1:]
            if self.subtype in _ANCHORED_LOGITS:
                centre, side = ((a + x) * stride, (b + y) * stride), (np.exp(c) * w, np.exp(d) * h)
            else:
                centre = ((2 * a - 0.5 + x) * stride, (2 * b - 0.5 + y) * stride)
                side = ((2 * c) ** 2 * w, (2 * d) ** 2 * h)
            boxes = _corners(centre, side)
            scores = scores * confidence[..., None]
        elif self.subtype in _CENTRED:
            boxes = _corners(
                ((a + x) * stride, (b + y) * stride), (np.exp(c) * stride, np.exp(d) * stride)
            )
        else:  # the distances of the four edges from the cell's centre
            u, v = x + 0.5, y + 0.5
            boxes = np.stack([(u - a), (v - b), (u + c), (v + d)], axis=-1) * stride
        return boxes.reshape(-1, 4), scores.reshape(-1, self.n_classes)


@dataclass(frozen=True, kw_only=True)
class SsdRows:
    """Rows of (picture, class, score, left, top, right, bottom), edges as shares: DetectionOutput's."""

    output: str
    size: tuple[int, int]

    def decode(self, outputs: Outputs) -> NDArray[np.float64]:
        """The boxes of one item; a row of picture -1 ends them."""
        rows = outputs[self.output].reshape(-1, 7).astype(np.float64)
        ended = np.flatnonzero(rows[:, 0] < 0)
        rows = rows[: ended[0]] if ended.size else rows
        rows = rows[rows[:, 2] >= _LEAST_SCORE]
        return np.concatenate(
            [rows[:, 3:7] * np.array([*self.size, *self.size]), rows[:, 2:3], rows[:, 1:2]], axis=1
        )


@dataclass(frozen=True, kw_only=True)
class PlainExport:
    """What `yolo export` and YOLOv5's export write: boxes as centre and size in pixels, and scores.

    Attributes:
        has_confidence: Whether a confidence is between them (YOLOv5: (1, n, 5 + classes)); without it
            the rows lie along the last axis (YOLOv8: (1, 4 + classes, n)).
        n_classes: Values behind those are something else, coefficients of masks or keypoints.
    """

    output: str
    n_classes: int
    has_confidence: bool
    iou: float

    def decode(self, outputs: Outputs) -> NDArray[np.float64]:
        """The boxes of one item."""
        rows = outputs[self.output].astype(np.float64)
        rows = rows.reshape(rows.shape[-2:])
        rows = rows if self.has_confidence else rows.T
        boxes = _corners((rows[:, 0], rows[:, 1]), (rows[:, 2], rows[:, 3]))
        first = 4 + self.has_confidence
        scores = rows[:, first : first + self.n_classes]
        return best(boxes, scores * rows[:, 4:5] if self.has_confidence else scores, iou=self.iou)


@dataclass(frozen=True, kw_only=True)
class FinishedRows:
    """Rows of (left, top, right, bottom, score, class) in pixels: exports with the selection inside."""

    output: str

    def decode(self, outputs: Outputs) -> NDArray[np.float64]:
        """The boxes of one item."""
        rows = outputs[self.output].astype(np.float64)
        rows = rows.reshape(-1, rows.shape[-1])[:, :6]
        return rows[rows[:, 4] >= _LEAST_SCORE]


def _corners(
    centre: tuple[NDArray[Any], NDArray[Any]], side: tuple[NDArray[Any], NDArray[Any]]
) -> NDArray[Any]:
    (x, y), (w, h) = centre, side
    return np.stack([x - w / 2, y - h / 2, x + w / 2, y + h / 2], axis=-1)


def best(boxes: NDArray[Any], scores: NDArray[Any], *, iou: float) -> NDArray[np.float64]:
    """The best boxes, of each class those that overlap no better one by more than `iou`.

    Args:
        boxes: (n, 4), left, top, right, bottom.
        scores: (n, classes). A box may be one of several classes.
    """
    return chosen(boxes, scores, iou=iou)[0]


def chosen(
    boxes: NDArray[Any], scores: NDArray[Any], *, iou: float
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """The best boxes, as `best` has them, and the index of each among all boxes."""
    scores = np.nan_to_num(scores)
    where, label = np.nonzero(scores >= _LEAST_SCORE)
    score = scores[where, label]
    order = np.argsort(-score, kind="stable")[:_MOST_CANDIDATES]
    found = np.concatenate(
        [boxes[where[order]], score[order, None], label[order, None].astype(np.float64)], axis=1
    )
    kept = np.asarray(_kept(found, iou) if iou < 1 else range(len(found)), np.int64)[:_MOST_BOXES]
    return found[kept], where[order][kept]


def _kept(rows: NDArray[np.float64], iou: float) -> list[int]:
    """The indices of the rows that stay, the best first; rows are sorted by score."""
    area = np.maximum(rows[:, 2] - rows[:, 0], 0) * np.maximum(rows[:, 3] - rows[:, 1], 0)
    free = np.ones(len(rows), bool)
    kept: list[int] = []
    for index in range(len(rows)):
        if not free[index]:
            continue
        kept.append(index)
        if len(kept) == _MOST_BOXES:
            break
        others = rows[index + 1 :]
        low = np.maximum(others[:, :2], rows[index, :2])
        high = np.minimum(others[:, 2:4], rows[index, 2:4])
        both = np.prod(np.maximum(high - low, 0), axis=1)
        either = np.maximum(area[index] + area[index + 1 :] - both, 1e-12)
        free[index + 1 :] &= (both / either <= iou) | (others[:, 5] != rows[index, 5])
    return kept
