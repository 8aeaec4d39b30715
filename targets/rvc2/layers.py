"""The layers of a blob, for `analyze`."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from converter.analysis.layer import Analysis, Layer, Remedy
from converter.target import Run
from targets.rvc2.blob.blame import call_with_both

if TYPE_CHECKING:
    from numpy.typing import NDArray

_HELPS: Final[Mapping[str, str]] = {
    "overflow": "let the model divide what it is fed by a constant, or cut the model in front of it",
    "underflow": "let the model multiply what it is fed by a constant, or cut the model in front of it",
    "small weights": "scale the weights up and the layer's result down in the model",
}


def analysis(
    run: Run,
    blob: Path,
    prepared: Path,
    blob_feed: Mapping[str, NDArray[Any]],
    graph_feed: Mapping[str, NDArray[Any]],
) -> Analysis:
    """What the blob's layers lose against the graph that it was compiled from, for one frame.

    Raises:
        ToolError: It took too long.
    """
    folder = run.work / "layers"
    folder.mkdir()
    rows = call_with_both(
        "targets.rvc2.blob.layer_errors:measure_files",
        blob,
        prepared,
        blob_feed,
        graph_feed,
        processes=run.processes,
        work=folder,
        timeout_s=run.plan.options.number("verify.timeout_s"),
    )
    layers = [_with_remedies(Layer.from_json(row)) for row in rows]
    unknown = sum(layer.accumulated is None for layer in layers)
    said = []
    if unknown:
        said.append(
            f"{unknown} tensors are nowhere in the blob's memory: the compiler joined their nodes with "
            "others, or they are lost."
        )
    return Analysis(
        layers=layers,
        on="the blob, every stage executed in NumPy; not on a camera",
        frames=1,
        said=said,
    )


def _with_remedies(layer: Layer) -> Layer:
    return dataclasses.replace(layer, remedies=tuple(_remedies(layer)))


def _remedies(layer: Layer) -> Iterator[Remedy]:
    for note in layer.notes:
        yield Remedy(said=_HELPS[note.partition(":")[0]])
