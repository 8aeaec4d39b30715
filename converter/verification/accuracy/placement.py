"""Where a picture lies in the network's input: what resizing did to labelled boxes and masks."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, Final, Self

import numpy as np

from converter.calibration.files import IMAGES, Tree
from converter.errors import UsageError
from converter.verification.accuracy.labels import Box

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Classes that a mask does not tell, by the convention of Pascal VOC and Cityscapes.
IGNORED: Final = 255
# EXIF's orientations that turn a picture by a quarter.
_TURNED: Final = (5, 6, 7, 8)
_ORIENTATION: Final = 0x0112


@dataclass(frozen=True, kw_only=True)
class Placement:
    """How a picture of some size was brought into the input's, (width, height) each.

    Attributes:
        method: RESIZE, CROP or PAD, as `calibration.resize_method` has them.
    """

    size: tuple[int, int]
    picture: tuple[int, int]
    method: str

    @classmethod
    def of(cls, tree: Tree, name: str, size: tuple[int, int], method: str) -> Self:
        """The placement of a file of the data; an array has the input's size already."""
        picture = size
        if PurePosixPath(name).suffix.lower() in IMAGES:
            from PIL import Image

            with Image.open(io.BytesIO(tree.read(name))) as opened:
                turned = opened.getexif().get(_ORIENTATION) in _TURNED
                picture = (opened.height, opened.width) if turned else opened.size
        return cls(size=size, picture=picture, method=method)

    def boxes(self, boxes: Sequence[Box]) -> NDArray[np.float64]:
        """Labelled boxes in the input's pixels, clipped to it: (n, 6), left, top, right, bottom, class,
        and 1 for a crowd. Boxes that lie outside are left out.
        """  # noqa: D205
        rows = np.array([(*box.edges, box.label, box.is_crowd) for box in boxes], np.float64).reshape(
            -1, 6
        )
        for axis in (0, 1):
            scale, shift = self._along(axis)
            rows[:, axis:4:2] = np.clip(rows[:, axis:4:2] * scale + shift, 0, self.size[axis])
        return rows[(rows[:, 2] > rows[:, 0]) & (rows[:, 3] > rows[:, 1])]

    def _along(self, axis: int) -> tuple[float, float]:
        """How many of the input's pixels a whole side of the picture takes, and where it begins."""
        if self.method not in ("CROP", "PAD"):
            return self.size[axis], 0.0
        ratios = [self.size[a] / self.picture[a] for a in (0, 1)]
        factor = max(ratios) if self.method == "CROP" else min(ratios)
        side = self.picture[axis] * factor
        return side, (self.size[axis] - side) / 2

    def mask(self, content: bytes, name: str, size: tuple[int, int]) -> NDArray[np.int64]:
        """A mask's class numbers, (height, width), as the input shows them, in an output's size.

        Raises:
            UsageError: It is no picture with one number a pixel.
        """
        from PIL import Image, ImageOps

        nearest = Image.Resampling.NEAREST
        numbers = read_mask(content, name)
        placed: Any = Image.fromarray(numbers.astype(np.int32), "I")
        if self.method == "CROP":
            placed = ImageOps.fit(placed, self.size, nearest)
        elif self.method == "PAD":
            placed = ImageOps.pad(placed, self.size, nearest, color=IGNORED)
        return np.asarray(placed.resize(size, nearest), np.int64)


def read_mask(content: bytes, name: str) -> NDArray[np.int64]:
    """The numbers of a mask's pixels, (height, width).

    Raises:
        UsageError: It is no picture with one number a pixel.
    """
    from PIL import Image

    try:
        with Image.open(io.BytesIO(content)) as opened:
            found = np.asarray(opened)
    except Exception as error:  # whatever Pillow says of a broken file
        raise UsageError(f"verify.labels: {name} is no picture ({error}).") from error
    if found.ndim != 2:
        raise UsageError(
            f"verify.labels: {name} has colours; a mask has one number for each pixel, its class.",
            remedy="Save it in gray or with a palette.",
        )
    return found.astype(np.int64)
