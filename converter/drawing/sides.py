"""Source and result side by side: for each picture of a comparison what both found in it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from converter.calibration.files import batch_of
from converter.drawing.draw import drawn, picture_of
from converter.drawing.shown import Bars, Boxes, Shown, View, views_of
from converter.errors import UsageError
from converter.model import ModelInput, SourceModel
from converter.target import Kept
from converter.verification import meaning

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL.Image import Image as Picture


@dataclass(frozen=True, kw_only=True)
class Pair:
    """What source and result found in one picture, by one head.

    Attributes:
        index: Which picture.
        said: The difference, in a line.
    """

    index: int
    title: str
    source: Picture
    result: Picture
    said: str


def image_of(model: SourceModel) -> ModelInput | None:
    """The input whose pictures are drawn on: the first that takes them."""
    return next((item for item in model.inputs if item.is_image), None)


def pairs(kept: Kept, most: int | None = None) -> Iterator[Pair]:
    """A pair for each picture and head.

    Args:
        kept: Of a network that takes pictures; of a batch each one counts.
        most: How many pictures at most.

    Raises:
        UsageError: It takes no pictures, or a batch is not the outputs' first axis.
    """
    model = kept.plan.model
    image = image_of(model)
    if image is None:
        raise UsageError(f"{model.name} takes no pictures, so that there is nothing to draw on.")
    batch, views = batch_of(image), views_of(model, image)
    for index in range(len(kept.frames) * batch):
        if most is not None and index >= most:
            return
        at, item = divmod(index, batch)
        sides = [_outputs(model, side[at], item, batch) for side in (kept.source, kept.result)]
        picture = picture_of(kept.frames[at][image.name], image, item)
        for view in views:
            yield _pair(model, index, view, picture, sides[0], sides[1])


def _pair(
    model: SourceModel,
    index: int,
    view: View,
    picture: Picture,
    source: Mapping[str, NDArray[Any]],
    result: Mapping[str, NDArray[Any]],
) -> Pair:
    one = view.read(source, None)
    other = view.read(result, one)
    return Pair(
        index=index,
        title=view.title,
        source=drawn(picture, one),
        result=drawn(picture, other),
        said=_told(one, other) or difference(model, source, result, view.title),
    )


def _told(one: Shown, other: Shown) -> str:
    """The difference where what is drawn tells it best; empty if it does not."""
    match one, other:
        case Bars(), Bars():
            return (
                f"{one.names[0]} {one.shares[0]:.1%} in the source, {other.names[0]} "
                f"{other.shares[0]:.1%} in the result"
            )
        case Boxes(), Boxes() if not len(one.rows):
            return f"the source finds no box, the result {len(other.rows)} above {one.threshold:.2g}"
        case _:
            return ""


def _outputs(
    model: SourceModel, found: Mapping[str, NDArray[Any]], item: int, batch: int
) -> dict[str, NDArray[Any]]:
    """One picture's outputs, in the shapes that the source declares, a batch of 1 in front."""
    outputs = {}
    for output in model.outputs:
        if output.name not in found:
            continue
        values = found[output.name]
        if output.shape and min(output.shape) > 0:
            values = values.reshape(output.shape)
        if batch > 1:
            if output.shape[:1] != (batch,):
                raise UsageError(
                    f"{output.name!r} {list(output.shape)} has no axis for the {batch} pictures of a "
                    "batch.",
                    remedy="Export the model with a batch of 1.",
                )
            values = values[item : item + 1]
        outputs[output.name] = values
    return outputs


def difference(
    model: SourceModel,
    source: Mapping[str, NDArray[Any]],
    result: Mapping[str, NDArray[Any]],
    parser: str = "",
) -> str:
    """How source and result differ in one picture, in a line: in the head's words, else in numbers."""
    found = [one for one in meaning.of_model(model, [source], [result]) if one.get("said")]
    own = [one for one in found if one.get("parser") == parser] or found
    if own:
        return "; ".join(f"{one['output']}: {one['said']}" for one in own)
    said = []
    for name, values in source.items():
        if name not in result:
            continue
        a, b = values.astype(np.float64), result[name].astype(np.float64)
        said.append(
            f"{name}: the largest difference is {float(np.abs(a - b).max(initial=0)):.3g}, the "
            f"source's values reach {float(np.abs(a).max(initial=0)):.3g}"
        )
    return "; ".join(said)
