"""What the parsers of DepthAI and depthai-nodes want of each kind of detector: names, keys, subtype.

Sources: depthai-core 3.4, the wheel of DepthAI 3.12 (executed), depthai-nodes 0.7, luxonis/tools. Both
readers find tensors by parts of their names, sort them as text and pair them with strides and anchors
in that order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from converter.yolo.detector import Detector, Form


@dataclass(frozen=True, kw_only=True)
class Family:
    """A form's subtype for the parsers.

    Attributes:
        subtype: The one that every reader decodes alike.
        read_apart: Where readers contradict each other even so; empty if they do not.
    """

    subtype: str
    read_apart: str = ""


FAMILIES: Final[Mapping[Form, Family]] = {
    # Whatever the net's version: DepthAI logs an error at yolov9, depthai-nodes runs yolov12 slowly.
    Form.DISTANCES: Family(subtype="yolov8"),
    # depthai-core 3.4 reads yolov6 as distances, DepthAI 3.12 does not.
    Form.ANCHOR_FREE: Family(
        subtype="yolov6r1",
        read_apart="depthai-core 3.4 takes the boxes of yolov6r1 for pixels; DepthAI 3.12 and "
        "depthai-nodes decode them",
    ),
    Form.ANCHORS: Family(
        subtype="yolov5",
        read_apart="DepthAI multiplies the class by the objectness as the model does, depthai-nodes "
        "takes the class alone: the archive is for DepthAI",
    ),
}


@dataclass(frozen=True, kw_only=True)
class Names:
    """The names of a detector's outputs, by stride, the smallest first."""

    grids: tuple[str, ...]
    masks: tuple[str, ...] = ()
    keypoints: tuple[str, ...] = ()
    protos: str = ""

    @property
    def all(self) -> tuple[str, ...]:
        """Every name, in the order in which the outputs are written."""
        return (*self.grids, *self.masks, *self.keypoints, *((self.protos,) if self.protos else ()))


def names_of(detector: Detector) -> Names:
    """The outputs' names; there are at most 9 grids, so that text order is the strides' order."""
    subtype = FAMILIES[detector.form].subtype
    numbers = range(1, len(detector.grids) + 1)
    return Names(
        grids=tuple(f"output{number}_{subtype}" for number in numbers),
        masks=tuple(f"output{number}_masks" for number in numbers if detector.n_masks),
        keypoints=tuple(f"kpt_output{number}" for number in numbers if detector.keypoints),
        protos="protos_output" if detector.protos else "",
    )


def metadata_of(detector: Detector) -> dict[str, Any]:
    """The keys of a head's metadata that follow from the graph."""
    names = names_of(detector)
    metadata: dict[str, Any] = {
        "subtype": FAMILIES[detector.form].subtype,
        "yolo_outputs": list(names.grids),
        "strides": detector.strides,
    }
    if detector.anchors:
        metadata["anchors"] = [[list(pair) for pair in layer] for layer in rounded(detector.anchors)]
    if detector.n_masks:
        metadata |= {
            "mask_outputs": list(names.masks),
            "protos_outputs": names.protos,
            "n_prototypes": detector.n_masks,
            "is_softmax": True,
        }
    if detector.keypoints is not None:
        metadata |= {
            "keypoints_outputs": list(names.keypoints),
            "n_keypoints": detector.keypoints.count,
        }
    return metadata


def rounded(
    anchors: Sequence[Sequence[Sequence[float]]],
) -> tuple[tuple[tuple[float, ...], ...], ...]:
    """Anchors to a ten-thousandth of a pixel: they were computed back from boxes."""
    return tuple(tuple(tuple(round(size, 4) for size in pair) for pair in layer) for layer in anchors)


def parser_of(detector: Detector) -> str:
    """The parser: DepthAI's own for plain boxes, depthai-nodes' for all else."""
    return "YOLOExtendedParser" if detector.n_masks or detector.keypoints else "YOLO"


# Overlaps: an end-to-end head has none to suppress, so boxes never count as one.
NO_SUPPRESSION: Final = 1.0
