"""DepthAI's own DetectionParser, run on this machine: the judge of a head and of its outputs."""

from __future__ import annotations

import json
import tarfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

_WAIT_S = 20.0


@dataclass(frozen=True)
class Found:
    """A detection: corners in pixels of the frame, the class and its score, keypoints (x, y, score)."""

    box: tuple[float, float, float, float]
    label: int
    score: float
    keypoints: tuple[tuple[float, float, float], ...] = ()


def parse(
    config: Mapping[str, Any], outputs: Mapping[str, np.ndarray], folder: Path, **thresholds: float
) -> list[Found]:
    """What DetectionParser finds in a network's outputs, with the head of a config.

    Args:
        config: A config of an archive; its model's path is a `.onnx` file's.
        outputs: By name, arrays [1, C, H, W] or [1, C, A].
        folder: An empty folder.
        thresholds: Keys of the head's metadata that are replaced.
    """
    import depthai as dai

    config = json.loads(json.dumps(config))
    config["model"]["metadata"]["path"] = "m.onnx"
    config["model"]["heads"][0]["metadata"] |= thresholds
    path = folder / "a.tar"
    with tarfile.open(path, "w") as tar:
        for name, data in (("config.json", json.dumps(config).encode()), ("m.onnx", b"x")):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, BytesIO(data))
    height, width = config["model"]["inputs"][0]["shape"][2:]
    pipeline = dai.Pipeline(False)
    parser = pipeline.create(dai.node.DetectionParser)
    parser.setNNArchive(dai.NNArchive(str(path)))
    parser.setRunOnHost(True)
    answers, asked = parser.out.createOutputQueue(), parser.input.createInputQueue()
    pipeline.start()
    try:
        data = dai.NNData()
        for name, values in outputs.items():
            # With an order in the place of the type DepthAI would round to float16.
            # It gives an axis of size 1 the stride 0, which its parser refuses: a batch of 1 goes.
            array = np.ascontiguousarray(values[0] if values.ndim == 4 else values.repeat(2, 0))
            data.addTensor(name, array.astype(np.float32), dai.TensorInfo.DataType.FP32)
        data.setTransformation(dai.ImgTransformation(width, height))
        asked.send(data)
        end = time.monotonic() + _WAIT_S
        while time.monotonic() < end:
            if (message := answers.tryGet()) is not None:
                return [_found(item, width, height) for item in message.detections]
            time.sleep(0.02)
    finally:
        pipeline.stop()
    raise AssertionError("DetectionParser gave no answer")


def _found(item: Any, width: int, height: int) -> Found:
    points = item.getKeypoints() if hasattr(item, "getKeypoints") else ()
    return Found(
        box=(item.xmin * width, item.ymin * height, item.xmax * width, item.ymax * height),
        label=item.label,
        score=item.confidence,
        keypoints=tuple(
            (
                point.imageCoordinates.x * width,
                point.imageCoordinates.y * height,
                point.confidence,
            )
            for point in points
        ),
    )
