"""Frames with labels, and what the network's outputs mean: found with the plan, measured on later."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from converter.calibration.dataset import Calibration, frames_at
from converter.calibration.files import Tree, batch_of
from converter.errors import UsageError
from converter.findings import Finding, Severity, listed
from converter.model import ModelInput, SourceModel
from converter.options.resolve import Options
from converter.verification.accuracy.labels import Labels, Task, read_labels
from converter.verification.accuracy.meaning import (
    PARSERS,
    Meaning,
    head_of,
    meaning_of,
    names_of,
    unknown_parsers,
)


@dataclass(frozen=True, kw_only=True)
class Labelled:
    """Data, labels and the outputs' meaning.

    Attributes:
        files: The labelled files in the order of the frames; several make a frame of a batch.
        image: The input that takes them.
        is_binary: Whether a mask's 255 is the foreground and not to be ignored.
    """

    data: Calibration
    files: tuple[str, ...]
    labels: Labels
    meaning: Meaning
    image: ModelInput
    tree: Tree
    method: str
    is_binary: bool = False

    @property
    def size(self) -> tuple[int, int]:
        """The input's width and height."""
        width, height = (self.image.shape[self.image.layout.index(axis)] for axis in "WH")
        return width, height


def find_labelled(model: SourceModel, options: Options) -> tuple[Labelled | None, tuple[Finding, ...]]:
    """The labelled frames that `verify.labels` and `verify.data` name, and warnings.

    Returns:
        None without labels, and for a second stage: the labels are the first one's.

    Raises:
        UsageError: They cannot be used, or nothing tells what the outputs mean.
        ToolchainError: The package that measures boxes is not installed.
    """
    given = options.text("verify.labels")
    if given is None or model.link is not None or not options.flag("verify.enabled"):
        return None, ()
    # The folders of the classes are the data, too.
    path = options.text("verify.data") or (given if Path(given).is_dir() else None)
    if path is None:
        raise UsageError(
            "verify.labels needs the frames that it labels.", remedy="Give verify.data=FOLDER."
        )
    image = next((item for item in model.inputs if item.is_image), model.inputs[0])
    data = frames_at(path, model, options, -1)
    own = next(item for item in data.inputs if item.input == image.name)
    head = head_of(model)
    task = PARSERS[head["parser"]] if head else None
    labels = read_labels(Path(given), own.files, names_of(head), task)
    if labels.task is Task.DETECTION:
        from converter.verification.accuracy.metrics import require_for_boxes

        require_for_boxes()
    if labels.task is not Task.CLASSIFICATION and not image.is_image:
        raise UsageError(
            f"verify.labels: {image.name!r} takes no pictures, as a {labels.task} needs them.",
            remedy="Set its input_type to image.",
        )
    fewest = 1 + max((box.label for row in labels.boxes.values() for box in row), default=0)
    meaning = meaning_of(model, image, labels.task, labels.n_classes, fewest)
    _check_batch(model, image, meaning)
    data, files = _subset(data, image, labels, options.integer("verify.labelled_frames"))
    found = Labelled(
        data=data,
        files=files,
        labels=labels,
        meaning=meaning,
        image=image,
        tree=Tree.open(Path(own.root)),
        method=own.resize_method,
        is_binary=_is_binary(labels, meaning, files),
    )
    return found, tuple(_doubts(model, labels, own.files))


def _doubts(model: SourceModel, labels: Labels, files: Sequence[str]) -> list[Finding]:
    said = []
    if head_of(model) is None and (parsers := unknown_parsers(model)):
        said.append(f"{listed(parsers)} is not decoded here; the outputs' shapes tell what they mean.")
    if missing := len(set(files) - set(labels.files)):
        said.append(f"{missing} of {len(files)} frames have no label and are left out.")
    if labels.unknown:
        said.append(f"the network has no class {listed(labels.unknown)}; such labels are left out.")
    return [
        Finding(code="verify.labels", severity=Severity.WARNING, where="verify.labels", message=text)
        for text in said
    ]


def _check_batch(model: SourceModel, image: ModelInput, meaning: Meaning) -> None:
    batch = batch_of(image)
    for output in model.outputs:
        if batch > 1 and output.name in meaning.output_names and output.shape[:1] != (batch,):
            raise UsageError(
                f"verify.labels: {output.name!r} {list(output.shape)} has no axis for the {batch} "
                "pictures of a batch.",
                remedy="Export the model with a batch of 1.",
            )


def _subset(
    data: Calibration, image: ModelInput, labels: Labels, maximum: int
) -> tuple[Calibration, tuple[str, ...]]:
    """The labelled frames, at most so many and spread over all of them: files are sorted by class."""
    known = set(labels.files)
    own = next(item for item in data.inputs if item.input == image.name)
    at = [index for index, file in enumerate(own.files) if file in known]
    if 0 < maximum < len(at):
        at = [at[index * len(at) // maximum] for index in range(maximum)]
    batch = batch_of(image)
    if len(data.inputs) > 1 and len({len(item.files) for item in data.inputs}) > 1:
        raise UsageError(
            "verify.labels: the inputs have unequal numbers of files, so that labels are of no frame.",
            remedy="Compare without labels.",
        )
    inputs = tuple(
        dataclasses.replace(item, files=tuple(item.files[index] for index in at))
        for item in data.inputs
    )
    chosen = dataclasses.replace(data, inputs=inputs, frames=-(-len(at) // batch))
    return chosen, tuple(own.files[index] for index in at)


def _is_binary(labels: Labels, meaning: Meaning, files: Sequence[str]) -> bool:
    """Masks of 0 and 255 for two classes: then 255 is the foreground."""
    if labels.task is not Task.SEGMENTATION or (meaning.n_classes or 0) > 2:
        return False
    from converter.verification.accuracy.placement import read_mask

    assert labels.tree is not None
    for file in files:
        numbers = read_mask(labels.tree.read(labels.masks[file]), labels.masks[file])
        if (numbers == 1).any():
            return False
    return True
