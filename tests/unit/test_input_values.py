"""What a graph says of its inputs' values, by every operator that says something and on every axis."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from converter.calibration.synthetic import camera_frames
from converter.graph.inputs.read import read_values, values_of
from converter.graph.inputs.values import Kind, Values
from converter.graph.simplify import infer_shapes
from converter.model import ModelInput
from tests.space import space

MASK, ADDITIVE = Values(kind=Kind.MASK), Values(kind=Kind.ADDITIVE_MASK)


def whole(low: int, high: int | None) -> Values:
    return Values(kind=Kind.WHOLE, low=low, high=high)


def real(low: float | None, high: float | None = None) -> Values:
    return Values(kind=Kind.REAL, low=low, high=high)


class Net:
    """A graph node by node."""

    def __init__(self, **inputs: tuple[int, Sequence[int]]) -> None:
        self.inputs = inputs
        self._nodes: list[onnx.NodeProto] = []
        self._weights: list[onnx.TensorProto] = []

    def const(self, values: Any, dtype: type = np.float32) -> str:
        name = f"c{len(self._weights)}"
        self._weights.append(numpy_helper.from_array(np.asarray(values, dtype), name))
        return name

    def op(self, kind: str, *inputs: str, outputs: int = 1, **attributes: Any) -> str:
        names = [f"n{len(self._nodes)}_{index}" for index in range(outputs)]
        self._nodes.append(helper.make_node(kind, inputs, names, **attributes))
        return names[0]

    def proto(self, *outputs: str, opset: int = 17) -> onnx.ModelProto:
        graph = helper.make_graph(
            self._nodes,
            "net",
            [helper.make_tensor_value_info(n, kind, shape) for n, (kind, shape) in self.inputs.items()],
            [onnx.ValueInfoProto(name=name) for name in outputs],
            self._weights,
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)

    def values(self, *outputs: str) -> dict[str, Values]:
        return values_of(infer_shapes(ir.from_proto(self.proto(*outputs))))


INT, FLOAT, BOOL = TensorProto.INT64, TensorProto.FLOAT, TensorProto.BOOL


@given(
    sizes=st.lists(st.integers(2, 40), min_size=1, max_size=4),
    data=st.data(),
    offset=st.sampled_from([0, 2, -1]),
    way=st.lists(st.sampled_from(["Identity", "Cast", "Unsqueeze", "Transpose", "Slice"]), max_size=4),
    kind=st.sampled_from([TensorProto.INT32, TensorProto.INT64]),
)
@space(60)
def test_indices_count_the_rows_of_the_table_on_every_axis_and_by_every_way(
    sizes: list[int], data: Any, offset: int, way: list[str], kind: int
) -> None:
    """And ONNX Runtime takes every one of the values that are generated."""
    import onnxruntime

    axis = data.draw(st.integers(-len(sizes), len(sizes) - 1))
    net = Net(ids=(kind, [2, 3]))
    x, rank = "ids", 2
    if offset:
        x = net.op("Add", x, net.const(offset, np.int64 if kind == INT else np.int32))
    for step in way:
        match step:
            case "Cast":
                x = net.op("Cast", x, to=INT)
            case "Unsqueeze":
                x, rank = net.op("Unsqueeze", x, net.const([0], np.int64)), rank + 1
            case "Transpose":
                x = net.op("Transpose", x, perm=list(range(rank))[::-1])
            case "Slice":
                ends = [net.const([value], np.int64) for value in (0, 2, rank - 1)]
                x = net.op("Slice", x, *ends)
            case _:
                x = net.op(step, x)
    y = net.op("Gather", net.const(np.zeros(sizes)), x, axis=axis)
    found = net.values(y)
    assert found == {"ids": whole(-offset, sizes[axis] - 1 - offset)}
    proto = net.proto(y)
    proto.graph.output[0].type.tensor_type.elem_type = FLOAT
    item = ModelInput(name="ids", dtype="int32" if kind == TensorProto.INT32 else "int64", shape=(2, 3))
    session = onnxruntime.InferenceSession(
        onnx.shape_inference.infer_shapes(proto).SerializeToString(), providers=["CPUExecutionProvider"]
    )
    for frame in camera_frames([item], 4, found):
        session.run(None, frame)


def attention(net: Net, mask: str) -> str:
    """softmax(q kᵀ · scale + mask)"""
    scores = net.op("MatMul", net.const(np.ones((1, 2, 4, 8))), net.const(np.ones((1, 2, 8, 4))))
    scaled = net.op("Mul", scores, net.const(0.3))
    return net.op("Softmax", net.op("Add", scaled, mask), axis=-1)


def bert(net: Net) -> str:
    """(1 - mask) · -10000 beside the scores"""
    x = net.op("Cast", net.op("Unsqueeze", "x", net.const([1, 2], np.int64)), to=FLOAT)
    x = net.op("Mul", net.op("Sub", net.const(1.0), x), net.const(-10000.0))
    return attention(net, x)


def where_infinite(net: Net) -> str:
    chosen = net.op("Where", net.op("Cast", "x", to=BOOL), net.const(0.0), net.const(-np.inf))
    return attention(net, chosen)


def lengths(net: Net) -> str:
    """A mask of the first x of 10 places"""
    return net.op(
        "Less",
        net.const(np.arange(10)[None], np.int64),
        net.op("Unsqueeze", "x", net.const([1], np.int64)),
    )


def lstm(index: int) -> Callable[[Net], str]:
    def build(net: Net) -> str:
        weights = [net.const(np.ones(shape)) for shape in ((1, 16, 3), (1, 16, 4))]
        given = [net.const(np.ones((5, 2, 3))), *weights, "", "", "", ""]
        given[index] = "x"
        return net.op("LSTM", *given, hidden_size=4)

    return build


def op(
    kind: str, index: int, *others: Any, dtypes: Sequence[type] = (), **attributes: Any
) -> Callable[[Net], str]:
    """One node that takes the input at an index among constants."""

    def build(net: Net) -> str:
        names = [
            net.const(other, dtypes[at] if at < len(dtypes) else np.float32)
            for at, other in enumerate(others)
        ]
        return net.op(kind, *names[:index], "x", *names[index:], **attributes)

    return build


ONES = np.ones((1, 3, 4, 4))
CASES: dict[str, tuple[int, list[int], Callable[[Net], str], Values | None]] = {
    "gather elements": (INT, [2, 3], op("GatherElements", 1, np.ones((2, 7)), axis=1), whole(0, 6)),
    "gather nd": (INT, [3, 2], op("GatherND", 1, np.ones((9, 5, 2))), whole(0, 4)),
    "gather nd, batched": (INT, [2, 3, 1], op("GatherND", 1, np.ones((2, 6, 9)), batch_dims=1), whole(0, 5)),
    "scatter": (INT, [1, 2], op("ScatterElements", 1, np.ones((1, 8)), np.ones((1, 2)), axis=1), whole(0, 7)),
    "one-hot": (INT, [4], op("OneHot", 0, 11, [0, 1], dtypes=(np.int64,)), whole(0, 10)),
    "lengths": (INT, [1], lengths, whole(0, 10)),
    "lengths of a recurrent node": (TensorProto.INT32, [2], lstm(4), whole(1, 5)),
    "hidden state": (FLOAT, [1, 2, 4], lstm(5), Values(kind=Kind.STATE)),
    "cell state": (FLOAT, [1, 2, 4], lstm(6), Values(kind=Kind.STATE)),
    "additive mask": (FLOAT, [1, 1, 1, 4], lambda net: attention(net, "x"), ADDITIVE),
    "mask of numbers": (INT, [1, 4], bert, MASK),
    "mask of floats": (FLOAT, [1, 4], bert, MASK),
    "mask that chooses": (INT, [1, 1, 1, 4], where_infinite, MASK),
    "mask that compares": (INT, [1, 4], op("Equal", 0, 0, dtypes=(np.int64,)), MASK),
    "gate of rows": (FLOAT, [1, 6, 1], op("Mul", 0, np.ones((1, 6, 8))), MASK),
    "root": (FLOAT, [1, 4], op("Sqrt", 0), real(0)),
    "logarithm of a sum": (FLOAT, [1, 4], lambda net: net.op("Log", net.op("Add", "x", net.const(1.0))), real(-0.9)),
    "power": (FLOAT, [1, 4], op("Pow", 0, 0.3), real(0)),
    "square": (FLOAT, [1, 4], op("Pow", 0, 2.0), None),
    "whole divisor": (INT, [1, 4], op("Div", 1, np.ones((1, 4)), dtypes=(np.int64,)), whole(1, None)),
    "modulus": (INT, [1, 4], op("Mod", 1, np.ones((1, 4)), dtypes=(np.int64,)), whole(1, None)),
    "divisor": (FLOAT, [1, 4], op("Div", 1, np.ones((1, 4))), real(0.1)),
    "places": (FLOAT, [1, 2, 2, 2], op("GridSample", 1, ONES, mode="bilinear"), real(-1, 1)),
    "pixels over 255": (FLOAT, [1, 3, 8, 8], op("Div", 0, 255.0), real(0, 255)),
    "pixels times 1/255": (FLOAT, [1, 3, 8, 8], op("Mul", 0, 1 / 255), real(0, 255)),
    "pixels less a mean": (FLOAT, [1, 3, 8, 8], op("Sub", 0, np.full((1, 3, 1, 1), 120.0)), real(0, 255)),
    # Sound networks do these with features that are no masks and no pixels.
    "relu by comparing": (
        FLOAT, [1, 4],
        lambda net: net.op("Mul", "x", net.op("Cast", net.op("Greater", "x", net.const(0.0)), to=FLOAT)), None,
    ),
    "bias before a softmax": (FLOAT, [1, 4], lambda net: net.op("Softmax", net.op("Add", "x", net.const([1.0] * 4))), None),
    "scaled": (FLOAT, [1, 4], op("Mul", 0, 2.0), None),
    "normalized": (FLOAT, [1, 4], op("Sub", 0, 0.5), None),
    "counted": (INT, [1, 4], op("Mul", 0, 3, dtypes=(np.int64,)), None),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_every_operator_says_what_it_takes(case: str) -> None:
    kind, shape, build, wanted = CASES[case]
    net = Net(x=(kind, shape))
    assert net.values(build(net)) == ({"x": wanted} if wanted else {})


def test_a_name_tells_of_a_mask_that_is_only_multiplied() -> None:
    for kind in (FLOAT, INT):
        net = Net(padding_mask=(kind, [1, 4]))
        y = net.op(
            "Mul", "padding_mask", net.const([[2] * 4], np.float32 if kind == FLOAT else np.int64)
        )
        assert net.values(y) == {"padding_mask": MASK}


def test_the_smallest_of_several_tables_bounds_and_indices_win_over_masks() -> None:
    net = Net(ids=(INT, [1, 4]))
    rows = [net.op("Gather", net.const(np.ones((size, 2))), "ids") for size in (30, 12)]
    padding = net.op("Equal", "ids", net.const(0, np.int64))
    assert net.values(*rows, padding) == {"ids": whole(0, 11)}


def test_a_graph_that_doubles_a_tensor_again_and_again_is_looked_through_at_once() -> None:
    net = Net(x=(FLOAT, [1, 4]), ids=(INT, [1, 4]))
    x, ids = net.op("Softmax", "x"), "ids"
    for _ in range(60):
        x, ids = net.op("Add", x, x), net.op("Concat", ids, ids, axis=0)
        ids = net.op("Slice", ids, *(net.const([at], np.int64) for at in (0, 1, 0)))
    assert net.values(x, net.op("Gather", net.const(np.ones((5, 1))), ids)) == {"ids": whole(0, 4)}


def test_only_onnx_files_tell(tmp_path: Any) -> None:
    assert read_values(tmp_path / "model.xml") == {}
    net = Net(x=(INT, [3]))
    onnx.save(net.proto(net.op("Gather", net.const(np.ones((4, 2))), "x")), tmp_path / "m.onnx")
    assert read_values(tmp_path / "m.onnx") == {"x": whole(0, 3)}
    assert Values.from_json(whole(0, 3).to_json()) == whole(0, 3)


@space(150)
@given(
    st.lists(st.integers(0, 9), max_size=4).map(tuple),
    st.sampled_from(["float32", "float16", "int8", "uint8", "int32", "int64", "uint64", "boolean"]),
    st.sampled_from(list(Kind)),
    *[st.one_of(st.none(), st.sampled_from([0.0, 1.0, -5.0, 300.0, 1e20, -np.inf, np.inf]))] * 2,
)
def test_frames_are_generated_for_whatever_a_graph_says(
    shape: tuple[int, ...], dtype: str, kind: Kind, low: float | None, high: float | None
) -> None:
    """A bound may be infinite, beyond the dtype, or below the other one."""
    item = SimpleNamespace(name="x", shape=shape, dtype=dtype, layout="", is_image=False)
    known = {"x": Values(kind=kind, low=low, high=high)}
    with np.errstate(all="ignore"):
        for frame in camera_frames(cast("Any", [item]), 3, known):
            assert frame["x"].shape == shape
