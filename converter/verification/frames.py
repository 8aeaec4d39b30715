"""The frames that the source and the compiled network are compared on."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from converter.feeding import source_feeds
from converter.model import SourceModel
from converter.options.resolve import Options
from converter.verification import reference

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from converter.calibration.dataset import Calibration
    from converter.target import Run


def frames_for(
    run: Run, calibration: Calibration | None = None
) -> tuple[list[dict[str, NDArray[Any]]], str]:
    """The frames to compare on, and a description of them.

    They are the user's (`verify.data`), else some of the calibration data, else generated ones. For a
    second stage: the first stage's outputs for those.

    Returns:
        For each frame, by input name, an array in the input's shape and layout: images uint8, 0 to 255,
        BGR or gray; other inputs as numbers. And what they are, in words.

    Raises:
        UsageError: The user's cannot be read.
    """
    model = run.plan.model
    if model.link is None:
        return _frames(model, run.plan.options, calibration)
    if calibration is not None and calibration.first is None:
        return _frames(model, run.plan.options, calibration)  # the second stage's own data
    first = model.link.model
    given, described = _frames(
        first, run.plan.options, calibration and dataclasses.replace(calibration, first=None)
    )
    return _through(run, first, given), f"the first stage's outputs for {described}"


def _frames(
    model: SourceModel, options: Options, calibration: Calibration | None
) -> tuple[list[dict[str, NDArray[Any]]], str]:
    from converter.calibration.dataset import frames_at
    from converter.calibration.synthetic import camera_frames

    count = options.integer("verify.frames")
    path = options.text("verify.data")
    if path is not None:
        data = frames_at(path, model, options, count)
        return list(data.read(model.inputs)), f"{data.frames} of verify.data"
    if calibration is not None and not calibration.random:
        found = list(calibration.read(model.inputs, count))
        return found, f"{len(found)} of the calibration data"
    return camera_frames(model.inputs, count), f"{count} generated"


def _through(
    run: Run, first: SourceModel, given: Sequence[dict[str, NDArray[Any]]]
) -> list[dict[str, NDArray[Any]]]:
    """The second stage's frames; inputs without a known source get generated ones."""
    from converter.calibration.synthetic import camera_frames

    model = run.plan.model
    assert model.link is not None
    assert run.before is not None
    made: list[dict[str, NDArray[Any]]] = camera_frames(model.inputs, len(given))
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
