"""Exports that leave the decoding out: for each stride the raw numbers of its anchors.

YOLOv5 and YOLOv7 write them as [N, anchors, height, width, 5 + classes]. The anchors are in no such
graph; the user knows them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from converter.graph.rewrite import static_shape
from converter.yolo.detector import Detector, Form
from converter.yolo.grids import Grid, grids_behind
from converter.yolo.probe import probe

# x, y, width, height, objectness, and a class at least.
_FEWEST_NUMBERS = 6


@dataclass(frozen=True, kw_only=True)
class Levels:
    """Raw levels of anchors.

    Attributes:
        grids: By stride, the smallest first; each has one part, [N, anchors · numbers, H, W].
        n_anchors: The anchors of a cell.
        numbers: 5 + classes.
    """

    grids: tuple[Grid, ...]
    n_anchors: int
    numbers: int

    def detector(self, anchors: Sequence[Sequence[Sequence[float]]]) -> Detector | None:
        """The detector with these anchors, by stride; None if their number is another one."""
        counts = [len(layer) for layer in anchors]
        if counts != [self.n_anchors] * len(self.grids):
            return None
        return Detector(
            form=Form.ANCHORS,
            grids=self.grids,
            boxes=0,
            classes=0,
            n_classes=self.numbers - 5,
            anchors=tuple(tuple((pair[0], pair[1]) for pair in layer) for layer in anchors),
            decoded=False,
        )


def levels_of(model: ir.Model, frame: tuple[int, int]) -> Levels | None:
    """The raw levels that a graph's outputs are, all of them; None if they are none.

    Args:
        model: Its shapes are known.
        frame: Height and width of the frame in pixels.
    """
    found: list[Grid] = []
    kinds: set[tuple[int, int]] = set()
    for output in model.graph.outputs:
        shape = static_shape(output) or ()
        if len(shape) != 5 or shape[4] < _FEWEST_NUMBERS:
            continue
        grids = grids_behind([output], frame)
        if len(grids) != 1 or len(grids[0].parts) != 1 or grids[0].parts[0].activated:
            return None
        (part,) = grids[0].parts
        probed = probe(model, output, grids)
        if probed is None or part.channels != shape[1] * shape[4]:
            return None
        raw = probed.parts[part.name].reshape(shape[1], shape[4], *shape[2:4])
        if not np.array_equal(probed.output, np.moveaxis(raw, 1, -1)):
            return None
        found += grids
        kinds.add((shape[1], shape[4]))
    if len(found) < 2 or len(kinds) != 1 or len({grid.stride for grid in found}) != len(found):
        return None
    ((count, numbers),) = kinds
    grids = tuple(sorted(found, key=lambda grid: grid.stride))
    return Levels(grids=grids, n_anchors=count, numbers=numbers)
