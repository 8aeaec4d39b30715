"""What one picture's outputs show, as values that can be drawn: of each head, or without one."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from converter.errors import ConvertError
from converter.model import ModelInput, SourceModel, Tensor
from converter.verification.accuracy import instances
from converter.verification.accuracy.boxes import YoloGrids
from converter.verification.accuracy.meaning import PARSERS, ClassMap, Meaning, Scores, meaning_of

Outputs = Mapping[str, NDArray[Any]]
# A box below it is not drawn, where the head names no threshold.
LEAST_SCORE: Final = 0.25
_MOST_BARS: Final = 5
# So many boxes are drawn where none is above the threshold.
_BEST_BOXES: Final = 3
# Scores whose sum is that near to 1 are shares already.
_SUM_OF_SHARES: Final = 0.02


@dataclass(frozen=True, kw_only=True)
class Boxes:
    """Boxes of a detector above a threshold.

    Attributes:
        threshold: The head's; or the score of the source's third best box, `is_certain` False.
        rows: (n, 6), left, top, right, bottom in the input's pixels, score, class.
        masks: For each the mask over the whole input, (n, height, width), of any size.
        keypoints: For each (points, 3), x, y in the input's pixels, visibility from 0 to 1.
    """

    rows: NDArray[np.float64]
    names: tuple[str, ...]
    threshold: float
    is_certain: bool
    masks: NDArray[np.bool_] | None = None
    keypoints: NDArray[np.float64] | None = None


@dataclass(frozen=True, kw_only=True)
class Areas:
    """The class of each pixel, (height, width), of any size; `has_background` if class 0 is nothing."""

    classes: NDArray[np.int64]
    names: tuple[str, ...]
    has_background: bool


@dataclass(frozen=True, kw_only=True)
class Bars:
    """The best classes with their shares, best first."""

    names: tuple[str, ...]
    shares: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class Points:
    """Keypoints, (n, 2 or 3): x and y in the input's pixels, and a visibility."""

    points: NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Heat:
    """A map of numbers, (height, width), over the input or, without `is_map`, in its place.

    Attributes:
        low, high: The numbers of the first and the last colour.
    """

    values: NDArray[np.float64]
    output: str
    is_map: bool
    low: float
    high: float


Shown = Boxes | Areas | Bars | Points | Heat


@dataclass(frozen=True, kw_only=True)
class View:
    """How outputs become something to draw.

    Attributes:
        title: The parser, or the output's name.
        read: From outputs, and what the source's outputs show if these are the result's: thresholds and
            colours are then the source's.
    """

    title: str
    read: Callable[[Outputs, Shown | None], Shown]


def views_of(model: SourceModel, image: ModelInput) -> tuple[View, ...]:
    """A view for each head that is decoded here; a map of numbers where there is none.

    Args:
        image: The input whose picture is drawn on.
    """
    found = [
        view
        for head in model.config["model"].get("heads") or ()
        if (view := _view_of(model, image, head)) is not None
    ]
    return tuple(found) or (_heat_view(model),)


def _view_of(model: SourceModel, image: ModelInput, head: Mapping[str, Any]) -> View | None:
    parser, metadata = str(head.get("parser")), head.get("metadata") or {}
    if parser == "KeypointParser":
        return _points_view(model, image, head)
    if parser not in PARSERS:
        return None
    # `meaning_of` takes a model's first head.
    config = {**model.config, "model": {**model.config["model"], "heads": [dict(head)]}}
    try:
        known = meaning_of(dataclasses.replace(model, config=config), image, PARSERS[parser], None)
    except ConvertError:
        return None  # a head that nothing here decodes
    match known.decoder:
        case Scores():
            return View(title=parser, read=lambda found, _: _bars(known, metadata, found))
        case ClassMap():
            return View(title=parser, read=lambda found, _: _areas(known, found))
        case _:
            size = _size_of(image)
            return View(
                title=parser, read=lambda found, like: _boxes(known, metadata, size, found, like)
            )


def _size_of(image: ModelInput) -> tuple[int, int]:
    width, height = (image.shape[image.layout.index(axis)] for axis in "WH")
    return width, height


def name_of(names: Sequence[str], index: int) -> str:
    """The name of a class, or its number."""
    return names[index] if 0 <= index < len(names) else f"class {index}"


def _bars(known: Meaning, metadata: Mapping[str, Any], outputs: Outputs) -> Bars:
    shares = known.decoder.decode(outputs)
    is_share = shares.min() >= 0 and abs(shares.sum() - 1) < _SUM_OF_SHARES
    if not is_share and not metadata.get("is_softmax"):
        shares = np.exp(shares - shares.max())
        shares = shares / shares.sum()
    best = np.argsort(-shares, kind="stable")[:_MOST_BARS]
    names = known.names or ()
    return Bars(
        names=tuple(name_of(names, int(index)) for index in best),
        shares=tuple(float(shares[index]) for index in best),
    )


def _areas(known: Meaning, outputs: Outputs) -> Areas:
    return Areas(
        classes=known.decoder.decode(outputs),
        names=known.names or (),
        has_background=(known.n_classes or 0) <= 2,
    )


def _boxes(
    known: Meaning,
    metadata: Mapping[str, Any],
    size: tuple[int, int],
    outputs: Outputs,
    like: Shown | None,
) -> Boxes:
    decoder, names = known.decoder, known.names or ()
    if isinstance(decoder, YoloGrids):
        rows, cells = decoder.found(outputs)
    else:
        rows = decoder.decode(outputs)
        cells = np.arange(len(rows))
    order = np.argsort(-rows[:, 4], kind="stable")
    rows, cells = rows[order], cells[order]
    if isinstance(like, Boxes):
        # A score may be a little lower in the result: else a box at the threshold would be missing.
        threshold, is_certain, least = like.threshold, like.is_certain, 0.95 * like.threshold
    else:
        threshold = float(metadata.get("conf_threshold") or LEAST_SCORE)
        is_certain = bool((rows[:, 4] >= threshold).any()) or not len(rows)
        if not is_certain:
            threshold = float(rows[:_BEST_BOXES, 4].min())
        least = threshold
    kept = rows[:, 4] >= least
    if not is_certain:
        kept[_BEST_BOXES:] = False
    rows, cells = rows[kept], cells[kept]
    if not isinstance(decoder, YoloGrids):
        return Boxes(rows=rows, names=names, threshold=threshold, is_certain=is_certain)
    coefficients = sorted(metadata.get("mask_outputs") or ())
    prototypes = metadata.get("protos_outputs")
    points, count = sorted(metadata.get("keypoints_outputs") or ()), metadata.get("n_keypoints")
    has_masks = prototypes in outputs and coefficients and all(name in outputs for name in coefficients)
    has_points = points and count and all(name in outputs for name in points)
    return Boxes(
        rows=rows,
        names=names,
        threshold=threshold,
        is_certain=is_certain,
        masks=instances.masks(outputs, coefficients, str(prototypes), rows, cells, size)
        if has_masks
        else None,
        keypoints=instances.keypoints(
            outputs, points, int(count or 0), cells, is_finished=decoder.is_finished
        )
        if has_points
        else None,
    )


def _points_view(model: SourceModel, image: ModelInput, head: Mapping[str, Any]) -> View | None:
    """depthai-nodes' KeypointParser: numbers over `scale_factor` are shares of the input's sides."""
    metadata = head.get("metadata") or {}
    names = [item.name for item in model.outputs if item.name in (head.get("outputs") or (item.name,))]
    count, scale = metadata.get("n_keypoints"), float(metadata.get("scale_factor") or 1)
    if len(names) != 1 or not isinstance(count, int) or count < 1:
        return None
    item = next(item for item in model.outputs if item.name == names[0])
    each, rest = divmod(math.prod(item.shape), count)
    if rest or each not in (2, 3):
        return None

    def read(outputs: Outputs, _like: Shown | None) -> Points:
        points = outputs[item.name].astype(np.float64).reshape(count, each)
        sides = np.asarray(_size_of(image), np.float64) / scale
        return Points(points=np.concatenate([points[:, :2] * sides, points[:, 2:]], axis=1))

    return View(title="KeypointParser", read=read)


def _heat_view(model: SourceModel) -> View:
    """A network without a head that is known: its first map, else its first output."""
    axes = {item.name: _map_axes(item) for item in model.outputs}
    item = next((item for item in model.outputs if axes[item.name]), model.outputs[0])
    place = axes[item.name]

    def read(outputs: Outputs, like: Shown | None) -> Heat:
        values = np.nan_to_num(outputs[item.name].astype(np.float64))
        if place:
            others = tuple(axis for axis in range(values.ndim) if axis not in place)
            found = values.mean(axis=others) if others else values
            found = found if place[0] < place[1] else found.T
        else:
            flat = values.reshape(-1)
            width = math.ceil(math.sqrt(flat.size))
            found = np.pad(flat, (0, -flat.size % width), mode="edge").reshape(-1, width)
        return Heat(
            values=found,
            output=item.name,
            is_map=bool(place),
            low=like.low if isinstance(like, Heat) else float(found.min()),
            high=like.high if isinstance(like, Heat) else float(found.max()),
        )

    return View(title=item.name, read=read)


def _map_axes(item: Tensor) -> tuple[int, int] | None:
    """The axes of a map's height and width; None if the output is none."""
    if "H" in item.layout and "W" in item.layout:
        axes = item.layout.index("H"), item.layout.index("W")
    elif len(item.shape) >= 4:
        axes = len(item.shape) - 2, len(item.shape) - 1
    else:
        return None
    return axes if min(item.shape[axis] for axis in axes) > 1 else None
