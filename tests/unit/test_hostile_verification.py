"""Wrong networks that could pass, and sound ones that could fail, by the figures and the verdict."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from onnx import helper

from converter.errors import ToolError
from converter.graph.outputs import OutputFacts, Part
from converter.options.resolve import Layer, resolve
from converter.verification import verdict
from converter.verification.compare import Judged, compare
from converter.verification.figures import Resolution
from converter.verification.groups import range_groups
from converter.verification.limits import Limits
from converter.verification.rows import matched
from tests.space import space
from tests.unit.test_outputs import detections, facts_of, graph

RNG = np.random.default_rng(11)
EIGHT_BITS = Limits(min_cosine=0.95, max_rel_rmse=0.35)
HALF = Limits(min_cosine=0.9999, max_rel_rmse=0.01)
HALF_STEP = Resolution(step=2.0**-14)


def judge(
    a: Any,
    b: Any,
    limits: Limits = HALF,
    facts: OutputFacts | None = None,
    resolution: Resolution = HALF_STEP,
    **known: Any,
) -> dict[str, Any]:
    """The record of frames of one output."""
    figures = compare(
        [{"y": np.asarray(frame)} for frame in a],
        [{"y": np.asarray(frame)} for frame in b],
        Judged(facts={"y": facts} if facts else {}, resolutions={"y": resolution}, **known),
    )
    return verdict.judge(figures, limits, source_format="ONNX", checked_on="here", frames="some")


def boxes_and_scores(top: float, frames: int = 2) -> tuple[OutputFacts, np.ndarray]:
    nodes = [
        helper.make_node("Sigmoid", ["x1"], ["s"]),
        helper.make_node("Concat", ["x0", "s"], ["y"], axis=1),
    ]
    facts = facts_of(graph(nodes, {"x0": (1, 4, 50), "x1": (1, 3, 50)}))
    boxes = RNG.uniform(0, 640, (frames, 1, 4, 50))
    return facts, np.concatenate([boxes, RNG.uniform(0, top, (frames, 1, 3, 50))], 2)


# ---------------------------------------------------------------- parts


@pytest.mark.parametrize("limits", [HALF, EIGHT_BITS])
def test_scores_that_are_near_zero_in_the_source_may_not_become_large(limits: Limits) -> None:
    facts, a = boxes_and_scores(top=0.001)
    b = a.copy()
    b[:, :, 4:] = RNG.uniform(0.3, 0.9, b[:, :, 4:].shape)
    record = judge(a, b, limits, facts)
    assert record["status"] == "failed"
    assert "y[:, 4:7] (scores): it goes from 0.3" in record["reasons"]["y"][0]
    b[:, :, 4:] = 0.0
    assert judge(a, b, limits, facts)["status"] == "passed"


def test_a_constant_part_keeps_its_number() -> None:
    facts, a = boxes_and_scores(top=0)
    a[:, :, 4:] = 0.5
    b = a.copy()
    b[:, :, 4:] += 2.0**-12
    assert judge(a, b, HALF, facts)["status"] == "passed"
    b[:, :, 4:] = 0.9
    assert judge(a, b, HALF, facts)["status"] == "failed"


@pytest.mark.parametrize("limits", [HALF, EIGHT_BITS])
def test_a_result_that_does_not_follow_the_frames_fails(limits: Limits) -> None:
    """Landmarks move little about their mean: the mean alone is within the limits of the whole."""
    share = 0.5 * limits.max_rel_rmse
    mean = RNG.uniform(50, 100, (1, 1, 40))
    a = mean * (1 + share * RNG.normal(size=(4, 1, 40)))
    record = judge(a, np.broadcast_to(a.mean(axis=0), a.shape), limits)
    assert record["outputs"]["y"]["rel_rmse"] < limits.max_rel_rmse
    assert record["status"] == "failed"
    assert "nearly the same for every frame" in record["reasons"]["y"][-1]
    assert judge(a, a * (1 + 2.0**-11), limits)["status"] == "passed"


def test_what_float16_cannot_tell_beside_an_offset_is_not_asked_for() -> None:
    a = 1000 + RNG.uniform(0, 0.3, (3, 1, 60))
    assert judge(a, a.astype(np.float16))["status"] == "passed"
    assert judge(a, np.full_like(a, 1000))["status"] == "passed"
    a = 1000 + RNG.uniform(0, 15, (3, 1, 60))
    assert judge(a, a.astype(np.float16))["status"] == "passed"
    lost = judge(a, np.full_like(a, a.mean()))
    assert lost["outputs"]["y"]["rel_rmse"] < HALF.max_rel_rmse
    assert "all 1.01e+03, where the source goes from" in lost["reasons"]["y"][0]


def test_scores_alone_without_a_step_fail() -> None:
    node = helper.make_node("Sigmoid", ["x"], ["y"])
    facts = facts_of(graph([node], {"x": (1, 30)}))
    a = RNG.uniform(0, 0.9, (2, 1, 30))
    coarse = Resolution(step=1.88, levels=255)
    record = judge(a, a * 0, EIGHT_BITS, facts, coarse)
    assert "y: nothing of it is left: one step is 1.88, values reach 0.8" in record["reasons"]["y"][0]


def test_a_pass_by_the_floor_alone_is_told() -> None:
    a = RNG.uniform(1, 1.9, (2, 1, 30))
    record = judge(a, np.full_like(a, 1.0), EIGHT_BITS, resolution=Resolution(step=1.0, levels=255))
    assert record["status"] == "passed"
    assert any(
        "passes only because its format tells no less than 1:" in x for x in verdict.notes(record)
    )


def test_one_quiet_class_does_not_hide_that_all_scores_are_gone() -> None:
    a = RNG.uniform(0, 0.9, (2, 1, 85, 100))
    a[:, :, :4] *= 640
    a[:, :, 40] *= 1e-4
    b = a.copy()
    b[:, :, 4:] = 0
    record = judge(a, b, EIGHT_BITS, resolution=Resolution(step=0.01, levels=65535))
    assert record["outputs"]["y"]["rel_rmse"] < 0.01
    assert record["status"] == "failed"
    assert {part["where"] for part in record["outputs"]["y"]["parts"]} >= {"[:, 0:4]"}


@pytest.mark.parametrize(
    ("shape", "layout"), [((1, 100, 5), "NCD"), ((100, 5), "CD"), ((1, 100, 5), "NAB")]
)
def test_the_numbers_of_a_row_are_its_channels_whatever_the_layout_calls_them(
    shape: tuple[int, ...], layout: str
) -> None:
    a = RNG.uniform(0, 0.9, (2, *shape))
    a[..., :4] *= 640
    (boxes, scores) = range_groups(a, layout)
    assert (boxes.where(shape), scores.where(shape)) == (
        ("[:, :, 0:4]", "[:, :, 4]") if len(shape) == 3 else ("[:, 0:4]", "[:, 4]")
    )


def test_rows_of_a_picture_are_no_channels() -> None:
    a = RNG.uniform(0, 1, (2, 1, 8, 20, 4))
    a[..., :2] *= 1000
    assert range_groups(a, "NCHW") == ()


def test_a_score_alone_behind_boxes_is_a_part_and_a_quiet_feature_is_none() -> None:
    a = RNG.uniform(0, 0.9, (2, 1, 5, 100))
    a[:, :, :4] *= 640
    b = a.copy()
    b[:, :, 4] = 0
    record = judge(a, b, EIGHT_BITS, resolution=Resolution(step=2.5, levels=255))
    assert "y[:, 4] (channels 4 to 4): nothing of it is left" in record["reasons"]["y"][0]
    features = RNG.uniform(0, 1, (2, 1, 12, 100))
    features[:, :, 7] /= 50
    assert range_groups(features, "") == ()


@space(60)
@given(
    hnp.arrays(
        np.float64, hnp.array_shapes(min_dims=0, max_dims=3, max_side=24), elements=st.floats(0, 1)
    ),
    st.integers(-6, 6),
)
def test_groups_of_channels_cover_every_channel_once(scales: np.ndarray, power: int) -> None:
    a = np.stack([10.0 ** (power * scales), -(10.0 ** (power * scales))])
    groups = range_groups(a, "")
    if groups:
        assert len(groups) <= 8
        assert (sum(part.mask(scales.shape).astype(int) for part in groups) == 1).all()


def test_parts_of_another_shape_are_not_used() -> None:
    facts, a = boxes_and_scores(top=0.9)
    flat = a.reshape(2, 1, -1)
    assert judge(flat, flat, HALF, facts)["status"] == "passed"


def test_a_limit_of_the_user_holds_for_parts_as_well() -> None:
    facts, a = boxes_and_scores(top=0.9)
    b = a.copy()
    b[:, :, 4:] = 0.45
    own = {"verify.max_rel_rmse": 2.0, "verify.min_cosine": 0.0}
    chosen = EIGHT_BITS.chosen(resolve([Layer(origin="test", values=own)]))
    assert judge(a, b, EIGHT_BITS, facts)["status"] == "failed"
    assert judge(a, b, chosen, facts)["status"] == "passed"


# -------------------------------------------------------------- indices


def pointing(values: np.ndarray, found: np.ndarray, tolerance: float = 0.35) -> dict[str, Any]:
    facts = OutputFacts(indexed=("x", 1))
    return judge(
        values.argmax(2), found, EIGHT_BITS, facts, pointed={"y": list(values)}, tolerance=tolerance
    )


@pytest.mark.parametrize("mask", [-np.inf, -1e4, -1e9])
@pytest.mark.parametrize("share", [0.1, 0.6, 0.9])
def test_masked_values_do_not_make_every_index_a_near_tie(mask: float, share: float) -> None:
    x = RNG.normal(size=(2, 1, 20, 30))
    x[:, :, : int(20 * share)] = mask
    right = x.argmax(2)
    assert pointing(x, right)["status"] == "passed"
    assert pointing(x, np.where(right == 19, 18, right + 1))["status"] == "failed"


def test_indices_that_are_no_numbers_are_wrong() -> None:
    x = RNG.normal(size=(2, 1, 5, 30))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert pointing(x, np.full((2, 1, 30), np.nan))["status"] == "failed"
        assert pointing(x, np.full((2, 1, 30), np.inf))["status"] == "failed"


def test_a_class_that_the_result_never_gives_fails() -> None:
    x = RNG.normal(size=(1, 1, 6, 4000))
    x[:, :, 5] -= 9
    x[:, :, 5, :120] += 16
    right = x.argmax(2)
    record = pointing(x, np.where(right == 5, 0, right))
    assert record["outputs"]["y"]["wrong"] < EIGHT_BITS.max_wrong_indices
    assert record["reasons"]["y"][0].startswith("the index 5 is lost")


# ----------------------------------------------------------------- rows


def rows_of(scores: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    return np.concatenate([boxes, scores[..., None]], -1)


def test_a_row_that_is_not_finite_fails_even_where_the_source_is_zero() -> None:
    facts, a = detections(RNG)
    a[:, :, 0, :4] = 0
    b = a.copy()
    b[:, :, 0, :4] = np.nan
    b[:, :, -1, 0] = np.inf  # a row that is not certain
    for bad in (b, np.where(np.isnan(b), a, b)):
        assert judge(a, bad, HALF, facts["y"], tolerance=0.01)["status"] == "failed"


def test_scores_in_the_wrong_order_fail() -> None:
    facts, a = detections(RNG)
    assert judge(a, a[:, :, ::-1], EIGHT_BITS, facts["y"], tolerance=0.35)["status"] == "failed"


@pytest.mark.parametrize("largest", [0, 1])
@pytest.mark.parametrize("ordered", [0, 1])
@pytest.mark.parametrize("last", ["", "Sigmoid", "Identity"])
def test_scores_of_their_own_tell_which_rows_are_certain(largest: int, ordered: int, last: str) -> None:
    nodes = [
        helper.make_node("TopK", ["s", "k"], ["v", "i"], axis=1, largest=largest, sorted=ordered),
        helper.make_node(last, ["v"], ["y"])
        if last
        else helper.make_node("Unsqueeze", ["v", "k0"], ["y"]),
    ]
    model = graph(nodes, {"s": (1, 40)}, k=np.array([12], np.int64), k0=np.array([2], np.int64))
    facts = facts_of(model)
    assert (facts.rows, facts.largest, facts.ordered) == (1, bool(largest), bool(ordered))
    assert facts.parts[0].ranked
    boxes = OutputFacts(chosen_by=facts.chosen_by, rows=1, largest=facts.largest, ordered=facts.ordered)
    scores = np.linspace(1, 0.1, 12)[None] * (1 if largest else -1)
    scores = scores if last else scores[..., None]
    values = RNG.uniform(0, 300, (1, 12, 4))
    other = values.copy()
    other[:, -1] = 7  # another row with a score as good as the last one's
    both = {"y": facts, "b": boxes}
    known = Judged(facts=both, tolerance=0.05)
    sound = compare([{"y": scores, "b": values}], [{"y": scores, "b": other}], known)
    assert sound["b"]["rel_rmse"] == 0
    assert "ranked" in sound["y"]
    other[:, 0] = 7
    wrong = compare([{"y": scores, "b": values}], [{"y": scores, "b": other}], known)
    assert wrong["b"]["rel_rmse"] > 0.1
    mixed = np.roll(scores, 5, axis=1)
    told = compare([{"y": scores, "b": values}], [{"y": mixed, "b": np.roll(values, 5, 1)}], known)
    assert (told["y"]["ranked"]["rel_rmse"] > 0.1) == bool(ordered)


def test_rows_that_are_chosen_for_each_class_are_paired_within_it() -> None:
    nodes = [
        helper.make_node("TopK", ["s", "k"], ["v", "i"], axis=2),
        helper.make_node("Cast", ["v"], ["y"], to=1),
    ]
    facts = facts_of(graph(nodes, {"s": (1, 3, 40)}, k=np.array([8], np.int64)))
    assert (facts.rows, facts.groups) == (2, 3)
    a = -np.sort(-RNG.uniform(0, 1, (1, 1, 3, 8)), axis=-1)
    boxes = OutputFacts(chosen_by=facts.chosen_by, rows=2, groups=3)
    values = RNG.uniform(0, 300, (1, 3, 8, 4))
    swapped = values.copy()
    swapped[:, 1, [2, 3]] = swapped[:, 1, [3, 2]]
    known = Judged(facts={"y": facts, "b": boxes}, tolerance=0.01)
    scores = a[0]
    scores[:, 1, 3] = scores[:, 1, 2] - 1e-6
    found = compare([{"y": scores, "b": values}], [{"y": scores, "b": swapped}], known)
    assert found["b"]["rel_rmse"] < 1e-3
    swapped = values[:, [1, 0, 2]]
    found = compare([{"y": scores, "b": values}], [{"y": scores, "b": swapped}], known)
    assert found["b"]["rel_rmse"] > 0.1


def test_rows_that_all_tie_are_not_compared_and_that_is_told() -> None:
    facts, a = detections(RNG)
    a[..., 4] = 1.0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        record = judge(a, a[:, :, ::-1], HALF, facts["y"], tolerance=0.01)
    assert record["outputs"]["y"]["rows"] == 0
    assert any("rows of 'y' were not compared" in said for said in verdict.notes(record))
    b = a.copy()
    b[..., 4] = 0.2
    assert judge(a, b, HALF, facts["y"], tolerance=0.01)["status"] == "failed"


def test_a_constant_column_does_not_decide_which_rows_are_pairs() -> None:
    facts, a = detections(RNG)
    a[..., 0] = 5.0
    b = a[:, :, [1, 0, *range(2, 12)]] + RNG.normal(0, 1e-3, a.shape)
    b[..., 4] = a[..., 4]
    b[:, :, :2, 4] = a[:, :, [1, 0], 4]
    assert (
        judge(a, np.sort(b, 2) * 0 + b, EIGHT_BITS, facts["y"], tolerance=0.35)["outputs"]["y"][
            "rel_rmse"
        ]
        < 1e-3
    )


@space(80)
@given(
    hnp.arrays(np.float64, (7, 3), elements=st.sampled_from([0.0, 1.0, -2.0, 1e200, np.inf, np.nan])),
    st.permutations(range(7)),
)
def test_rows_find_their_partners_whatever_they_hold(rows: np.ndarray, order: list[int]) -> None:
    facts = {"y": OutputFacts(chosen_by="t", rows=0)}
    with np.errstate(all="ignore"):
        one, other, share = matched({"y": rows}, {"y": rows[order]}, ["y"], facts, 0.1)
    assert share == 1
    assert sorted(map(repr, one["y"])) == sorted(map(repr, rows))
    assert sorted(map(repr, other["y"])) == sorted(map(repr, rows))


def test_many_equal_rows_are_paired_in_a_moment() -> None:
    facts = {"y": OutputFacts(chosen_by="t", rows=0)}
    rows = np.zeros((1500, 6))
    rows[:10] = RNG.uniform(0, 1, (10, 6))
    one, other, _ = matched({"y": rows}, {"y": np.roll(rows, 700, 0)}, ["y"], facts, 0.1)
    assert np.array_equal(one["y"], other["y"])


# --------------------------------------------------- what cannot be judged


def test_a_result_without_all_outputs_and_frames_is_refused() -> None:
    frame = {"y": np.ones((1, 5))}
    for actual in ([frame], [frame, {}], [frame, {"y": np.ones((1, 4))}]):
        with pytest.raises(ToolError):
            compare([frame, frame], actual)
    with pytest.raises(ToolError, match="no output that was compared"):
        verdict.judge({}, HALF, source_format="ONNX", checked_on="", frames="")


VALUES = st.sampled_from([0.0, -0.0, 1.0, -3.5, 1e-9, 1e30, np.inf, -np.inf, np.nan])


@space(150)
@given(st.data())
def test_equal_results_pass_whatever_the_shape_and_the_values(data: st.DataObject) -> None:
    shape = data.draw(hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4))
    dtype = data.draw(st.sampled_from([np.float64, np.float32, np.int64, np.uint8, np.bool_]))
    values: Any = VALUES if dtype in (np.float64, np.float32) else None
    frames = [data.draw(hnp.arrays(dtype, shape, elements=values)) for _ in range(2)]
    parts = ()
    if len(shape) and shape[0] > 1:
        rest = tuple((0, size) for size in shape[1:])
        parts = (
            Part(tensor="a", operator="Sigmoid", boxes=(((0, 1), *rest),), bounds=(0.0, 1.0)),
            Part(tensor="b", operator="Conv", boxes=(((1, shape[0]), *rest),)),
        )
    resolution = data.draw(
        st.sampled_from([Resolution(), HALF_STEP, Resolution(step=1e-3, levels=65535)])
    )
    with np.errstate(all="ignore"):
        record = judge(frames, frames, HALF, OutputFacts(parts=parts), resolution)
    assert record["status"] == "passed"
    verdict.notes(record, EIGHT_BITS)
    verdict.large(record)


def test_a_wrong_part_of_one_blob_of_a_superblob_is_not_hidden_by_a_larger_error_of_another() -> None:
    facts, a = boxes_and_scores(top=0.9)
    rough, silent = a * 1.005, a.copy()
    silent[:, :, 4:] = 0
    known = Judged(facts={"y": facts})
    base, other = (compare([{"y": a[0]}], [{"y": side[0]}], known) for side in (rough, silent))
    assert other["y"]["rel_rmse"] < base["y"]["rel_rmse"]
    kept = verdict.worse(base, other, HALF, {})
    assert verdict.judge(kept, HALF, source_format="ONNX", checked_on="", frames="")["reasons"]
    assert verdict.worse(other, base, HALF, {}) == kept


# ------------------------------------------------- sound networks pass


def softmax(x: np.ndarray, axis: int) -> np.ndarray:
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    return np.asarray(e / e.sum(axis=axis, keepdims=True))


def sound_outputs(kind: str, rng: np.random.Generator) -> np.ndarray:
    """Two frames of an output of a kind that people have."""
    n = rng.normal
    match kind:
        case "features with dead channels":
            x = np.maximum(n(size=(2, 1, 64, 7, 7)) + n(size=(64, 1, 1)), 0)
            x[:, :, rng.integers(0, 64, 12)] = 0
            return x
        case "features of unlike channels":
            return np.asarray(n(size=(2, 1, 64, 7, 7)) * np.exp(n(size=(64, 1, 1))))
        case "embedding":
            x = n(size=(2, 1, 128))
            return np.asarray(x / np.linalg.norm(x, axis=-1, keepdims=True))
        case "softmax of a thousand":
            return softmax(4 * n(size=(2, 1, 1000)), -1)
        case "logits":
            return np.asarray(3 * n(size=(2, 1, 1000)))
        case "heatmap":
            x = np.zeros((2, 1, 17, 32, 32))
            for index in np.ndindex(2, 1, 17):
                x[(*index, *rng.integers(0, 32, 2))] = rng.uniform(0.2, 0.9)
            return x
        case "one number":
            return np.asarray(n(size=(2, 1, 1)) + 3)
        case "landmarks":
            return np.asarray(rng.uniform(20, 200, 1404) + 3 * n(size=(2, 1, 1404)))
        case "nothing":
            return np.zeros((2, 1, 12))
        case "one hot":
            return np.eye(10)[rng.integers(0, 10, (2, 1))]
        case "depth":
            return np.asarray(10 + np.cumsum(n(size=(2, 1, 1, 40, 40)), -1))
        case "anchors' raw head":
            return np.asarray(2 * n(size=(2, 1, 255, 10, 10)) - 4)
        case _:
            return np.asarray(300 + n(size=(2, 1, 50)))


KINDS = [
    "features with dead channels",
    "features of unlike channels",
    "embedding",
    "softmax of a thousand",
    "logits",
    "heatmap",
    "one number",
    "landmarks",
    "nothing",
    "one hot",
    "depth",
    "anchors' raw head",
    "an offset",
]


@space(80)
@given(st.sampled_from(KINDS), st.integers(0, 10**6), st.sampled_from(["", "NCHW"]))
def test_float16_of_a_sound_network_passes(kind: str, seed: int, layout: str) -> None:
    rng = np.random.default_rng(seed)
    a = sound_outputs(kind, rng)
    b = (a * (1 + 5e-4 * rng.normal(size=a.shape))).astype(np.float16)
    known = {"layouts": {"y": layout}} if layout and a.ndim == 5 else {}
    record = judge(a, b, HALF, **known)
    assert record["status"] == "passed", record["reasons"]


@space(100)
@given(st.sampled_from(KINDS), st.integers(0, 10**6), st.sampled_from(["", "NCHW"]))
def test_eight_bits_of_a_sound_network_pass(kind: str, seed: int, layout: str) -> None:
    rng = np.random.default_rng(seed)
    a = sound_outputs(kind, rng)
    low, high = min(float(a.min()), 0.0), max(float(a.max()), 0.0)
    step = max((high - low) / 255, 1e-6)
    b = np.round((a + 0.7 * step * rng.normal(size=a.shape) * (a != 0)) / step) * step
    known = {"layouts": {"y": layout}} if layout and a.ndim == 5 else {}
    record = judge(a, b, EIGHT_BITS, resolution=Resolution(step=step, levels=255), **known)
    assert record["status"] == "passed", record["reasons"]
