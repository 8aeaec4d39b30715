"""Detectors are found by their structure, proved by their numbers, and cut without a difference."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st

import converter
from converter.checks.yolo import looks_uncut
from converter.open_source import open_source
from converter.options.resolve import Layer, resolve
from converter.verification.meaning import detections, headlines
from converter.yolo import decode
from converter.yolo.families import metadata_of
from converter.yolo.find import find
from converter.yolo.write import write
from tests import yolo_models
from tests.space import space
from tests.yolo_models import Net

Model = Callable[[Net], onnx.ModelProto]

EXPORTS: dict[str, tuple[Model, dict[str, Any]]] = {
    "v8": (yolo_models.ultralytics, {}),
    "v8 before 8.4": (lambda net: yolo_models.ultralytics(net, joined=True), {}),
    "v8 of one class": (lambda net: yolo_models.ultralytics(net, 1), {}),
    "v8 of 64 classes": (lambda net: yolo_models.ultralytics(net, 64), {}),
    "v8 without names": (lambda net: yolo_models.ultralytics(net, names=False), {}),
    "26": (lambda net: yolo_models.ultralytics(net, bins=1), {}),
    "26 of 4 classes": (lambda net: yolo_models.ultralytics(net, 4, bins=1), {}),
    "v10 end to end": (lambda net: yolo_models.ultralytics(net, end_to_end=True), {}),
    "masks": (lambda net: yolo_models.ultralytics(net, masks=8), {}),
    "masks end to end": (lambda net: yolo_models.ultralytics(net, masks=8, end_to_end=True), {}),
    "pose": (lambda net: yolo_models.ultralytics(net, 1, keypoints=(5, 3)), {}),
    "pose without visibility": (lambda net: yolo_models.ultralytics(net, 2, keypoints=(4, 2)), {}),
    "pose 26": (lambda net: yolo_models.ultralytics(net, 1, keypoints=(5, 3), newer=True), {}),
    "v6": (yolo_models.version_6, {}),
    "v6 with distributions": (lambda net: yolo_models.version_6(net, bins=17), {}),
    "v6 first release": (yolo_models.anchor_free, {"subtype": "yolov6r1"}),
    "X": (lambda net: yolo_models.anchor_free(net, decoded=False), {"subtype": "yolov6r1"}),
    "v5": (yolo_models.with_anchors, {"subtype": "yolov5"}),
    "v5 with masks": (lambda net: yolo_models.with_anchors(net, masks=8), {"subtype": "yolov5"}),
    "v7": (lambda net: yolo_models.with_anchors(net, seventh=True), {"subtype": "yolov5"}),
    "v7 with its raw levels": (
        lambda net: yolo_models.with_anchors(net, seventh=True, raw_levels=True),
        {"subtype": "yolov5"},
    ),
}


def opened(model: onnx.ModelProto, folder: Path, **options: Any) -> Any:
    path = folder / "net.onnx"
    folder.mkdir(exist_ok=True)
    onnx.save(model, path)
    return open_source(path, resolve([Layer(origin="test", values=options)]))[0]


def outputs_of(path: Path, frame: np.ndarray) -> dict[str, np.ndarray]:
    session = onnxruntime.InferenceSession(str(path))
    names = [item.name for item in session.get_outputs()]
    return dict(zip(names, session.run(names, {"images": frame}), strict=True))


def decoded(metadata: dict[str, Any], outputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Boxes, scores, masks and keypoints of every cell, by the parsers' formulas (float64)."""
    boxes, scores, masks, points = [], [], [], []
    for index, (name, stride) in enumerate(
        zip(sorted(metadata["yolo_outputs"]), metadata["strides"], strict=True)
    ):
        grid = outputs[name][0].astype(np.float64)
        count = len(metadata["anchors"][index]) if metadata.get("anchors") else 1
        each = grid.reshape(count, -1, *grid.shape[1:])
        flat = np.moveaxis(each, 1, -1).reshape(-1, each.shape[1])
        if metadata["subtype"] == "yolov5":
            anchors = np.array(metadata["anchors"][index])
            boxes.append(decode.anchor_boxes(each[:, :4], stride, anchors))
            scores.append(flat[:, 5:] * flat[:, 4:5])
        elif metadata["subtype"] == "yolov6r1":
            boxes.append(decode.anchor_free_boxes(grid[:4], stride))
            scores.append(flat[:, 5:])
        else:
            boxes.append(decode.tlbr_boxes(grid[:4], stride))
            scores.append(flat[:, 5:])
            assert np.allclose(flat[:, 4], flat[:, 5:].max(1))
        if "mask_outputs" in metadata:
            values = outputs[metadata["mask_outputs"][index]][0]
            apart = values.reshape(count, -1, *values.shape[1:])
            masks.append(np.moveaxis(apart, 1, -1).reshape(-1, apart.shape[1]))
        if "keypoints_outputs" in metadata:
            values = outputs[metadata["keypoints_outputs"][index]][0].T
            values = values.reshape(len(values), -1, 3).astype(np.float64)
            values[..., 2] = decode.sigmoid(values[..., 2])
            points.append(values)
    found = {"boxes": np.concatenate(boxes), "scores": np.concatenate(scores)}
    found |= {"masks": np.concatenate(masks)} if masks else {}
    return found | ({"points": np.concatenate(points)} if points else {})


def expected(rows: np.ndarray, found: dict[str, np.ndarray], subtype: str) -> dict[str, np.ndarray]:
    """The same out of the uncut export's output, one row for each cell."""
    rows = rows if len(rows) == len(found["boxes"]) else rows.T
    classes, start = found["scores"].shape[1], 4
    scores = 1.0
    if subtype != "yolov8":
        start, scores = 5, rows[:, 4:5]
    elif np.all(rows[:, 4] == 1):
        start = 5
    parts = {"boxes": decode.corners(rows[:, :4]), "scores": rows[:, start : start + classes] * scores}
    rest = rows[:, start + classes :]
    if "masks" in found:
        parts["masks"] = rest
    if "points" in found:
        values = rest.shape[1] // found["points"].shape[1]
        points = rest.reshape(len(rest), -1, values)
        seen = np.ones((*points.shape[:2], 1))
        parts["points"] = points if values == 3 else np.concatenate([points, seen], -1)
    return parts


def check_cut(model: onnx.ModelProto, folder: Path, wanted: dict[str, Any]) -> dict[str, Any]:
    with opened(model, folder) as archive:
        config = archive.config["model"]
        assert archive.cut is not None, [str(guess) for guess in archive.guesses]
        metadata = config["heads"][0]["metadata"]
        assert metadata | wanted == metadata
        frame = np.random.default_rng(1).random(config["inputs"][0]["shape"]).astype(np.float32)
        cut = outputs_of(archive.path(config["metadata"]["path"]), frame)
        assert list(cut) == config["heads"][0]["outputs"] == [o["name"] for o in config["outputs"]]
        whole = outputs_of(archive.given(config["metadata"]["path"]), frame)
    found = decoded(metadata, cut)
    rows = whole["output0"][0].astype(np.float64)
    if metadata["iou_threshold"] == 1.0:
        best = np.sort(found["scores"].ravel())[::-1][: len(rows)]
        assert np.allclose(np.sort(rows[:, 4])[::-1], best, atol=1e-5)
        near = np.abs(rows[:, None, :4] - found["boxes"][None]).max(-1)
        near += np.abs(rows[:, None, 4] - found["scores"].T[rows[:, 5].astype(int)])
        assert near.min(1).max() < 1e-4
        return dict(config)
    undecoded = metadata["subtype"] == "yolov6r1" and not np.allclose(
        decode.centres(found["boxes"])[:, 2:], rows[:, 2:4], atol=1e-3
    )
    for name, values in expected(rows, found, metadata["subtype"]).items():
        if name != "boxes" or not undecoded:
            assert np.abs(values - found[name]).max() < 1e-4, name
    if "protos_outputs" in metadata:
        assert np.array_equal(whole["output1"], cut[metadata["protos_outputs"]])
    return dict(config)


@pytest.mark.parametrize("name", EXPORTS)
def test_an_export_is_cut_without_a_difference(name: str, tmp_path: Path) -> None:
    make, wanted = EXPORTS[name]
    config = check_cut(make(Net()), tmp_path, {"subtype": "yolov8", "strides": [8, 16, 32]} | wanted)
    assert {entry["layout"] for entry in config["outputs"] if len(entry["shape"]) == 4} == {"NCHW"}


@space(12)
@given(
    seed=st.integers(0, 1000),
    classes=st.integers(1, 12),
    strides=st.sampled_from([(8, 16, 32), (16, 32), (4, 8, 16, 32), (8, 16, 32, 64), (8,)]),
    size=st.sampled_from([(64, 64), (64, 128), (192, 64)]),
    opset=st.sampled_from([11, 12]),
    kind=st.sampled_from(["v8", "joined", "26", "v6", "v6r1"]),
)
def test_any_size_and_number_of_strides(
    seed: int,
    classes: int,
    strides: tuple[int, ...],
    size: tuple[int, int],
    opset: int,
    kind: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    net = Net(*size, strides=strides, opset=opset, seed=seed)
    model = {
        "v8": lambda: yolo_models.ultralytics(net, classes),
        "joined": lambda: yolo_models.ultralytics(net, classes, joined=True, names=False),
        "26": lambda: yolo_models.ultralytics(net, classes, bins=1),
        "v6": lambda: yolo_models.version_6(net, classes),
        "v6r1": lambda: yolo_models.anchor_free(net, classes),
    }[kind]()
    check_cut(model, tmp_path_factory.mktemp("cut"), {"strides": list(strides), "n_classes": classes})


@pytest.mark.parametrize("make", [yolo_models.ultralytics, yolo_models.with_anchors])
def test_a_suppression_of_overlaps_is_cut_off(make: Any, tmp_path: Path) -> None:
    """nms=True and YOLOv7 --end2end: the output has a few of the cells, the head is the same."""
    made = []
    for suppressed in (True, False):
        with opened(make(Net(), suppressed=suppressed), tmp_path / str(suppressed)) as archive:
            (head,) = archive.config["model"]["heads"]
            cut = onnx.load(archive.path("net.onnx"))
        assert "NonMaxSuppression" not in {node.op_type for node in cut.graph.node}
        made.append((head, [output.SerializeToString() for output in cut.graph.output]))
    assert made[0] == made[1]
    assert made[0][0]["metadata"]["iou_threshold"] < 1


def test_raw_levels_want_the_anchors_of_their_training(tmp_path: Path) -> None:
    net = yolo_models.with_anchors(Net(), raw_levels=True, decoded=False)
    with opened(net, tmp_path) as archive:
        assert archive.cut is None
        (said,) = (str(guess) for guess in archive.guesses if guess.code == "init.uncut")
    assert "raw numbers of 3 anchors at 3 strides" in said
    assert "--anchors" in said
    anchors = tuple(tuple(map(tuple, layer)) for layer in yolo_models.ANCHORS.values())
    wrong = find(tmp_path / "net.onnx", (1, 3, 64, 96), None, anchors=anchors[:2])
    assert "3 anchors for each of 3 strides" in wrong.reason
    detector = find(tmp_path / "net.onnx", (1, 3, 64, 96), 3, anchors=anchors).detector
    assert detector is not None
    # The same head as that of an export that decodes with these anchors.
    onnx.save(yolo_models.with_anchors(Net()), tmp_path / "decoded.onnx")
    known = find(tmp_path / "decoded.onnx", (1, 3, 64, 96), 3).detector
    assert known is not None
    assert metadata_of(detector) == metadata_of(known)
    cut = write(ir.load(tmp_path / "net.onnx"), detector)
    ir.save(cut, tmp_path / "cut.onnx")
    frame = np.random.default_rng(2).random((1, 3, 64, 96)).astype(np.float32)
    found = decoded(metadata_of(detector), outputs_of(tmp_path / "cut.onnx", frame))
    (rows,) = outputs_of(tmp_path / "decoded.onnx", frame).values()
    for name, values in expected(rows[0].astype(np.float64), found, "yolov5").items():
        assert np.abs(values - found[name]).max() < 1e-4, name


def test_anchors_are_computed_back_from_the_boxes(tmp_path: Path) -> None:
    config = check_cut(yolo_models.with_anchors(Net()), tmp_path, {})
    anchors = config["heads"][0]["metadata"]["anchors"]
    assert anchors == [[list(map(float, pair)) for pair in yolo_models.ANCHORS[s]] for s in (8, 16, 32)]


def test_what_the_file_says_becomes_the_head_and_the_frames(tmp_path: Path) -> None:
    with opened(yolo_models.ultralytics(Net()), tmp_path) as archive:
        model = archive.config["model"]
        told = " ".join(str(guess) for guess in archive.guesses)
    assert model["heads"][0]["metadata"]["classes"] == ["class 0", "class 1", "class 2"]
    assert model["inputs"][0]["preprocessing"]["scale"] == [255.0]
    assert model["inputs"][0]["preprocessing"]["dai_type"] == "RGB888p"
    assert "scale 255: as models by Ultralytics test model (metadata_props: " in told


def test_the_users_word_wins(tmp_path: Path) -> None:
    said = {"inputs.images.dai_type": "BGR888p", "inputs.images.scale_values": 1}
    with opened(yolo_models.ultralytics(Net()), tmp_path, **said) as archive:
        preprocessing = archive.config["model"]["inputs"][0]["preprocessing"]
    assert preprocessing["scale"] == [1.0]
    assert preprocessing["dai_type"] == "BGR888p"


def test_x_takes_frames_as_they_are_and_the_first_v6_is_asked_about(tmp_path: Path) -> None:
    with opened(yolo_models.anchor_free(Net(), decoded=False), tmp_path) as archive:
        preprocessing = archive.config["model"]["inputs"][0]["preprocessing"]
    assert (preprocessing["dai_type"], preprocessing["scale"]) == ("BGR888p", [1.0])
    with opened(yolo_models.anchor_free(Net()), tmp_path) as archive:
        assert any(guess.code == "init.normalization" for guess in archive.guesses)


def test_oriented_boxes_are_left_whole_and_told(tmp_path: Path) -> None:
    with opened(yolo_models.rotated(Net()), tmp_path) as archive:
        assert archive.cut is None
        assert archive.config["model"]["heads"] == []
        assert any("its boxes are rotated" in str(guess) for guess in archive.guesses)


def test_the_graph_is_kept_if_asked(tmp_path: Path) -> None:
    with opened(yolo_models.ultralytics(Net()), tmp_path, cut=False) as archive:
        assert archive.cut is None
        assert [entry["name"] for entry in archive.config["model"]["outputs"]] == ["output0"]


def test_a_decoding_that_is_another_one_is_not_taken(tmp_path: Path) -> None:
    """Half a cell beside: the structure is a detector's, the numbers are not."""
    net = Net()
    shifted = net.centres
    net.centres = lambda offset=0.5: shifted(offset + 0.5)  # type: ignore[method-assign]
    with opened(yolo_models.ultralytics(net), tmp_path) as archive:
        assert archive.cut is None


@pytest.mark.parametrize("name", ["v8", "v5", "X", "26"])
def test_a_comparison_of_a_detector_is_told_in_boxes(name: str, tmp_path: Path) -> None:
    with opened(EXPORTS[name][0](Net()), tmp_path) as archive:
        model = converter.plan(archive, "rvc2").model
        frame = np.random.default_rng(1).random(model.inputs[0].shape).astype(np.float32)
        outputs = outputs_of(archive.path("net.onnx"), frame)
    (same,) = detections(model, [outputs], [outputs])
    assert (same["value"], same["iou"], same["scores"]) == (1.0, 1.0, 0.0)
    worse = {key: values.copy() for key, values in outputs.items()}
    for values in worse.values():
        values[:, :4] += 0.1
        values[:, 5:] += 0.01
    (other,) = detections(model, [outputs], [worse])
    assert other["iou"] < 0.999
    assert other["scores"] > 0.004


def test_a_head_whose_outputs_are_no_grids_is_not_told_in_boxes() -> None:
    head = {"parser": "YOLO", "metadata": {"yolo_outputs": ["output0"], "strides": [8]}}
    outputs = {"output0": np.zeros((1, 7, 420))}
    assert headlines([head], [outputs], [outputs]) == []
    assert headlines([{**head, "metadata": {}}], [outputs], [outputs]) == []


def test_a_grid_of_a_small_frame_is_no_uncut_export() -> None:
    """[1, 16, 16] of 16 x 16 pixels: a detector has cells at each of several strides in a row."""
    assert looks_uncut((1, 16, 16), (16, 16)) == 0
    assert looks_uncut((1, 84, 8400), (640, 640)) == 80
    assert looks_uncut((1, 25200, 85), (640, 640)) == 80
