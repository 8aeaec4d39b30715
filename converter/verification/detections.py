"""What a comparison means for a detector: the boxes that a parser makes of both results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from converter.yolo import decode

Outputs = Mapping[str, NDArray[Any]]
_WITH_ANCHORS: Final = ("yolov5", "yolov7")
_ANCHOR_FREE: Final = ("yolov6r1",)
# Readers take these in two ways (`converter.yolo.families`), or in one that has no grids.
_UNCLEAR: Final = ("yolov3", "yolov3-tiny", "yolov4", "yolov4-tiny", "yolov6", "yolo-p", "yolo26")
_STRIDES: Final = (8, 16, 32)
# How many of the best boxes are compared in a frame where none is certain enough.
_BEST: Final = 50


def agreement(
    metadata: Mapping[str, Any], reference: Sequence[Outputs], actual: Sequence[Outputs]
) -> dict[str, Any] | None:
    """How the boxes of a YOLO head agree, cell by cell; None if its outputs are not grids.

    Args:
        metadata: The head's, as parsers read it.
        reference, actual: For each frame the outputs, by name, [1, C, H, W].
    """
    names = sorted(map(str, metadata.get("yolo_outputs") or ()))
    strides = metadata.get("strides") or _STRIDES
    if not names or len(names) != len(strides) or any(n not in reference[0] for n in names):
        return None
    overlaps, differences, certain = [], [], 0
    threshold = float(metadata.get("conf_threshold") or 0.5)
    for one, other in zip(reference, actual, strict=True):
        found = _decoded(metadata, names, strides, one)
        given = {name: np.asarray(other[name]).reshape(np.shape(one[name])) for name in names}
        made = _decoded(metadata, names, strides, given)
        if found is None or made is None:
            return None
        best = found[1].max(1)
        chosen = np.flatnonzero(best >= threshold)
        certain += len(chosen)
        chosen = chosen if len(chosen) else np.argsort(-best)[:_BEST]
        overlaps.append(_overlap(found[0][chosen], made[0][chosen]))
        differences.append(np.abs(found[1][chosen] - made[1][chosen]).max(1))
    overlap, score = np.concatenate(overlaps), float(np.concatenate(differences).max())
    mean = float(f"{overlap.mean():.4g}")
    which = (
        f"{certain} boxes" if certain else f"the best {len(overlap)} boxes, none above the threshold"
    )
    return {
        "measure": "IoU of boxes",
        "value": mean,
        "worst": float(f"{overlap.min():.4g}"),
        "scores": float(f"{score:.3g}"),
        "boxes": int(certain),
        "said": f"the boxes of source and result overlap by {mean:.4f} (IoU) on average, their scores "
        f"differ by {score:.2g} at most ({which})",
    }


def _decoded(
    metadata: Mapping[str, Any], names: Sequence[str], strides: Sequence[int], outputs: Outputs
) -> tuple[NDArray[Any], NDArray[Any]] | None:
    """Boxes (cells, 4) in pixels and scores (cells, classes)."""
    subtype = str(metadata.get("subtype") or "").lower()
    if subtype in _UNCLEAR:
        return None
    anchors = metadata.get("anchors")
    boxes, scores = [], []
    for index, (name, stride) in enumerate(zip(names, strides, strict=True)):
        values = np.asarray(outputs[name], np.float64)
        if values.ndim != 4 or values.shape[0] != 1:
            return None
        grid = values[0]
        if subtype in _WITH_ANCHORS:
            pairs = np.asarray((anchors or [[]] * len(names))[index], np.float64)
            if pairs.ndim != 2 or not len(pairs) or grid.shape[0] % len(pairs):
                return None
            each = grid.reshape(len(pairs), -1, *grid.shape[1:])
            boxes.append(decode.anchor_boxes(each[:, :4], stride, pairs))
            flat = np.moveaxis(each, 1, -1).reshape(-1, each.shape[1])
            scores.append(flat[:, 5:] * flat[:, 4:5])
            continue
        if grid.shape[0] < 6:
            return None
        free = subtype in _ANCHOR_FREE
        decoded = decode.anchor_free_boxes if free else decode.tlbr_boxes
        boxes.append(decoded(grid[:4], stride))
        scores.append(grid[5:].reshape(grid.shape[0] - 5, -1).T)
    return np.concatenate(boxes), np.concatenate(scores)


def _overlap(a: NDArray[Any], b: NDArray[Any]) -> NDArray[Any]:
    """Intersection over union of boxes in pairs; 1 where both are empty."""
    low, high = np.maximum(a[:, :2], b[:, :2]), np.minimum(a[:, 2:], b[:, 2:])
    both = np.prod(np.maximum(high - low, 0), axis=1)
    areas = [np.prod(np.maximum(box[:, 2:] - box[:, :2], 0), axis=1) for box in (a, b)]
    either = areas[0] + areas[1] - both
    shares: NDArray[Any] = np.where(either > 0, both / np.maximum(either, 1e-9), 1.0)
    return shares
