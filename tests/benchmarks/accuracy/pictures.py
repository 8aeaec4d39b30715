"""Frames for networks that packages ship: photographs of scikit-image and scikit-learn with text or faces.

Frames to calibrate with and frames held out share no photograph and no face; the words of a line of text
are drawn from one list.
"""

from __future__ import annotations

import io
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image, ImageDraw, ImageFont

_CALIBRATE: Final = ("astronaut.png", "coffee.png", "motorcycle_left.png")
_HOLD_OUT: Final = ("chelsea.png", "rocket.jpg")
_WORDS: Final = [
    "open",
    "the",
    "gate",
    "street",
    "market",
    "24",
    "hours",
    "coffee",
    "NO",
    "PARKING",
    "exit",
    "Rue",
    "de",
    "la",
    "Paix",
    "total",
    "12.50",
    "EUR",
    "platform",
    "sale",
    "camera",
    "1984",
    "Invoice",
    "No.",
    "4471",
    "fragile",
    "this",
    "side",
    "up",
]


@dataclass(frozen=True)
class Pictures:
    """Photographs, and gray faces (N, 25, 25) in [0, 1]; of those held out, or of the others."""

    photographs: list[Image.Image]
    faces: np.ndarray

    @classmethod
    def of(cls, wheels: Path, *, held_out: bool) -> Pictures:
        """Out of scikit-image's wheel (faces: its subset of LFW) and scikit-learn."""
        from sklearn.datasets import load_sample_image

        (wheel,) = wheels.glob("scikit_image-*.whl")
        with zipfile.ZipFile(wheel) as archive:
            photographs = [
                Image.open(io.BytesIO(archive.read(f"skimage/data/{name}"))).convert("RGB")
                for name in (_HOLD_OUT if held_out else _CALIBRATE)
            ]
            faces = np.load(io.BytesIO(archive.read("skimage/data/lfw_subset.npy")))
        other = load_sample_image("flower.jpg" if held_out else "china.jpg")
        return cls([*photographs, Image.fromarray(other)], faces[60:100] if held_out else faces[:60])

    def crop(self, rng: np.random.Generator, size: int) -> Image.Image:
        """A square part of a photograph."""
        image = self.photographs[rng.integers(len(self.photographs))]
        side = int(min(image.size) * rng.uniform(0.4, 1.0))
        x, y = (int(rng.integers(0, length - side + 1)) for length in image.size)
        return image.crop((x, y, x + side, y + side)).resize((size, size))


def signs(pictures: Pictures, count: int, seed: int, size: int = 320) -> np.ndarray:
    """Photographs with up to four lines of text; uint8 (N, size, size, 3)."""
    rng, frames = np.random.default_rng(seed), []
    for _ in range(count):
        image = pictures.crop(rng, size)
        for _ in range(rng.integers(1, 5)):
            place = (int(rng.integers(0, size * 0.6)), int(rng.integers(0, size * 0.9)))
            ImageDraw.Draw(image).text(place, _text(rng), _color(rng), _font(int(rng.integers(12, 35))))
        frames.append(np.asarray(image))
    return np.stack(frames)


def lines(pictures: Pictures, count: int, seed: int) -> np.ndarray:
    """Lines of text that fill the frame, on a part of a photograph; uint8 (N, 48, 320, 3)."""
    rng, frames = np.random.default_rng(seed), []
    for _ in range(count):
        image = pictures.crop(rng, 320).crop((0, 0, 320, 48))
        text, height = _text(rng), int(rng.integers(22, 35))
        while _font(height).getlength(text) > 300:
            height -= 1
        ImageDraw.Draw(image).text((8, (44 - height) // 2), text, _color(rng), _font(height))
        frames.append(np.asarray(image))
    return np.stack(frames)


def portraits(pictures: Pictures, count: int, seed: int, size: int = 128) -> np.ndarray:
    """Photographs with one or two tinted faces pasted in; uint8 (N, size, size, 3)."""
    rng, frames = np.random.default_rng(seed), []
    for index in range(count):
        image = pictures.crop(rng, size)
        for half in range(rng.integers(1, 3)):
            gray = pictures.faces[(2 * index + half) % len(pictures.faces)][..., None]
            face = Image.fromarray(
                (gray * rng.uniform([200, 160, 130], [255, 220, 200])).astype(np.uint8)
            )
            side = int(rng.integers(32, 60))
            x, y = (
                int(rng.integers(0, 64 - side + 1 if side < 64 else 1)),
                int(rng.integers(0, size - side)),
            )
            image.paste(face.resize((side, side), Image.Resampling.BICUBIC), (64 * half + x, y))
        frames.append(np.asarray(image))
    return np.stack(frames)


def _text(rng: np.random.Generator) -> str:
    return " ".join(rng.choice(_WORDS, rng.integers(1, 4), replace=False))


def _color(rng: np.random.Generator) -> tuple[int, ...]:
    return tuple(int(value) for value in rng.integers(0, 256, 3))


def _font(height: int) -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(int(height))
    assert isinstance(font, ImageFont.FreeTypeFont)  # Pillow's wheels have FreeType
    return font
