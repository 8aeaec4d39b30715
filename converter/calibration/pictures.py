"""Pictures that are drawn: edges, text, gradients and noise, bright and dark, as cameras see them.

They are no photographs. They make filters, detectors and text readers answer more than noise does.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageDraw import ImageDraw

_LINES: Final = (
    *("The quick brown fox jumps over the lazy dog", "INVOICE 2041  Total 1,299.50", "B-KX 4182"),
    *("Platform 7 departs 18:35", "ABCDEFGHIJKLMNOPQRSTUVWXYZ", "abcdefghijklmnopqrstuvwxyz"),
    *("0123456789 +-*/=", "Keep this side up", "MODEL 3C / LOT 0057", "mail@example.com"),
)
# Slow colours are computed in this many rows and columns; and how far they swing.
_COARSE: Final = 48
_WAVE: Final = 0.06
_Color = tuple[int, int, int]


def picture(index: int, width: int, height: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """A drawn RGB picture, (height, width, 3).

    Args:
        index: Its kind: a bright scene, a dark one with lights, a page of text, textures; and so on.
        rng: It places and colours what is drawn.
    """
    draw, tint, noise = _KINDS[index % len(_KINDS)]
    image = draw(width, height, rng)
    pixels = np.asarray(image, np.float32) * np.asarray(tint, np.float32)
    grain = rng.standard_normal((height, width, 1), np.float32) * noise
    color_grain = rng.standard_normal((1, width, 3), np.float32) * noise / 3
    found: NDArray[np.uint8] = np.clip(pixels + grain + color_grain, 0, 255).astype(np.uint8)
    return found


def _scene(width: int, height: int, rng: np.random.Generator) -> Image:
    """Daylight: sky above ground, things with edges in front, a figure, a sign."""
    image = _gradient(width, height, (150, 190, 240), (120, 150, 90), rng)
    draw = _drawing(image)
    _things(draw, width, height, rng, low=30, high=255, count=6)
    _figure(draw, width, height, rng)
    size = max(9, height // 12)
    left, top = int(width * 0.05), int(height * rng.uniform(0.05, 0.15))
    draw.rectangle((left, top, left + int(width * 0.6), top + int(size * 1.6)), (250, 245, 235))
    _write(draw, (left + size // 3, top + size // 5), _LINES[2], size, (20, 20, 30))
    return image


def _night(width: int, height: int, rng: np.random.Generator) -> Image:
    """Darkness with lamps, dim things, and bright letters."""
    from PIL import ImageFilter

    image = _gradient(width, height, (8, 10, 22), (34, 28, 24), rng)
    draw = _drawing(image)
    _things(draw, width, height, rng, low=15, high=70, count=5)
    for _ in range(4):
        x, y = rng.uniform(0, width), rng.uniform(0, height * 0.6)
        radius = max(1.0, min(width, height) * float(rng.uniform(0.01, 0.05)))
        warm = (255, int(rng.integers(190, 255)), int(rng.integers(120, 220)))
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), warm)
    image = image.filter(ImageFilter.GaussianBlur(max(0.5, min(width, height) / 200)))
    size = max(9, height // 9)
    _write(_drawing(image), (width // 10, height // 2), _LINES[3], size, (90, 240, 140))
    return image


def _page(width: int, height: int, rng: np.random.Generator) -> Image:
    """Dark text of several sizes on bright paper, a table's lines and a coloured stamp."""
    image = _gradient(width, height, (250, 250, 250), (226, 228, 232), rng)
    draw = _drawing(image)
    y, margin = height * 0.04, int(width * 0.06)
    for row in range(40):
        size = max(8, int(height * (0.07 if row == 0 else rng.choice([0.03, 0.04, 0.05]))))
        if y + size > height * 0.72:
            break
        ink = int(rng.integers(0, 70))
        text = _LINES[int(rng.integers(len(_LINES)))]
        _write(draw, (margin, int(y)), text, size, (ink, ink, ink + 20))
        y += size * 1.5
    for step in range(5):
        at = int(height * (0.76 + 0.05 * step))
        draw.line((margin, at, width - margin, at), (40, 40, 40), max(1, height // 300))
        at = margin + int((width - 2 * margin) * step / 4)
        draw.line((at, int(height * 0.76), at, int(height * 0.96)), (40, 40, 40), max(1, width // 300))
    box = (int(width * 0.66), int(height * 0.5), int(width * 0.92), int(height * 0.7))
    draw.ellipse(box, outline=(190, 30, 40), width=max(1, height // 60))
    return image


def _texture(width: int, height: int, rng: np.random.Generator) -> Image:
    """Fields of stripes and chequers from coarse to fine, over the whole range of every channel."""
    from PIL import Image

    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    planes = []
    for _ in range(3):
        angle, period = rng.uniform(0, np.pi), rng.uniform(3, 24)
        wave = np.sin((x * np.cos(angle) + y * np.sin(angle)) * (2 * np.pi / period))
        check = np.sign(
            np.sin(x * (np.pi / rng.uniform(2, 16))) * np.sin(y * (np.pi / rng.uniform(2, 16)))
        )
        share = x / max(1, width - 1)
        planes.append(127.5 + 127.5 * (share * wave + (1 - share) * check))
    return Image.fromarray(np.stack(planes, 2).clip(0, 255).astype(np.uint8))


# Each kind with the gain of its channels, which differ as no camera's are equal, and its noise.
_KINDS: Final[tuple[tuple[Callable[[int, int, np.random.Generator], Image], Any, float], ...]] = (
    (_scene, (1.0, 0.93, 0.85), 6.0),
    (_night, (0.9, 0.97, 1.08), 4.0),
    (_page, (1.0, 0.97, 0.91), 3.0),
    (_texture, (0.88, 1.0, 0.94), 15.0),
)


# --------------------------------------------------------------- pieces


def _drawing(image: Image) -> ImageDraw:
    from PIL import ImageDraw

    return ImageDraw.Draw(image)


def _gradient(width: int, height: int, above: _Color, below: _Color, rng: np.random.Generator) -> Image:
    """From one colour to another, slanted, with slow waves that differ between the channels."""
    from PIL import Image

    y = np.linspace(0, 1, _COARSE)[:, None, None]
    x = np.linspace(0, 1, _COARSE)[None, :, None]
    share = np.clip(y + 0.25 * (x - 0.5), 0, 1)
    phase, speed = rng.uniform(0, 6, 3), rng.uniform(2, 7, 3)
    wave = _WAVE * np.sin(speed * (x + 2 * y) + phase)
    pixels = (np.array(above) * (1 - share) + np.array(below) * share) * (1 + wave)
    coarse = Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
    return coarse.resize((width, height), Image.Resampling.BILINEAR)


def _things(
    draw: ImageDraw,
    width: int,
    height: int,
    rng: np.random.Generator,
    *,
    low: int,
    high: int,
    count: int,
) -> None:
    """Boxes, discs and triangles of colours from low to high, with an outline."""
    for thing in range(count):
        x, y = rng.uniform(-0.1, 0.9) * width, rng.uniform(0.2, 0.9) * height
        w, h = rng.uniform(0.08, 0.4) * width, rng.uniform(0.08, 0.4) * height
        fill, edge = (tuple(int(c) for c in rng.integers(low, high, 3)) for _ in range(2))
        line = max(1, int(min(width, height) / 100))
        match thing % 3:
            case 0:
                draw.rectangle((x, y, x + w, y + h), fill, edge, line)
            case 1:
                draw.ellipse((x, y, x + w, y + h), fill, edge, line)
            case _:
                draw.polygon([(x, y + h), (x + w / 2, y), (x + w, y + h)], fill, edge, line)


def _figure(draw: ImageDraw, width: int, height: int, rng: np.random.Generator) -> None:
    """A person as far as circles make one: shoulders, head, hair, eyes, nose and mouth."""
    unit = min(width, height) * float(rng.uniform(0.13, 0.18))
    x, y = width * float(rng.uniform(0.55, 0.75)), height * float(rng.uniform(0.4, 0.5))

    def disc(dx: float, dy: float, w: float, h: float, color: _Color) -> None:
        box = (x + (dx - w) * unit, y + (dy - h) * unit, x + (dx + w) * unit, y + (dy + h) * unit)
        draw.ellipse(box, color)

    disc(0, 2.9, 1.9, 1.6, (50, 70, 150))
    draw.rectangle((x - 0.3 * unit, y + 0.8 * unit, x + 0.3 * unit, y + 1.5 * unit), (205, 160, 130))
    disc(0, -0.15, 0.88, 1.12, (60, 40, 30))
    disc(0, 0.05, 0.78, 1.0, (225, 180, 150))
    for side in (-1, 1):
        disc(side * 0.33, -0.15, 0.17, 0.1, (250, 250, 250))
        disc(side * 0.33, -0.15, 0.08, 0.09, (30, 30, 40))
        disc(side * 0.33, -0.37, 0.2, 0.05, (70, 45, 35))
    disc(0, 0.2, 0.09, 0.16, (200, 150, 122))
    disc(0, 0.58, 0.3, 0.08, (165, 70, 75))


def _write(draw: ImageDraw, at: tuple[int, int], text: str, size: int, color: _Color) -> None:
    from PIL import ImageFont

    try:
        font: Any = ImageFont.load_default(size)
    except ImportError:  # a Pillow without FreeType has letters of one size
        font = ImageFont.load_default_imagefont()
    draw.text(at, text, color, font)
