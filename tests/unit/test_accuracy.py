"""Accuracy on labelled frames: labels of every form, boxes out of every head, and the figures."""

from __future__ import annotations

import io
import json
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper
from PIL import Image

from converter.errors import UsageError
from converter.options.resolve import Layer, Options, resolve
from converter.run import plan
from converter.verification.accuracy.boxes import FinishedRows, PlainExport, SsdRows, YoloGrids, best
from converter.verification.accuracy.labelled import Labelled
from converter.verification.accuracy.labels import Box, Labels, Task, read_labels
from converter.verification.accuracy.meaning import ClassMap, _exports
from converter.verification.accuracy.metrics import MeanAveragePrecision, MeanIou, TopK
from converter.verification.accuracy.placement import Placement
from tests.sources import RGB, config_for, conv_model, make_model, write_folder
from tests.space import space

FILES = ["cat/0.png", "cat/1.png", "dog/2.png"]
NAMES = ["cat", "dog", "7"]


def text(path: Path, content: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    return path


def picture(path: Path, pixels: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(pixels, np.uint8)).save(path)
    return path


# ----------------------------------------------------------------- labels

TABLES = {
    "by comma, with a heading": "file,class\n0.png,cat\n1.png,1\n2.png,dog\n",
    "by semicolon, with paths": "cat/0.png;cat\ncat/1.png;dog\ndog/2.png;dog",
    "by tab, with a third column": "0.png\tcat\tx\n1.png\tdog\tx\n2.png\tdog\tx",
    "by blanks, as ImageNet's lists": "0.png 0\n1.png 1\n2.png 1\n",
    "without suffixes, in capitals, quoted": 'name,label\n"0","Cat"\n1,DOG\n2,dog',
    "with folders of another place": "images\\val\\0.png,cat\n/data/1.png,dog\n2.png,dog",
}


@pytest.mark.parametrize("case", TABLES)
def test_a_table_says_the_class_of_each_file(tmp_path: Path, case: str) -> None:
    found = read_labels(text(tmp_path / "l.csv", TABLES[case]), FILES, NAMES, None)
    assert found.task is Task.CLASSIFICATION
    assert found.classes == {"cat/0.png": 0, "cat/1.png": 1, "dog/2.png": 1}


def test_a_name_counts_before_a_number_and_a_mapping_is_a_table_too(tmp_path: Path) -> None:
    path = text(tmp_path / "l.json", json.dumps({"0.png": "7", "1.png": 1}))
    assert read_labels(path, FILES, NAMES, None).classes == {"cat/0.png": 2, "cat/1.png": 1}
    path = text(tmp_path / "n.csv", "0.png,31\n1.png,2")
    assert read_labels(path, FILES, None, None).classes == {"cat/0.png": 31, "cat/1.png": 2}


@pytest.mark.parametrize("zipped", [False, True])
def test_folders_are_classes(tmp_path: Path, zipped: bool) -> None:
    for file in FILES:
        picture(tmp_path / "data" / "val" / file, np.zeros((2, 2)))
    root = tmp_path / "data"
    if zipped:
        with zipfile.ZipFile(tmp_path / "data.zip", "w") as archive:
            for file in FILES:
                archive.write(root / "val" / file, f"val/{file}")
        root = tmp_path / "data.zip"
    files = [f"val/{file}" for file in FILES]
    for task in (None, Task.CLASSIFICATION):
        found = read_labels(root, files, NAMES, task)
        assert found.classes == {"val/cat/0.png": 0, "val/cat/1.png": 0, "val/dog/2.png": 1}


def coco(categories: dict[int, str], **more: Any) -> dict[str, Any]:
    return {
        "images": [
            {"id": 5, "file_name": "0.png", "width": 40, "height": 20},
            {"id": 6, "file_name": "2.png", "width": 40, "height": 20},
            {"id": 7, "file_name": "elsewhere.png", "width": 40, "height": 20},
        ],
        "categories": [{"id": key, "name": name} for key, name in categories.items()],
        "annotations": [
            {"id": 1, "image_id": 5, "category_id": 90, "bbox": [10, 5, 20, 10], **more},
            {"id": 2, "image_id": 7, "category_id": 90, "bbox": [0, 0, 9, 9]},
        ],
    }


def test_coco_finds_categories_by_name_else_in_their_order(tmp_path: Path) -> None:
    by_name = coco({90: "DOG", 3: "bird", 1: "cat"}, iscrowd=1)
    found = read_labels(text(tmp_path / "a.json", json.dumps(by_name)), FILES, NAMES, None)
    box = Box(label=1, edges=(0.25, 0.25, 0.75, 0.75), is_crowd=True)
    assert found.boxes == {"cat/0.png": [box], "dog/2.png": []}
    assert found.unknown == ("bird",)
    path = text(tmp_path / "b.json", json.dumps(coco({90: "z", 2: "y", 50: "x"})))
    assert read_labels(path, FILES, NAMES, None).boxes["cat/0.png"][0].label == 2
    assert read_labels(path, FILES, None, None).n_classes == 3
    with pytest.raises(UsageError, match=r"none of the network's 2 classes"):
        read_labels(path, FILES, ["a", "b"], None)


def test_yolos_text_files_have_boxes_or_polygons(tmp_path: Path) -> None:
    text(tmp_path / "l" / "0.txt", "1 0.5 0.5 0.5 0.2\n2 0.1 0.1 0.3 0.1 0.3 0.4\n")
    text(tmp_path / "l" / "2.txt", "")
    text(tmp_path / "l" / "classes.txt", "cat\ndog")
    found = read_labels(tmp_path / "l", FILES, NAMES, None)
    one, other = found.boxes["cat/0.png"]
    assert one.label == 1
    np.testing.assert_allclose(one.edges, (0.25, 0.4, 0.75, 0.6))
    assert (other.label, other.edges) == (2, (0.1, 0.1, 0.3, 0.4))
    assert found.boxes["dog/2.png"] == []


def test_masks_belong_to_the_picture_of_their_name(tmp_path: Path) -> None:
    for name in ("0.png", "2.png", "other.png"):
        picture(tmp_path / "masks" / name, np.zeros((2, 2)))
    for task in (None, Task.SEGMENTATION):
        found = read_labels(tmp_path / "masks", ["0.jpg", "2.jpg"], NAMES, task)
        assert (found.task, dict(found.masks)) == (
            Task.SEGMENTATION,
            {"0.jpg": "0.png", "2.jpg": "2.png"},
        )


BROKEN: dict[str, tuple[str, str, Task | None, str]] = {
    "unknown class": ("l.csv", "0.png,cow\n1.png,pig", None, "no class 'cow', 'pig'"),
    "number too large": ("l.csv", "0.png,3", None, "no class '3'"),
    "one column": ("l.csv", "0.png,cat\n1.png", None, "line 2 of"),
    "other files": ("l.csv", "a.png,cat", None, "none of the 3 files"),
    "no json": ("l.json", "{", None, "not COCO"),
    "no boxes": ("l.json", '{"annotations": [{}], "images": []}', None, "not COCO"),
    "a list": ("l.json", "[1]", None, "not COCO"),
    "another suffix": ("l.xml", "<a/>", None, "no known form"),
    "another task": ("l.csv", "0.png,cat", Task.DETECTION, "head is a detection's"),
    "yolo text": ("l/0.txt", "cat 0.5 0.5 0.5 0.5", None, "line 1 of 0.txt"),
    "yolo class": ("l/0.txt", "9 0.5 0.5 0.5 0.5", None, "a class 9, but the network has 3"),
    "nothing there": ("", "", None, "does not exist"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_what_is_wrong_with_labels_is_said(tmp_path: Path, case: str) -> None:
    name, content, task, said = BROKEN[case]
    path = text(tmp_path / name, content) if name else tmp_path / "absent"
    path = path.parent if "/" in name else path
    with pytest.raises(UsageError) as caught:
        read_labels(path, FILES, NAMES, task)
    assert said in str(caught.value) or (not name and "absent" in str(caught.value))


def test_a_name_that_two_files_have_needs_its_folder(tmp_path: Path) -> None:
    files = ["a/0.png", "b/0.png"]
    with pytest.raises(UsageError, match="may be"):
        read_labels(text(tmp_path / "l.csv", "0.png,cat"), files, NAMES, None)
    found = read_labels(text(tmp_path / "l.csv", "b/0.png,cat"), files, NAMES, None)
    assert dict(found.classes) == {"b/0.png": 0}


@given(st.text(max_size=200))
@space(60)
def test_any_table_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, content: str) -> None:
    path = tmp_path_factory.mktemp("any") / "l.csv"
    path.write_text(content, encoding="utf-8", errors="replace")
    try:
        found = read_labels(path, FILES, NAMES, None)
    except UsageError:
        return
    assert set(found.classes) <= set(FILES)
    assert all(0 <= index < 3 for index in found.classes.values())


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("l.csv", ".,0"),
        ("l.csv", "/,0"),
        ("l.csv", f"{FILES[0]},{'9' * 5000}"),
        ("l.csv", f"{'x' * 200_000},0"),
        ("l.json", '{"annotations": [], "categories": [{"id": Infinity, "name": "a"}], "images": []}'),
        (
            "l.json",
            '{"annotations": [{"image_id": 0, "category_id": 0, "bbox": [0, 0, 1, 1]}], "categories": '
            f'[{{"id": 0, "name": "{NAMES[0]}"}}], "images": '
            f'[{{"id": 0, "file_name": "{FILES[0]}", "width": 0, "height": 0}}]}}',
        ),
    ],
)
def test_odd_labels_are_refused(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(UsageError, match=r"verify\.labels"):
        read_labels(tmp_path / name, FILES, NAMES, None)


# -------------------------------------------------------------- placement


@given(
    size=st.tuples(st.integers(20, 60), st.integers(20, 60)),
    shape=st.tuples(st.integers(30, 90), st.integers(30, 90)),
    method=st.sampled_from(["RESIZE", "CROP", "PAD"]),
    data=st.data(),
)
@space(60)
def test_boxes_and_masks_go_where_the_readers_resizing_puts_the_picture(
    size: tuple[int, int], shape: tuple[int, int], method: str, data: Any
) -> None:
    from converter.calibration.files import _resize

    width, height = shape
    x = data.draw(st.integers(0, width - 12))
    y = data.draw(st.integers(0, height - 12))
    pixels = np.zeros((height, width), np.uint8)
    pixels[y : y + 12, x : x + 12] = 1
    seen = np.asarray(_resize(Image.fromarray(pixels * 200), size, method)) > 100
    place = Placement(size=size, picture=shape, method=method)
    edges = (x / width, y / height, (x + 12) / width, (y + 12) / height)
    rows = place.boxes([Box(label=4, edges=edges)])
    if not seen.any():
        return  # cropped away
    found = np.argwhere(seen)
    (top, left), (bottom, right) = found.min(0), found.max(0) + 1
    np.testing.assert_allclose(rows[0, :4], [left, top, right, bottom], atol=1.6)
    assert rows[0, 4:].tolist() == [4, 0]
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    mask = place.mask(stream.getvalue(), "m.png", size)
    assert set(np.unique(mask)) <= ({0, 1, 255} if method == "PAD" else {0, 1})
    assert ((mask == 1) != seen).sum() <= 2 * (right - left + bottom - top) + 4


def test_a_picture_that_exif_turns_has_turned_sides(tmp_path: Path) -> None:
    from converter.calibration.files import Tree

    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (30, 10)).save(tmp_path / "a.jpg", exif=exif)
    Image.new("RGB", (30, 10)).save(tmp_path / "b.jpg")
    tree = Tree.open(tmp_path)
    assert Placement.of(tree, "a.jpg", (8, 8), "PAD").picture == (10, 30)
    assert Placement.of(tree, "b.jpg", (8, 8), "PAD").picture == (30, 10)
    assert Placement.of(tree, "c.npy", (8, 9), "PAD").picture == (8, 9)


def test_a_mask_with_colours_is_refused(tmp_path: Path) -> None:
    picture(tmp_path / "m.png", np.zeros((4, 4, 3)))
    place = Placement(size=(4, 4), picture=(4, 4), method="RESIZE")
    with pytest.raises(UsageError, match="colours"):
        place.mask((tmp_path / "m.png").read_bytes(), "m.png", (4, 4))


# ------------------------------------------------------------------ boxes

SIZE = (96, 64)
STRIDES = (8, 16, 32)
ANCHORS = [[[10.0, 13.0], [16.0, 30.0]], [[30.0, 61.0], [62.0, 45.0]], [[59.0, 90.0], [80.0, 60.0]]]


def sigmoid_inverse(value: float) -> float:
    return float(np.log(value / (1 - value)))


def encoded(
    subtype: str, stride: int, anchor: list[float] | None, box: np.ndarray, cell: tuple[int, int]
) -> list[float]:
    """The four values that a family writes for a box at a cell: the inverse of its formulas."""
    left, top, right, bottom = box / stride
    x, y, w, h = (left + right) / 2, (top + bottom) / 2, right - left, bottom - top
    column, row = cell
    if subtype in ("yolov5", "yolov7"):
        return [
            (x - column + 0.5) / 2, (y - row + 0.5) / 2,
            (w * stride / anchor[0]) ** 0.5 / 2, (h * stride / anchor[1]) ** 0.5 / 2,
        ]  # fmt: skip
    if subtype == "yolov3":
        return [
            sigmoid_inverse(x - column), sigmoid_inverse(y - row),
            float(np.log(w * stride / anchor[0])), float(np.log(h * stride / anchor[1])),
        ]  # fmt: skip
    if subtype in ("yolov6", "yolov6r1"):
        return [x - column, y - row, float(np.log(w)), float(np.log(h))]
    return [column + 0.5 - left, row + 0.5 - top, right - column - 0.5, bottom - row - 0.5]


@given(
    subtype=st.sampled_from(
        ["yolov8", "yolov6r2", "yolov10", "yolov6", "yolov6r1", "yolov5", "yolov7", "yolov3"]
    ),
    level=st.integers(0, 2),
    n_classes=st.integers(1, 6),
    interleaved=st.booleans(),
    data=st.data(),
)
@space(80)
def test_a_box_that_a_head_writes_is_the_box_that_is_read(
    subtype: str, level: int, n_classes: int, interleaved: bool, data: Any
) -> None:
    anchored = subtype in ("yolov5", "yolov7", "yolov3")
    label = data.draw(st.integers(0, n_classes - 1))
    score = data.draw(st.floats(0.3, 0.95))
    stride = STRIDES[level]
    columns, rows = SIZE[0] // stride, SIZE[1] // stride
    cell = (data.draw(st.integers(0, columns - 1)), data.draw(st.integers(0, rows - 1)))
    centre = (np.array(cell) + data.draw(st.floats(0.1, 0.9))) * stride
    half = np.array([data.draw(st.floats(4, 20)), data.draw(st.floats(4, 20))])
    box = np.concatenate([centre - half, centre + half])
    outputs = {}
    for index, step in enumerate(STRIDES):
        count = 2 if anchored else 1
        silent = -30.0 if subtype == "yolov3" else 0.0
        grid = np.full((count, 5 + n_classes, SIZE[1] // step, SIZE[0] // step), silent)
        if index == level:
            anchor = ANCHORS[index][1] if anchored else None
            values = encoded(subtype, stride, anchor, box, cell)
            tell = sigmoid_inverse if subtype == "yolov3" else float
            grid[-1, :4, cell[1], cell[0]] = values
            grid[-1, 4, cell[1], cell[0]] = tell(0.999)
            grid[-1, 5 + label, cell[1], cell[0]] = tell(score)
        grid = grid.reshape(1, -1, *grid.shape[2:])
        outputs[f"out{index}_yolo"] = grid.transpose(0, 2, 3, 1) if interleaved else grid
    head = YoloGrids(
        outputs=tuple(outputs),
        subtype=subtype,
        n_classes=n_classes,
        size=SIZE,
        iou=0.5,
        anchors=ANCHORS if anchored else (),
        interleaved=frozenset(outputs) if interleaved else frozenset(),
    )
    (found,) = head.decode(outputs)
    np.testing.assert_allclose(found[:4], box, atol=1e-6)
    assert found[4] == pytest.approx(score * (0.999 if anchored else 1))
    assert found[5] == label


def depthais_boxes(outputs: dict[str, np.ndarray], head: dict[str, Any], folder: Path) -> np.ndarray:
    """What DepthAI's DetectionParser decodes on the host: (n, 6) as `YoloGrids` gives them."""
    import depthai as dai

    config = config_for(conv_model(height=SIZE[1], width=SIZE[0]), preprocessing=RGB, heads=[head])
    config["model"]["outputs"] = [
        {"name": name, "dtype": "float32", "shape": list(grid.shape)} for name, grid in outputs.items()
    ]
    path = folder / "net.tar"
    with tarfile.open(path, "w") as archive:
        for name, content in (("config.json", json.dumps(config).encode()), ("model.onnx", b"x")):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    with dai.Pipeline(False) as pipeline:
        parser = pipeline.create(dai.node.DetectionParser)
        parser.setNNArchive(dai.NNArchive(str(path)))
        parser.setRunOnHost(True)
        answers, questions = parser.out.createOutputQueue(), parser.input.createInputQueue()
        pipeline.start()
        data = dai.NNData()
        for name, grid in outputs.items():
            data.addTensor(
                name, np.ascontiguousarray(grid[0], np.float32), dai.TensorInfo.StorageOrder.CHW
            )
        data.setTransformation(dai.ImgTransformation(*SIZE))
        questions.send(data)
        message = answers.get()
        rows = [
            (
                d.xmin * SIZE[0],
                d.ymin * SIZE[1],
                d.xmax * SIZE[0],
                d.ymax * SIZE[1],
                d.confidence,
                d.label,
            )
            for d in message.detections
        ]
    return np.array(sorted(rows, key=lambda row: row[5]))


@pytest.mark.parametrize("subtype", ["yolov8", "yolov6r2", "yolov6r1", "yolov5", "yolov7", "yolov3"])
def test_depthais_own_parser_decodes_the_same_boxes(tmp_path: Path, subtype: str) -> None:
    rng = np.random.default_rng(3)
    anchors = ANCHORS if subtype in ("yolov5", "yolov7", "yolov3") else ()
    raw = subtype == "yolov3"
    outputs = {}
    for index, stride in enumerate(STRIDES):
        grid = np.full(
            (2 if anchors else 1, 8, SIZE[1] // stride, SIZE[0] // stride), -20.0 if raw else 0.0
        )
        row, column = (int(rng.integers(0, size)) for size in grid.shape[2:])
        grid[-1, :4, row, column] = rng.uniform(0.25, 0.6, 4) - 2 * raw  # boxes that do not meet
        for channel, value in ((4, 0.95), (5 + index, 0.6 + index / 10)):
            grid[-1, channel, row, column] = sigmoid_inverse(value) if raw else value
        outputs[f"output{index + 1}_yolo"] = grid.reshape(1, -1, *grid.shape[2:])
    metadata: dict[str, Any] = {
        "yolo_outputs": list(outputs), "subtype": subtype, "classes": list("abc"), "n_classes": 3,
        "iou_threshold": 0.5, "conf_threshold": 0.3, "max_det": 300,
    }  # fmt: skip
    if anchors:
        metadata["anchors"] = anchors
    head = {"parser": "YOLO", "metadata": metadata, "outputs": list(outputs)}
    ours = YoloGrids(
        outputs=tuple(outputs), subtype=subtype, n_classes=3, size=SIZE, iou=0.5, anchors=anchors
    ).decode(outputs)
    ours = ours[ours[:, 4] > 0.3]
    ours = ours[np.argsort(ours[:, 5])]
    ours[:, :4] = np.clip(ours[:, :4], 0, [*SIZE, *SIZE])
    np.testing.assert_allclose(ours, depthais_boxes(outputs, head, tmp_path), atol=0.1)


def test_plain_exports_and_rows_are_read() -> None:
    rows = np.zeros((1, 30, 8))
    rows[0, 7] = [50, 40, 20, 10, 0.9, 0.1, 0.8, 0.0]  # as YOLOv5 writes it: a confidence, 3 classes
    five = PlainExport(output="o", n_classes=3, has_confidence=True, iou=0.5)
    wanted = [40, 35, 60, 45, 0.72, 1]
    np.testing.assert_allclose(five.decode({"o": rows})[0], wanted)
    eight = np.delete(rows, 4, axis=2).transpose(0, 2, 1)
    eight[0, 5, 7] = 0.72
    head = PlainExport(output="o", n_classes=3, has_confidence=False, iou=0.5)
    np.testing.assert_allclose(head.decode({"o": eight})[0], wanted)
    finished = np.zeros((1, 300, 6), np.float32)
    finished[0, 0] = wanted
    np.testing.assert_allclose(FinishedRows(output="o").decode({"o": finished}), [wanted], rtol=1e-6)
    ssd = np.zeros((1, 1, 4, 7))
    ssd[0, 0, 0] = [0, 2, 0.5, 0.25, 0.5, 0.5, 0.75]
    ssd[0, 0, 1] = [-1, 0, 0.9, 0, 0, 1, 1]
    found = SsdRows(output="o", size=(80, 40)).decode({"o": ssd})
    np.testing.assert_allclose(found, [[20, 20, 40, 30, 0.5, 2]])


EXPORTS: dict[str, tuple[list[list[int]], int | None, Any]] = {
    "v8": ([[1, 7, 420]], 3, PlainExport(output="o0", n_classes=3, has_confidence=False, iou=0.5)),
    "v5": ([[1, 420, 8]], 3, PlainExport(output="o0", n_classes=3, has_confidence=True, iou=0.5)),
    "v8, classes not listed": (
        [[1, 84, 8400]],
        None,
        PlainExport(output="o0", n_classes=80, has_confidence=False, iou=0.5),
    ),
    "v8 with masks": (
        [[1, 39, 420], [1, 32, 40, 32]],
        3,
        PlainExport(output="o0", n_classes=3, has_confidence=False, iou=0.5),
    ),
    "selected": ([[1, 300, 6]], 3, FinishedRows(output="o0")),
    "another number of classes": ([[1, 84, 8400]], 3, None),
    "no boxes": ([[1, 10]], 3, None),
}


@pytest.mark.parametrize("case", EXPORTS)
def test_exports_without_a_head_are_known_by_their_shapes(case: str) -> None:
    from converter.model import Tensor

    shapes, n_classes, wanted = EXPORTS[case]
    outputs = [
        Tensor(name=f"o{index}", dtype="float32", shape=tuple(shape))
        for index, shape in enumerate(shapes)
    ]
    assert next(_exports(outputs, n_classes, 2), None) == wanted


@given(st.integers(1, 40), st.integers(1, 3), st.sampled_from([0.3, 0.5, 0.7]), st.integers(0, 99))
@space(60)
def test_overlapping_boxes_are_dropped_as_onnx_runtime_drops_them(
    count: int, classes: int, iou: float, seed: int
) -> None:
    import onnxruntime

    rng = np.random.default_rng(seed)
    corners = rng.uniform(0, 40, (count, 2))
    boxes = np.concatenate([corners, corners + rng.uniform(2, 30, (count, 2))], axis=1).astype(
        np.float32
    )
    scores = rng.uniform(0.01, 1, (count, classes)).astype(np.float32)
    node = helper.make_node("NonMaxSuppression", ["b", "s", "n", "i", "t"], ["y"])
    graph = helper.make_graph(
        [node], "nms",
        [helper.make_tensor_value_info("b", TensorProto.FLOAT, [1, count, 4]),
         helper.make_tensor_value_info("s", TensorProto.FLOAT, [1, classes, count])],
        [helper.make_tensor_value_info("y", TensorProto.INT64, None)],
        [onnx.numpy_helper.from_array(np.array([999]), "n"),
         onnx.numpy_helper.from_array(np.array([iou], np.float32), "i"),
         onnx.numpy_helper.from_array(np.array([0.0], np.float32), "t")],
    )  # fmt: skip
    session = onnxruntime.InferenceSession(
        make_model(graph).SerializeToString(), providers=["CPUExecutionProvider"]
    )
    (kept,) = session.run(None, {"b": boxes[None], "s": scores.T[None]})
    wanted = sorted((round(float(scores[box, label]), 5), int(label)) for _, label, box in kept)
    found = best(boxes, scores, iou=iou)
    assert (np.diff(found[:, 4]) <= 0).all()
    assert sorted((round(float(row[4]), 5), int(row[5])) for row in found) == wanted


# ---------------------------------------------------------------- figures


@given(st.integers(2, 12), st.integers(1, 60), st.integers(0, 99))
@space(40)
def test_top_k_is_scikit_learns(classes: int, items: int, seed: int) -> None:
    from sklearn.metrics import top_k_accuracy_score

    rng = np.random.default_rng(seed)
    scores, truth = rng.normal(size=(items, classes)), rng.integers(0, classes, items)
    metric = TopK()
    for row, label in zip(scores, truth, strict=True):
        metric.add(row, int(label))
    found = metric.result()
    for k in (1, 5) if classes > 5 else (1,):
        if classes == 2:
            wanted = float(np.mean(scores.argmax(1) == truth))
        else:
            wanted = top_k_accuracy_score(truth, scores, k=k, labels=range(classes))
        assert found[f"top{k}"] == pytest.approx(wanted)


def test_scores_that_are_not_finite_or_all_equal_find_nothing_but_the_first() -> None:
    metric = TopK()
    metric.add(np.full(4, np.nan), 0)
    metric.add(np.zeros(4), 0)
    metric.add(np.zeros(4), 1)
    assert metric.result() == {"top1": pytest.approx(1 / 3)}


@given(st.integers(2, 6), st.integers(0, 99))
@space(40)
def test_mean_iou_is_scikit_learns(classes: int, seed: int) -> None:
    from sklearn.metrics import accuracy_score, jaccard_score

    rng = np.random.default_rng(seed)
    truth, found = rng.integers(0, classes, (2, 3, 8, 9))
    ignored = rng.random(truth.shape) < 0.1
    metric = MeanIou(classes)
    for one, other, odd in zip(found, truth, ignored, strict=True):
        metric.add(one, np.where(odd, 255, other))
    a, b = truth[~ignored], found[~ignored]
    known = sorted({*a.tolist(), *b.tolist()})
    result = metric.result()
    assert result["miou"] == pytest.approx(jaccard_score(a, b, average="macro", labels=known))
    assert result["pixel_accuracy"] == pytest.approx(accuracy_score(a, b))


def test_mean_average_precision_counts_as_coco_does() -> None:
    """Worked out by hand: one of two objects found, a wrong box behind it; 51 of 101 recalls reached."""
    metric = MeanAveragePrecision()
    truth = np.array([[0, 0, 10, 10, 0, 0], [40, 40, 60, 60, 0, 0]], np.float64)
    metric.add(np.array([[0, 0, 10, 10, 0.9, 0], [80, 80, 90, 90, 0.5, 0]], np.float64), truth)
    assert metric.result()["map50"] == pytest.approx(51 / 101)
    perfect = MeanAveragePrecision()
    for _ in range(2):
        perfect.add(np.column_stack([truth[:, :4], [0.9, 0.8], truth[:, 4]]), truth)
    assert perfect.result() == {"map50": pytest.approx(1), "map": pytest.approx(1)}
    shifted = MeanAveragePrecision()
    moved = np.column_stack([truth[:, :4] + [1, 0, 1, 0], [0.9, 0.8], truth[:, 4]])
    shifted.add(moved, truth)
    result = shifted.result()
    assert result["map50"] == pytest.approx(1)
    assert 0.6 < result["map"] < 1  # IoU of 0.82 and 0.90
    empty = MeanAveragePrecision()
    empty.add(np.zeros((0, 6)), truth)
    assert empty.result() == {"map50": 0.0, "map": 0.0}


@pytest.mark.parametrize(
    ("axis", "shape"), [(1, (1, 3, 4, 5)), (3, (1, 4, 5, 3)), (0, (3, 4, 5)), (2, (4, 5, 3))]
)
def test_a_map_of_scores_becomes_classes_on_every_axis(axis: int, shape: tuple[int, ...]) -> None:
    classes = np.random.default_rng(0).integers(0, 3, (4, 5))
    scores = np.moveaxis(np.eye(3)[classes], 2, axis % 3 if len(shape) == 3 else max(0, axis - 1))
    found = ClassMap(output="o", axis=axis).decode({"o": scores.reshape(shape)})
    np.testing.assert_array_equal(found, classes)
    numbers = ClassMap(output="o", axis=None).decode({"o": classes.reshape(1, 1, 4, 5)})
    np.testing.assert_array_equal(numbers, classes)
    above = ClassMap(output="o", axis=1, threshold=0.5).decode(
        {"o": (classes == 1).reshape(1, 1, 4, 5) * 0.6}
    )
    np.testing.assert_array_equal(above, classes == 1)


# ---------------------------------------------------------------- finding


def options(**values: Any) -> Options:
    return resolve(
        [Layer(origin="test", values={f"verify.{key}": value for key, value in values.items()})]
    )


def labelled(source: Path, **values: Any) -> Labelled:
    found = plan(source, "rvc2", options=options(**values), toolchain="native").labelled
    assert isinstance(found, Labelled)
    return found


HEAD = {
    "parser": "ClassificationParser",
    "metadata": {"classes": list("abcdef"), "n_classes": 6, "is_softmax": False},
    "outputs": ["scores"],
}


def classifier(folder: Path, *, head: bool = True, batch: int = 1) -> Path:
    net = conv_model()
    if batch > 1:
        for value in (*net.graph.input, *net.graph.output, *net.graph.value_info):
            value.type.tensor_type.shape.dim[0].dim_value = batch
    return write_folder(folder, net, config_for(net, preprocessing=RGB, heads=[HEAD] if head else []))


def folders(root: Path, per_class: int = 4) -> Path:
    for name in "abc":
        for index in range(per_class):
            picture(root / name / f"{index}.png", np.full((12, 16, 3), index))
    return root


def test_folders_of_classes_are_data_and_labels_and_few_frames_are_spread_over_them(
    tmp_path: Path,
) -> None:
    source, data = classifier(tmp_path / "net"), folders(tmp_path / "data")
    every = labelled(source, labels=str(data))
    assert len(every.files) == 12
    assert every.meaning.output_names == ("scores",)
    few = labelled(source, labels=str(data), labelled_frames=3)
    assert [file[0] for file in few.files] == ["a", "b", "c"]
    assert few.data.inputs[0].files == few.files


def test_a_batch_has_as_many_labels_as_pictures(tmp_path: Path) -> None:
    source, data = classifier(tmp_path / "net", batch=4), folders(tmp_path / "data", per_class=2)
    found = labelled(source, labels=str(data))
    assert (len(found.files), found.data.frames) == (6, 2)


def test_without_a_head_the_shapes_must_tell(tmp_path: Path) -> None:
    source, data = classifier(tmp_path / "net", head=False), folders(tmp_path / "data")
    with pytest.raises(UsageError, match="neither a head nor a shape"):
        labelled(source, labels=str(data))


def test_frames_without_a_label_are_told_and_a_label_without_data_is_refused(tmp_path: Path) -> None:
    source, data = classifier(tmp_path / "net"), folders(tmp_path / "data")
    table = text(tmp_path / "l.csv", "a/0.png,a\nb/1.png,b")
    made = plan(source, "rvc2", options=options(labels=str(table), data=str(data)), toolchain="native")
    (said,) = [one.message for one in made.warnings if one.code == "verify.labels"]
    assert "10 of 12 frames have no label" in said
    with pytest.raises(UsageError, match="needs the frames"):
        labelled(source, labels=str(table))
    assert plan(source, "rvc2", options=options(labels=str(table), enabled=False)).labelled is None


def test_labels_change_no_plan_and_their_content_is_in_the_caches_key(tmp_path: Path) -> None:
    from converter.cache.key import key_of

    source, data = classifier(tmp_path / "net"), folders(tmp_path / "data")
    plain, with_labels = (
        plan(source, "rvc2", options=options(**more), toolchain="native")
        for more in ({}, {"labels": str(data)})
    )
    assert plain.hash == with_labels.hash
    before = key_of(with_labels, ".tar")
    assert before not in (None, key_of(plain, ".tar"))
    picture = next(path for path in data.rglob("*") if path.is_file())
    picture.rename(picture.with_name(f"other-{picture.name}"))
    assert key_of(with_labels, ".tar") != before


def test_labels_tell_the_task_where_no_head_does() -> None:
    assert Labels(task=Task.DETECTION, boxes={"a": []}).files == ["a"]
