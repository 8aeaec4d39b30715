"""Accuracy before and after: the source and what was compiled, over the same labelled frames."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

from converter.calibration.files import batch_of
from converter.errors import UsageError, VerificationError
from converter.feeding import source_feeds
from converter.model import ModelInput
from converter.verification import reference
from converter.verification.accuracy.labels import Task

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from converter.target import Run
    from converter.verification.accuracy.labelled import Labelled
    from converter.verification.accuracy.metrics import Metric

Frames = Sequence[Mapping[str, "NDArray[Any]"]]
# From camera frames (as `converter.verification.frames.frames_for` gives them) and a new folder to the
# outputs by name, each with as many numbers as the source's.
Execute = Callable[[Frames, Path], Sequence[Mapping[str, "NDArray[Any]"]]]
# What the tensors of one round may take in files.
_ROUND_BYTES: Final = 1 << 28
_MOST_A_ROUND: Final = 64
# The figure of each task that `verify.max_accuracy_loss` is about.
_HEADLINE: Final[Mapping[Task, str]] = {
    Task.CLASSIFICATION: "top1",
    Task.DETECTION: "map50",
    Task.SEGMENTATION: "miou",
}


def measured(run: Run, execute: Execute, *, on: str) -> dict[str, Any] | None:
    """The record's `accuracy`: figures of the source and of what was compiled.

    Args:
        execute: Runs frames through what was compiled.
        on: What that is and where it runs, in words.

    Returns:
        None without `verify.labels`, and for a second stage.

    Raises:
        UsageError: A frame or a mask cannot be read, or an output could not be computed.
        VerificationError: The figure of the task fell by more than `verify.max_accuracy_loss`.
    """
    labelled = cast("Labelled | None", run.plan.labelled)
    if labelled is None:
        return None
    run.notice(
        f"Measuring accuracy on {len(labelled.files)} labelled frames, by the source and by {on}."
    )
    figures = {
        "source": source_figures(run, labelled),
        "compiled": figures_of(run, labelled, execute, stage="verify"),
    }
    return _judged(run, labelled, figures, on)


def figures_of(
    run: Run, labelled: Labelled, execute: Execute, *, stage: str | None
) -> dict[str, float]:
    """The figures of a network over the labelled frames.

    Args:
        execute: Runs frames through it.
        stage: The stage whose progress is told; None for none.

    Raises:
        UsageError: A frame or a mask cannot be read, or an output could not be computed.
    """
    metric = _metric(labelled)
    frames = labelled.data.read(run.plan.model.inputs)
    for index, (start, some) in enumerate(_rounds(frames, run.plan.model.inputs)):
        folder = _new(run.work / f"accuracy-{index}")
        for at, found in enumerate(execute(some, folder)):
            _count(metric, labelled, start + at, _shaped(run, labelled, found))
        shutil.rmtree(folder)
        if stage is not None:
            run.progress(stage, start + len(some), labelled.data.frames)
    return metric.result()


def source_figures(run: Run, labelled: Labelled) -> dict[str, float]:
    """The figures of the source over the labelled frames; errors as for `figures_of`."""
    return figures_of(run, labelled, partial(_source, run, labelled), stage=None)


def headline(labelled: Labelled) -> str:
    """The figure that a loss is about: top1, map50 or miou."""
    return _HEADLINE[labelled.labels.task]


def _metric(labelled: Labelled) -> Metric:
    from converter.verification.accuracy.metrics import MeanAveragePrecision, MeanIou, TopK

    match labelled.labels.task:
        case Task.CLASSIFICATION:
            return TopK()
        case Task.DETECTION:
            return MeanAveragePrecision()
        case Task.SEGMENTATION:
            return MeanIou(labelled.meaning.n_classes or 2)


def _rounds(
    frames: Iterator[dict[str, NDArray[Any]]], inputs: Sequence[ModelInput]
) -> Iterator[tuple[int, list[dict[str, NDArray[Any]]]]]:
    """Some frames at a time, and how many came before."""
    frame_bytes = sum(4 * math.prod(item.shape) for item in inputs)
    size = max(1, min(_MOST_A_ROUND, _ROUND_BYTES // max(1, frame_bytes)))
    start = 0
    while some := list(islice(frames, size)):
        yield start, some
        start += len(some)


def _new(folder: Path) -> Path:
    folder.mkdir(parents=True)
    return folder


def _source(
    run: Run, labelled: Labelled, frames: Frames, folder: Path
) -> Sequence[Mapping[str, NDArray[Any]]]:
    return reference.run(
        run.source,
        [source_feeds(run.plan.model.inputs, frame) for frame in frames],
        list(labelled.meaning.output_names),
        processes=run.processes,
        work=folder,
        timeout_s=run.plan.options.number("verify.timeout_s"),
    )


def _shaped(
    run: Run, labelled: Labelled, outputs: Mapping[str, NDArray[Any]]
) -> dict[str, NDArray[Any]]:
    """The outputs that are decoded, in the shapes that the source declares.

    Raises:
        UsageError: One of them could not be computed from what was compiled.
    """
    shapes = {item.name: item.shape for item in run.plan.model.outputs}
    found = {}
    for name in labelled.meaning.output_names:
        if name not in outputs:
            raise UsageError(
                f"verify.labels: the output {name!r} cannot be computed here, so that there is no "
                "accuracy to measure.",
                remedy="Leave verify.labels out, or measure on the camera.",
            )
        shape = shapes[name]
        found[name] = outputs[name].reshape(shape) if shape and min(shape) > 0 else outputs[name]
    return found


def _count(metric: Metric, labelled: Labelled, frame: int, outputs: Mapping[str, NDArray[Any]]) -> None:
    """Count each picture of a frame."""
    batch = batch_of(labelled.image)
    for item in range(batch):
        index = frame * batch + item
        if index >= len(labelled.files):
            return  # the last batch begins again with the first pictures
        own = {
            name: values[item : item + 1] if batch > 1 else values for name, values in outputs.items()
        }
        prediction = labelled.meaning.decoder.decode(own)
        metric.add(prediction, _truth(labelled, labelled.files[index], prediction.shape))


def _truth(labelled: Labelled, file: str, shape: Sequence[int]) -> Any:
    """The label of a file, as the task's metric takes it."""
    from converter.verification.accuracy.placement import Placement

    labels = labelled.labels
    if labels.task is Task.CLASSIFICATION:
        return labels.classes[file]
    placement = Placement.of(labelled.tree, file, labelled.size, labelled.method)
    if labels.task is Task.DETECTION:
        return placement.boxes(labels.boxes[file])
    assert labels.tree is not None
    name = labels.masks[file]
    found = placement.mask(labels.tree.read(name), name, (shape[1], shape[0]))
    if labelled.is_binary:
        found[found == 255] = 1
    return found


def _judged(
    run: Run, labelled: Labelled, figures: Mapping[str, Mapping[str, float]], on: str
) -> dict[str, Any]:
    from converter.verification.accuracy.metrics import rounded

    record = {
        "task": labelled.labels.task.value,
        "frames": len(labelled.files),
        "labels": Path(str(run.plan.options.text("verify.labels"))).name,
        **{side: rounded(found) for side, found in figures.items()},
        "compiled_on": on,
    }
    allowed = run.plan.options.get("verify.max_accuracy_loss")
    name = headline(labelled)
    loss = figures["source"][name] - figures["compiled"][name]
    if isinstance(allowed, int | float) and loss > allowed:
        raise VerificationError(
            f"The compiled network lost {loss:.4f} of {name} on {len(labelled.files)} labelled "
            f"frames ({figures['source'][name]:.4f} → {figures['compiled'][name]:.4f}, {on}); "
            f"verify.max_accuracy_loss allows {allowed}.",
            remedy="Nothing was written. Convert in a finer mode, calibrate on more data, or allow it.",
            tool_text=json.dumps({"accuracy": record}, indent=2),
        )
    return record
