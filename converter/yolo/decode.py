"""How parsers decode a grid: the same formulas as in DepthAI and depthai-nodes, in NumPy.

Sources: depthai-core's DetectionParserUtils and depthai-nodes' `parsers/utils/yolo.py`, both executed
(what each reads is in `converter.yolo.families`). Boxes are x1, y1, x2, y2 in pixels of the frame.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def sigmoid(values: Array) -> Array:
    """The logistic function, without overflow."""
    found: Array = 1 / (1 + np.exp(-np.clip(values, -80, 80)))
    return found


def cells(height: int, width: int) -> tuple[Array, Array]:
    """Column and row of each cell, both (height, width), counted from 0."""
    rows, columns = np.meshgrid(np.arange(height), np.arange(width), indexing="ij")
    return columns.astype(np.float64), rows.astype(np.float64)


def expectation(logits: Array, bins: int) -> Array:
    """Distances from distributions over bins (distribution focal loss).

    Args:
        logits: (4 · bins, H, W), the bins of a side behind each other.

    Returns:
        (4, H, W), in cells.
    """
    if bins == 1:
        return logits
    values = logits.reshape(4, bins, *logits.shape[1:]).astype(np.float64)
    values = np.exp(values - values.max(1, keepdims=True))
    found: Array = np.einsum("sbhw,b->shw", values / values.sum(1, keepdims=True), np.arange(bins))
    return found


def tlbr_boxes(distances: Array, stride: int) -> Array:
    """Boxes (H · W, 4) from the distances of a cell's centre to left, top, right and bottom.

    Args:
        distances: (4, H, W), in cells.
    """
    columns, rows = cells(*distances.shape[1:])
    left, top, right, bottom = distances
    x, y = columns + 0.5, rows + 0.5
    return np.stack([x - left, y - top, x + right, y + bottom], -1).reshape(-1, 4) * stride


def anchor_free_boxes(raw: Array, stride: int) -> Array:
    """Boxes (H · W, 4) of YOLOX and of YOLOv6's first release: a centre beside the cell, exp of sizes.

    Args:
        raw: (4, H, W): x, y, width, height, not activated.
    """
    columns, rows = cells(*raw.shape[1:])
    x, y = (raw[0] + columns) * stride, (raw[1] + rows) * stride
    width, height = np.exp(raw[2]) * stride, np.exp(raw[3]) * stride
    return corners(np.stack([x, y, width, height], -1).reshape(-1, 4))


def anchor_boxes(activated: Array, stride: int, anchors: Array) -> Array:
    """Boxes (anchors · H · W, 4) of YOLOv5 and YOLOv7.

    Args:
        activated: (anchors, 4, H, W): x, y, width, height after the sigmoid.
        anchors: (anchors, 2): width and height in pixels.
    """
    columns, rows = cells(*activated.shape[2:])
    x = (activated[:, 0] * 2 - 0.5 + columns) * stride
    y = (activated[:, 1] * 2 - 0.5 + rows) * stride
    width = (activated[:, 2] * 2) ** 2 * anchors[:, 0, None, None]
    height = (activated[:, 3] * 2) ** 2 * anchors[:, 1, None, None]
    return corners(np.stack([x, y, width, height], -1).reshape(-1, 4))


def corners(boxes: Array) -> Array:
    """Boxes as corners, from centre and size."""
    half = boxes[:, 2:4] / 2
    return np.concatenate([boxes[:, :2] - half, boxes[:, :2] + half], -1)


def centres(boxes: Array) -> Array:
    """Boxes as centre and size, from corners."""
    return np.concatenate([(boxes[:, :2] + boxes[:, 2:4]) / 2, boxes[:, 2:4] - boxes[:, :2]], -1)
