"""The parsers of DepthAI and depthai-nodes decode the cut exports of YOLO's own package.

`nox -s yolo_parsers` exports the families with Ultralytics (`yolo_exports`), cuts each as `convert` does,
runs the cut network on ONNX Runtime, and gives its outputs to both readers' own code. What they find is
held against the uncut export: every box above a threshold must be found, with its score. Not part of CI.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime

from converter.open_source import open_source
from converter.options.resolve import Options
from converter.yolo import decode
from tests.depthai_host import parse

RESULTS = Path(__file__).parent / "results" / "yolo-parsers.md"
# About so many boxes lie above the threshold.
BOXES = 40
# Boxes that are nearer are one, in pixels.
SAME = 2.0
Boxes = list[tuple[np.ndarray, int, float]]


@dataclass(frozen=True)
class Whole:
    """What an uncut export says: corners in pixels (n, 4), and scores (n, classes)."""

    boxes: np.ndarray
    scores: np.ndarray


def run(path: Path, frame: np.ndarray) -> dict[str, np.ndarray]:
    session = onnxruntime.InferenceSession(str(path))
    names = [item.name for item in session.get_outputs()]
    (fed,) = session.get_inputs()
    return dict(zip(names, session.run(names, {fed.name: frame}), strict=True))


def whole_of(output: np.ndarray, classes: int, cells: int) -> Whole:
    """Rows of cells, or those that the export sorted out: box, score, class."""
    rows = output[0].astype(np.float64)
    if cells in rows.shape:
        rows = rows if len(rows) == cells else rows.T
        return Whole(decode.corners(rows[:, :4]), rows[:, 4 : 4 + classes])
    rows = rows[rows.any(1)]
    scores = np.zeros((len(rows), classes))
    scores[np.arange(len(rows)), rows[:, 5].astype(int)] = rows[:, 4]
    return Whole(rows[:, :4], scores)


class Tensors:
    """A network's outputs as NNData gives them; NNData itself takes no type and order together."""

    def __init__(self, outputs: dict[str, np.ndarray]) -> None:
        self._outputs = outputs

    def getAllLayerNames(self) -> list[str]:
        return list(self._outputs)

    def getTensor(self, name: str, *_: Any, **__: Any) -> np.ndarray:
        return self._outputs[name].astype(np.float32)


def depthai_nodes(config: dict[str, Any], outputs: dict[str, np.ndarray], **thresholds: float) -> Boxes:
    """YOLOExtendedParser's own build, extract and compute."""
    import depthai as dai
    from depthai_nodes.node.parsers.yolo import YOLOExtendedParser

    model = config["model"]
    (head,) = model["heads"]
    parser = dai.Pipeline(False).create(YOLOExtendedParser)
    parser.build({**head["metadata"], **thresholds, "outputs": head["outputs"]})
    found = parser.compute(parser.extract(Tensors(outputs)))
    height, width = model["inputs"][0]["shape"][2:]
    boxes = np.asarray(found["bboxes"], float).reshape(-1, 4) * [width, height, width, height]
    return list(zip(boxes, map(int, found["labels"]), map(float, found["scores"]), strict=True))


def depthai(config: dict[str, Any], outputs: dict[str, np.ndarray], **thresholds: float) -> Boxes:
    """DetectionParser on the host."""
    with tempfile.TemporaryDirectory() as folder:
        found = parse(config, outputs, Path(folder), **thresholds)
    return [(np.asarray(item.box), item.label, item.score) for item in found]


def in_the_frame(boxes: np.ndarray, limits: np.ndarray) -> np.ndarray:
    """As DepthAI gives boxes: corners, cut off at the frame."""
    return np.clip(boxes, 0, limits)


def centres_in_the_frame(boxes: np.ndarray, limits: np.ndarray) -> np.ndarray:
    """As depthai-nodes gives boxes: centre and size, each cut off at the frame's own."""
    return np.clip(decode.centres(boxes), 0, limits)


READERS: dict[str, tuple[Callable[..., Boxes], Callable[..., np.ndarray]]] = {
    "DepthAI": (depthai, in_the_frame),
    "depthai-nodes": (depthai_nodes, centres_in_the_frame),
}


def judged(path: Path) -> dict[str, str]:
    """A row of the table: by reader what it found of the boxes, and its largest error in pixels."""
    with open_source(path, Options({}))[0] as archive:
        config = archive.config
        if archive.cut is None:
            said = [str(guess) for guess in archive.guesses if guess.code in ("init.uncut", "init.cut")]
            return {"export": path.stem, "cut": said[0].partition(": ")[2][:90] if said else "no head"}
        (entry,) = config["model"]["inputs"]
        kind = {"float16": np.float16}.get(entry["dtype"], np.float32)
        frame = np.random.default_rng(3).random(entry["shape"]).astype(kind)
        cut = run(archive.path(config["model"]["metadata"]["path"]), frame)
    (head,) = config["model"]["heads"]
    metadata = head["metadata"]
    cells = sum(int(np.prod(cut[name].shape[2:])) for name in metadata["yolo_outputs"])
    uncut = next(iter(run(path, frame).values()))
    whole = whole_of(uncut, metadata["n_classes"], cells)
    best = np.sort(whole.scores.max(1))[::-1]
    last = min(BOXES, len(best) - 2)
    threshold = float(best[last] + best[last + 1]) / 2
    row = {"export": path.stem, "cut": f"{head['parser']}, {metadata['subtype']}"}
    height, width = entry["shape"][2:]
    limits = [width, height, width, height]
    for name, (reader, given) in READERS.items():
        try:
            found = reader(config, cut, conf_threshold=threshold, iou_threshold=1.0)
        except Exception as error:  # a reader's own; the table says it
            row[name] = f"{type(error).__name__}: {str(error)[:60]}"
            continue
        row[name] = _verdict(whole, found, threshold, np.asarray(limits, float), given)
    return row


def _verdict(
    whole: Whole, found: Boxes, threshold: float, limits: np.ndarray, given: Callable[..., np.ndarray]
) -> str:
    """How many of the export's boxes in the frame are found, and the largest error of those."""
    clipped = np.clip(whole.boxes, 0, limits)
    inside = (whole.scores.max(1) > threshold) & ((clipped[:, 2:] - clipped[:, :2]).min(1) > 0.5)
    order = np.flatnonzero(inside)[np.argsort(-whole.scores[inside].max(1), kind="stable")]
    chosen: list[int] = []
    for index in order:
        # Cut off at the frame, boxes become equal, and a reader keeps the best of equal ones.
        if all(np.abs(clipped[index] - clipped[other]).max() > SAME for other in chosen):
            chosen.append(int(index))
    places = np.array([np.clip(box, 0, limits) for box, _, _ in found]).reshape(-1, 4)
    labels = np.array([label for _, label, _ in found], int)
    chances = np.array([score for _, _, score in found])
    errors = [
        np.abs(places - box).max(1) + 100 * np.abs(chances - scores[labels])
        for box, scores in zip(given(whole.boxes[chosen], limits), whole.scores[chosen], strict=True)
    ]
    nearest = [float(error.min(initial=np.inf)) for error in errors]
    near = [error for error in nearest if error < 0.5]
    return f"{len(near)} of {len(nearest)}, {max(near, default=0.0):.0e} px"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("exports", type=Path, nargs="+")
    parser.add_argument("--write", action="store_true")
    given = parser.parse_args(arguments)
    files = sorted(
        file for path in given.exports for file in ([path] if path.is_file() else path.glob("*.onnx"))
    )
    rows = []
    for file in files:
        rows.append(judged(file))
        print(" | ".join(rows[-1].values()), flush=True)
    by = {
        prop.value for file in files for prop in onnx.load(file).metadata_props if prop.key == "version"
    }
    heads = ("export", "cut", *READERS)
    versions = ", ".join(
        f"{name} {importlib.metadata.version(name)}"
        for name in ("depthai", "depthai-nodes", "onnxruntime")
    )
    lines = [
        "# What the parsers read of cut YOLO exports",
        "",
        f"{date.today()}; Ultralytics {', '.join(sorted(by))}, {versions}. Random weights, one random frame, "
        f"iou_threshold 1, the threshold between the {BOXES}th and the next best box. A cell has how many of "
        "the uncut export's boxes in the frame (those that are equal there count once) a reader finds, and the largest error of these: "
        "pixels, and hundredfold the score's. `nox -s yolo_parsers`.",
        "",
        f"| {' | '.join(heads)} |",
        f"|{'---|' * len(heads)}",
        *(f"| {' | '.join(row.get(head, '') for head in heads)} |" for row in rows),
    ]
    if given.write:
        RESULTS.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
