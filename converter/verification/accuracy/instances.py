"""What belongs to the boxes of a YOLO head: masks and keypoints, by the index of each box's cell.

Formulas: depthai-nodes' YOLOExtendedParser. A mask is sigmoid(coefficients · prototypes) > 0.5 inside
its box; a keypoint is x and y in the input's pixels and a visibility.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from converter.verification.accuracy.boxes import Outputs


def masks(
    outputs: Outputs,
    names: Sequence[str],
    prototypes: str,
    boxes: NDArray[Any],
    cells: NDArray[np.int64],
    size: tuple[int, int],
) -> NDArray[np.bool_]:
    """The mask of each box, (n, height, width) in the size of the prototypes.

    Args:
        outputs: The coefficients as (1, anchors · prototypes, H, W) or, of a finished head,
            (1, n, prototypes); the prototypes as (1, prototypes, height, width).
        names: The outputs of the coefficients, in the order of the grids.
        boxes: (n, 4 or more), left, top, right, bottom in the input's pixels.
        cells: The index of each box's cell, as `YoloGrids.found` counts them.
        size: The input's width and height.
    """
    count, height, width = outputs[prototypes].shape[-3:]
    planes = outputs[prototypes].astype(np.float64).reshape(count, height, width)
    coefficients = np.concatenate([_by_cell(outputs[name], count) for name in names])[cells]
    # The sigmoid is above a half where its argument is positive.
    found: NDArray[np.bool_] = np.einsum("nk,khw->nhw", coefficients, planes) > 0
    x = (np.arange(width) + 0.5) * size[0] / width
    y = (np.arange(height) + 0.5) * size[1] / height
    left, top, right, bottom = (boxes[:, side, None] for side in range(4))
    across, down = (x >= left) & (x <= right), (y >= top) & (y <= bottom)
    found &= across[:, None, :] & down[:, :, None]
    return found


def _by_cell(output: NDArray[Any], count: int) -> NDArray[np.float64]:
    """Coefficients as (cells, count)."""
    values = output.astype(np.float64)
    if values.ndim < 4:
        return values.reshape(-1, count)
    return (
        values.reshape(-1, count, values.shape[-2] * values.shape[-1])
        .transpose(0, 2, 1)
        .reshape(-1, count)
    )


def keypoints(
    outputs: Outputs,
    names: Sequence[str],
    count: int,
    cells: NDArray[np.int64],
    *,
    is_finished: bool,
) -> NDArray[np.float64]:
    """The keypoints of each box, (n, count, 3): x and y in the input's pixels, visibility from 0 to 1.

    Args:
        outputs: As (1, 3 · count, cells) with the visibility before its sigmoid or, of a finished head,
            (1, n, 3 · count) with the visibility behind it.
        names: The outputs of the keypoints, in the order of the grids.
        cells: As for `masks`.
    """
    if is_finished:
        return outputs[names[0]].astype(np.float64).reshape(-1, count, 3)[cells]
    each = [outputs[name].astype(np.float64).reshape(count, 3, -1) for name in names]
    found: NDArray[np.float64] = np.concatenate(each, axis=2).transpose(2, 0, 1)[cells]
    seen = 1 / (1 + np.exp(-np.clip(found[..., 2:], -80, 80)))
    return np.concatenate([found[..., :2], seen], axis=2)
