"""Automatic mixed precision: points and their switches, the search, names, and the file of an assignment."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from converter.calibration.dataset import Calibration
from converter.calibration.feeds import evenly
from converter.errors import UsageError, VerificationError
from targets.rvc4.mixed import find as find_module
from targets.rvc4.mixed.assignment import Assignment, of_ranges, read_assignment
from targets.rvc4.mixed.judge import Drop, of_heads, worst
from targets.rvc4.mixed.names import heads_of, named
from targets.rvc4.mixed.points import points, rounded
from targets.rvc4.mixed.search import Forecast, between, confirmed, fewest, steps_of
from targets.rvc4.mixed.sensitivity import Loss, heaviest
from targets.rvc4.mixed.told import nodes_told, outputs_told
from targets.rvc4.mixed.wanted import Wanted
from targets.rvc4.parameters import Parameters
from targets.rvc4.quantization.network import Network
from targets.rvc4.quantization.quantize import quantize_file
from targets.rvc4.quantization.switched import Switched
from targets.rvc4.quantization.variants import in_place
from targets.rvc4.quantization.widths import Links, spread
from tests.unit.test_rvc4_widths import RANGES, SHAPE, F, detector, model_of, node

# ----------------------------------------------------------------- search


@given(
    losses=st.lists(st.floats(0, 1), min_size=1, max_size=70),
    limit=st.floats(0, 1),
    hints=st.none() | st.lists(st.integers(-5, 80), min_size=1, max_size=9),
)
@example(losses=[0.5], limit=0.1, hints=None)
@example(losses=[0.1], limit=0.1, hints=[3])
def test_the_count_that_is_found_is_the_least_where_losses_fall(
    losses: list[float], limit: float, hints: list[int] | None
) -> None:
    """Whatever is suggested. Tries: twice a bisection's to find the end, and two suggestions for each."""
    table = sorted(losses, reverse=True)
    asked: list[int] = []

    def loss(count: int) -> float:
        asked.append(count)
        return table[count]

    suggest = (lambda tried: hints[len(tried) % len(hints)]) if hints else None
    found = fewest(len(table) - 1, loss, limit, suggest=suggest)
    expected = next((count for count, value in enumerate(table) if value <= limit), None)
    assert found.count == expected
    assert len(asked) == len(set(asked)) <= 6 * len(table).bit_length() + 2
    assert table[found.best] == min(found.losses.values())


@given(losses=st.lists(st.floats(0, 1), min_size=2, max_size=40), hint=st.integers(0, 40))
def test_in_any_table_one_step_less_than_what_is_found_was_tried_and_is_beyond_the_limit(
    losses: list[float], hint: int
) -> None:
    found = fewest(len(losses) - 1, losses.__getitem__, 0.5, suggest=lambda _: hint)
    if found.count is None:
        assert losses[-1] > 0.5
    else:
        assert losses[found.count] <= 0.5
        assert found.count == 0 or found.losses[found.count - 1] > 0.5


@given(st.integers(1, 300), st.data())
def test_what_is_between_places_that_are_known_falls(count: int, data: st.DataObject) -> None:
    places = data.draw(st.sets(st.integers(0, count - 1), min_size=1))
    values = between({at: 1.0 / (1 + at) + (at % 3) / 10 for at in places}, count)
    assert len(values) == count
    assert all(one >= other for one, other in itertools.pairwise(values))


@given(
    squares=st.lists(st.floats(1e-6, 1), min_size=3, max_size=150),
    weights=st.floats(0, 0.3),
    slope=st.floats(0.5, 2),
    share=st.floats(0.01, 0.99),
)
def test_a_forecast_that_is_right_but_for_a_factor_and_an_offset_leaves_few_tries(
    squares: list[float], weights: float, slope: float, share: float
) -> None:
    order = sorted(squares, reverse=True)
    rests = [sum(order[count:]) for count in range(len(order) + 1)]
    table = [float(np.sqrt(slope * rest + weights**2)) for rest in rests]
    limit = table[-1] + share * (table[0] - table[-1])
    forecast = Forecast(rests=rests, limit=limit)
    found = fewest(len(order), table.__getitem__, limit, suggest=forecast)
    assert found.count == next(count for count, value in enumerate(table) if value <= limit)
    assert len(found.losses) <= 3 * len(rests).bit_length()


@given(losses=st.lists(st.floats(0, 1), min_size=1, max_size=60), found=st.integers(0, 59))
def test_what_was_found_grows_until_it_keeps_the_limit_on_other_frames(
    losses: list[float], found: int
) -> None:
    last = len(losses) - 1
    count = confirmed(min(found, last), last, losses.__getitem__, 0.5)
    if count is None:
        assert losses[-1] > 0.5
    else:
        assert losses[count] <= 0.5
        assert count == min(found, last) or losses[count - 1] > 0.5


def test_a_tensor_that_adds_no_node_joins_the_step_before() -> None:
    around = {"a": frozenset("12"), "b": frozenset("2"), "c": frozenset("23"), "d": frozenset()}
    steps = steps_of(["a", "b", "d", "c"], lambda names: around[names[0]])
    assert [step.tensors for step in steps] == [(), ("a", "b", "d"), ("a", "b", "d", "c")]
    assert [len(step.nodes) for step in steps] == [0, 2, 3]


def test_a_fifth_of_the_frames_is_kept_apart_where_there_are_enough() -> None:
    few = Calibration(inputs=(), frames=24)
    assert few.split() == (few, None)
    assert Calibration(inputs=(), frames=60, random=True).split()[1] is None
    for total in (25, 29, 60):
        searched, apart = Calibration(inputs=(), frames=total).split()
        assert apart is not None
        sides = [list(one._places(one.frames)) for one in (searched, apart)]
        assert sorted(sides[0] + sides[1]) == list(range(total))
        assert Calibration.from_call(apart.to_call(Path())) == apart
    assert evenly(3, 16) == [0, 1, 2]
    assert evenly(60, 4) == [0, 15, 30, 45]
    assert max(evenly(10_000, 16)) < 320


# ------------------------------------------------------------- switches


def gated() -> onnx.ModelProto:
    """A tail of few large values behind a SiLU, then two convolutions and an output that only moves."""
    rng = np.random.default_rng(0)
    nodes = [
        node("Conv", "x wa", "a"),
        node("Sigmoid", "a", "g"),
        node("Mul", "a g", "s"),
        node("Mul", "s s", "big"),
        node("Conv", "big wb", "b"),
        node("Relu", "b", "r"),
        node("Conv", "r wc", "c"),
        node("Transpose", "c", "out", perm=[0, 2, 3, 1]),
    ]
    weights = {name: rng.normal(0, 1, (4, 4, 1, 1)).astype(F) for name in ("wa", "wb", "wc")}
    return model_of(nodes, {"out": (1, 6, 6, 4)}, weights)


def quantized(
    folder: Path, model: onnx.ModelProto, frames: list[Any], wide: tuple[str, ...] = ()
) -> dict[str, Any]:
    from tests.unit.test_rvc4_widths import measured

    folder.mkdir(exist_ok=True)
    onnx.save(onnx.shape_inference.infer_shapes(model), folder / "float.onnx")
    return quantize_file(
        *(str(folder / "float.onnx"), str(folder / "network.onnx")),
        *({"min-max": measured(model, frames)}, 8, 8, True),
        *(None, None, [], [], "auto", {}, wide),
    )


FRAMES = [np.random.default_rng(seed).normal(0, 1, SHAPE).astype(F) for seed in range(3)]


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("net")
    quantized(folder, gated(), FRAMES)
    return folder


def test_the_points_are_what_the_network_quantizes_but_for_moves_and_fused_activations(
    net: Path,
) -> None:
    graph, network = (onnx.load(net / f"{name}.onnx").graph for name in ("float", "network"))
    found = points(graph, network)
    assert [point.tensor for point in found] == ["x", "a", "g", "s", "big", "r", "c"]
    assert found[2].scale == pytest.approx(1 / 255, rel=0.2)


def test_one_session_computes_every_subset_of_the_points(net: Path) -> None:
    import onnxruntime as ort

    graph, network = (onnx.load(net / f"{name}.onnx").graph for name in ("float", "network"))
    found = points(graph, network)
    switched = Switched(str(net / "float.onnx"), [point.tensor for point in found])

    def of(*on: int) -> Any:
        codes = [point.codes if index in on else None for index, point in enumerate(found)]
        return switched.run({"x": FRAMES[0]}, codes)["out"]

    plain = ort.InferenceSession(net / "float.onnx", providers=["CPUExecutionProvider"])
    (expected,) = plain.run(None, {"x": FRAMES[0]})
    assert np.allclose(switched.run({"x": FRAMES[0]})["out"], expected, atol=1e-5)
    errors = [float(np.abs(of(index) - expected).mean()) for index in range(len(found))]
    assert min(errors) > 0
    everywhere = np.abs(of(*range(len(found))) - expected).mean()
    assert everywhere > max(errors) / 2
    # By hand, at one of them.
    point = found[4]
    by_hand = onnx.load(net / "float.onnx")
    by_hand.graph.output.append(onnx.helper.make_tensor_value_info("big", 1, None))
    (_, big) = ort.InferenceSession(
        by_hand.SerializeToString(), providers=["CPUExecutionProvider"]
    ).run(None, {"x": FRAMES[0]})
    codes = np.clip(np.round(big / F(point.scale)) + point.zero_point, 0, 255)
    after = onnx.utils.Extractor(by_hand).extract_model(["big"], ["out"])
    (real,) = ort.InferenceSession(after.SerializeToString(), providers=["CPUExecutionProvider"]).run(
        None, {"big": ((codes - point.zero_point) * F(point.scale)).astype(F)}
    )
    assert np.allclose(of(4), real, atol=1e-4)


def test_with_its_weights_the_switched_model_loses_what_the_quantized_network_loses(net: Path) -> None:
    import onnx_ir as ir
    import onnxruntime as ort

    graph, network = (onnx.load(net / f"{name}.onnx").graph for name in ("float", "network"))
    found, model = points(graph, network), str(net / "float.onnx")
    constants = rounded(graph, ir.load(net / "network.onnx"))
    assert set(constants) == {(layer, 1) for layer in ("n_a", "n_b", "n_c")}
    switched = Switched(model, [point.tensor for point in found], constants)
    options = ort.SessionOptions()
    options.add_session_config_entry("session.disable_quant_qdq", "1")
    session = ort.InferenceSession(net / "network.onnx", options, providers=["CPUExecutionProvider"])
    (codes,) = session.run(None, {"x": FRAMES[0]})
    last = found[-1]
    expected = (codes.astype(np.float64) - last.zero_point) * last.scale
    made = switched.run({"x": FRAMES[0]}, [point.codes for point in found])["out"]
    assert np.abs(made - expected).max() <= 1.01 * last.scale


def test_the_frames_with_half_of_the_error_order_and_two_at_least() -> None:
    assert heaviest([1.0, 8.0, 0.5, 9.0], 4) == [1, 3]
    assert heaviest([1.0, 1.0, 1.0, 1.0, 1.0, 1.0], 8) == [0, 1, 2]
    assert heaviest([1.0] * 40, 8) == list(range(8))
    assert heaviest([0.0, 90.0, 0.0, 0.0], 4) == [0, 1]
    assert heaviest([3.0], 8) == [0]


def test_the_shares_of_frames_are_those_of_the_worst_part() -> None:
    exact = [{"y": np.ones((1, 4), F)}, {"y": np.ones((1, 4), F)}, {"y": np.ones((1, 4), F)}]
    found = [{"y": np.ones((1, 4), F)}, {"y": np.full((1, 4), 3, F)}, {"y": np.full((1, 4), np.nan, F)}]
    assert Loss(exact, {}).by_frame(found) == [0.0, 16.0, 0.0]


def test_wide_tensors_lose_less_and_a_wide_gate_is_kept_apart(net: Path, tmp_path: Path) -> None:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.add_session_config_entry("session.disable_quant_qdq", "1")
    plain = ort.InferenceSession(net / "float.onnx", providers=["CPUExecutionProvider"])

    def error(folder: Path, wide: tuple[str, ...]) -> float:
        made = quantized(folder, gated(), FRAMES, wide)
        path = str(folder / "network.onnx")
        session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        codes = made["outputs"]["out"]
        differences = [
            (session.run(None, {"x": frame})[0].astype(float) - codes["zero_point"]) * codes["scale"]
            - plain.run(None, {"x": frame})[0]
            for frame in FRAMES
        ]
        return float(np.sqrt(np.square(differences).mean()))

    names = ("s", "big")
    assert error(tmp_path / "wide", names) < 0.9 * error(tmp_path / "narrow", ())
    network = onnx.load(tmp_path / "wide" / "network.onnx").graph
    kept = [item for item in network.node if item.op_type == "Max"]
    assert not kept  # the gate is narrow: a Convert stands in between
    assert error(tmp_path / "gate", ("g", *names)) < 0.9 * error(tmp_path / "narrow", ())
    network = onnx.load(tmp_path / "gate" / "network.onnx").graph
    assert [item.op_type for item in network.node].count("Max") == 1


def test_the_loss_is_that_of_the_worst_part_and_a_number_that_is_none_is_infinite() -> None:
    rng = np.random.default_rng(0)
    values = np.concatenate([rng.normal(0, 100, (1, 4, 50)), rng.normal(0, 0.1, (1, 4, 50))], 1)
    loss = Loss([{"y": values.astype(F)}], {})
    shifted = values.copy()
    shifted[:, 4:] += 0.05
    assert loss.squared([{"y": values.astype(F)}]) == pytest.approx(0, abs=1e-9)
    assert loss.squared([{"y": shifted.astype(F)}]) == pytest.approx(0.25, rel=0.2)
    shifted[0, 0, 0] = np.nan
    assert loss.squared([{"y": shifted.astype(F)}]) == np.inf


def test_the_worst_part_is_named() -> None:
    part = {"name": "scores", "where": "[:, 4:]", "state": "fine", "error": 0.4}
    rows = {
        "a": {"rel_rmse": 0.1},
        "b": {"rel_rmse": 0.001, "parts": [part, {**part, "state": "silent", "error": 9.0}]},
        "c": {"wrong": 0.2},
    }
    assert (worst(rows).value, worst(rows).where) == (0.4, "scores [:, 4:] of 'b'")
    assert worst({"a": {"rel_rmse": None}}).value == np.inf


def test_a_heads_loss_is_the_share_of_frames_that_do_not_agree() -> None:
    def model(*heads: dict[str, Any]) -> Any:
        return SimpleNamespace(config={"model": {"heads": list(heads)}}, inputs=(), outputs=())

    expected = [{"y": np.eye(4)[[index]]} for index in range(4)]
    found = [*expected[:3], {"y": np.eye(4)[[0]]}]
    classes = {"parser": "ClassificationParser", "outputs": ["y"]}
    drop = of_heads(model(classes), expected, found)
    assert (drop.value, drop.where) == (0.25, "top-1 agreement of ClassificationParser")
    with pytest.raises(UsageError, match="no head of the config"):
        of_heads(model(), expected, found)


# ---------------------------------------------------------------- names


def names_of(*names: str, heads: dict[str, list[str]] | None = None) -> list[str]:
    graph = detector().graph
    return list(named(graph, set(RANGES), names, heads or {}, "rvc4.wide").tensors)


@pytest.mark.parametrize(
    ("name", "tensors"),
    [
        ("scores", ["scores"]),  # a tensor
        ("n_scores", ["scores"]),  # a node
        ("b?", ["b0", "b1"]),
        ("n_b[01]", ["b0", "b1"]),
        ("boxes head", ["out"]),
        ("x", ["x"]),
    ],
)
def test_a_name_is_a_tensor_a_node_a_pattern_or_a_head(name: str, tensors: list[str]) -> None:
    assert names_of(name, heads={"boxes head": ["out"]}) == tensors


def test_what_is_named_spreads_as_the_hardware_wants_it() -> None:
    graph = detector().graph
    found = named(graph, set(RANGES), ["s0"], {}, "rvc4.wide")
    assert (found.nodes, found.count) == (("n_s0", "n_scores"), 8)
    assert set(found.nodes) == spread(Links.of(graph), ["s0"])


def test_a_rewritten_node_is_known_by_its_name_in_the_source() -> None:
    model = detector()
    model.graph.node[0].name = "stem/conv/Conv.0"
    found = named(model.graph, set(RANGES), ["stem/conv"], {}, "rvc4.wide")
    assert found.tensors == ("b0",)


def test_every_unknown_name_is_told_with_the_nearest() -> None:
    with pytest.raises(UsageError) as caught:
        names_of("scores", "scoresh", "zz*", "shape")
    assert caught.value.exit_code == 2
    first, second, third = caught.value.findings
    assert "'scores'" in first.remedy
    assert "rvc4.wide 'zz*'" in second.where
    assert "rvc4.wide 'shape'" in third.where


def test_a_head_without_outputs_has_all_of_them() -> None:
    config = {"model": {"heads": [{"parser": "YOLO", "name": "a", "outputs": ["x"]}, {"parser": "P"}]}}
    assert heads_of(config, ["x", "y"]) == {"a": ["x"], "P": ["x", "y"]}


def test_an_output_that_leaves_in_16_bits_because_it_was_asked_for_is_told() -> None:
    types = {"a": "uint16", "b": "uint16", "c": "float32"}
    (said,) = outputs_told(["a", "c", "inner"], types)
    assert said.startswith("Output 'a' has 16 bits")
    assert nodes_told([*"abcdefgh"], 20).startswith("8 of 20 nodes have 16-bit activations: 'a', ")


# ----------------------------------------------------------------- file


def test_an_assignment_is_read_as_it_was_written_and_out_of_a_build_record(tmp_path: Path) -> None:
    made = of_ranges(["a"], ["a", "b", "gone"], {"a": (-1.0, 3.0), "b": (0.0, 2.0)})
    plain, record = tmp_path / "precision.json", tmp_path / "buildinfo.json"
    plain.write_text(json.dumps(made.to_json()))
    record.write_text(json.dumps({"compiled": {"calibration": {"mixed": made.to_json()}}}))
    for file in (plain, record):
        found = read_assignment(file, "rvc4.precision_file")
        assert (found.wide, dict(found.ranges)) == (("a",), {"a": (-1.0, 3.0), "b": (0.0, 2.0)})
    encodings = made.encodings(None).activations
    assert encodings["a"].bitwidth == 16
    assert encodings["a"].scales[0] * encodings["a"].offsets[0] == pytest.approx(-1, abs=1e-4)


@pytest.mark.parametrize(
    "content",
    [
        *("", "[]", "{}", "3", '{"format": "nnconvert-precision"}', '{"format": "x", "version": 1}'),
        '{"format": "nnconvert-precision", "version": 1, "wide": [3]}',
        '{"format": "nnconvert-precision", "version": 1, "wide": [], "encodings": {"a": {"min": 1}}}',
        '{"format": "nnconvert-precision", "version": 1, "wide": [], "encodings": '
        '{"a": {"min": 1, "max": NaN}}}',
        '{"compiled": {"calibration": null}}',
    ],
)
def test_another_file_is_refused(tmp_path: Path, content: str) -> None:
    file = tmp_path / "f.json"
    file.write_text(content)
    with pytest.raises(UsageError, match=r"^rvc4.precision_file: "):
        read_assignment(file, "rvc4.precision_file")
    with pytest.raises(UsageError, match="no such file"):
        read_assignment(tmp_path / "none", "rvc4.precision_file")


def test_given_encodings_win_over_an_assignments() -> None:
    given = Assignment(wide=("a",), ranges={"a": (0.0, 9.0)}, sha256="x").encodings(None)
    both = Assignment(wide=("a", "b"), ranges={"a": (0.0, 1.0), "b": (0.0, 1.0)}).encodings(given)
    assert both.activations["a"] == given.activations["a"]
    assert (set(both.activations), both.sha256) == ({"a", "b"}, "x")


# ----------------------------------------------------- what a search judges


class _Table:
    """A judge that knows the losses by number of wide nodes: of the search's frames, and apart."""

    def __init__(self, losses: list[float], apart: list[float]) -> None:
        self._losses = {False: losses, True: apart}

    def lost(self, network: Network, *, held_out: bool) -> Drop:
        again = 0.8 if network.path.name == "corrected" else 1.0
        return Drop(value=again * self._losses[held_out][len(network.nodes)], where="'y'")


def searching(
    losses: list[float],
    apart: list[float],
    monkeypatch: pytest.MonkeyPatch,
    work: Path,
    again: str = "",
    judge: Any = None,
) -> Network:
    """What a search among as many steps makes."""
    steps = [{"tensors": [str(i) for i in range(n)], "nodes": []} for n in range(len(losses))]

    def with_wide(
        run: Any, parameters: Any, prepared: Any, network: Any, tensors: Any, name: str
    ) -> Any:
        return Network(path=Path(name), nodes=tuple(tensors), report=network.report)

    def corrected_again(run: Any, parameters: Any, prepared: Any, network: Any, name: str) -> Any:
        report = {**network.report, "bias_correction": name}
        return dataclasses.replace(network, path=Path(again), report=report) if again else None

    report = {"ranges": {}, "bias_correction": None}
    monkeypatch.setattr(find_module, "corrected_again", corrected_again)
    monkeypatch.setattr(find_module, "judge_of", lambda *_: judge or _Table(losses, apart))
    monkeypatch.setattr(find_module, "with_wide", with_wide)
    monkeypatch.setattr(
        find_module._Search, "_measured", lambda _: {"steps": steps, "rests": [0.0] * len(steps)}
    )
    run = SimpleNamespace(stage=lambda _: contextlib.nullcontext(), notice=print, warn=print, work=work)
    parameters = SimpleNamespace(mixed=Wanted(max_drop=0.5, metric="head"))
    base = Network(path=Path("base"), report=report)
    made: Network = find_module.find(run, parameters, None, base)  # type: ignore[arg-type]  # stand-ins
    return made


def test_what_grows_for_frames_kept_apart_keeps_the_limit_on_the_others_too(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    losses, apart = [1.0, 0.4, 0.6, 0.3, 0.2], [1.0, 0.9, 0.4, 0.4, 0.4]
    made = searching(losses, apart, monkeypatch, tmp_path)
    assert len(made.nodes) == 3
    assert made.report is not None
    assert made.report["mixed"]["search"]["drop"] == 0.3


@pytest.mark.parametrize(
    ("needed", "count", "wide", "tries"),
    [
        ({"0", "2"}, 4, ["0", "2"], 2),
        ({"1"}, 4, ["1"], 1),
        ({"0", "1", "2"}, 4, ["0", "1", "2"], 2),
        ({"2", "9"}, 12, [str(index) for index in range(10)], 0),
    ],
)
def test_of_few_wide_tensors_those_that_the_limit_does_not_need_are_left_out(
    needed: set[str],
    count: int,
    wide: list[str],
    tries: int,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    asked = []

    def lost(network: Network, *, held_out: bool) -> Drop:
        asked.append(network.nodes)
        return Drop(value=0.1 if needed <= set(network.nodes) else 0.9, where="'y'")

    judge = SimpleNamespace(lost=lost)
    made = searching([0.0] * count, [], monkeypatch, tmp_path, judge=judge)
    assert list(made.nodes) == wide
    # The steps of the order have all that is in front of them.
    other = {nodes for nodes in asked if list(nodes) != [str(index) for index in range(len(nodes))]}
    assert len(other) == tries


def test_what_was_found_is_kept_as_what_is_compiled(tmp_path: Path) -> None:
    run: Any = SimpleNamespace(work=tmp_path)
    for name in ("network.onnx", "network.onnx.data"):
        (tmp_path / name).write_text("8 bits")
    (tmp_path / "try-2").mkdir()
    (tmp_path / "try-2" / "network.onnx").write_text("found")
    there = Network(path=tmp_path / "network.onnx")
    assert in_place(run, there) is there
    made = in_place(run, Network(path=tmp_path / "try-2" / "network.onnx", nodes=("n",)))
    assert (made.path, made.nodes) == (tmp_path / "network.onnx", ("n",))
    assert made.path.read_text() == "found"
    assert not (tmp_path / "network.onnx.data").exists()


@pytest.mark.parametrize(("again", "drop"), [("corrected", 0.32), ("no better", 0.4), ("", 0.4)])
def test_biases_are_corrected_for_the_network_that_was_found_where_it_loses_less_then(
    again: str, drop: float, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    made = searching([1.0, 0.4, 0.3], [1.0, 0.3, 0.3], monkeypatch, tmp_path, again)
    assert made.report is not None
    found = made.report["mixed"]["search"]
    assert (found["drop"], found["corrected_again"]) == (drop, again == "corrected")
    assert (made.path.name == "corrected") == (again == "corrected")
    assert made.report["bias_correction"] == ("corrected-1" if again == "corrected" else None)


@pytest.mark.parametrize(("again", "biases"), [("corrected", "biases"), ("no better", None)])
def test_tries_have_the_biases_of_the_network_with_all_steps_where_that_loses_less_then(
    again: str, biases: str | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(find_module._Search, "_correct", lambda *_: False)
    made = searching([1.0, 0.6, 0.4, 0.4], [1.0, 0.6, 0.4, 0.4], monkeypatch, tmp_path, again)
    assert made.report is not None
    assert (len(made.nodes), made.report["bias_correction"]) == (2, biases)


def test_a_limit_that_nothing_keeps_is_exit_code_7_and_the_best_is_best_on_all_frames(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    losses, apart = [1.0, 0.4, 0.4, 0.4, 0.4], [0.9, 0.95, 0.8, 0.7, 0.6]
    with pytest.raises(VerificationError, match=r"the best found is 0\.6 ") as caught:
        searching(losses, apart, monkeypatch, tmp_path)
    assert caught.value.exit_code == 7
    assert (tmp_path / "precision.json").is_file()


def test_calibration_frames_are_kept_apart_only_where_they_judge(tmp_path: Path) -> None:
    data = Calibration(inputs=(), frames=100, random=False)
    for metric, frames in (("error", 80), ("head", 80), ("labels", 100)):
        found = SimpleNamespace(calibration=data, mixed=Wanted(max_drop=0.1, metric=metric))  # type: ignore[arg-type]
        deciding = Parameters.deciding.fget(found)  # type: ignore[attr-defined]
        assert deciding.frames == frames


@pytest.mark.parametrize(("metric", "told"), [("labels", 1), ("head", 0)])
def test_accuracy_on_frames_that_decided_is_told(metric: Any, told: int) -> None:
    parameters = SimpleNamespace(mixed=Wanted(max_drop=0.1, metric=metric))
    found = find_module.beyond_limit(parameters, {"accuracy": {"frames": 3}})  # type: ignore[arg-type]
    assert len(found) == told


def test_wide_tensors_have_all_that_was_seen_and_the_record_makes_the_same_bytes(
    tmp_path: Path,
) -> None:
    """A narrower range, chosen for 8 bits, cuts off what 16 bits could hold."""
    from tests.unit.test_rvc4_widths import measured

    onnx.save(onnx.shape_inference.infer_shapes(gated()), tmp_path / "float.onnx")
    whole = measured(gated(), FRAMES)
    narrow = {name: (low / 4, high / 4) for name, (low, high) in whole.items()}
    made = []

    def make(ranges: Any, seen: Any, recorded: Any = None) -> dict[str, Any]:
        target = tmp_path / str(len(made)) / "network.onnx"
        target.parent.mkdir()
        found = quantize_file(
            *(str(tmp_path / "float.onnx"), str(target), {"mse": ranges}, 8, 8, True),
            *(None, None, [], [], "auto", {}, ["big"]),
            whole=seen,
            narrow=recorded,
        )
        made.append(target.read_bytes())
        return found

    first = make(narrow, whole)
    wide = set(first["wide"]["tensors"])
    assert "big" in wide
    for name, limits in first["ranges"].items():
        assert tuple(limits) == tuple((whole if name in wide else narrow)[name])
    make(first["ranges"], None, first["wide"]["narrow"])
    assert made[0] == made[1]
