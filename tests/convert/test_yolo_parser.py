"""DepthAI's own DetectionParser, on this machine, decodes what a cut export gives."""

from __future__ import annotations

import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

import converter
from converter.open_source import open_source
from converter.options.resolve import Options
from converter.yolo import decode
from targets.rvc2.myriad.toolchain import Toolchain
from tests import yolo_models
from tests.yolo_models import Net

pytest.importorskip("depthai")
from tests.depthai_host import Found, parse

# Boxes that a parser takes: positive sizes in the frame, most scores below the threshold.
EXPORTS: dict[str, Callable[[Net], onnx.ModelProto]] = {
    "v8": yolo_models.ultralytics,
    "end to end": lambda net: yolo_models.ultralytics(net, bins=1, end_to_end=True),
    "v6": yolo_models.version_6,
    "v6 first release": yolo_models.anchor_free,
    "v5": yolo_models.with_anchors,
    "v7": lambda net: yolo_models.with_anchors(net, seventh=True),
    "masks": lambda net: yolo_models.ultralytics(net, masks=32),
    "pose": lambda net: yolo_models.ultralytics(net, 1, keypoints=(5, 3)),
}


def expected(rows: np.ndarray, name: str, classes: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Corners, scores (rows, classes) and the rest, of the uncut export's output."""
    if name == "end to end":
        scores = np.zeros((len(rows), classes))
        scores[np.arange(len(rows)), rows[:, 5].astype(int)] = rows[:, 4]
        return rows[:, :4], scores, rows[:, 6:]
    rows = rows if rows.shape[0] > rows.shape[1] else rows.T
    start = 5 if name.startswith(("v5", "v6", "v7")) else 4
    scores = rows[:, start : start + classes] * (rows[:, 4:5] if start == 5 else 1.0)
    return decode.corners(rows[:, :4]), scores, rows[:, start + classes :]


def run(path: Path, frame: np.ndarray) -> dict[str, np.ndarray]:
    session = onnxruntime.InferenceSession(str(path))
    names = [item.name for item in session.get_outputs()]
    return dict(zip(names, session.run(names, {"images": frame}), strict=True))


@pytest.mark.parametrize("strides", [(8, 16, 32), (16, 32)], ids=["three", "two"])
@pytest.mark.parametrize("name", EXPORTS)
def test_the_parser_finds_the_exports_own_boxes(
    name: str, strides: tuple[int, ...], tmp_path: Path
) -> None:
    path = tmp_path / "net.onnx"
    onnx.save(EXPORTS[name](Net(128, 96, strides=strides)), path)
    with open_source(path, Options({}))[0] as archive:
        config = archive.config
        shape = config["model"]["inputs"][0]["shape"]
        frame = np.random.default_rng(2).random(shape).astype(np.float32)
        outputs = run(archive.path("net.onnx"), frame)
    rows = run(path, frame)["output0"][0].astype(np.float64)
    classes = config["model"]["heads"][0]["metadata"]["n_classes"]
    boxes, scores, rest = expected(rows, name, classes)
    best = np.sort(scores.max(1))[::-1]
    threshold = float(best[9] + best[10]) / 2
    found = parse(config, outputs, tmp_path, conf_threshold=threshold, iou_threshold=1.0)
    assert found
    visible = _clipped(boxes, shape)
    for item in found:
        errors = np.abs(visible - item.box).max(1) + 1e3 * np.abs(scores[:, item.label] - item.score)
        assert errors.min() < 1e-3 * max(1.0, float(np.abs(boxes).max()) / 100), item
        if name == "pose":
            points = rest[errors.argmin()].reshape(-1, 3)
            assert len(item.keypoints) == len(points)
            _check_points(item, points, shape)
    # Nothing that is certain enough is left out, but for copies of what was found.
    for box, score in zip(visible, scores.max(1), strict=True):
        if score > threshold and min(box[2:] - box[:2]) > 0.5:
            assert min(np.abs(np.array(item.box) - box).max() for item in found) < 1e-2


def _clipped(boxes: np.ndarray, shape: list[int]) -> np.ndarray:
    height, width = shape[2:]
    return np.clip(boxes, 0, [width, height, width, height])


def _check_points(item: Found, points: np.ndarray, shape: list[int]) -> None:
    height, width = shape[2:]
    for (x, y, seen), said in zip(item.keypoints, points, strict=True):
        if 0 < said[0] < width and 0 < said[1] < height:
            assert abs(x - said[0]) < 1e-2
            assert abs(y - said[1]) < 1e-2
        assert abs(seen - said[2]) < 1e-4


def test_one_command_makes_an_archive_that_decodes(tmp_path: Path, toolchain: Toolchain) -> None:
    path = tmp_path / "net.onnx"
    onnx.save(yolo_models.ultralytics(Net()), path)
    done = converter.convert(path, "rvc2", output=tmp_path / "a.tar")
    config: dict[str, Any]
    with converter.open_archive(done.output) as archive:
        config = archive.config
    with tarfile.open(done.output) as tar:
        assert "buildinfo.json" in tar.getnames()
    assert config["model"]["heads"][0]["metadata"]["strides"] == [8, 16, 32]
    assert {entry["layout"] for entry in config["model"]["outputs"]} == {"NCHW"}
    import depthai as dai

    parser = dai.Pipeline(False).create(dai.node.DetectionParser)
    parser.setNNArchive(dai.NNArchive(str(done.output)))
    assert parser.getStrides() == [8, 16, 32]
    again = converter.verify_archive(done.output, path)
    assert again["status"] == "passed"
