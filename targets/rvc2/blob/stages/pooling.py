"""Pools on the SHAVE cores; the convolution unit's are in `hardware`."""

from __future__ import annotations

from typing import Final

import numpy as np

from targets.rvc2.blob.running import IMAGE, Running
from targets.rvc2.blob.stages.windows import Window, inside, pool


def _pool(run: Running, *, maximum: bool) -> None:
    kx, ky, sx, sy, left, top, leave_out_pads = run.parameters("7I")
    source, target = run.buffers(2)
    image = run.floats(source, IMAGE)
    _, _, height, width = run.size(target, IMAGE)
    window = Window(kernel=(ky, kx), stride=(sy, sx), before=(top, left))
    values = pool(image, window, (height, width), run.budget, maximum=maximum)
    if not maximum:
        size = (image.shape[2], image.shape[3])
        counted = inside(window, size, (height, width)) if leave_out_pads else np.float32(kx * ky)
        values = values / counted
    run.write(target, values, IMAGE)


def max_pool(run: Running) -> None:
    """The maximum of each window.

    Parameters: u kernel width, height; u stride x, y; u pad left, top; u whether pads are left out (of
    an average). Buffers: in, out.
    """
    _pool(run, maximum=True)


def average_pool(run: Running) -> None:
    """The mean of each window; parameters and buffers as for `max_pool`."""
    _pool(run, maximum=False)


def global_max_pool(run: Running) -> None:
    """The maximum of the image; parameters and buffers as for `max_pool`."""
    _pool(run, maximum=True)


STAGES: Final = {
    1: ("MaxPool", max_pool),
    2: ("AvgPool", average_pool),
    60: ("GlobalMaxPool", global_max_pool),
}
