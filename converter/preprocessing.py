"""What happens between a camera's frame and a model's input tensor, as one value.

`tensor = (reorder(frame) - mean) / scale`, where `reorder` brings the camera's BGR into the colour
order that the model was trained on. Mean and scale are in the model's channel order; the converter
never swaps them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Color(StrEnum):
    """The channel order of a frame."""

    RGB = "RGB"
    BGR = "BGR"
    GRAY = "GRAY"

    @property
    def channels(self) -> int:
        """How many channels a frame of this colour has."""
        return 1 if self is Color.GRAY else 3


# DepthAI's ImgFrame types that name the frames of a neural network's input.
_COLOR_TYPES: Final = {
    "RGB888p": (Color.RGB, "p"),
    "RGB888i": (Color.RGB, "i"),
    "BGR888p": (Color.BGR, "p"),
    "BGR888i": (Color.BGR, "i"),
    "RGBF16F16F16p": (Color.RGB, "p"),
    "RGBF16F16F16i": (Color.RGB, "i"),
    "BGRF16F16F16p": (Color.BGR, "p"),
    "BGRF16F16F16i": (Color.BGR, "i"),
    "GRAY8": (Color.GRAY, ""),
    "GRAYF16": (Color.GRAY, ""),
    # No ImgFrame types, but written by ModelConverter and luxonis-train: read, never written.
    "GRAY888p": (Color.GRAY, ""),
    "GRAY888i": (Color.GRAY, ""),
    "NONE888p": (Color.GRAY, ""),
}
DAI_TYPES: Final = tuple(name for name in _COLOR_TYPES if not name.startswith(("GRAY888", "NONE")))


def read_dai_type(dai_type: str) -> tuple[Color, str] | None:
    """Colour and order (`p` planar, `i` interleaved, empty for gray); None if it names no frame."""
    return _COLOR_TYPES.get(dai_type)


def write_dai_type(color: Color, *, interleaved: bool, half: bool = False) -> str:
    """The ImgFrame type of frames in this colour: uint8, or float16 with `half`."""
    if color is Color.GRAY:
        return "GRAYF16" if half else "GRAY8"
    return f"{color.value}{'F16F16F16' if half else '888'}{'i' if interleaved else 'p'}"


@dataclass(frozen=True, kw_only=True)
class Preprocessing:
    """How a model's input is made from a frame.

    Attributes:
        color: The colour order that the model wants; None for inputs that take no frames.
        mean: Subtracted from each channel, in the model's channel order; one value for each channel,
            or empty.
        scale: The divisor of each channel, applied after the mean, in the same order.
        resize_mode: CROP, STRETCH or LETTERBOX, handed on to the camera.
    """

    color: Color | None = None
    mean: tuple[float, ...] = ()
    scale: tuple[float, ...] = ()
    resize_mode: str | None = None

    @property
    def normalizes(self) -> bool:
        """Whether mean or scale change anything."""
        return any(self.mean) or any(value != 1 for value in self.scale)

    @property
    def reverses(self) -> bool:
        """Whether a BGR frame must have its channels reversed."""
        return self.color is Color.RGB

    def apply(self, frame: NDArray[Any], channel_axis: int) -> NDArray[np.float32]:
        """The definition, in NumPy; every compiled form of it is compared with this.

        Args:
            frame: Frames in the model's layout, BGR or gray, 0 to 255 (usually uint8); for an input
                that takes no frames, numbers of any type.
            channel_axis: The axis of the channels.

        Returns:
            float32, same shape and layout, in the model's colour order, mean and scale applied.
        """
        import numpy as np

        tensor = frame.astype(np.float32)
        if self.reverses:
            tensor = np.flip(tensor, channel_axis)
        shape = [1] * tensor.ndim
        if self.mean or self.scale:
            shape[channel_axis] = -1
        if self.mean:
            tensor = tensor - np.asarray(self.mean, np.float32).reshape(shape)
        if self.scale:
            tensor = tensor / np.asarray(self.scale, np.float32).reshape(shape)
        return np.ascontiguousarray(tensor, np.float32)

    def to_json(self) -> dict[str, Any]:
        """The value as plain JSON data."""
        return {
            "color": self.color.value if self.color else None,
            "mean": list(self.mean),
            "scale": list(self.scale),
            "resize_mode": self.resize_mode,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Preprocessing:
        """The value that `to_json` wrote down."""
        return cls(
            color=Color(data["color"]) if data["color"] else None,
            mean=tuple(data["mean"]),
            scale=tuple(data["scale"]),
            resize_mode=data["resize_mode"],
        )
