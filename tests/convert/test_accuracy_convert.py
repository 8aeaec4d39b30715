"""Accuracy before and after on labelled frames: nets whose answers are known, converted for real."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

import converter
from converter.cli import commands
from converter.errors import VerificationError
from tests.sources import make_model, write_folder

SCALE = {"mean": [0.0] * 3, "scale": [255.0] * 3, "dai_type": "RGB888p"}
# By target: how it is converted, without what takes long.
WAYS = {
    "rvc2": ("rvc2", {}, "the blob"),
    "rvc4": (
        "rvc4",
        {"rvc4.quantization_mode": "FP16_STANDARD", "verify.emulator": False},
        "the float16 network on ONNX Runtime",
    ),
}


def net(
    nodes: list[onnx.NodeProto], outputs: dict[str, list[int]], weights: dict[str, Any]
) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 32, 48])],
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
            for name, shape in outputs.items()
        ],
        [
            numpy_helper.from_array(np.asarray(value, np.float32), name)
            for name, value in weights.items()
        ],
    )
    return make_model(graph)


def detector() -> onnx.ModelProto:
    """A YOLO head over cells of 8 pixels: each cell is a box, red and green are its two classes."""
    kernel = np.zeros((7, 3, 1, 1))
    kernel[4, :2] = 0.5
    kernel[5, 0] = kernel[6, 1] = 1
    nodes = [
        helper.make_node("AveragePool", ["x"], ["cells"], kernel_shape=[8, 8], strides=[8, 8]),
        helper.make_node("Conv", ["cells", "kernel", "bias"], ["output1_yolov8"]),
    ]
    bias = [0.5] * 4 + [0.0] * 3
    return net(nodes, {"output1_yolov8": [1, 7, 4, 6]}, {"kernel": kernel, "bias": bias})


def segmenter() -> onnx.ModelProto:
    """The class of a pixel is its strongest channel."""
    nodes = [helper.make_node("Conv", ["x", "kernel"], ["map"])]
    return net(nodes, {"map": [1, 3, 32, 48]}, {"kernel": 4 * np.eye(3).reshape(3, 3, 1, 1)})


def head(parser: str, output: str, classes: list[str], **metadata: Any) -> dict[str, Any]:
    known = {"classes": classes, "n_classes": len(classes), **metadata}
    return {"parser": parser, "metadata": known, "outputs": [output]}


def boxes(folder: Path) -> tuple[Path, Path]:
    """Two pictures of red and green squares, and COCO's labels of them; one more box is not there."""
    folder.mkdir()
    coco: dict[str, Any] = {
        "images": [],
        "annotations": [],
        "categories": [{"id": 3, "name": "green"}, {"id": 9, "name": "red"}],
    }
    for image, cells in enumerate([[(0, 0, 9), (3, 2, 3)], [(5, 3, 9)]]):
        pixels = np.zeros((32, 48, 3), np.uint8)
        for column, row, category in cells:
            pixels[row * 8 : row * 8 + 8, column * 8 : column * 8 + 8, 0 if category == 9 else 1] = 255
            box = [column * 16, row * 16, 16, 16]  # the labels are of a picture twice as large
            coco["annotations"].append(
                {
                    "id": len(coco["annotations"]) + 1,
                    "image_id": image,
                    "category_id": category,
                    "bbox": box,
                }
            )
        Image.fromarray(pixels).resize((96, 64), Image.Resampling.NEAREST).save(folder / f"{image}.png")
        coco["images"].append({"id": image, "file_name": f"{image}.png", "width": 96, "height": 64})
    labels = folder.parent / "coco.json"
    labels.write_text(json.dumps(coco))
    return folder, labels


def masks(folder: Path) -> tuple[Path, Path]:
    """Pictures of three colours and their masks; a quarter of the pixels is not labelled."""
    rng = np.random.default_rng(0)
    for name in ("data", "masks"):
        (folder / name).mkdir(parents=True)
    for image in range(2):
        classes = rng.integers(0, 3, (4, 6)).repeat(8, 0).repeat(8, 1)
        Image.fromarray((np.eye(3)[classes] * 255).astype(np.uint8)).save(
            folder / "data" / f"{image}.png"
        )
        classes[:16, :24] = 255
        Image.fromarray(classes.astype(np.uint8)).save(folder / "masks" / f"{image}.png")
    return folder / "data", folder / "masks"


@pytest.mark.parametrize("way", WAYS)
def test_boxes_that_are_all_found_have_a_map_of_one_before_and_after(
    tmp_path: Path, way: str, toolchain: object
) -> None:
    target, options, on = WAYS[way]
    metadata = {"subtype": "yolov8", "yolo_outputs": ["output1_yolov8"], "iou_threshold": 0.5}
    yolo = head("YOLO", "output1_yolov8", ["red", "green"], **metadata)
    source = write_folder(tmp_path / "net", detector(), preprocessing=SCALE, heads=[yolo])
    data, labels = boxes(tmp_path / "data")
    done = converter.convert(
        source,
        target,
        output=tmp_path / "o.tar",
        toolchain="native",
        options={**options, "verify.data": str(data), "verify.labels": str(labels)},
    )
    accuracy = done.verification["accuracy"]
    assert accuracy == {
        "task": "detection",
        "frames": 2,
        "labels": "coco.json",
        "source": {"map50": 1.0, "map": 1.0},
        "compiled": accuracy["compiled"],
        "compiled_on": on,
    }
    assert accuracy["compiled"]["map50"] == 1.0


def test_masks_are_compared_pixel_by_pixel_and_a_loss_can_be_limited(
    tmp_path: Path, toolchain: object, capsys: pytest.CaptureFixture[str]
) -> None:
    segmentation = head("SegmentationParser", "map", ["a", "b", "c"], is_softmax=False)
    source = write_folder(tmp_path / "net", segmenter(), preprocessing=SCALE, heads=[segmentation])
    data, labels = masks(tmp_path)
    out = tmp_path / "o.tar"
    converter.convert(source, "rvc2", output=out)
    assert commands.verify(out, source, data, labels, [], as_json=False, quiet=False, report=None) == 0
    assert "Accuracy on 2 labelled frames" in (said := capsys.readouterr().out)
    assert "miou 1.0000 → 1.0000" in said
    record = converter.verify_archive(out, source, data=data, labels=labels)
    assert record["accuracy"]["compiled"] == {"miou": 1.0, "pixel_accuracy": 1.0}


def test_a_loss_of_accuracy_above_the_limit_fails(tmp_path: Path, toolchain: object) -> None:
    """The source tells 1 from 1 + 1/4096, float16 does not: what is nearest is chosen by rounding."""
    nodes = [
        helper.make_node("GlobalAveragePool", ["x"], ["mean"]),
        helper.make_node("Conv", ["mean", "kernel", "bias"], ["wide"]),
        helper.make_node("Flatten", ["wide"], ["scores"]),
    ]
    kernel = np.zeros((2, 3, 1, 1))
    kernel[1, 0] = 2.0**-12
    model = net(nodes, {"scores": [1, 2]}, {"kernel": kernel, "bias": [1.0, 1.0]})
    scores = head("ClassificationParser", "scores", ["dark", "red"], is_softmax=False)
    source = write_folder(tmp_path / "net", model, preprocessing=SCALE, heads=[scores])
    for index in range(4):
        folder = tmp_path / "data" / "red"
        folder.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (48, 32), (200 + index, 0, 0)).save(folder / f"{index}.png")
    options = {"verify.labels": str(tmp_path / "data"), "verify.max_accuracy_loss": 0.5}
    with pytest.raises(VerificationError, match=r"lost 1\.0000 of top1 on 4 labelled frames") as caught:
        converter.convert(source, "rvc2", output=tmp_path / "o.tar", options=options)
    assert json.loads(caught.value.tool_text)["accuracy"]["source"] == {"top1": 1.0}
    assert not (tmp_path / "o.tar").exists()
    done = converter.convert(
        source, "rvc2", output=tmp_path / "o.tar", options={**options, "verify.max_accuracy_loss": 1}
    )
    assert done.verification["accuracy"]["compiled"] == {"top1": 0.0}
