"""What a network's outputs are worth, in percent: each figure takes every frame's outputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Final

import numpy as np

from tests.benchmarks import shapes

Outputs = Sequence[Mapping[str, np.ndarray]]
Figure = Callable[[Outputs, Outputs], float]
"""The outputs to judge and the float network's, of the same frames."""

_TEXT: Final = 0.3  # PP-OCR's own threshold of the map
_SEEN: Final = 0.5


def top1(labels: np.ndarray) -> Figure:
    """How many frames have the right class."""

    def figure(outputs: Outputs, _: Outputs) -> float:
        best = np.array([one["scores"].argmax() for one in outputs])
        return 100 * float(np.mean(best == labels))

    return figure


def map_iou(outputs: Outputs, exact: Outputs) -> float:
    """Intersection over union of the pixels that are text with those of the float network."""
    shared = union = 0
    for one, other in zip(outputs, exact, strict=True):
        a, b = (next(iter(item.values())) > _TEXT for item in (one, other))
        shared, union = shared + int((a & b).sum()), union + int((a | b).sum())
    return 100 * shared / union


def same_text(outputs: Outputs, exact: Outputs) -> float:
    """How many lines read as the float network reads them: best classes, joined as CTC joins them."""

    def read(one: Mapping[str, np.ndarray]) -> list[int]:
        best = next(iter(one.values()))[0].argmax(-1)
        return [int(c) for c, before in zip(best, [-1, *best[:-1]], strict=True) if c and c != before]

    pairs = zip(outputs, exact, strict=True)
    return 100 * float(np.mean([read(one) == read(other) for one, other in pairs]))


def shapes_found(truths: Sequence[np.ndarray]) -> Figure:
    """F1 of the shapes, against those that were painted."""

    def figure(outputs: Outputs, _: Outputs) -> float:
        return _f1([shapes.boxes_of(one["scores"], one["sides"]) for one in outputs], truths)

    return figure


def faces_found(outputs: Outputs, exact: Outputs) -> float:
    """F1 of MediaPipe's faces, against those that the float network finds."""
    return _f1([_faces(one) for one in outputs], [_faces(one) for one in exact])


def _faces(one: Mapping[str, np.ndarray]) -> np.ndarray:
    """Boxes (K, 5); anchors as in face_detection_short_range.pbtxt: strides 8 and 16, 2 and 6 a cell."""
    anchors = [
        (stride * (column + 0.5), stride * (row + 0.5))
        for stride, each in ((8, 2), (16, 6))
        for row in range(128 // stride)
        for column in range(128 // stride)
        for _ in range(each)
    ]
    logits = np.clip(one["classificators"].reshape(-1), -80, 80)
    scores, raw = 1 / (1 + np.exp(-logits)), one["regressors"][0]
    found = []
    for index in np.nonzero(scores > _SEEN)[0]:
        (x, y), (w, h) = anchors[index] + raw[index, :2], raw[index, 2:4]
        box = np.array([x - w / 2, y - h / 2, x + w / 2, y + h / 2, 0.0])
        found.append((float(scores[index]), box))
    return shapes.suppressed(found)


def _f1(found: Sequence[np.ndarray], wanted: Sequence[np.ndarray]) -> float:
    """In percent, of boxes (K, 5) of one class and an IoU of 0.5 and more."""
    hits = total = 0
    for boxes, truth in zip(found, wanted, strict=True):
        total += len(boxes) + len(truth)
        left = list(truth)
        for box in boxes:
            fits = partial(_fits, box)
            match = next((i for i, other in enumerate(left) if fits(other)), None)
            if match is not None:
                del left[match]
                hits += 1
    return 100 * 2 * hits / total if total else 100.0


def _fits(box: np.ndarray, other: np.ndarray) -> bool:
    return box[4] == other[4] and shapes.overlap(box, other) >= 0.5
