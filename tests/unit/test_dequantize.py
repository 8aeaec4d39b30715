"""A quantized source as a float graph gives what ONNX Runtime gives of the source, but for rounding."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from converter.errors import ModelError
from converter.graph.dequantize import fold_quantization, is_quantized
from tests.quantized import MICROSOFT, Net
from tests.space import space
from tests.unit.test_graph_passes import run

F = np.float32
KINDS = ["uint8", "int8", "uint16", "int16"]
QUANTIZED = ("Quantize", "QLinear", "Integer", "QGemm")


def folded(model: onnx.ModelProto, *, saturated: bool = True) -> tuple[onnx.ModelProto, dict[str, Any]]:
    """The float model; no node of it is quantized any more."""
    float_model, ranges = fold_quantization(ir.from_proto(model), saturated=saturated)
    made = ir.to_proto(float_model)
    assert not [n.op_type for n in made.graph.node if any(kind in n.op_type for kind in QUANTIZED)]
    assert {n.domain for n in made.graph.node} <= {""}
    assert not is_quantized(float_model)
    names = {t.name for t in made.graph.initializer} | {o for n in made.graph.node for o in n.output}
    names |= {value.name for value in made.graph.input}
    assert set(ranges) & names
    return made, dict(ranges)


def same(model: onnx.ModelProto, x: NDArray[Any], step: float, **how: Any) -> dict[str, Any]:
    """Assert that both give the same, within a step of the last codes."""
    made, ranges = folded(model, **how)
    (expected,), (found,) = run(model, {"x": x}), run(made, {"x": x})
    assert found.shape == expected.shape
    assert found.dtype == expected.dtype
    assert np.abs(found.astype(np.float64) - expected).max() <= step * 1.001 + 1e-5
    return ranges


def zero_of(kind: str, at: float) -> NDArray[Any]:
    info = np.iinfo(kind)
    return np.asarray(round(info.min + at * (info.max - info.min)), kind)


def on_grid(shape: tuple[int, ...], scale: float, zero: NDArray[Any], seed: int) -> NDArray[Any]:
    """Numbers on the grid, some beyond its ends."""
    info = np.iinfo(zero.dtype)
    codes = np.random.default_rng(seed).integers(info.min - 40, info.max + 40, shape)
    return ((codes - int(zero)) * scale).astype(F)


quantized_kinds = st.sampled_from(KINDS)
zeros = st.sampled_from([0.0, 0.25, 0.5, 1.0])
scales = st.sampled_from([0.003, 0.05, 1.0])
domains = st.sampled_from(["", MICROSOFT])


@space(60)
@given(quantized_kinds, zeros, scales, domains, st.sampled_from([13, 17, 21]), st.integers(1, 5))
def test_a_pair_around_an_activation_keeps_what_its_codes_cut_off(
    kind: str, at: float, scale: float, domain: str, opset: int, rank: int
) -> None:
    zero = zero_of(kind, at)
    net = Net(21 if domain == "" and "16" in kind else opset)
    net.pair("x", scale, zero, out="y", domain=domain)
    shape = (2, 3, 4, 2, 2)[:rank]
    same(net.model(shape, shape), on_grid(shape, scale, zero, rank), scale / 2)


@space(60)
@given(quantized_kinds, domains, st.integers(-4, 3), zeros)
def test_a_pair_by_channel_keeps_what_its_codes_cut_off(
    kind: str, domain: str, axis: int, at: float
) -> None:
    shape = (2, 3, 4, 5)
    scale = np.linspace(0.01, 0.05, shape[axis]).astype(F)
    zero = np.full(shape[axis], zero_of(kind, at))
    net = Net(21)
    net.pair("x", scale, zero, out="y", domain=domain, axis=axis)
    x = np.random.default_rng(0).normal(0, 40, shape).astype(F)
    same(net.model(shape, shape), x, float(scale.max()) / 2)


@space(60)
@given(
    st.sampled_from(["int8", "uint8", "int16"]),
    st.sampled_from(["tensor", "channel", "float"]),
    domains,
    st.booleans(),
    st.sampled_from([1, 2]),
)
def test_a_convolution_between_pairs_is_the_float_convolution(
    kind: str, weights: str, domain: str, biased: bool, group: int
) -> None:
    rng = np.random.default_rng(3)
    net = Net(21)
    x = net.pair("x", 0.02, np.asarray(120, np.uint8), domain=domain)
    shape = (6, 4 // group, 3, 3)
    info = np.iinfo(kind)
    scale = np.linspace(1e-3, 2e-3, 6).astype(F) * 127 / info.max
    zero = rng.integers(-3, 3, 6).astype(kind) if kind != "uint8" else np.full(6, 128, kind)
    if weights == "tensor":
        scale, zero = scale[0], zero[0]
    if weights == "float":
        zero = np.zeros_like(zero) if kind != "uint8" else zero
        w = net.pair(rng.normal(0, 0.1, shape).astype(F), scale, zero, domain=domain, axis=0)  # type: ignore[arg-type]
    else:
        codes = rng.integers(info.min, info.max, shape).astype(kind)
        w = net.op("DequantizeLinear", codes, scale, zero, domain=domain, axis=0)
    inputs = [x, w]
    if biased:
        step = np.asarray(0.02 * scale, F)
        bias = rng.integers(-9999, 9999, 6).astype(np.int32)
        inputs.append(net.op("DequantizeLinear", bias, step, np.zeros(step.shape, np.int32), axis=0))
    y = net.op("Conv", *inputs, group=group, pads=[1, 1, 1, 1])
    net.pair(y, 0.05, np.asarray(0, np.int8), out="y", domain=domain)
    ranges = same(
        net.model((1, 4, 7, 7), (1, 6, 7, 7)), on_grid((1, 4, 7, 7), 0.02, np.asarray(120, np.uint8), 1),
        0.05,
    )  # fmt: skip
    found = [r for r in ranges.values() if r.dtype == kind and r.scale.shape == np.shape(scale)]
    assert any(np.array_equal(r.scale, scale) and np.array_equal(r.zero_point, zero) for r in found)


def test_the_ranges_carry_the_names_of_the_float_tensors() -> None:
    net = Net(17)
    x = net.pair("x", 0.02, np.asarray(120, np.uint8))
    codes = np.arange(24, dtype=np.int8).reshape(4, 3, 2, 1)
    w = net.op("DequantizeLinear", codes, np.full(4, 0.1, F), np.zeros(4, np.int8), axis=0, out="w")
    r = net.op("Conv", x, w, out="conv")
    net.pair(r, 0.5, np.asarray(0, np.uint8), out="y")
    model = net.model((1, 3, 4, 4), (1, 4, 3, 4))
    made, ranges = folded(model, saturated=False)
    assert [n.op_type for n in made.graph.node] == ["Conv"]
    assert [t.name for t in made.graph.initializer] == ["w"]
    assert set(ranges) == {"x", "w", "y"}
    assert (ranges["w"].axis, ranges["w"].dtype) == (0, "int8")
    assert (float(ranges["y"].scale), int(ranges["y"].zero_point), ranges["y"].dtype) == (
        0.5,
        0,
        "uint8",
    )
    kept = ir.to_proto(fold_quantization(ir.from_proto(model))[0])
    assert [n.op_type for n in kept.graph.node] == ["Clip", "Conv", "Clip"]


def test_names_of_onnx_runtimes_quantizer_are_undone() -> None:
    net = Net(17)
    codes = np.arange(12, dtype=np.int8).reshape(4, 3)
    scale, zero = np.asarray(0.1, F), np.asarray(3, np.int8)
    model = net.model((2, 4), (2, 3))
    graph = model.graph
    graph.initializer.extend(onnx.numpy_helper.from_array(a, n) for a, n in ((codes, "w_quantized"), (scale, "w_scale"), (zero, "w_zero_point")))  # fmt: skip
    graph.node.add(op_type="DequantizeLinear", input=["w_quantized", "w_scale", "w_zero_point"], output=["w_DequantizeLinear_Output"])  # fmt: skip
    graph.node.add(op_type="MatMul", input=["x", "w_DequantizeLinear_Output"], output=["y"])
    made, ranges = folded(model)
    assert [t.name for t in made.graph.initializer] == ["w"]
    assert list(ranges) == ["w"]


@pytest.mark.parametrize("block", [2, 4])
@pytest.mark.parametrize("axis", [0, 1])
def test_weights_in_blocks_and_of_four_bits(block: int, axis: int) -> None:
    rng = np.random.default_rng(0)
    shape = (8, 12)
    blocks = list(shape)
    blocks[axis] //= block
    codes = onnx.helper.make_tensor("codes", onnx.TensorProto.INT4, shape, rng.integers(-8, 7, 96))
    net = Net(21)
    w = net.op("DequantizeLinear", "codes", rng.uniform(0.1, 0.2, blocks).astype(F), axis=axis, block_size=block)  # fmt: skip
    net.op("MatMul", "x", w, out="y")
    model = net.model((2, 8), (2, 12))
    model.graph.initializer.append(codes)
    same(model, rng.normal(0, 1, (2, 8)).astype(F), 1e-4)


@space(40)
@given(quantized_kinds, quantized_kinds, scales, scales)
def test_codes_read_on_another_grid(first: str, second: str, one: float, other: float) -> None:
    if (first[0], first[-2:]) != (second[0], second[-2:]):
        return  # codes of one type are read as that type
    net = Net(21)
    codes = net.op("QuantizeLinear", "x", np.asarray(one, F), zero_of(first, 0.25))
    net.op("DequantizeLinear", codes, np.asarray(other, F), zero_of(second, 0.5), out="y")
    same(net.model((3, 4), (3, 4)), on_grid((3, 4), one, zero_of(first, 0.25), 0), other / 2 + 1e-2)


MOVES: dict[str, Any] = {
    "Transpose": (lambda n, q: n.op("Transpose", q, perm=[0, 2, 3, 1]), (1, 4, 6, 4)),
    "Reshape": (lambda n, q: n.op("Reshape", q, np.asarray([1, 96], np.int64)), (1, 96)),
    "MaxPool": (lambda n, q: n.op("MaxPool", q, kernel_shape=[2, 2], pads=[1, 0, 1, 0]), (1, 4, 5, 5)),
    "Slice": (lambda n, q: n.op("Slice", q, np.asarray([1]), np.asarray([3]), np.asarray([1])), (1, 2, 4, 6)),
    "Gather": (lambda n, q: n.op("Gather", q, np.asarray([2, 0]), axis=1), (1, 2, 4, 6)),
    "Concat": (lambda n, q: n.op("Concat", q, q, axis=1), (1, 8, 4, 6)),
    "Pad": (lambda n, q: n.op("Pad", q, np.asarray([0, 0, 1, 1, 0, 0, 0, 0]), np.asarray(7, np.uint8)), (1, 4, 5, 7)),
    "Pad edge": (lambda n, q: n.op("Pad", q, np.asarray([0, 0, 1, 1, 0, 0, 0, 0]), mode="edge"), (1, 4, 5, 7)),
    "Identity": (lambda n, q: n.op("Identity", q), (1, 4, 4, 6)),
    "Cast": (lambda n, q: n.op("Cast", n.op("Cast", q, to=6), to=2), (1, 4, 4, 6)),
    "DepthToSpace": (lambda n, q: n.op("DepthToSpace", n.op("Identity", q), blocksize=2), (1, 1, 8, 12)),
}  # fmt: skip


@pytest.mark.parametrize("move", MOVES)
def test_codes_that_are_moved_are_moved_reals(move: str) -> None:
    made, shape = MOVES[move]
    net = Net(17)
    scale, zero = np.asarray(0.1, F), np.asarray(100, np.uint8)
    moved = made(net, net.op("QuantizeLinear", "x", scale, zero))
    net.op("DequantizeLinear", moved, scale, zero, out="y")
    same(net.model((1, 4, 4, 6), shape), on_grid((1, 4, 4, 6), 0.1, zero, 2), 0.05)


@pytest.mark.parametrize("axis", [None, 1])
def test_codes_at_the_edges_of_a_model_stay_codes(axis: int | None) -> None:
    net = Net(17)
    kinds: dict[str, Any] = {} if axis is None else {"axis": axis}
    scale = np.asarray(0.1, F) if axis is None else np.linspace(0.1, 0.4, 4).astype(F)
    zero = np.full(scale.shape, 100, np.uint8)
    x = net.op("DequantizeLinear", "x", scale, zero, **kinds)
    net.op("QuantizeLinear", net.op("Mul", x, np.asarray(2, F)), scale, zero, out="y", **kinds)
    model = net.model((1, 4, 4, 6), (1, 4, 4, 6), x="uint8", y="uint8")
    x_codes = np.random.default_rng(0).integers(0, 255, (1, 4, 4, 6)).astype(np.uint8)
    same(model, x_codes, 1)


def test_what_a_model_does_with_codes_is_written_out() -> None:
    net = Net(17)
    codes = net.op("QuantizeLinear", "x", np.asarray(0.1, F), np.asarray(100, np.uint8))
    net.op("Mul", net.op("Cast", codes, to=1), np.asarray(3, F), out="y")
    same(net.model((3, 4), (3, 4)), on_grid((3, 4), 0.1, np.asarray(100, np.uint8), 0), 1e-4)


@pytest.mark.parametrize("operator", ["QuantizeLinear", "DequantizeLinear"])
def test_a_scale_that_is_computed_is_named(operator: str) -> None:
    net = Net(17)
    scale = net.op("ReduceMax", "x", keepdims=0)
    codes = net.op(
        "QuantizeLinear",
        "x",
        scale if operator[0] == "Q" else np.asarray(1, F),
        np.asarray(0, np.uint8),
    )
    net.op(
        "DequantizeLinear",
        codes,
        np.asarray(1, F) if operator[0] == "Q" else scale,
        np.asarray(0, np.uint8),
        out="y",
    )
    with pytest.raises(
        ModelError, match=rf"node '{operator}_.*' \({operator}\).* scale that is computed"
    ):
        fold_quantization(ir.from_proto(net.model((3, 4), (3, 4))))


def test_a_branch_that_is_quantized() -> None:
    inner = Net(17, "inner_")
    inner.pair("x", 0.5, np.asarray(3, np.int8), out="b")
    inner.op("Neg", "b", out="y")
    branch = inner.model((2, 3), (2, 3)).graph
    del branch.input[:]
    other = onnx.helper.make_graph(
        [onnx.helper.make_node("Abs", ["x"], ["z"])], "other", [],
        [onnx.helper.make_tensor_value_info("z", 1, (2, 3))],
    )  # fmt: skip
    net = Net(17)
    condition = net.op("Less", net.op("ReduceMax", "x", keepdims=0), np.asarray(1e9, F))
    net.op("If", condition, out="y", then_branch=branch, else_branch=other)
    same(net.model((2, 3), (2, 3)), np.random.default_rng(0).normal(0, 60, (2, 3)).astype(F), 0.25)
