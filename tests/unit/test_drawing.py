"""What is drawn of outputs, and where: boxes, masks, keypoints, areas, bars, maps; pixels at places."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from converter.drawing.draw import PALETTE, color_of, drawn, picture_of, scale_of, sheet, tensor_picture
from converter.drawing.shown import Areas, Bars, Boxes, Heat, Points, Shown, views_of
from converter.model import ModelInput, SourceModel, Tensor
from converter.preprocessing import Color, Preprocessing
from converter.verification.accuracy import instances
from converter.verification.accuracy.boxes import YoloGrids

GRAY = (90, 90, 90)


def image(
    layout: str = "NCHW", color: Color = Color.RGB, size: tuple[int, int] = (96, 64)
) -> ModelInput:
    sizes = {"N": 1, "C": color.channels, "H": size[1], "W": size[0]}
    return ModelInput(
        name="x",
        dtype="float32",
        shape=tuple(sizes[axis] for axis in layout),
        layout=layout,
        is_image=True,
        preprocessing=Preprocessing(color=color),
    )


def model(outputs: dict[str, list[int]], heads: list[dict[str, Any]], **layouts: str) -> SourceModel:
    return SourceModel(
        archive_name="a",
        name="a",
        path="a.onnx",
        files={},
        inputs=(image(),),
        outputs=tuple(
            Tensor(name=name, dtype="float32", shape=tuple(shape), layout=layouts.get(name, ""))
            for name, shape in outputs.items()
        ),
        opset=13,
        config={"model": {"heads": heads}},
    )


def shown(made: SourceModel, outputs: dict[str, Any], like: Shown | None = None) -> Shown:
    (view,) = views_of(made, made.inputs[0])
    return view.read({name: np.asarray(value, np.float32) for name, value in outputs.items()}, like)


def plain(width: int = 320, height: int = 320) -> Any:
    from PIL import Image

    return Image.new("RGB", (width, height), GRAY)


# ------------------------------------------------------------------ frames


@pytest.mark.parametrize("layout", ["NCHW", "NHWC", "CHW", "HWC", "NWHC"])
def test_a_camera_frame_is_drawn_in_its_true_colours_in_every_layout(layout: str) -> None:
    item = image(layout)
    frame = np.zeros(item.shape, np.uint8)
    place = [0] * len(layout)
    place[layout.index("H")], place[layout.index("W")], place[layout.index("C")] = 5, 7, 2
    frame[tuple(place)] = 255  # the camera's third channel is red
    picture = picture_of(frame, item)
    assert picture.size == (96, 64)
    assert picture.getpixel((7, 5)) == (255, 0, 0)
    assert picture.getpixel((5, 7)) == (0, 0, 0)


def test_a_gray_frame_and_an_item_of_a_batch() -> None:
    item = dataclasses.replace(image("NCHW", Color.GRAY), shape=(2, 1, 64, 96))
    frame = np.zeros(item.shape, np.uint8)
    frame[1, 0, 3, 4] = 200
    assert picture_of(frame, item, 1).getpixel((4, 3)) == (200, 200, 200)
    assert picture_of(frame, item, 0).getpixel((4, 3)) == (0, 0, 0)


def test_swapped_colours_show_in_what_the_network_gets() -> None:
    """A red frame: a network that the config feeds BGR gets its red in the third channel.

    Mean and scale of the channels differ, and change no colour.
    """
    for color, expected in ((Color.RGB, (200, 0, 0)), (Color.BGR, (0, 0, 200))):
        for layout in ("NCHW", "NHWC"):
            known = Preprocessing(color=color, mean=(100.0, 2.0, 30.0), scale=(50.0, 0.5, 2.0))
            item = dataclasses.replace(image(layout), preprocessing=known)
            frame = np.zeros(item.shape, np.uint8)
            frame[(slice(None),) * item.channel_axis + (2,)] = 200
            tensor = item.preprocessing.apply(frame, item.channel_axis)
            assert tensor_picture(tensor, item).getpixel((0, 0)) == expected


# ------------------------------------------------------------------- heads


def yolo(**metadata: Any) -> dict[str, Any]:
    known = {"subtype": "yolov8", "classes": ["cat", "dog"], "n_classes": 2, "conf_threshold": 0.5}
    grids = {"yolo_outputs": ["output1_yolov8"]}
    return {"parser": "YOLOExtendedParser", "metadata": {**known, **grids, **metadata}}


def grid_with(row: int, column: int, score: float, label: int = 1) -> Any:
    """A grid of cells of 16 pixels; one cell has a box a cell wide."""
    values = np.zeros((1, 7, 4, 6), np.float32)
    values[0, :4, row, column] = 0.5
    values[0, 4, row, column] = values[0, 5 + label, row, column] = score
    return values


def test_a_box_lies_where_the_cell_is_with_its_name_and_colour() -> None:
    made = model({"output1_yolov8": [1, 7, 4, 6]}, [yolo()])
    found = shown(made, {"output1_yolov8": grid_with(2, 3, 0.9)})
    assert isinstance(found, Boxes)
    assert found.is_certain
    np.testing.assert_allclose(found.rows, [[48, 32, 64, 48, 0.9, 1]], atol=1e-6)
    frame = plain(96, 64)
    scale = int(scale_of(frame))
    picture = drawn(frame, found)
    assert picture.getpixel((56 * scale, 48 * scale)) == color_of(1)  # the lower edge
    assert picture.getpixel((56 * scale, 40 * scale)) == GRAY  # inside


def test_without_a_certain_box_the_best_ones_of_both_sides_are_drawn() -> None:
    made = model({"output1_yolov8": [1, 7, 4, 6]}, [yolo()])
    source = shown(made, {"output1_yolov8": grid_with(2, 3, 0.1)})
    assert isinstance(source, Boxes)
    assert (source.is_certain, len(source.rows)) == (False, 1)
    result = shown(made, {"output1_yolov8": grid_with(2, 3, 0.099)}, source)
    assert isinstance(result, Boxes)
    assert len(result.rows) == 1


def test_a_box_just_below_the_sources_threshold_is_not_lost() -> None:
    made = model({"output1_yolov8": [1, 7, 4, 6]}, [yolo()])
    source = shown(made, {"output1_yolov8": grid_with(0, 0, 0.501)})
    result = shown(made, {"output1_yolov8": grid_with(0, 0, 0.499)}, source)
    assert isinstance(result, Boxes)
    assert len(result.rows) == 1


def test_a_mask_fills_its_box_and_keypoints_lie_at_their_pixels() -> None:
    metadata = {
        "mask_outputs": ["output1_masks"],
        "protos_outputs": "protos_output",
        "n_prototypes": 2,
        "keypoints_outputs": ["kpt_output1"],
        "n_keypoints": 1,
    }
    shapes = {
        "output1_yolov8": [1, 7, 4, 6],
        "output1_masks": [1, 2, 4, 6],
        "protos_output": [1, 2, 16, 24],
        "kpt_output1": [1, 3, 24],
    }
    made = model(shapes, [yolo(**metadata)])
    outputs = {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}
    outputs["output1_yolov8"] = grid_with(2, 3, 0.9)
    outputs["output1_masks"][0, 1, 2, 3] = 1.0
    outputs["protos_output"][0, 1] = 1.0
    outputs["kpt_output1"][0, :, 2 * 6 + 3] = (50.0, 34.0, 9.0)
    found = shown(made, outputs)
    assert isinstance(found, Boxes)
    assert found.masks is not None
    assert found.keypoints is not None
    expected = np.zeros((16, 24), bool)
    expected[8:12, 12:16] = True  # the box, in the prototypes' size
    np.testing.assert_array_equal(found.masks[0], expected)
    np.testing.assert_allclose(found.keypoints[0], [[50, 34, 1 / (1 + np.exp(-9))]])
    scale = int(scale_of(plain(96, 64)))
    picture = drawn(plain(96, 64), found)
    assert picture.getpixel((50 * scale, 34 * scale)) == color_of(2)
    assert picture.getpixel((60 * scale, 40 * scale)) not in (GRAY, color_of(1))  # half transparent
    assert picture.getpixel((20 * scale, 40 * scale)) == GRAY


@settings(max_examples=30, deadline=None)
@given(
    anchors=st.integers(1, 3),
    strides=st.lists(st.sampled_from([8, 16, 32]), min_size=1, max_size=3, unique=True).map(sorted),
    seed=st.integers(0, 2**16),
)
def test_coefficients_belong_to_the_cell_of_their_box(
    anchors: int, strides: list[int], seed: int
) -> None:
    """Of any grids and anchors: the coefficient of a cell is that cell's number, and so the mask."""
    random = np.random.default_rng(seed)
    names = [f"output{index}_yolov5" for index in range(len(strides))]
    outputs, coefficients, count = {}, {}, 0
    for index, stride in enumerate(strides):
        height, width = 64 // stride, 96 // stride
        cells = anchors * height * width
        outputs[names[index]] = random.random((1, anchors * 6, height, width))
        numbers = (count + 1 + np.arange(cells)).reshape(anchors, height, width)
        coefficients[f"m{index}"] = numbers[None].astype(np.float32)
        count += cells
    sizes = [[[10.0, 10.0]] * anchors] * len(strides)
    decoder = YoloGrids(
        outputs=tuple(names), subtype="yolov5", n_classes=1, size=(96, 64), iou=1.0, anchors=sizes
    )
    rows, cells_found = decoder.found(outputs)
    np.testing.assert_array_equal(rows, decoder.decode(outputs))
    found = np.concatenate([instances._by_cell(values, 1) for values in coefficients.values()])
    np.testing.assert_array_equal(found[cells_found, 0], cells_found + 1)
    flat = np.concatenate(
        [
            (values.reshape(anchors, 6, -1)[:, 4] * values.reshape(anchors, 6, -1)[:, 5]).reshape(-1)
            for values in outputs.values()
        ]
    )
    np.testing.assert_allclose(rows[:, 4], flat[cells_found])


def test_the_finished_heads_keypoints_are_taken_as_they_are() -> None:
    values = np.arange(12, dtype=np.float32).reshape(1, 2, 6)
    found = instances.keypoints({"k": values}, ["k"], 2, np.array([1]), is_finished=True)
    np.testing.assert_array_equal(found, [[[6, 7, 8], [9, 10, 11]]])


@pytest.mark.parametrize(
    ("scores", "is_softmax"), [([0.1, 0.7, 0.2], True), (np.log([0.1, 0.7, 0.2]) + 5, False)]
)
def test_bars_are_shares_best_first(scores: Any, is_softmax: bool) -> None:
    metadata = {"classes": ["a", "b", "c"], "n_classes": 3, "is_softmax": is_softmax}
    made = model({"y": [1, 3]}, [{"parser": "ClassificationParser", "metadata": metadata}])
    found = shown(made, {"y": np.asarray(scores)[None]})
    assert isinstance(found, Bars)
    assert found.names == ("b", "c", "a")
    np.testing.assert_allclose(found.shares, [0.7, 0.2, 0.1], atol=1e-6)
    picture = drawn(plain(), found)
    assert picture.getpixel((int(0.69 * 320), 320 + 4 + 3)) == PALETTE[0]
    assert picture.getpixel((int(0.71 * 320), 320 + 4 + 3)) == (255, 255, 255)


def test_areas_have_the_colour_of_their_class_and_two_classes_a_background() -> None:
    metadata = {"classes": ["a", "b", "c"], "n_classes": 3}
    made = model({"y": [1, 3, 4, 6]}, [{"parser": "SegmentationParser", "metadata": metadata}])
    values = np.zeros((1, 3, 4, 6), np.float32)
    values[0, 2, :, 3:] = 1
    found = shown(made, {"y": values})
    assert isinstance(found, Areas)
    picture = drawn(plain(), found)
    # Half transparent.
    half = tuple((a + b) / 2 for a, b in zip(color_of(2), GRAY, strict=True))
    np.testing.assert_allclose(picture.getpixel((300, 10)), half, atol=2)
    background = dataclasses.replace(found, has_background=True)
    assert drawn(plain(), background).getpixel((10, 10)) == GRAY


@pytest.mark.parametrize("scale", [1.0, 96.0])
def test_keypoints_of_a_keypoint_parser_are_shares_over_its_scale(scale: float) -> None:
    head = {"parser": "KeypointParser", "metadata": {"n_keypoints": 2, "scale_factor": scale}}
    made = model({"y": [1, 4]}, [head])
    found = shown(made, {"y": np.array([[0.5, 0.5, 0.25, 1.0]]) * scale})
    assert isinstance(found, Points)
    np.testing.assert_allclose(found.points, [[48, 32], [24, 64]])


def test_without_a_head_a_map_of_numbers_has_the_sources_colours() -> None:
    made = model({"z": [1, 5], "y": [1, 2, 4, 6]}, [])
    values = np.zeros((1, 2, 4, 6), np.float32)
    values[0, :, 1, 2] = 4
    one = shown(made, {"y": values, "z": np.zeros((1, 5))})
    assert isinstance(one, Heat)
    assert (one.output, one.is_map, one.low, one.high) == ("y", True, 0, 4)
    other = shown(made, {"y": values / 2, "z": np.zeros((1, 5))}, one)
    assert isinstance(other, Heat)
    assert (other.low, other.high) == (0, 4)
    assert drawn(plain(), one).getpixel((130, 90)) != drawn(plain(), other).getpixel((130, 90))


def test_a_head_that_nobody_here_decodes_is_shown_as_numbers() -> None:
    made = model({"y": [1, 10]}, [{"parser": "MLSDParser", "metadata": {}}])
    found = shown(made, {"y": np.arange(10)[None]})
    assert isinstance(found, Heat)
    assert not found.is_map
    assert found.values.shape == (3, 4)


def test_each_head_has_a_view() -> None:
    classes = {"classes": ["a", "b"], "n_classes": 2}
    heads = [
        {"parser": "ClassificationParser", "metadata": classes, "outputs": ["y"]},
        {"parser": "SegmentationParser", "metadata": classes, "outputs": ["z"]},
    ]
    made = model({"y": [1, 2], "z": [1, 2, 4, 6]}, heads)
    outputs = {"y": np.array([[0.9, 0.1]]), "z": np.zeros((1, 2, 4, 6))}
    found = [view.read(outputs, None) for view in views_of(made, made.inputs[0])]
    assert [type(one) for one in found] == [Bars, Areas]


def test_a_sheet_puts_pictures_side_by_side() -> None:
    picture = sheet(("one", "two"), [((plain(), plain()), "said"), ((plain(), plain()), "more")])
    assert picture.width == 3 * 12 + 2 * 320
    column = [picture.getpixel((100, y)) for y in range(picture.height)]
    assert column.count(GRAY) >= 640
