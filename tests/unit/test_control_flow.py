"""Control flow that the shapes settle is gone, and the model computes what it computed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper

from converter.errors import ModelError
from converter.graph.control_flow import MOST_NODES, settle_control_flow
from converter.graph.copies import settle_copies
from converter.graph.freeze import FreezeShapes
from converter.graph.simplify import infer_shapes
from tests.space import space
from tests.unit.test_graph_passes import Arrays, assert_same, run

F = TensorProto.FLOAT


def tensor(name: str, shape: Sequence[int | str] | None = None, kind: int = F) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


def node(kind: str, inputs: str, outputs: str, **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(
        kind, inputs.split(), outputs.split(), name=f"{kind}_{outputs}", **attributes
    )


def constant(name: str, value: Any, kind: Any = np.float32) -> onnx.NodeProto:
    return helper.make_node(
        "Constant", [], [name], value=onnx.numpy_helper.from_array(np.asarray(value, kind))
    )


def graph(
    name: str, nodes: Sequence[onnx.NodeProto], outputs: str, inputs: Any = ()
) -> onnx.GraphProto:
    return helper.make_graph(nodes, name, list(inputs), [tensor(each) for each in outputs.split()])


def model(
    nodes: Sequence[onnx.NodeProto], inputs: Any, outputs: Any, opset: int = 16
) -> onnx.ModelProto:
    made = helper.make_graph(list(nodes), "net", list(inputs), list(outputs))
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def settled(source: onnx.ModelProto, shapes: dict[str, tuple[int, ...]]) -> onnx.ModelProto:
    made = FreezeShapes(shapes)(ir.from_proto(source)).model
    after = ir.to_proto(infer_shapes(settle_copies(settle_control_flow(made))))
    assert not {"If", "Loop", "Scan"} & {each.op_type for each in after.graph.node}
    return after  # type: ignore[no-any-return]


def same(source: onnx.ModelProto, feeds: Arrays) -> onnx.ModelProto:
    after = settled(source, {name: value.shape for name, value in feeds.items()})
    assert_same(source, after, feeds)
    return after


X = np.random.default_rng(0).normal(0, 1, (1, 8)).astype(np.float32)


def batch_is(number: int) -> list[onnx.NodeProto]:
    return [
        constant("zero", 0, np.int64), constant("number", number, np.int64),
        node("Shape", "x", "s"), node("Gather", "s zero", "d", axis=0), node("Equal", "d number", "c"),
    ]  # fmt: skip


THEN: dict[str, list[onnx.NodeProto]] = {
    "computes": [constant("k", 2), node("Mul", "r k", "o")],
    "copies": [node("Identity", "r", "o")],
    "copies an input": [node("Identity", "x", "o")],
    "is constant": [constant("o", [[1.0] * 8])],
    "of other rank": [constant("a", [0], np.int64), node("Squeeze", "r a", "o")],
}


@pytest.mark.parametrize("then", THEN)
@pytest.mark.parametrize("number", [1, 2])
@pytest.mark.parametrize("behind", ["Neg", "Identity", ""])
def test_an_if_becomes_the_branch_that_the_shapes_settle(then: str, number: int, behind: str) -> None:
    branch = node(
        "If", "c", "i" if behind else "y",
        then_branch=graph("t", THEN[then], "o"), else_branch=graph("e", THEN["computes"], "o"),
    )  # fmt: skip
    nodes = [node("Relu", "x", "r"), *batch_is(number), branch]
    if behind:
        nodes.append(node(behind, "i", "y"))
    source = model(nodes, [tensor("x", ["N", 8])], [tensor("y")])
    same(source, {"x": X})


def test_an_if_with_several_outputs_and_weights_of_its_own() -> None:
    weights = onnx.numpy_helper.from_array(np.full((8,), 3, np.float32), "w")
    branches = []
    for kind in ("Mul", "Add"):
        inner = graph(kind, [node(kind, "x w", "o"), node("Neg", "o", "p")], "o p")
        inner.initializer.append(weights)
        branches.append(inner)
    nodes = [
        *batch_is(1),
        node("If", "c", "y z", then_branch=branches[0], else_branch=branches[1]),
        node("If", "c", "u v", then_branch=branches[0], else_branch=branches[1]),
        node("Add", "u v", "q"),
    ]
    same(model(nodes, [tensor("x", ["N", 8])], [tensor("y"), tensor("z"), tensor("q")]), {"x": X})


@pytest.mark.parametrize("outer", [1, 2])
@pytest.mark.parametrize("inner", [1, 2])
def test_branches_inside_branches(outer: int, inner: int) -> None:
    deep = [
        constant("zero1", 0, np.int64), constant("n1", inner, np.int64), node("Shape", "m", "s1"),
        node("Gather", "s1 zero1", "d1"), node("Equal", "d1 n1", "c1"),
        node("If", "c1", "o", then_branch=graph("tt", [node("Neg", "m", "oo")], "oo"),
             else_branch=graph("ee", [node("Abs", "m", "oo")], "oo")),
    ]  # fmt: skip
    branches = {
        "then_branch": graph("t", [node("Exp", "x", "m"), *deep], "o"),
        "else_branch": graph("e", [node("Sin", "x", "m"), *deep], "o"),
    }
    source = model(
        [*batch_is(outer), node("If", "c", "y", **branches)], [tensor("x", ["N", 8])], [tensor("y")]
    )
    same(source, {"x": X})


def test_an_if_that_a_frame_decides_is_refused_with_its_input() -> None:
    nodes = [
        constant("k", 16000, np.int64), node("Equal", "sr k", "c"),
        node("If", "c", "y", then_branch=graph("t", [node("Neg", "x", "o")], "o"),
             else_branch=graph("e", [node("Abs", "x", "o")], "o")),
    ]  # fmt: skip
    source = model(nodes, [tensor("x", [1, 8]), tensor("sr", [], TensorProto.INT64)], [tensor("y")])
    with pytest.raises(
        ModelError, match=r"node 'If_y' \(If\): its condition .* inputs.sr.frozen_value"
    ):
        settled(source, {"x": (1, 8), "sr": ()})


def loop(
    count: int | None, body: list[onnx.NodeProto], *, states: str, gathered: str, first: bool | None = True,
    opset: int = 16,
) -> onnx.ModelProto:  # fmt: skip
    """A loop over `x` as its only state."""
    head = [constant("n", count, np.int64)] if count is not None else []
    head += [constant("go", first, np.bool_)] if first is not None else []
    inputs = [tensor("i", [], TensorProto.INT64), tensor("cond", [], TensorProto.BOOL), tensor("v")]
    inner = graph("body", body, f"cond_out {states} {gathered}".strip(), inputs)
    inner.output[0].CopyFrom(tensor("cond_out", [], TensorProto.BOOL))
    outs = [f"y{k}" for k in range(len(f"{states} {gathered}".split()))]
    turning = helper.make_node(
        "Loop", ["n" if count is not None else "", "go" if first is not None else "", "x"], outs,
        name="turning", body=inner,
    )  # fmt: skip
    return model([*head, turning], [tensor("x", [1, 8])], [tensor(out) for out in outs], opset)


GROW = [
    node("Cast", "i", "f", to=F), node("Add", "v f", "w"), node("Sin", "w", "s"),
    node("Identity", "cond", "cond_out"),
]  # fmt: skip


@space(25)
@given(st.integers(1, 6), st.booleans(), st.sampled_from([11, 13, 17]), st.sampled_from([True, None]))
def test_a_loop_of_known_length_is_written_out(
    count: int, gathers: bool, opset: int, first: bool | None
) -> None:
    same(
        loop(count, GROW, states="w", gathered="s" if gathers else "", first=first, opset=opset),
        {"x": X},
    )


@pytest.mark.parametrize("count", [None, 2, 9])
def test_a_loop_ends_when_its_condition_says_so(count: int | None) -> None:
    body = [
        node("Neg", "v", "w"), constant("last", 4, np.int64), node("Less", "i last", "cond_out"),
        node("Mul", "w w", "s"),
    ]  # fmt: skip
    after = same(loop(count, body, states="w", gathered="s"), {"x": X})
    assert sum(each.op_type == "Neg" for each in after.graph.node) == min(count or 5, 5)


def test_a_loop_without_a_turn_keeps_its_states() -> None:
    same(loop(0, GROW, states="w", gathered=""), {"x": X})
    with pytest.raises(ModelError, match="makes no turn"):
        settled(loop(0, GROW, states="w", gathered="s"), {"x": (1, 8)})


def test_a_loop_that_passes_its_state_on_as_it_is() -> None:
    same(loop(3, [*GROW[:3], GROW[3]], states="v", gathered="w"), {"x": X})


def test_a_loop_with_too_many_turns_is_refused_with_the_bound() -> None:
    with pytest.raises(ModelError, match=rf"'turning' \(Loop\).*{MOST_NODES:,} nodes"):
        settled(loop(100_000, GROW, states="w", gathered=""), {"x": (1, 8)})


def test_a_loop_that_a_frame_ends_is_refused() -> None:
    body = [
        node("Neg", "v", "w"), constant("k", 4), node("ReduceSum", "w", "sum", keepdims=0),
        node("Less", "sum k", "cond_out"),
    ]  # fmt: skip
    with pytest.raises(ModelError, match=r"'turning' \(Loop\): when it ends depends on a frame"):
        settled(loop(None, body, states="w", gathered=""), {"x": (1, 8)})


@space(20)
@given(
    st.sampled_from([0, 1, -1]),
    st.booleans(),
    st.sampled_from([0, 1, -1]),
    st.booleans(),
    st.integers(2, 5),
)
def test_a_scan_is_written_out(
    axis: int, back: bool, out_axis: int, out_back: bool, length: int
) -> None:
    shape = [3, 4]
    shape.insert(axis if axis >= 0 else 2, length)
    body = graph(
        "body", [node("Add", "h e", "h2"), node("Sin", "h2", "o")], "h2 o",
        [tensor("h", [3, 4]), tensor("e", [3, 4])],
    )  # fmt: skip
    scanning = node(
        "Scan", "h0 x", "y z", body=body, num_scan_inputs=1, scan_input_axes=[axis],
        scan_input_directions=[int(back)], scan_output_axes=[out_axis],
        scan_output_directions=[int(out_back)],
    )  # fmt: skip
    source = model([scanning], [tensor("h0", [3, 4]), tensor("x", shape)], [tensor("y"), tensor("z")])
    rng = np.random.default_rng(0)
    same(
        source,
        {
            "h0": rng.normal(0, 1, (3, 4)).astype(np.float32),
            "x": rng.normal(0, 1, shape).astype(np.float32),
        },
    )


def test_the_values_of_a_branch_are_those_of_the_frame() -> None:
    branch = node("If", "c", "y", then_branch=graph("t", THEN["computes"], "o"), else_branch=graph("e", THEN["copies"], "o"))  # fmt: skip
    source = model(
        [node("Relu", "x", "r"), *batch_is(1), branch], [tensor("x", ["N", 8])], [tensor("y")]
    )
    (found,) = run(settled(source, {"x": (1, 8)}), {"x": X})
    assert np.array_equal(found, 2 * np.maximum(X, 0))
