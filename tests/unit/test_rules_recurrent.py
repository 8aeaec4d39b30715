"""LSTM, GRU and RNN unrolled, compared with ONNX Runtime on the source over all their attributes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from converter.graph.rules import recurrent, table
from converter.sources.onnx_session import readable, session_of
from tests.blob_models import ints, one
from tests.rewriting import assert_equal, operators, rewritten, run
from tests.sources import make_model
from tests.space import space

LENGTH, BATCH, FEATURES, SIZE = 4, 3, 5, 4
GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
COUNTS = {"LSTM": 3, "GRU": 2, "RNN": 1}
# With the number of parameters that they take.
FUNCTIONS = {
    "Affine": 2, "Elu": 1, "HardSigmoid": 2, "LeakyRelu": 1, "Relu": 0, "ScaledTanh": 2, "Sigmoid": 0,
    "Softplus": 0, "Softsign": 0, "Tanh": 0, "ThresholdedRelu": 1,
}  # fmt: skip
UNROLLED = (*table.FIRST, recurrent.LSTM_RULES, table.DECOMPOSITIONS)


@dataclass(frozen=True)
class Case:
    op: str
    direction: str = "forward"
    activations: tuple[str, ...] = ()
    parameters: tuple[tuple[float, float], ...] = ()
    clip: float = 0.0
    lengths: tuple[int, ...] = ()
    computed_lengths: bool = False
    states: bool = False
    constant_states: bool = False
    peepholes: bool = False
    bias: bool = True
    layout: int = 0
    flag: int = 0
    outputs: tuple[str, ...] = ("Y", "Yh", "Yc")
    opset: int = 14

    @property
    def directions(self) -> int:
        return 2 if self.direction == "bidirectional" else 1


def model_of(case: Case) -> onnx.ModelProto:
    rng = np.random.default_rng(5)
    gates, count = GATES[case.op], case.directions
    order = (1, 0, 2) if case.layout else (0, 1, 2)

    def drawn(*shape: int, scale: float = 0.6) -> Any:
        return rng.normal(0, scale, shape).astype(np.float32)

    weights = {"w": drawn(count, gates * SIZE, FEATURES), "r": drawn(count, gates * SIZE, SIZE)}
    names = ["x", "w", "r", "", "", "", "", ""]
    if case.bias:
        weights["b"], names[3] = drawn(count, 2 * gates * SIZE), "b"
    if case.lengths:
        names[4] = "l"
    if case.lengths and not case.computed_lengths:
        weights["l"] = np.array(case.lengths, np.int32)
    inputs = {"x": np.array((LENGTH, BATCH, FEATURES))}
    if case.states:
        for index, name in enumerate(("h0", "c0") if case.op == "LSTM" else ("h0",)):
            names[5 + index] = name
            values = drawn(count, BATCH, SIZE)
            if case.constant_states:
                weights[name] = values.transpose(order)
            else:
                inputs[name] = np.array(values.shape)
    if case.op == "LSTM" and case.peepholes:
        weights["p"], names[7] = drawn(count, 3 * SIZE), "p"
    attributes: dict[str, Any] = {"hidden_size": SIZE, "direction": case.direction}
    if case.activations:
        attributes["activations"] = list(case.activations)
        pairs = list(zip(case.activations, case.parameters, strict=True))
        for number, name in enumerate(("activation_alpha", "activation_beta")):
            if values := [given[number] for f, given in pairs if FUNCTIONS[f] > number]:
                attributes[name] = values
    if case.clip:
        attributes["clip"] = case.clip
    if case.layout:
        attributes["layout"] = 1
    if case.flag and case.op != "RNN":
        attributes["input_forget" if case.op == "LSTM" else "linear_before_reset"] = 1
    while not names[-1]:
        names.pop()
    made = ["Y", "Yh", "Yc"] if case.op == "LSTM" else ["Y", "Yh"]
    used = [name for name in made if name in case.outputs] or ["Y"]
    node = helper.make_node(
        case.op, names, [n if n in used else "" for n in made], name="cell", **attributes
    )
    shapes = {
        "Y": np.array((LENGTH, count, BATCH, SIZE))[[2, 0, 1, 3] if case.layout else [0, 1, 2, 3]],
        "Yh": np.array((count, BATCH, SIZE))[list(order)],
    }
    shapes["Yc"] = shapes["Yh"]
    graph = helper.make_graph(
        [node],
        "recurrent",
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, shape[list(order)].tolist())
            for name, shape in inputs.items()
        ]
        + [helper.make_tensor_value_info("l", TensorProto.INT32, [BATCH])]
        * (names[4:5] == ["l"] and "l" not in weights),
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, shapes[name].tolist())
            for name in used
        ],
        [numpy_helper.from_array(value, key) for key, value in weights.items()],
    )
    return make_model(graph, case.opset)


def feeds_of(case: Case, seed: int) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    feeds = {
        value.name: rng.normal(0, 1, [d.dim_value for d in value.type.tensor_type.shape.dim]).astype(
            np.float32
        )
        for value in model_of(case).graph.input
    }
    return feeds | ({"l": np.array(case.lengths, np.int32)} if "l" in feeds else {})


def assert_unrolled(case: Case, seed: int = 0) -> None:
    """ONNX Runtime has no layout 1: it gets the same layer in layout 0, and its tensors turned."""
    after = rewritten(model_of(case), UNROLLED)
    assert case.op not in operators(after)
    feeds = feeds_of(replace(case, layout=0), seed)
    wanted = run(model_of(replace(case, layout=0)), feeds)
    assume(all(np.abs(value).max() < 1e3 for value in wanted))  # cells without a bound grow
    if case.layout:
        feeds = {
            name: value if name == "l" else value.transpose(1, 0, 2) for name, value in feeds.items()
        }
        wanted = [
            value.transpose(2, 0, 1, 3) if value.ndim == 4 else value.transpose(1, 0, 2)
            for value in wanted
        ]
    # The deep-cpu kernels approximate sigmoid and tanh.
    assert_equal(wanted, run(after, feeds), 2e-4)


@st.composite
def cases(draw: st.DrawFn) -> Case:
    op = draw(st.sampled_from(sorted(GATES)))
    direction = draw(st.sampled_from(["forward", "reverse", "bidirectional"]))
    count = COUNTS[op] * (2 if direction == "bidirectional" else 1)
    named = draw(st.booleans())
    functions = draw(st.lists(st.sampled_from(sorted(FUNCTIONS)), min_size=count, max_size=count))
    number = st.floats(0.125, 0.75, width=16)
    parameters = draw(st.lists(st.tuples(number, number), min_size=count, max_size=count))
    return Case(
        op=op,
        direction=direction,
        activations=tuple(functions) if named else (),
        parameters=tuple(parameters) if named else (),
        clip=draw(st.sampled_from([0.0, 0.25, 1.0])),
        lengths=draw(
            st.sampled_from([(), (LENGTH,) * BATCH]) | st.tuples(*[st.integers(0, LENGTH)] * BATCH)
        ),
        computed_lengths=draw(st.booleans()),
        states=draw(st.booleans()),
        constant_states=draw(st.booleans()),
        peepholes=draw(st.booleans()),
        bias=draw(st.booleans()),
        layout=draw(st.integers(0, 1)),
        flag=draw(st.integers(0, 1)),
        outputs=draw(
            st.sampled_from([("Y",), ("Yh",), ("Yc",), ("Y", "Yh"), ("Yh", "Yc"), ("Y", "Yh", "Yc")])
        ),
        opset=draw(st.sampled_from([14, 18, 22])),
    )


@space(80)
@given(case=cases(), seed=st.integers(0, 99))
def test_an_unrolled_layer_computes_the_same(case: Case, seed: int) -> None:
    assert_unrolled(case, seed)


@pytest.mark.parametrize("op", GATES)
def test_the_source_in_layout_1_runs_as_one_in_layout_0(op: str, tmp_path: Path) -> None:
    case = Case(op, direction="bidirectional", states=True)
    feeds = feeds_of(case, 0)
    wanted = run(model_of(case), feeds)
    onnx.save(model_of(replace(case, layout=1)), tmp_path / "it.onnx")
    session = session_of(readable(str(tmp_path / "it.onnx")))
    turned = {name: value.transpose(1, 0, 2) for name, value in feeds.items()}
    found = session.run(None, turned)
    orders = [(2, 0, 1, 3), (1, 0, 2), (1, 0, 2)]
    back = [value.transpose(order) for value, order in zip(wanted, orders, strict=False)]
    assert_equal(back, found)


def test_the_order_of_a_source_that_has_none_is_that_of_the_compiled(tmp_path: Path) -> None:
    model = one("TopK", [(1, 50)], [ints(9)], outputs=2, used=(0, 1), sorted=0)
    onnx.save(model, tmp_path / "it.onnx")
    x = np.random.default_rng(0).permutation(50).astype(np.float32)[None]
    values, _ = session_of(readable(str(tmp_path / "it.onnx"))).run(None, {"x0": x})
    assert values.tolist() == [[49, 48, 47, 46, 45, 44, 43, 42, 41]]


@pytest.mark.parametrize("op", GATES)
def test_a_clip_changes_the_result(op: str) -> None:
    """Else the property test would compare nothing with nothing."""
    plain, clipped = (
        run(rewritten(model_of(Case(op, clip=clip)), UNROLLED), feeds_of(Case(op), 0))[0]
        for clip in (0.0, 0.25)
    )
    assert float(np.abs(plain - clipped).max()) > 0.05


def test_a_split_without_one_of_its_outputs_runs(tmp_path: Path) -> None:
    """ONNX Runtime 1.32 crashes on the node as it is written."""
    nodes = [helper.make_node("Split", ["x"], ["", "y"], name="split", axis=1, num_outputs=2)]
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4])]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 2])]
    model = make_model(helper.make_graph(nodes, "split", inputs, outputs), 18)
    onnx.save(model, tmp_path / "it.onnx")
    (found,) = session_of(readable(str(tmp_path / "it.onnx"))).run(
        None, {"x": np.arange(4, dtype=np.float32)[None]}
    )
    assert found.tolist() == [[2, 3]]
