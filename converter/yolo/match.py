"""What the grids of an export mean, proved: a form is taken only if it computes the export's own boxes.

The structure gives the candidates, the numbers decide. The export's decoding is run on random numbers
(`converter.yolo.probe`); a form fits if the parsers' formulas give the same boxes, scores, coefficients
and keypoints from the same numbers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import permutations
from typing import Final

import numpy as np

from converter.yolo import decode
from converter.yolo.decode import Array
from converter.yolo.detector import Detector, Form, Keypoints
from converter.yolo.grids import Grid
from converter.yolo.probe import Probe

# Errors relative to the frame's size for boxes, absolute for scores.
_BOXES: Final = 1e-5
_SCORES: Final = 1e-5
# With fewer rows a match could be chance.
_ROWS: Final = 5
# Ultralytics' two formulas for keypoints: those of Pose and of Pose26.
_KEYPOINTS: Final = ((2.0, 0.0), (1.0, 0.5))


@dataclass(frozen=True, kw_only=True)
class _Candidate:
    """A reading of the grids: the detector, and for each cell what it means.

    Attributes:
        boxes: (cells, 4), corners in pixels; scores: (cells, classes); extra: (cells, n), raw.
        objectness: (cells,); None if there is none.
    """

    detector: Detector
    boxes: Array
    scores: Array
    objectness: Array | None = None
    extra: Array | None = None
    raw: Array | None = None


def match(
    grids: Sequence[Grid],
    probed: Probe,
    frame: tuple[int, int],
    n_classes: int | None,
    prototypes: Sequence[int] = (),
) -> Detector | None:
    """The detector whose decoding is the export's.

    Args:
        grids: In the order in which the export joins them.
        frame: Height and width of the frame in pixels.
        n_classes: How many classes there are; None if it is not known.
        prototypes: The channels of outputs that may be prototypes of masks.
    """
    for candidate in _candidates(grids, probed, prototypes):
        if n_classes not in (None, candidate.detector.n_classes):
            continue
        found = _dense(candidate, probed.output, frame) or _rows(candidate, probed.output, frame)
        if found is not None:
            return _by_stride(found)
    return None


def _by_stride(found: Detector) -> Detector:
    order = sorted(range(len(found.grids)), key=lambda index: found.grids[index].stride)
    anchors = tuple(found.anchors[index] for index in order) if found.anchors else ()
    return replace(found, grids=tuple(found.grids[index] for index in order), anchors=anchors)


def is_rotated(grids: Sequence[Grid], probed: Probe, n_classes: int | None) -> bool:
    """Whether it is a detector whose boxes have an angle: sizes and scores fit, centres do not."""
    for candidate in _candidates(grids, probed):
        detector = candidate.detector
        if detector.form is not Form.DISTANCES or n_classes not in (None, detector.n_classes):
            continue
        rows = _as_rows(probed.output, len(candidate.boxes))
        if rows is None or candidate.extra is None or candidate.extra.shape[1] != 1:
            continue
        sizes = decode.centres(candidate.boxes)[:, 2:]
        scores = rows[:, 4 : 4 + detector.n_classes]
        if scores.shape == candidate.scores.shape and np.allclose(scores, candidate.scores, atol=1e-4):
            return bool(np.allclose(rows[:, 2:4], sizes, rtol=1e-3, atol=1e-2))
    return False


# ------------------------------------------------------------- candidates


def _candidates(
    grids: Sequence[Grid], probed: Probe, prototypes: Sequence[int] = ()
) -> Iterator[_Candidate]:
    parts = grids[0].parts
    if len(parts) == 1:
        yield from _with_anchors(grids, probed, prototypes)
        return
    for boxes, classes in permutations(range(len(parts)), 2):
        rest = [index for index in range(len(parts)) if index not in (boxes, classes)]
        if parts[boxes].activated or parts[boxes].channels % 4:
            continue
        yield from _distances(grids, probed, boxes, classes, rest)
        if parts[boxes].channels == 4:
            for objectness in rest:
                if parts[objectness].channels == 1 and len(rest) == 1:
                    yield _anchor_free(grids, probed, boxes, classes, objectness)


def _distances(
    grids: Sequence[Grid], probed: Probe, boxes: int, classes: int, rest: Sequence[int]
) -> Iterator[_Candidate]:
    if len(rest) > 1:
        return
    bins = grids[0].parts[boxes].channels // 4
    decoded = [
        decode.tlbr_boxes(decode.expectation(probed.parts[grid.parts[boxes].name], bins), grid.stride)
        for grid in grids
    ]
    yield _Candidate(
        detector=Detector(
            form=Form.DISTANCES,
            grids=tuple(grids),
            boxes=boxes,
            classes=classes,
            n_classes=grids[0].parts[classes].channels,
            bins=bins,
            extra=rest[0] if rest else None,
        ),
        boxes=np.concatenate(decoded),
        scores=_flat(grids, probed, classes, activate=True),
        extra=_flat(grids, probed, rest[0]) if rest else None,
    )


def _anchor_free(
    grids: Sequence[Grid], probed: Probe, boxes: int, classes: int, objectness: int
) -> _Candidate:
    decoded = [
        decode.anchor_free_boxes(probed.parts[grid.parts[boxes].name], grid.stride) for grid in grids
    ]
    return _Candidate(
        detector=Detector(
            form=Form.ANCHOR_FREE,
            grids=tuple(grids),
            boxes=boxes,
            classes=classes,
            objectness=objectness,
            n_classes=grids[0].parts[classes].channels,
        ),
        boxes=np.concatenate(decoded),
        scores=_flat(grids, probed, classes, activate=True),
        objectness=_flat(grids, probed, objectness, activate=True)[:, 0],
        raw=_flat(grids, probed, boxes),
    )


def _flat(grids: Sequence[Grid], probed: Probe, index: int, *, activate: bool = False) -> Array:
    """A part of all grids, (cells, channels)."""
    values = []
    for grid in grids:
        part = grid.parts[index]
        array = probed.parts[part.name].reshape(part.channels, -1).T.astype(np.float64)
        values.append(decode.sigmoid(array) if activate and not part.activated else array)
    return np.concatenate(values)


def _with_anchors(
    grids: Sequence[Grid], probed: Probe, prototypes: Sequence[int]
) -> Iterator[_Candidate]:
    """Readings with anchors, which the output tells: its sizes over those of anchors of 1 pixel."""
    channels = grids[0].parts[0].channels
    for count in range(1, 10):
        rows = _as_rows(probed.output, count * sum(grid.cells for grid in grids))
        if channels % count or rows is None or channels // count < 6:
            continue
        values = [
            probed.parts[grid.parts[0].name].reshape(count, -1, grid.height, grid.width)
            for grid in grids
        ]
        if rows.shape[1] > values[0].shape[1]:
            continue
        is_active = grids[0].parts[0].activated
        active = [value if is_active else decode.sigmoid(value.astype(np.float64)) for value in values]
        anchors, start, boxes = [], 0, []
        for grid, value in zip(grids, active, strict=True):
            of_one = decode.anchor_boxes(value[:, :4], grid.stride, np.ones((count, 2)))
            size = decode.centres(of_one)[:, 2:]
            said = rows[start : start + len(size), 2:4]
            start += len(size)
            ratio = np.median((said / size).reshape(count, -1, 2), axis=1)
            anchors.append(tuple((float(w), float(h)) for w, h in ratio))
            boxes.append(decode.anchor_boxes(value[:, :4], grid.stride, ratio))
        flat = np.concatenate([_cells_first(value) for value in active])
        raw = np.concatenate([_cells_first(value) for value in values])
        for n_masks in (0, *(size for size in prototypes if size < rows.shape[1] - 5)):
            yield _Candidate(
                detector=Detector(
                    form=Form.ANCHORS,
                    grids=tuple(grids),
                    boxes=0,
                    classes=0,
                    n_classes=rows.shape[1] - 5 - n_masks,
                    anchors=tuple(anchors),
                ),
                boxes=np.concatenate(boxes),
                scores=flat[:, 5 : rows.shape[1] - n_masks],
                objectness=flat[:, 4],
                extra=raw[:, rows.shape[1] - n_masks :] if n_masks else None,
            )


def _cells_first(values: Array) -> Array:
    """(anchors, n, H, W) as (anchors · H · W, n)."""
    return np.moveaxis(values, 1, -1).reshape(-1, values.shape[1])


# ------------------------------------------------------------------ proofs


def _as_rows(output: Array, count: int) -> Array | None:
    """The output with a row for each of its boxes; None if it has another number of them."""
    if output.shape[0] == count:
        return output
    return output.T if output.shape[1] == count else None


def _near(one: Array, other: Array, limit: float) -> bool:
    return one.shape == other.shape and bool(
        np.all(np.abs(one - other) <= limit * np.maximum(1.0, np.abs(other)))
    )


def _dense(candidate: _Candidate, output: Array, frame: tuple[int, int]) -> Detector | None:
    """The detector if the output has every cell's box, scores and extras."""
    rows = _as_rows(output, len(candidate.boxes))
    if rows is None or rows.shape[1] < 5:
        return None
    detector, limit = candidate.detector, _BOXES * max(frame)
    is_box = any(
        _near(rows[:, :4], boxes, limit) for boxes in (decode.centres(candidate.boxes), candidate.boxes)
    )
    if not is_box:
        if candidate.raw is None or not _near(rows[:, :4], candidate.raw, _BOXES):
            return None
        detector = replace(detector, decoded=False)
    start = 4
    if candidate.objectness is not None:
        if not _near(rows[:, 4], candidate.objectness, _SCORES):
            return None
        start = 5
    elif rows.shape[1] > 5 and np.all(rows[:, 4] == 1):
        start = 5  # YOLOv6's confidence
    end = start + detector.n_classes
    if not _near(rows[:, start:end], candidate.scores, _SCORES):
        return None
    return _with_extra(detector, candidate, rows[:, end:], frame, np.arange(len(rows)))


def _rows(candidate: _Candidate, output: Array, frame: tuple[int, int]) -> Detector | None:
    """The detector if each row is one cell's box, score, class and extras, the best ones first."""
    if candidate.detector.form is not Form.DISTANCES or output.shape[1] < 6:
        return None
    rows = output[np.any(output != 0, axis=1)]
    classes = rows[:, 5].astype(int)
    if len(rows) < _ROWS or np.any((classes < 0) | (classes >= candidate.detector.n_classes)):
        return None
    errors = np.abs(rows[:, None, :4] - candidate.boxes[None]).max(-1)
    errors += np.abs(rows[:, None, 4] - candidate.scores.T[classes])
    nearest = errors.argmin(1)
    if errors.min(1).max() > _BOXES * max(frame):
        return None
    if rows[:, 4].max() < candidate.scores.max() - _SCORES:
        return None
    # A suppression of overlaps leaves cells out; a sorted list of the best leaves out none of them.
    best = np.sort(candidate.scores.ravel())[::-1][: len(rows)]
    everything = len(rows) == len(output) and _near(np.sort(rows[:, 4])[::-1], best, _SCORES)
    detector = replace(candidate.detector, end_to_end=bool(everything))
    return _with_extra(detector, candidate, rows[:, 6:], frame, nearest)


def _with_extra(
    detector: Detector, candidate: _Candidate, columns: Array, frame: tuple[int, int], places: Array
) -> Detector | None:
    """The detector with the meaning of what it has beside boxes and scores; None if that is unknown."""
    if candidate.extra is None:
        return detector if not columns.shape[1] else None
    extra = candidate.extra[places]
    if _near(columns, extra, _BOXES):
        return replace(detector, n_masks=extra.shape[1])
    if detector.form is not Form.DISTANCES:
        return None
    for values in (3, 2):
        if extra.shape[1] % values:
            continue
        raw = extra.reshape(len(extra), -1, values)
        said = columns.reshape(len(extra), -1, values) if columns.shape == extra.shape else None
        if said is None or (values == 3 and not _near(said[..., 2], decode.sigmoid(raw[..., 2]), 1e-4)):
            continue
        origin, stride = _cells(detector.grids)
        for factor, offset in _KEYPOINTS:
            xy = raw[..., :2] * factor + origin[places][:, None] + offset
            if _near(said[..., :2], xy * stride[places][:, None, None], _BOXES * max(frame)):
                found = Keypoints(count=raw.shape[1], values=values, factor=factor, offset=offset)
                return replace(detector, keypoints=found)
    return None


def _cells(grids: Sequence[Grid]) -> tuple[Array, Array]:
    """Column and row (cells, 2), and stride (cells,), of every cell."""
    origins, strides = [], []
    for grid in grids:
        origins.append(np.stack(decode.cells(grid.height, grid.width), -1).reshape(-1, 2))
        strides.append(np.full(grid.cells, grid.stride))
    return np.concatenate(origins), np.concatenate(strides)
