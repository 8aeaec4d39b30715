"""Heads made for DepthAI's parsers: what they need is asked for, what they compare is compared."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from luxonis_ml.nn_archive.config_building_blocks.base_models import head_metadata as schema

from converter.bare.classes import read_classes
from converter.bare.heads import HeadHints, make_head
from converter.errors import UsageError
from converter.findings import Severity
from converter.graph.facts import TensorFacts

ANCHORS = (((10.0, 13.0), (16.0, 30.0), (33.0, 23.0)), ((30.0, 61.0), (62.0, 45.0), (59.0, 119.0)))


def tensor(name: str, *shape: int | str) -> TensorFacts:
    return TensorFacts(name=name, dtype="float32", shape=shape)


def grids(channels: int, *more: TensorFacts) -> list[TensorFacts]:
    return [
        *(
            tensor(f"output{i}_yolov8", 1, channels, 80 >> i, 80 >> i) for i in range(2)
        ),
        *more,
    ]  # fmt: skip


MASKS = (tensor("output1_masks", 1, 32, 80, 80), tensor("protos_output", 1, 32, 160, 160))
POSE = (tensor("kpt_output1", 1, 51, 6400),)
NAMES = ("cat", "dog")

# Kind, hints, outputs, and the class of luxonis-ml's that must take the metadata.
GOOD: list[tuple[str, dict[str, Any], list[TensorFacts], str, Any]] = [
    ("yolo", {"subtype": "yolov8"}, grids(7), "YOLO", schema.HeadYOLOMetadata),
    (
        "yolo",
        {"subtype": "yolov5", "anchors": ANCHORS},
        grids(21),
        "YOLO",
        schema.HeadYOLOMetadata,
    ),
    (
        "yolo",
        {"subtype": "yolov8", "n_prototypes": 32, "is_softmax": True},
        grids(7, *MASKS),
        "YOLOExtendedParser",
        schema.HeadYOLOMetadata,
    ),
    (
        "yolo",
        {"subtype": "yolov8", "n_keypoints": 17},
        grids(7, *POSE),
        "YOLOExtendedParser",
        schema.HeadYOLOMetadata,
    ),
    (
        "yolo",
        {"subtype": "yolo26"},
        [tensor("output_yolo26", 1, 300, 7)],
        "YOLO",
        schema.HeadYOLOMetadata,
    ),
    (
        "classification",
        {"is_softmax": True},
        [tensor("scores", "N", 2)],
        "ClassificationParser",
        schema.HeadClassificationMetadata,
    ),
    (
        "segmentation",
        {"is_softmax": False},
        [tensor("map", 1, 2, 40, 40)],
        "SegmentationParser",
        schema.HeadSegmentationMetadata,
    ),
    (
        "ssd",
        {},
        [tensor("boxes", 1, 100, 4), tensor("scores", 1, 100, 2)],
        "SSD",
        schema.HeadObjectDetectionSSDMetadata,
    ),
    ("ssd", {}, [tensor("out", 1, 1, 100, 7)], "SSD", schema.HeadObjectDetectionMetadata),
]


@pytest.mark.parametrize(("kind", "said", "outputs", "parser", "model"), GOOD)
def test_a_head_is_one_that_luxonis_ml_reads_as_that_kind(
    kind: str, said: dict[str, Any], outputs: list[TensorFacts], parser: str, model: Any
) -> None:
    head = make_head(kind, HeadHints(classes=NAMES, **said), outputs).config
    assert head["parser"] == parser
    assert head["outputs"] == [item.name for item in outputs]
    metadata = head["metadata"]
    assert (metadata["classes"], metadata["n_classes"]) == (list(NAMES), 2)
    model.model_validate(metadata)
    # Nothing in it that this kind of head does not have: an unknown key would make it another kind.
    assert set(metadata) <= set(model.model_fields)


def test_a_masks_head_names_each_part() -> None:
    hints = HeadHints(classes=NAMES, subtype="yolov8", n_prototypes=32, is_softmax=True)
    metadata = make_head("yolo", hints, grids(7, *MASKS)).config["metadata"]
    assert metadata["yolo_outputs"] == ["output0_yolov8", "output1_yolov8"]
    assert metadata["mask_outputs"] == ["output1_masks"]
    assert metadata["protos_outputs"] == "protos_output"


WRONG: list[tuple[str, dict[str, Any], list[TensorFacts], list[str]]] = [
    ("yolo", {}, grids(7), ["classes", "subtype"]),
    ("yolo", {"classes": NAMES, "subtype": "yolov5"}, grids(21), ["anchors", "n_classes", "n_classes"]),
    ("yolo", {"classes": NAMES, "subtype": "yolov8"}, grids(85), ["n_classes", "n_classes"]),
    (
        "yolo",
        {"classes": NAMES, "subtype": "yolov5", "anchors": ANCHORS[:1]},
        grids(21)[:1] + grids(7)[1:],
        ["anchors"],
    ),
    (
        "yolo",
        {"classes": NAMES, "subtype": "yolov8", "n_prototypes": 32, "is_softmax": True},
        grids(7),
        ["mask_outputs", "protos_outputs"],
    ),
    (
        "yolo",
        {"classes": NAMES, "subtype": "yolov8", "conf_threshold": 50.0, "max_det": 0},
        grids(7),
        ["conf_threshold", "max_det"],
    ),
    ("classification", {}, [tensor("a", 1, 2), tensor("b", 1, 2)], ["classes", "outputs", "is_softmax"]),
    (
        "classification",
        {"classes": NAMES, "is_softmax": True},
        [tensor("a", 1, 1000)],
        ["n_classes"],
    ),
    ("classification", {"classes": NAMES, "n_classes": 3, "is_softmax": True}, [tensor("a", 1, 2)], ["n_classes"]),
    ("segmentation", {"classes": NAMES, "is_softmax": True}, [tensor("a", 1, 21, 40, 40)], ["n_classes"]),
    ("ssd", {"classes": NAMES}, [tensor("a", 1, 4), tensor("b", 1, 4)], ["boxes_outputs", "scores_outputs"]),
    ("yolo", {"classes": NAMES, "subtype": "yolov8", "outputs": ("a",)}, grids(7), ["outputs"]),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "said", "outputs", "wrong"), WRONG)
def test_what_is_missing_or_does_not_fit_is_told_at_once(
    kind: str, said: dict[str, Any], outputs: list[TensorFacts], wrong: list[str]
) -> None:
    with pytest.raises(UsageError) as caught:
        make_head(kind, HeadHints(**said), outputs)
    assert [finding.where for finding in caught.value.findings] == wrong


def test_a_map_of_class_numbers_says_how_it_is_told() -> None:
    hints = HeadHints(classes=NAMES, is_softmax=True)
    index_map = TensorFacts(name="a", dtype="int64", shape=(1, 40, 50))
    with pytest.raises(UsageError, match="classes_in_one_layer"):
        make_head("segmentation", hints, [index_map])


def test_a_raw_export_of_ultralytics_is_warned_about() -> None:
    hints = HeadHints(classes=NAMES, subtype="yolov8")
    guesses = make_head("yolo", hints, [tensor("output0", 1, 6, 8400)]).guesses
    (warning,) = [guess for guess in guesses if guess.severity is Severity.WARNING]
    assert "[1, 6, 8400]" in warning.message
    assert "Luxonis' tools" in warning.remedy


def test_thresholds_nobody_gave_are_guesses() -> None:
    hints = HeadHints(classes=NAMES, subtype="yolov8", iou_threshold=0.4)
    head = make_head("yolo", hints, grids(7))
    assert [guess.where for guess in head.guesses] == ["conf_threshold", "max_det"]
    assert head.config["metadata"]["iou_threshold"] == 0.4


def test_a_count_alone_calls_the_classes_by_number() -> None:
    head = make_head("classification", HeadHints(n_classes=3, is_softmax=True), [tensor("a", 1, 3)])
    assert head.config["metadata"]["classes"] == ["0", "1", "2"]
    assert [guess.where for guess in head.guesses] == ["classes"]


def test_any_parser_gets_its_metadata_as_it_is() -> None:
    metadata = {"skeleton_edges": [[0, 1]], "score_threshold": 0.3, "classes": ["x"]}
    hints = HeadHints(metadata=metadata, outputs=("b",))
    head = make_head("HRNetParser", hints, [tensor("a", 1), tensor("b", 1)])
    assert head.config == {"parser": "HRNetParser", "metadata": metadata, "outputs": ["b"]}
    assert head.guesses == ()


def test_metadata_of_a_file_counts_as_given() -> None:
    hints = HeadHints(subtype="yolov8", metadata={"classes": ["cat", "dog"], "max_det": 5})
    head = make_head("yolo", hints, grids(7))
    assert head.config["metadata"]["n_classes"] == 2
    assert head.config["metadata"]["max_det"] == 5
    assert "max_det" not in [guess.where for guess in head.guesses]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("names.txt", "cat\nno\n 7 \n"),
        ("coco.names", "cat\r\nno\r\n7"),
        ("list.json", '["cat", "no", "7"]'),
        ("list.yaml", "- cat\n- no\n- 7\n"),
        ("data.yaml", "path: ../coco\nnc: 3\nnames: [cat, no, 7]\n"),
        ("numbered.yaml", "names:\n  1: no\n  0: cat\n  2: 7\n"),
        ("numbered.json", json.dumps({"0": "cat", "1": "no", "2": "7"})),
    ],
)
def test_class_names_are_read_in_every_usual_form(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content)
    assert read_classes(str(tmp_path / name)) == ("cat", "no", "7")


def test_class_names_of_the_command_line() -> None:
    assert read_classes("cat, no,7") == ("cat", "no", "7")
    assert read_classes("person") == ("person",)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("names.txt", "cat\n\ndog\n", "without a name, the one on place 2"),
        ("names.txt", "", "without a name"),
        ("data.yaml", "nc: 3\n", "no list of names"),
        ("data.yaml", "names: {0: a, 2: b}\n", "do not run from 0 to 1"),
        ("data.yaml", "names: [a, [b]]\n", "no list of names"),
        ("data.yaml", "names: [a\n", "neither YAML nor JSON"),
        ("data.yaml", "names: !!python/object/apply:os.getcwd []\n", "without a name"),
        ("missing.txt", None, "no such file"),
        ("/dev/null", None, "is no regular file"),
    ],
)
def test_no_class_names_are_a_plain_error(
    tmp_path: Path, name: str, content: str | None, message: str
) -> None:
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(UsageError, match=message):
        read_classes(str(tmp_path / name))
