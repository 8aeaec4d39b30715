"""What was found in an export: how its grids mean boxes, scores and more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from converter.yolo.grids import Grid, Part


class Form(StrEnum):
    """How a grid is decoded; the formulas are in `converter.yolo.decode`."""

    # Distances to the four sides of the box (YOLOv8 and most others), as values or as distributions.
    DISTANCES = "distances"
    # x, y, exp(width), exp(height), an objectness (YOLOX, YOLOv6's first release).
    ANCHOR_FREE = "anchor-free"
    # For each anchor x, y, width, height, objectness, classes in one tensor (YOLOv5, YOLOv7).
    ANCHORS = "anchors"


@dataclass(frozen=True, kw_only=True)
class Keypoints:
    """The keypoints of a cell: x = (factor · raw + column + offset) · stride, y alike.

    Attributes:
        count: The number of keypoints.
        values: Numbers for each: x, y and, where it is 3, visibility before its sigmoid.
    """

    count: int
    values: int
    factor: float
    offset: float


@dataclass(frozen=True, kw_only=True)
class Detector:
    """The detection head of an export.

    Attributes:
        grids: By stride, the smallest first.
        boxes: Which of a grid's parts has the boxes; `classes`, `objectness` and `extra` likewise.
            With `Form.ANCHORS` one part has all of them.
        n_classes: The number of classes.
        bins: The bins of a side's distribution; 1 where the part has the distance itself.
        anchors: For `Form.ANCHORS`: by grid, width and height in pixels.
        n_masks: The coefficients of a cell for prototypes; 0 if there are none.
        protos: The output with the prototypes, [N, n_masks, H, W].
        keypoints: How `extra` means keypoints.
        end_to_end: Whether the export sorts out the best boxes itself, without suppressing overlaps.
        decoded: Whether the export decodes the boxes.
    """

    form: Form
    grids: tuple[Grid, ...]
    boxes: int
    classes: int
    n_classes: int
    objectness: int | None = None
    extra: int | None = None
    bins: int = 1
    anchors: tuple[tuple[tuple[float, float], ...], ...] = ()
    n_masks: int = 0
    protos: str = ""
    keypoints: Keypoints | None = None
    end_to_end: bool = False
    decoded: bool = True

    @property
    def strides(self) -> list[int]:
        """The stride of each grid, in pixels."""
        return [grid.stride for grid in self.grids]

    def parts(self, index: int) -> Sequence[Part]:
        """The part of that index in each grid."""
        return [grid.parts[index] for grid in self.grids]
