"""The frames that the source and the compiled network are compared on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from converter.archive.opened import Archive
from converter.calibration.dataset import Calibration, find, frames_at, own_of_second_stage
from converter.errors import UsageError
from converter.feeding import source_feeds
from converter.findings import Finding, Severity
from converter.model import ModelInput, SourceModel
from converter.options.resolve import Options
from converter.verification import reference

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from converter.target import Run


@dataclass(frozen=True, kw_only=True)
class GivenFrames:
    """Frames of the user's to compare on; they decide figures of the record, no byte of the model.

    Attributes:
        origin: Where they are from: `verify.data`, `the calibration data`.
        data: For a second stage those of the first, unless they are for the second itself.
        of_first_stage: Whether the model's own frames are what the first stage gives for these.
    """

    origin: str
    data: Calibration
    of_first_stage: bool = False

    def to_json(self) -> dict[str, Any]:
        """What a cache's key covers: the content of the files and how it is read."""
        return {"origin": self.origin, **self.data.to_json()}


def find_frames(
    model: SourceModel, archive: Archive, options: Options
) -> tuple[GivenFrames | None, tuple[Finding, ...]]:
    """The frames that options and archive name for the comparison, and warnings.

    They are `verify.data`, else calibration data: `calibration.path`, or the archive's own folder
    `calibration/`. That holds for every target and mode, whether or not it calibrates.

    Returns:
        None if there are none, or none that can be used: then they are generated.

    Raises:
        UsageError: `verify.data` cannot be used.
    """
    if not options.flag("verify.enabled"):
        return None, ()
    count = options.integer("verify.frames")
    try:
        if model.link is not None:
            own, _ = own_of_second_stage(model, archive, options, count)
            if own is not None:
                return GivenFrames(origin="the calibration data", data=own), ()
        first = model if model.link is None else model.link.model
        path = options.text("verify.data")
        if path is not None:
            data: Calibration | None = frames_at(path, first, options, count)
            origin = "verify.data"
        else:
            data, _ = find(first, archive, options, count)
            origin = "the calibration data"
    except UsageError as error:
        if options.text("verify.data") is not None:
            raise
        return None, (_unusable(error),)
    if data is None or data.random:
        return None, ()
    return GivenFrames(origin=origin, data=data, of_first_stage=model.link is not None), ()


def _unusable(error: UsageError) -> Finding:
    """A mode that calibrates has refused such data; any other one only compares on them."""
    return Finding(
        code="verify.frames",
        severity=Severity.WARNING,
        where="calibration.path",
        message="the network is compared on generated frames; the calibration data cannot be used: "
        f"{error.message}",
        remedy=error.remedy or "Give verify.data.",
    )


def frames_for(run: Run) -> tuple[list[dict[str, NDArray[Any]]], str]:
    """The frames to compare on, and a description of them.

    They are those of the plan (`find_frames`), else generated ones, whose values are of the kind that
    the graph's inputs take. For a second stage: the first stage's outputs for those.

    Returns:
        For each frame, by input name, an array in the input's shape and layout: images uint8, 0 to 255,
        BGR or gray; other inputs as numbers. And what they are, in words.

    Raises:
        UsageError: The user's cannot be read.
    """
    model, given = run.plan.model, cast("GivenFrames | None", run.plan.frames)
    count = run.plan.options.integer("verify.frames")
    if model.link is None or (given is not None and not given.of_first_stage):
        return _frames(model.inputs, given, count, run.model)
    found, described = _frames(model.link.model.inputs, given, count, run.before)
    return _through(run, model.link.model, found), f"the first stage's outputs for {described}"


def _frames(
    inputs: Sequence[ModelInput], given: GivenFrames | None, count: int, model: Path | None
) -> tuple[list[dict[str, NDArray[Any]]], str]:
    if given is not None:
        found = list(given.data.read(inputs, count))
        return found, f"{len(found)} of {given.origin}"
    return _generated(inputs, count, model), f"{count} generated"


def _generated(
    inputs: Sequence[ModelInput], count: int, model: Path | None
) -> list[dict[str, NDArray[Any]]]:
    """Generated frames; an ONNX file says what values the inputs take that are no pictures."""
    from converter.calibration.synthetic import camera_frames
    from converter.graph.inputs.read import read_values

    told = not all(item.is_image for item in inputs)
    return camera_frames(inputs, count, read_values(model) if model and told else {})


def _through(
    run: Run, first: SourceModel, given: Sequence[dict[str, NDArray[Any]]]
) -> list[dict[str, NDArray[Any]]]:
    """The second stage's frames; inputs without a known source get generated ones."""
    model = run.plan.model
    assert model.link is not None
    assert run.before is not None
    made = _generated(model.inputs, len(given), run.model)
    fed_by = model.link.outputs
    if not fed_by:
        return made
    folder = run.work / "verify-first-stage"
    folder.mkdir()
    found = reference.run(
        run.before,
        [source_feeds(first.inputs, frame) for frame in given],
        list(dict.fromkeys(fed_by.values())),
        processes=run.processes,
        work=folder,
        timeout_s=run.plan.options.number("verify.timeout_s"),
    )
    return [
        {**generated, **{name: outputs[output] for name, output in fed_by.items()}}
        for generated, outputs in zip(made, found, strict=True)
    ]
