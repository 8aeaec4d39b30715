"""What an output consists of is read from the graph: branches, indices, rows; and judged by that."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from converter.graph.branches import boxes_of
from converter.graph.outputs import OutputFacts, Part, output_facts
from converter.graph.simplify import infer_shapes
from converter.verification import verdict
from converter.verification.compare import Judged, compare
from converter.verification.figures import Resolution
from converter.verification.limits import Limits
from tests.sources import make_model
from tests.space import space

EIGHT_BITS = Limits(min_cosine=0.95, max_rel_rmse=0.35)
RNG = np.random.default_rng(3)


def graph(
    nodes: list[onnx.NodeProto], shapes: dict[str, tuple[int, ...]], **constants: Any
) -> ir.Model:
    """Nodes from the inputs in `shapes` (floats) to the output y."""
    inputs = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()
    ]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)]
    weights = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    made = make_model(helper.make_graph(nodes, "g", inputs, outputs, weights), 13)
    return infer_shapes(ir.from_proto(made))


def facts_of(model: ir.Model) -> OutputFacts:
    found = output_facts(model)["y"]
    assert OutputFacts.from_json(found.to_json()) == found
    return found


@space(25)
@given(st.data())
def test_elements_that_are_chosen_or_written_at_constant_places_are_parts(data: st.DataObject) -> None:
    shape = tuple(data.draw(st.lists(st.integers(1, 4), min_size=1, max_size=3)))
    kind = data.draw(st.sampled_from(["Where", "ScatterElements", "ScatterND"]))
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    chosen = rng.integers(0, 2, shape).astype(bool)
    places = np.argwhere(chosen)
    if kind == "Where":
        node = helper.make_node("Where", ["c", "b", "a"], ["y"])
        model = graph([node], {"a": shape, "b": shape}, c=chosen)
        written = chosen
    elif kind == "ScatterND":
        node = helper.make_node("ScatterND", ["a", "i", "b"], ["y"])
        model = graph([node], {"a": shape, "b": (len(places),)}, i=places - np.array(shape))
        written = chosen
    else:
        axis = data.draw(st.integers(0, len(shape) - 1))
        index = np.full([1 if i == axis else size for i, size in enumerate(shape)], -1, np.int64)
        node = helper.make_node("ScatterElements", ["a", "i", "b"], ["y"], axis=axis)
        model = graph([node], {"a": shape, "b": index.shape}, i=index)
        written = np.zeros(shape, bool)
        np.moveaxis(written, axis, 0)[-1] = True
    parts = {part.tensor: part.mask(shape) for part in facts_of(model).parts}
    if written.any() and not written.all():
        assert np.array_equal(parts["b"], written)
        assert np.array_equal(parts["a"], ~written)
    else:
        assert not parts


@st.composite
def joined(draw: st.DrawFn) -> tuple[ir.Model, list[str]]:
    """Branches joined along an axis, then moved about by nodes that keep every element."""
    rank = draw(st.integers(2, 4))
    axis = draw(st.integers(0, rank - 1))
    sizes = draw(st.lists(st.integers(1, 3), min_size=2, max_size=3))
    common = [draw(st.integers(1, 3)) for _ in range(rank)]
    names = [f"x{index}" for index in range(len(sizes))]
    shapes = {
        name: tuple(size if i == axis else common[i] for i in range(rank))
        for name, size in zip(names, sizes, strict=True)
    }
    nodes = [helper.make_node("Concat", names, ["t0"], axis=axis - rank)]
    shape = [sum(sizes) if i == axis else common[i] for i in range(rank)]
    constants: dict[str, Any] = {}
    for step in range(draw(st.integers(0, 3))):
        kind = draw(st.sampled_from(["Transpose", "Reshape", "Sigmoid", "Mul", "Slice"]))
        given, made = f"t{step}", f"t{step + 1}"
        if kind == "Transpose":
            order = draw(st.permutations(range(len(shape))))
            nodes.append(helper.make_node("Transpose", [given], [made], perm=order))
            shape = [shape[i] for i in order]
        elif kind == "Reshape":
            shape = [shape[0], int(np.prod(shape[1:]))] if draw(st.booleans()) else [*shape, 1]
            constants[f"s{step}"] = np.array(shape, np.int64)
            nodes.append(helper.make_node("Reshape", [given, f"s{step}"], [made]))
        elif kind == "Sigmoid":
            nodes.append(helper.make_node("Sigmoid", [given], [made]))
        elif kind == "Mul":
            constants[f"s{step}"] = np.float32(0.5)
            nodes.append(helper.make_node("Mul", [given, f"s{step}"], [made]))
        else:
            along = draw(st.integers(0, len(shape) - 1))
            for name, value in (("b", -1), ("e", -(2**31)), ("a", along), ("p", -1)):
                constants[f"{name}{step}"] = np.array([value], np.int64)
            nodes.append(
                helper.make_node("Slice", [given, *[f"{name}{step}" for name in "beap"]], [made])
            )
    nodes.append(helper.make_node("Identity", [nodes[-1].output[0]], ["y"]))
    return graph(nodes, shapes, **constants), names


@space(80)
@given(joined())
def test_the_parts_are_where_each_branch_has_its_elements(made: tuple[ir.Model, list[str]]) -> None:
    model, names = made
    parts = facts_of(model).parts
    proto = ir.to_proto(model)
    session = ort.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    shapes = {item.name: item.shape for item in session.get_inputs()}
    base = {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}
    (still,) = session.run(None, base)
    assert {part.tensor for part in parts} == set(names)
    for part in parts:
        (changed,) = session.run(None, base | {part.tensor: np.ones(shapes[part.tensor], np.float32)})
        assert np.array_equal(part.mask(still.shape), changed != still)


@space(50)
@given(st.lists(st.booleans(), min_size=12, max_size=12))
def test_boxes_cover_a_mask_exactly(bits: list[bool]) -> None:
    mask = np.array(bits).reshape(2, 3, 2)
    boxes = boxes_of(mask)
    assert boxes is not None
    part = Part(tensor="t", operator="", boxes=boxes)
    assert np.array_equal(part.mask(mask.shape), mask)


def boxes_and_scores() -> tuple[OutputFacts, np.ndarray]:
    """The facts and two frames of an output of pixel boxes beside scores."""
    nodes = [
        helper.make_node("Sigmoid", ["x1"], ["s"]),
        helper.make_node("Concat", ["x0", "s"], ["y"], axis=1),
    ]
    facts = facts_of(graph(nodes, {"x0": (1, 4, 50), "x1": (1, 3, 50)}))
    boxes = RNG.uniform(0, 640, (2, 1, 4, 50))
    scores = RNG.uniform(0, 0.77, (2, 1, 3, 50))
    return facts, np.concatenate([boxes, scores], 2)


def judged(
    facts: OutputFacts, a: np.ndarray, b: np.ndarray, resolution: Resolution, **known: Any
) -> dict[str, Any]:
    figures = compare(
        [{"y": frame} for frame in a],
        [{"y": frame} for frame in b],
        Judged(facts={"y": facts}, resolutions={"y": resolution}, **known),
    )
    return verdict.judge(figures, EIGHT_BITS, source_format="ONNX", checked_on="here", frames="2")


def test_scores_that_one_step_of_the_boxes_swallows_fail_by_name() -> None:
    facts, a = boxes_and_scores()
    step = 640 / 255
    record = judged(facts, a, np.round(a / step) * step, Resolution(step=step, levels=255))
    assert record["status"] == "failed"
    (said,) = record["reasons"]["y"]
    assert said == "y[:, 4:7] (scores): nothing of it is left: one step is 2.51, values reach 0.769"
    assert record["outputs"]["y"]["cosine"] > 0.9999


def test_the_same_output_in_16_bits_passes() -> None:
    facts, a = boxes_and_scores()
    step = 640 / 65535
    assert (
        judged(facts, a, np.round(a / step) * step, Resolution(step=step, levels=65535))["status"]
        == "passed"
    )


def test_scores_of_frames_without_an_object_may_blur() -> None:
    """NudeNet in INT8 on photos of cups and temples: off by more than the scores vary, nothing found."""
    facts, a = boxes_and_scores()
    a[:, :, 4:] = RNG.uniform(0, 0.03, (2, 1, 3, 50))
    b = a.copy()
    b[:, :, 4:] += RNG.uniform(0, 0.02, (2, 1, 3, 50))
    assert judged(facts, a, b, Resolution(step=1e-4, levels=65535))["status"] == "passed"
    assert judged(facts, a, b, Resolution(step=2.0**-14))["status"] == "passed"
    b[:, :, 4:] += RNG.uniform(0, 0.06, (2, 1, 3, 50))
    assert judged(facts, a, b, Resolution(step=1e-4, levels=65535))["status"] == "failed"


def test_what_float16_rounds_off_a_large_value_is_no_error_of_what_it_varies_by() -> None:
    a = np.concatenate([RNG.normal(0, 1, (2, 1, 40)), 280 + RNG.normal(0, 0.5, (2, 1, 40))], 1)[:, None]
    half = Resolution(step=2.0**-14)
    boxes = [((0, 1), (index, index + 1), (0, 40)) for index in (0, 1)]
    facts = OutputFacts(parts=tuple(Part(tensor="t", operator="", boxes=(box,)) for box in boxes))
    record = judged(facts, a, a.astype(np.float16).astype(float), half)
    assert record["status"] == "passed"
    assert [part["error"] for part in record["outputs"]["y"]["parts"]] == [0, 0]
    wrong = a.copy()
    wrong[:, :, 1] += RNG.choice([-0.6, 0.6], (2, 1, 40))
    record = judged(facts, a, wrong, half)
    assert record["status"] == "failed"
    assert "y[:, 1]" in record["reasons"]["y"][0]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda scores: scores * 0 + 0.5, "all 0.5, where the source goes from"),
        (lambda scores: np.minimum(scores, 0.1), "it stops at"),
        (lambda scores: scores[..., ::-1], "of its spread"),
    ],
    ids=["fell silent", "saturated", "lost its order"],
)
def test_a_part_that_tells_nothing_fails_although_the_whole_is_near(change: Any, said: str) -> None:
    facts, a = boxes_and_scores()
    b = a.copy()
    b[:, :, 4:] = change(a[:, :, 4:])
    record = judged(facts, a, b, Resolution(levels=65535, step=0.01))
    assert record["outputs"]["y"]["rel_rmse"] < 0.01
    assert record["status"] == "failed"
    assert said in record["reasons"]["y"][0]


def test_channels_of_unlike_range_are_parts_where_the_graph_shows_none() -> None:
    _, a = boxes_and_scores()
    b = a.copy()
    b[:, :, 4:] = 0
    record = judged(OutputFacts(), a, b, Resolution(step=640 / 255, levels=255))
    assert record["status"] == "failed"
    assert "y[:, 4:7] (channels 4 to 6)" in record["reasons"]["y"][0]


def test_a_silent_output_passes_and_what_is_below_a_step_is_no_difference() -> None:
    silent = RNG.uniform(0, 1e-7, (2, 1, 30))
    half = Resolution(step=2.0**-14)
    assert judged(OutputFacts(), silent, silent * 0, half)["status"] == "passed"
    assert judged(OutputFacts(), silent, silent * 0, Resolution())["status"] == "failed"
    presence = np.full((2, 1, 1), 0.001)
    assert (
        judged(OutputFacts(), presence, presence * 0, Resolution(step=1 / 255, levels=255))["status"]
        == "passed"
    )
    assert judged(OutputFacts(), presence + 1, presence * 0, half)["status"] == "failed"


@pytest.mark.parametrize("op", ["ArgMax", "ArgMin", "TopK"])
@pytest.mark.parametrize("axis", [1, 2, -1])
def test_indices_are_judged_by_what_they_point_at(op: str, axis: int) -> None:
    shape = (1, 6, 5, 4)
    if op == "TopK":
        nodes = [helper.make_node("TopK", ["x", "k"], ["v", "i"], axis=axis)]
    else:
        nodes = [helper.make_node(op, ["x"], ["i"], axis=axis, keepdims=0)]
    nodes.append(helper.make_node("Cast", ["i"], ["y"], to=TensorProto.FLOAT))
    model = graph(nodes, {"x": shape}, k=np.array([2], np.int64))
    facts = facts_of(model)
    assert facts.indexed == ("x", axis % 4)
    session = ort.InferenceSession(ir.to_proto(model).SerializeToString())
    x = RNG.normal(size=(2, *shape)).astype(np.float32)
    a = np.stack([session.run(None, {"x": frame})[0] for frame in x])
    near = np.stack(
        [
            session.run(None, {"x": frame + 1e-4 * RNG.normal(size=shape).astype(np.float32)})[0]
            for frame in x
        ]
    )
    known = {"pointed": {"y": list(x)}, "tolerance": 0.05}
    assert judged(facts, a, near, Resolution(), **known)["status"] == "passed"
    wrong = (a + 1) % shape[axis]
    record = judged(facts, a, wrong, Resolution(), **known)
    assert record["status"] == "failed"
    assert "indices point at" in record["reasons"]["y"][0]


def detections(rng: np.random.Generator = RNG) -> tuple[dict[str, OutputFacts], np.ndarray]:
    """Twelve rows (four boxes, a score) that a TopK chose, of two frames."""
    nodes = [
        helper.make_node("TopK", ["s", "k"], ["v", "i"], axis=1),
        helper.make_node("Unsqueeze", ["i", "last"], ["i1"]),
        helper.make_node("Tile", ["i1", "four"], ["i4"]),
        helper.make_node("GatherElements", ["b", "i4"], ["g"], axis=1),
        helper.make_node("Unsqueeze", ["v", "last"], ["v1"]),
        helper.make_node("Concat", ["g", "v1"], ["y"], axis=2),
    ]
    model = graph(
        nodes,
        {"s": (1, 40), "b": (1, 40, 4)},
        k=np.array([12], np.int64),
        last=np.array([2], np.int64),
        four=np.array([1, 1, 4], np.int64),
    )
    session = ort.InferenceSession(ir.to_proto(model).SerializeToString())
    frames = [
        session.run(
            None,
            {
                "s": rng.uniform(0, 1, (1, 40)).astype(np.float32),
                "b": rng.uniform(0, 300, (1, 40, 4)).astype(np.float32),
            },
        )[0]
        for _ in range(2)
    ]
    return output_facts(model), np.stack(frames)


def test_chosen_rows_are_a_set_whose_last_members_are_chance() -> None:
    facts, a = detections()
    fact = facts["y"]
    assert fact.rows == 1
    assert fact.chosen_by is not None
    swapped = a[:, :, [1, 0, 3, 2, *range(4, 12)]]
    swapped[:, 0, -1, :4] = 7  # another row with nearly the same score
    known = {"tolerance": 0.05}
    assert judged(fact, a, swapped, Resolution(), **known)["status"] == "passed"
    wrong = a.copy()
    wrong[:, :, :6, :4] = 150
    assert judged(fact, a, wrong, Resolution(), **known)["status"] == "failed"


def test_a_mode_is_not_refused_for_what_a_coarser_one_may_lose_but_a_user_is_told() -> None:
    expected = Limits(min_cosine=0.99, max_rel_rmse=0.15)
    limits = Limits(min_cosine=0.95, max_rel_rmse=0.35, expected=expected)
    a = RNG.normal(size=(1, 1, 400))
    b = a + 0.2 * RNG.normal(size=a.shape)
    record = verdict.judge(
        compare([{"y": a[0]}], [{"y": b[0]}]), limits, source_format="ONNX", checked_on="", frames=""
    )
    assert record["status"] == "passed"
    (said,) = verdict.notes(record, expected)
    assert "worse than its mode promises: relative RMSE 0." in said
    assert "is above 0.15" in said


def test_outputs_that_hardly_vary_prove_little() -> None:
    a = np.ones((3, 1, 10)) + 1e-6 * RNG.normal(size=(3, 1, 10))
    record = judged(OutputFacts(), a, a, Resolution())
    assert record["status"] == "passed"
    assert any("proves little for 'y'" in said for said in verdict.notes(record))


def scaled_scores(last: list[onnx.NodeProto]) -> OutputFacts:
    nodes = [
        helper.make_node("Sigmoid", ["x0"], ["s0"]),
        helper.make_node("Sigmoid", ["x1"], ["s1"]),
        helper.make_node("Concat", ["s0", "s1"], ["c"], axis=1),
        *last,
    ]
    scale = np.array([640, 640, 640, 640, 1, 1, 1], np.float32).reshape(1, 7, 1)
    model = graph(
        nodes, {"x0": (1, 4, 50), "x1": (1, 3, 50), "z": (1, 1, 50)}, k=scale, order=np.arange(7)[::-1]
    )
    return facts_of(model)


def test_scores_that_are_scaled_after_they_were_joined_have_other_bounds() -> None:
    """Boxes that a Sigmoid gave as shares of the picture, then pixels: a step of 2.5 is fine enough."""
    facts = scaled_scores([helper.make_node("Mul", ["c", "k"], ["y"])])
    assert [part.bounds for part in facts.parts] == [None, None]
    a = np.concatenate([RNG.uniform(0, 640, (2, 1, 4, 50)), RNG.uniform(0, 640, (2, 1, 3, 50))], 2)
    step = 640 / 255
    record = judged(facts, a, np.round(a / step) * step, Resolution(step=step, levels=255))
    assert record["status"] == "passed"
    assert [
        part.bounds for part in scaled_scores([helper.make_node("Identity", ["c"], ["y"])]).parts
    ] == [
        (0.0, 1.0),
        (0.0, 1.0),
    ]


@pytest.mark.parametrize("op", ["Mul", "Add", "Div", "Max", "Gather", "LeakyRelu", "both"])
def test_branches_are_seen_behind_another_operand_and_chosen_channels(op: str) -> None:
    last = {
        "Gather": [helper.make_node("Gather", ["c", "order"], ["y"], axis=1)],
        "LeakyRelu": [helper.make_node("LeakyRelu", ["c"], ["y"])],
        "both": [
            helper.make_node("Neg", ["c"], ["n"]),
            helper.make_node("Mul", ["c", "n"], ["y"]),
        ],
    }.get(op, [helper.make_node(op, ["c", "z"], ["y"])])
    where = [(0, 3), (3, 7)] if op == "Gather" else [(0, 4), (4, 7)]
    facts = scaled_scores(last)
    assert sorted(part.boxes[0][1] for part in facts.parts) == where
