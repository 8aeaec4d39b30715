"""What a network's outputs mean, by the archive's head or by the form of the labels."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from converter.errors import UsageError
from converter.findings import listed
from converter.model import ModelInput, SourceModel, Tensor
from converter.verification.accuracy.boxes import (
    FinishedRows,
    Outputs,
    PlainExport,
    SsdRows,
    YoloGrids,
)
from converter.verification.accuracy.labels import Task

# By parser of a head, what its network does.
PARSERS: Final[Mapping[str, Task]] = {
    "ClassificationParser": Task.CLASSIFICATION,
    "SegmentationParser": Task.SEGMENTATION,
    **dict.fromkeys(("YOLO", "YOLOExtendedParser", "SSD", "MOBILENET"), Task.DETECTION),
}
_IOU: Final = 0.5


class Decoder(Protocol):
    """Makes a prediction of an item's outputs, each (1, …) as the source model gives it."""

    def decode(self, outputs: Outputs) -> NDArray[Any]:
        """Scores of classes, a map of classes, or boxes, as the metric of the task takes them."""
        ...


@dataclass(frozen=True, kw_only=True)
class Scores:
    """An output of one score for each class."""

    output: str

    def decode(self, outputs: Outputs) -> NDArray[np.float64]:
        """The scores, (classes,)."""
        return outputs[self.output].reshape(-1).astype(np.float64)


@dataclass(frozen=True, kw_only=True)
class ClassMap:
    """An output of a score for each class and pixel, or of the class's number.

    Attributes:
        axis: The axis of the classes; None for a map of numbers.
        threshold: For one channel, where the foreground begins.
    """

    output: str
    axis: int | None
    threshold: float | None = None

    def decode(self, outputs: Outputs) -> NDArray[np.int64]:
        """The class of each pixel, (height, width)."""
        values = outputs[self.output]
        if self.axis is None:
            classes = np.rint(values)
        elif self.threshold is not None:
            classes = values.take(0, self.axis) > self.threshold
        else:
            classes = values.argmax(self.axis)
        return np.asarray(classes, np.int64).reshape(
            _map_of(values) if self.axis is None else classes.shape[-2:]
        )


def _map_of(values: NDArray[Any]) -> tuple[int, ...]:
    """Height and width of a map whose other axes have a size of 1."""
    sizes = [size for size in values.shape if size != 1]
    return tuple(sizes[-2:]) if len(sizes) >= 2 else values.shape[-2:]


@dataclass(frozen=True, kw_only=True)
class Meaning:
    """What the outputs of a network mean.

    Attributes:
        names: The classes in their order; None if nothing names them.
        n_classes: How many there are; None if only the labels can tell.
        output_names: The outputs that the decoder reads.
    """

    task: Task
    decoder: Decoder
    names: tuple[str, ...] | None
    n_classes: int | None
    output_names: tuple[str, ...]


def head_of(model: SourceModel) -> Mapping[str, Any] | None:
    """The first head whose parser is known here; None if there is none."""
    for head in model.config["model"].get("heads") or ():
        if head.get("parser") in PARSERS:
            return dict(head)
    return None


def unknown_parsers(model: SourceModel) -> list[str]:
    """The parsers of heads that nothing here decodes."""
    heads = model.config["model"].get("heads") or ()
    return [str(head.get("parser")) for head in heads if head.get("parser") not in PARSERS]


def names_of(head: Mapping[str, Any] | None) -> tuple[str, ...] | None:
    """The names of a head's classes."""
    classes = (head or {}).get("metadata", {}).get("classes")
    return tuple(map(str, classes)) if isinstance(classes, list) and classes else None


def meaning_of(
    model: SourceModel, image: ModelInput, task: Task, n_classes: int | None, fewest: int = 1
) -> Meaning:
    """What the outputs mean.

    Args:
        image: The input that takes the labelled frames.
        task: The labels' task; a head of another task was refused before.
        n_classes: How many classes the labels list; None where they do not list them.
        fewest: How many there are at the least.

    Raises:
        UsageError: Neither head nor shapes tell.
    """
    head = head_of(model)
    metadata: Mapping[str, Any] = (head or {}).get("metadata", {})
    outputs = {item.name: item for item in model.outputs}
    chosen = [name for name in (head or {}).get("outputs") or outputs if name in outputs]
    known = metadata.get("n_classes")
    names = names_of(head)
    count = known if isinstance(known, int) and known > 0 else len(names) if names else n_classes
    decoder = _decoder(task, head, [outputs[name] for name in chosen], image, count, fewest)
    if decoder is None:
        shapes = listed([f"{item.name!r} {list(item.shape)}" for item in model.outputs])
        raise UsageError(
            f"verify.labels: neither a head nor a shape tells which outputs are the {task}'s "
            f"({shapes}).",
            remedy="Write a head into the source's config.json: nnconvert init MODEL --head KIND.",
        )
    if isinstance(decoder, ClassMap):
        size = outputs[decoder.output].shape[decoder.axis] if decoder.axis is not None else None
        count = max(2, count or 0, size or 0)
    read = decoder.outputs if isinstance(decoder, YoloGrids) else (decoder.output,)
    return Meaning(task=task, decoder=decoder, names=names, n_classes=count, output_names=tuple(read))


_Known = Scores | ClassMap | YoloGrids | SsdRows | PlainExport | FinishedRows


def _decoder(
    task: Task,
    head: Mapping[str, Any] | None,
    outputs: Sequence[Tensor],
    image: ModelInput,
    n_classes: int | None,
    fewest: int,
) -> _Known | None:
    metadata: Mapping[str, Any] = (head or {}).get("metadata", {})
    if task is Task.CLASSIFICATION:
        fitting = [item for item in outputs if n_classes in (None, math.prod(item.shape[1:]))]
        chosen = fitting or (outputs if head else [])
        return Scores(output=chosen[0].name) if chosen and (head or len(chosen) == 1) else None
    if task is Task.SEGMENTATION:
        return _class_map(outputs[0], metadata, n_classes) if head or len(outputs) == 1 else None
    size = tuple(image.shape[image.layout.index(axis)] for axis in "WH")
    if head is None:
        return next(_exports(outputs, n_classes, fewest), None)
    iou = metadata.get("iou_threshold")
    if head["parser"] in ("SSD", "MOBILENET"):
        rows = next((item for item in outputs if item.shape[-1:] == (7,)), None)
        return SsdRows(output=rows.name, size=(size[0], size[1])) if rows else None
    if n_classes is None:
        return None
    grids = metadata.get("yolo_outputs") or [item.name for item in outputs]
    by_name = {item.name: item for item in outputs}
    if not all(name in by_name for name in grids):
        return None
    ordered = tuple(sorted(grids))  # the parsers sort them by name
    anchors = metadata.get("anchors") or ()
    if anchors and len(anchors) != len(ordered):
        return None
    return YoloGrids(
        outputs=ordered,
        subtype=str(metadata.get("subtype") or "").lower(),
        n_classes=n_classes,
        size=(size[0], size[1]),
        iou=float(iou) if isinstance(iou, int | float) and iou else _IOU,
        anchors=anchors,
        interleaved=frozenset(
            name
            for index, name in enumerate(ordered)
            if _is_interleaved(by_name[name], len(anchors[index]) if anchors else 1, n_classes)
        ),
    )


def _is_interleaved(output: Tensor, anchors: int, n_classes: int) -> bool:
    """Whether a grid's channels come last: its layout says it, else the one axis of that size."""
    channels = anchors * (5 + n_classes)
    if "C" in output.layout and sorted(output.layout)[-4:] == sorted("NCHW"):
        return output.layout.endswith("C")
    return channels not in output.shape[-3:-2] and output.shape[-1:] == (channels,)


def _class_map(output: Tensor, metadata: Mapping[str, Any], n_classes: int | None) -> ClassMap | None:
    """A map (N, C, H, W) or (N, H, W, C), with or without N; of whole numbers without C."""
    shape = output.shape
    if metadata.get("classes_in_one_layer") or not output.dtype.startswith("float"):
        return ClassMap(output=output.name, axis=None)
    if len(shape) not in (3, 4):
        return None
    first, last = len(shape) - 3, len(shape) - 1
    if "C" in output.layout and n_classes is None:
        axis = output.layout.index("C")
    else:
        axis = last if n_classes == shape[last] and n_classes != shape[first] else first
    threshold = (0.5 if metadata.get("is_softmax", True) else 0.0) if shape[axis] == 1 else None
    return ClassMap(output=output.name, axis=axis, threshold=threshold)


def _exports(outputs: Sequence[Tensor], n_classes: int | None, fewest: int) -> Iterator[_Known]:
    """A detector without a head, as exporters write it: by the sizes of its first output of rank 3.

    Behind the classes may be coefficients of masks, as many as another output has prototypes. Labels
    that do not list their classes only say how many there are at the least.
    """
    coefficients = next((item.shape[1] for item in outputs if len(item.shape) == 4), 0)
    for item in outputs:
        if len(item.shape) != 3:
            continue
        _, one, other = item.shape
        if other == 6:
            yield FinishedRows(output=item.name)
            continue
        has_confidence = other < one  # YOLOv5's rows lie along the first axis, and have one
        found = min(one, other) - 4 - has_confidence - coefficients
        if found == n_classes or (n_classes is None and found >= max(1, fewest)):
            yield PlainExport(
                output=item.name, n_classes=found, has_confidence=has_confidence, iou=_IOU
            )
