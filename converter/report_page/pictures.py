"""The page's pictures: what the camera sends, what the network gets, what source and result find."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from converter.drawing.draw import picture_of, tensor_picture
from converter.drawing.sides import image_of, pairs
from converter.errors import ConvertError
from converter.feeding import source_feeds
from converter.model import ModelInput
from converter.preprocessing import Color
from converter.target import Kept

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

_MOST_FRAMES: Final = 4
# A larger picture is written as JPEG.
_MOST_PNG_BYTES: Final = 150_000
# How a reader tells swapped colours, by the colours that the config says the network takes.
_SWAPPED: Final[Mapping[Color | None, str]] = {
    Color.RGB: "The config says RGB, so these colours should look right.",
    Color.BGR: "The config says BGR, so these colours look swapped. If the network was trained on RGB "
    "pictures, the config is wrong.",
}


def pictures(kept: Kept) -> str:
    """For some frames of a comparison a row of figures; empty for a network without pictures."""
    model = kept.plan.model
    if image_of(model) is None or model.link is not None:
        return ""
    parts = ["<h2>What it sees and finds</h2>"]
    found = _found(kept)
    sent = {item.name: item.dai_type for item in getattr(kept.plan.parameters, "inputs", ())}
    for at, frame in enumerate(kept.frames[:_MOST_FRAMES]):
        feeds = source_feeds(model.inputs, frame)
        cards = []
        for image in (item for item in model.inputs if item.is_image):
            cards += [
                _figure(
                    picture_of(frame[image.name], image),
                    f"Frame {at + 1}{_of(image, model.inputs)}: what the camera sends"
                    + (f" ({sent[image.name]})" if sent.get(image.name) else ""),
                ),
                _figure(tensor_picture(feeds[image.name], image), _seen(image, feeds[image.name])),
            ]
        cards += found.get(at, [])
        parts.append(f'<div class="frames">{"".join(cards)}</div>')
    return "".join(parts)


def _of(image: ModelInput, inputs: Sequence[ModelInput]) -> str:
    return f", {image.name}" if len(inputs) > 1 else ""


def _found(kept: Kept) -> dict[int, list[str]]:
    """By frame the figures of what source and result found; a batch shows its first picture."""
    cards: dict[int, list[str]] = {}
    image = image_of(kept.plan.model)
    assert image is not None
    batch = image.shape[image.layout.index("N")] if "N" in image.layout else 1
    try:
        for pair in pairs(kept, _MOST_FRAMES * batch):
            frame, item = divmod(pair.index, batch)
            if item == 0:
                cards.setdefault(frame, []).extend(
                    [
                        _figure(pair.source, f"The source, {pair.title}", is_drawn=True),
                        _figure(pair.result, f"The result, {pair.title}. {pair.said}", is_drawn=True),
                    ]
                )
    except (ConvertError, KeyError, ValueError, IndexError):
        return {}  # outputs that are not what the head says: the plots are left
    return cards


def _seen(image: ModelInput, tensor: Any) -> str:
    """What a network's input holds, and how to tell swapped colours."""
    values = np.moveaxis(np.asarray(tensor, np.float64), image.channel_axis, 0)
    ranges = ", ".join(f"{channel.min():.3g} to {channel.max():.3g}" for channel in values)
    swapped = _SWAPPED.get(image.preprocessing.color, "")
    how = ["its first channel as red"] if len(values) == 3 else []
    how += ["mean and scale taken back"] if image.preprocessing.normalizes else []
    counted = "Its channels: " if len(values) > 1 else "Its values: "
    return f"{', '.join(['What the network gets', *how])}. {counted}{ranges}. {swapped}".strip()


def _figure(picture: Picture, caption: str, *, is_drawn: bool = False) -> str:
    """A picture with its caption; pixels of what is not drawn stay sharp when they are enlarged."""
    kind = "drawn" if is_drawn else "pixels"
    return (
        f'<figure><img class="{kind}" alt="{escape(caption)}" src="{_uri(picture)}">'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


def _uri(picture: Picture) -> str:
    """A picture as a data URI: PNG, or JPEG where that would be large."""
    stream = io.BytesIO()
    picture.save(stream, "PNG")
    kind = "png"
    if stream.tell() > _MOST_PNG_BYTES:
        stream, kind = io.BytesIO(), "jpeg"
        picture.convert("RGB").save(stream, "JPEG", quality=88)
    return f"data:image/{kind};base64,{base64.b64encode(stream.getvalue()).decode()}"
