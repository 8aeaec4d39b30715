"""What exporters write into a model about itself: classes, sizes, task; and the frames that follow.

Read are Ultralytics' exports (since v8.0, and YOLOv5 from 6.2 on: `names` and `stride` alone) and
PaddleOCR's recognizers (`character`, as RapidOCR writes it). torchvision, timm, mmdeploy, RF-DETR and
Hugging Face's exporters write nothing into an ONNX file.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from converter.graph.facts import GraphFacts
from converter.preprocessing import Color

_LONGEST: Final = 1 << 20
_MOST: Final = 100_000


@dataclass(frozen=True, kw_only=True)
class Frames:
    """How an exporter's models take frames.

    Attributes:
        color: Their colour order.
        mean, scale: For each channel, or one for all, as in a config: (value − mean) / scale.
    """

    color: Color
    mean: tuple[float, ...] = ()
    scale: tuple[float, ...] = ()


RGB_TO_ONE: Final = Frames(color=Color.RGB, scale=(255.0,))
BGR_AS_IS: Final = Frames(color=Color.BGR, scale=(1.0,))
_PADDLE: Final = Frames(color=Color.BGR, mean=(127.5,), scale=(127.5,))


@dataclass(frozen=True, kw_only=True)
class Exported:
    """What a model's file says.

    Attributes:
        by: Who exported it, and from where that is known.
        task: `detect`, `segment`, `pose`, `obb`, `classify`, `characters`; empty if it is not said.
        classes: The names of the classes.
        size: Height and width of the frames that the export was made for.
        frames: How models of this exporter take frames.
        n_keypoints: The keypoints of a pose; 0 if it is none.
    """

    by: str
    task: str = ""
    classes: tuple[str, ...] | None = None
    size: tuple[int, int] | None = None
    frames: Frames | None = None
    n_keypoints: int = 0


def read_exported(facts: GraphFacts) -> Exported | None:
    """What the exporter wrote; None if it wrote nothing that is known."""
    metadata = facts.metadata
    if "character" in metadata:
        characters = tuple(metadata["character"].splitlines())
        # PaddleOCR's decoder puts the blank first and the space last.
        return Exported(
            by="PaddleOCR (metadata_props: character)",
            task="characters",
            classes=("blank", *characters, " "),
            frames=_PADDLE,
        )
    if "names" not in metadata and "Ultralytics" not in metadata.get("author", ""):
        return None
    is_named = "Ultralytics" in metadata.get("author", "")
    known = [key for key in ("task", "names", "imgsz", "stride", "end2end") if key in metadata]
    who = metadata.get("description", "Ultralytics") if is_named else "YOLOv5"
    shape = _literal(metadata.get("kpt_shape", ""))
    return Exported(
        by=f"{' '.join(who.split())[:80]} (metadata_props: {', '.join(known)})",
        task=metadata.get("task", "detect"),
        classes=_names(metadata.get("names", "")),
        size=_size(metadata.get("imgsz", "")),
        frames=RGB_TO_ONE,
        n_keypoints=shape[0] if isinstance(shape, list) and len(shape) == 2 else 0,
    )


def _literal(text: str) -> Any:
    """A Python literal of an untrusted file; None if it is none."""
    try:
        return ast.literal_eval(text) if len(text) <= _LONGEST else None
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None


def _names(text: str) -> tuple[str, ...] | None:
    """`{0: 'person', 1: 'car'}` or `['person', 'car']`."""
    value = _literal(text)
    if isinstance(value, Mapping):
        numbers = list(range(len(value)))
        if sorted(value, key=str) != sorted(numbers, key=str):
            return None
        value = [value[number] for number in numbers]
    if not isinstance(value, list | tuple) or not 0 < len(value) <= _MOST:
        return None
    return tuple(str(name) for name in value)


def _size(text: str) -> tuple[int, int] | None:
    value = _literal(text)
    value = [value, value] if isinstance(value, int) else value
    if not isinstance(value, list | tuple) or len(value) != 2:
        return None
    height, width = value
    is_size = all(isinstance(size, int) and 0 < size < 1 << 16 for size in (height, width))
    return (height, width) if is_size else None
