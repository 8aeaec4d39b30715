"""Drawing on a picture what a network found in it: boxes, masks, areas, points, bars, maps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from converter.drawing.shown import Areas, Bars, Boxes, Heat, Points, Shown, name_of
from converter.model import ModelInput
from converter.preprocessing import Color

if TYPE_CHECKING:
    from PIL.Image import Image as Picture
    from PIL.ImageFont import FreeTypeFont, ImageFont

    Font = FreeTypeFont | ImageFont

# Colours that are told apart, by class; Okabe and Ito's, then lighter ones.
PALETTE: Final = (
    *((230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (0, 114, 178), (213, 94, 0)),
    *((204, 121, 167), (140, 255, 140), (255, 140, 140), (160, 140, 255), (255, 255, 255)),
)
# From low to high: viridis at five places.
_HEAT: Final = ((68, 1, 84), (59, 82, 139), (33, 145, 140), (94, 201, 98), (253, 231, 37))
_OPAQUE: Final = 0.5
_LEAST_SIDE: Final = 320
_MOST_SIDE: Final = 640
_VISIBLE: Final = 0.5
_LINE: Final = 18
_BACKGROUND: Final = (255, 255, 255)
_INK: Final = (25, 25, 25)
_FAINT: Final = (110, 110, 110)


def font(size: int = 14) -> Font:
    """Pillow's own font."""
    from PIL import ImageFont

    return ImageFont.load_default(size)


def color_of(label: int) -> tuple[int, int, int]:
    """The colour of a class."""
    return PALETTE[label % len(PALETTE)]


def picture_of(frame: NDArray[Any], image: ModelInput, item: int = 0) -> Picture:
    """A camera frame as a picture.

    Args:
        frame: uint8, BGR or gray, in the input's shape and layout.
        item: Which of a batch.
    """
    values = frame.take(item, image.layout.index("N")) if "N" in image.layout else frame
    return _as_picture(values, image, reverse=image.preprocessing.color is not Color.GRAY)


def tensor_picture(tensor: NDArray[Any], image: ModelInput) -> Picture:
    """A network's input as a picture: its first channel is red, mean and scale are taken back.

    Args:
        tensor: The first of a batch is drawn; in the input's shape and layout.
    """
    values = np.moveaxis(np.nan_to_num(tensor.astype(np.float64)), image.channel_axis, -1)
    if image.preprocessing.scale:
        values = values * image.preprocessing.scale
    if image.preprocessing.mean:
        values = values + image.preprocessing.mean
    pixels = np.moveaxis(np.rint(values).clip(0, 255).astype(np.uint8), -1, image.channel_axis)
    if "N" in image.layout:
        pixels = np.asarray(pixels.take(0, image.layout.index("N")))
    return _as_picture(pixels, image, reverse=False)


def _as_picture(values: NDArray[Any], image: ModelInput, *, reverse: bool) -> Picture:
    from PIL import Image

    axes = image.layout.replace("N", "")
    pixels = values.transpose([axes.index(axis) for axis in "HWC"])
    if pixels.shape[2] != 3:
        return Image.fromarray(np.ascontiguousarray(pixels[:, :, 0])).convert("RGB")
    return Image.fromarray(np.ascontiguousarray(pixels[:, :, ::-1] if reverse else pixels))


def scale_of(picture: Picture) -> float:
    """How much a picture is enlarged so that what is drawn on it can be read."""
    side = max(picture.size)
    if side < _LEAST_SIDE:
        return float(-(-_LEAST_SIDE // side))
    return min(1.0, _MOST_SIDE / side)


def drawn(picture: Picture, shown: Shown) -> Picture:
    """The picture, enlarged where it is small, with what was found in it."""
    from PIL import Image

    scale = scale_of(picture)
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    # Pixels of a small frame stay what the network gets.
    how = Image.Resampling.NEAREST if scale > 1 else Image.Resampling.BILINEAR
    base = picture.convert("RGB").resize(size, how)
    match shown:
        case Boxes():
            return _boxes(base, shown, scale)
        case Areas():
            return _areas(base, shown)
        case Bars():
            return _bars(base, shown)
        case Points():
            return _points(base, shown.points, scale, PALETTE[0])
        case Heat():
            return _heat(base, shown)


def _painted(base: Picture, color: tuple[int, int, int], mask: NDArray[np.bool_]) -> Picture:
    """The picture with a half transparent colour where the mask is, whatever the mask's size."""
    from PIL import Image

    shade = Image.fromarray(mask.astype(np.uint8) * round(255 * _OPAQUE))
    shade = shade.resize(base.size, Image.Resampling.NEAREST)
    return Image.composite(Image.new("RGB", base.size, color), base, shade)


def _boxes(base: Picture, shown: Boxes, scale: float) -> Picture:
    from PIL import ImageDraw

    labels = [int(row[5]) for row in shown.rows]
    for index, label in enumerate(labels):
        if shown.masks is not None:
            base = _painted(base, color_of(label), shown.masks[index])
    pen, letters = ImageDraw.Draw(base), font()
    # The best box is drawn last and lies on top.
    for index in reversed(range(len(labels))):
        row, color = shown.rows[index], color_of(labels[index])
        left, top, right, bottom = (float(edge) * scale for edge in row[:4])
        if not (right >= left and bottom >= top):
            continue
        pen.rectangle((left, top, right, bottom), outline=color, width=2)
        text = f"{name_of(shown.names, labels[index])} {_score(row[4])}"
        # Above the box, or inside where there is no room.
        height = _LINE if top >= _LINE else 0
        place = (min(max(left, 0), base.width - 1), max(top - height, 0))
        edge = pen.textbbox(place, text, font=letters)
        pen.rectangle((place[0], place[1], edge[2] + 3, place[1] + _LINE), fill=color)
        pen.text((place[0] + 2, place[1] + 1), text, fill=(0, 0, 0), font=letters)
    if shown.keypoints is not None:
        for index, points in enumerate(shown.keypoints):
            base = _points(base, points, scale, color_of(labels[index] + 1))
    return base


def _score(value: float) -> str:
    """Two digits behind the point; a small score in two digits that tell it."""
    return f"{value:.2f}" if value >= 0.1 else f"{value:.2g}"


def _points(
    base: Picture, points: NDArray[np.float64], scale: float, color: tuple[int, int, int]
) -> Picture:
    """Points as discs; those that are not visible as rings."""
    from PIL import ImageDraw

    pen = ImageDraw.Draw(base)
    for point in points:
        x, y = float(point[0]) * scale, float(point[1]) * scale
        if not np.isfinite([x, y]).all():
            continue
        seen = len(point) < 3 or point[2] >= _VISIBLE
        pen.ellipse((x - 4, y - 4, x + 4, y + 4), fill=color if seen else None, outline=(0, 0, 0))
    return base


def _areas(base: Picture, shown: Areas) -> Picture:
    present = [int(label) for label in np.unique(shown.classes)]
    for label in present:
        if label or not shown.has_background:
            base = _painted(base, color_of(label), shown.classes == label)
    entries = [(color_of(label), name_of(shown.names, label)) for label in present]
    return _with_legend(base, entries[:8])


def _with_legend(base: Picture, entries: Sequence[tuple[tuple[int, int, int], str]]) -> Picture:
    from PIL import Image, ImageDraw

    whole = Image.new("RGB", (base.width, base.height + _LINE * len(entries)), _BACKGROUND)
    whole.paste(base, (0, 0))
    pen, letters = ImageDraw.Draw(whole), font()
    for index, (color, name) in enumerate(entries):
        top = base.height + index * _LINE
        pen.rectangle((2, top + 3, 14, top + _LINE - 3), fill=color, outline=_INK)
        pen.text((20, top + 1), name, fill=_INK, font=letters)
    return whole


def _bars(base: Picture, shown: Bars) -> Picture:
    from PIL import Image, ImageDraw

    whole = Image.new("RGB", (base.width, base.height + _LINE * len(shown.names) + 4), _BACKGROUND)
    whole.paste(base, (0, 0))
    pen, letters = ImageDraw.Draw(whole), font()
    for index, (name, share) in enumerate(zip(shown.names, shown.shares, strict=True)):
        top = base.height + 4 + index * _LINE
        width = round(base.width * min(max(share, 0.0), 1.0))
        if width:
            pen.rectangle((0, top + 1, width - 1, top + _LINE - 2), fill=PALETTE[1 if index else 0])
        pen.text((4, top + 1), f"{name}  {share:.1%}", fill=_INK, font=letters)
    return whole


def _heat(base: Picture, shown: Heat) -> Picture:
    from PIL import Image

    spread = shown.high - shown.low
    shares = np.clip((shown.values - shown.low) / (spread or 1.0), 0, 1)
    places = np.linspace(0, 1, len(_HEAT))
    colors = np.stack(
        [np.interp(shares, places, [color[k] for color in _HEAT]) for k in range(3)], axis=-1
    )
    layer = Image.fromarray(colors.astype(np.uint8)).resize(base.size, Image.Resampling.NEAREST)
    merged = Image.blend(base, layer, 0.7) if shown.is_map else layer
    ends = [(_HEAT[0], f"{shown.low:.4g}"), (_HEAT[-1], f"{shown.high:.4g}")]
    return _with_legend(merged, ends)


# ------------------------------------------------------------------ sheets


def sheet(heads: Sequence[str], rows: Sequence[tuple[Sequence[Picture], str]]) -> Picture:
    """Pictures side by side, a caption below each row.

    Args:
        heads: What each column is.
        rows: For each row the pictures, one for each column, and a caption.
    """
    from PIL import Image, ImageDraw

    gap, letters = 12, font()
    width = max((picture.width for pictures, _ in rows for picture in pictures), default=_LEAST_SIDE)
    whole_width = gap + (width + gap) * len(heads)
    titles = [_wrapped(title, width, letters) for title in heads]
    captions = [_wrapped(caption, whole_width - 2 * gap, letters) for _, caption in rows]
    heights = [max(picture.height for picture in pictures) for pictures, _ in rows]
    total = gap + _LINE * max(map(len, titles), default=0) + gap
    total += sum(
        height + _LINE * len(lines) + 2 * gap for height, lines in zip(heights, captions, strict=True)
    )
    whole = Image.new("RGB", (whole_width, total), _BACKGROUND)
    pen = ImageDraw.Draw(whole)
    for column, lines in enumerate(titles):
        for at, line in enumerate(lines):
            place = (gap + column * (width + gap), gap + at * _LINE)
            pen.text(place, line, fill=_INK, font=letters)
    top = gap + _LINE * max(map(len, titles), default=0) + gap
    for (pictures, _), lines, height in zip(rows, captions, heights, strict=True):
        for column, picture in enumerate(pictures):
            whole.paste(picture, (gap + column * (width + gap), top))
        top += height + gap // 2
        for line in lines:
            pen.text((gap, top), line, fill=_FAINT, font=letters)
            top += _LINE
        top += gap + gap // 2
    return whole


def _wrapped(text: str, width: int, letters: Font) -> list[str]:
    """A text in lines that fit."""
    lines: list[str] = []
    for word in text.split():
        if lines and letters.getlength(f"{lines[-1]} {word}") <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines or [""]
