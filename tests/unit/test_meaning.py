"""The headline of a comparison: what agrees, in the words of the head's parser."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from converter.verification.meaning import boxes, headlines
from tests.space import space

RNG = np.random.default_rng(11)


def headline(parser: str, a: list[Any], b: list[Any], **metadata: Any) -> dict[str, Any]:
    heads = [{"parser": parser, "outputs": ["y"], "metadata": metadata}]
    (found,) = headlines(heads, [{"y": np.array(x)} for x in a], [{"y": np.array(x)} for x in b])
    return found


def test_classes_are_counted_by_frame() -> None:
    found = headline("ClassificationParser", [[[1, 2, 3]], [[3, 2, 1]]], [[[1, 2, 4]], [[3, 4, 1]]])
    assert found["value"] == 0.5
    assert found["said"] == "the best class is the same in 1 of 2 frames"


@pytest.mark.parametrize("batch", [True, False])
def test_masks_are_compared_by_pixels_and_overlap(batch: bool) -> None:
    a = np.zeros((3, 4, 4))
    a[0, :, :2] = a[1, :, 2:] = 1
    b = a.copy()
    b[:, 0, 0] = (0, 0, 1)  # one pixel of sixteen has another class
    pair = (a[None], b[None]) if batch else (a, b)
    found = headline("SegmentationParser", [pair[0]], [pair[1]])
    assert found["pixels"] == pytest.approx(15 / 16)
    assert found["value"] == pytest.approx((7 / 8 + 1) / 2, abs=1e-3)


def test_a_map_of_class_numbers_and_one_of_a_single_class() -> None:
    numbers = RNG.integers(0, 4, (1, 1, 5, 5)).astype(float)
    found = headline("SegmentationParser", [numbers], [numbers + 0.2], classes_in_one_layer=True)
    assert found["value"] == 1
    mask = np.zeros((1, 1, 2, 2))
    mask[..., 0] = 0.9
    assert headline("SegmentationParser", [mask], [1 - mask])["pixels"] == 0


def test_keypoints_are_apart_in_the_parsers_unit() -> None:
    a = np.zeros((1, 6))
    found = headline(
        "KeypointParser", [a], [np.array([[3, 4, 0, 0, 0, 0]])], n_keypoints=3, scale_factor=1
    )
    assert found["worst"] == 5
    assert found["value"] == pytest.approx(5 / 3, abs=1e-3)


def test_embeddings_have_the_least_cosine() -> None:
    a = RNG.normal(size=(2, 1, 32))
    found = headline("EmbeddingsParser", list(a), [a[0], -a[1]])
    assert found["value"] == -1


def test_a_parser_that_is_not_known_has_none() -> None:
    assert (
        headlines([{"parser": "MyParser", "outputs": ["y"]}], [{"y": np.ones(3)}], [{"y": np.ones(3)}])
        == []
    )


def test_boxes_are_matched_by_class_and_overlap() -> None:
    wanted = np.array([[0, 0, 10, 10, 0.9, 0], [20, 20, 40, 40, 0.8, 1], [5, 5, 9, 9, 0.1, 0]])
    moved = wanted + np.array([1, 0, 1, 0, -0.05, 0])
    found = boxes([wanted], [moved], least=0.25)
    assert found["value"] == 1
    assert "2 of 2 boxes above 0.25 are found again" in found["said"]
    assert "scores within 0.05" in found["said"]
    other_class = moved.copy()
    other_class[0, 5] = 1
    assert boxes([wanted], [other_class], least=0.25)["value"] == 0.5
    assert boxes([wanted], [moved[:0]], least=0.25)["value"] == 0
    assert boxes([wanted[2:]], [moved], least=0.25)["value"] == 1  # the best, though not certain
    assert boxes([wanted[:0]], [moved], least=0.25)["value"] is None


def test_a_box_is_matched_once() -> None:
    twice = np.array([[0, 0, 10, 10, 0.9, 0], [0, 0, 10, 9, 0.9, 0]], float)
    assert boxes([twice], [twice[:1]], least=0.25)["value"] == 0.5


def test_boxes_that_only_the_result_has_are_counted() -> None:
    box = np.array([[0, 0, 10, 10, 0.9, 0]], float)
    spurious = np.vstack([box, [[50, 50, 60, 60, 0.8, 1]], [[70, 50, 80, 60, 0.26, 1]]])
    found = boxes([box], [spurious], least=0.25)
    assert found["value"] == 1
    assert found["others"] == 1
    assert found["said"].endswith("it finds 1 others")
    assert boxes([box[:0]], [spurious], least=0.25)["others"] == 2


def test_masks_with_the_channels_last_and_with_numbers_that_are_none() -> None:
    a = RNG.normal(size=(1, 6, 7, 4))
    assert headline("SegmentationParser", [a], [a[:, :, ::-1]], n_classes=4)["pixels"] < 0.5
    b = np.stack([a[..., 0] * 0, a[..., 0] * 0 + 1], -1)
    found = headline("SegmentationParser", [b], [b[:, ::-1]], n_classes=2)
    assert (found["pixels"], found["value"]) == (1, 1)
    numbers = np.full((1, 1, 3, 3), np.nan)
    found = headline("SegmentationParser", [numbers], [numbers], classes_in_one_layer=True)
    assert found["value"] == 0


@space(100)
@given(
    st.sampled_from(
        ["ClassificationParser", "EmbeddingsParser", "KeypointParser", "SegmentationParser"]
    ),
    hnp.array_shapes(min_dims=0, max_dims=5, min_side=0, max_side=4),
    st.data(),
)
def test_a_headline_comes_of_whatever_a_network_gives(
    parser: str, shape: tuple[int, ...], data: st.DataObject
) -> None:
    values = st.sampled_from([0.0, 1.0, -3.0, 1e30, np.nan, np.inf])
    a, b = (data.draw(hnp.arrays(np.float64, shape, elements=values)) for _ in range(2))
    metadata = data.draw(
        st.fixed_dictionaries(
            {},
            optional={
                "n_keypoints": st.sampled_from([0, 1, 2, None]),
                "scale_factor": st.sampled_from([0, 2.5, None]),
                "classes_in_one_layer": st.booleans(),
                "n_classes": st.sampled_from([1, 2, 3, None]),
            },
        )
    )
    with np.errstate(all="ignore"):
        headlines([{"parser": parser, "metadata": metadata, "outputs": ["y"]}], [{"y": a}], [{"y": b}])
