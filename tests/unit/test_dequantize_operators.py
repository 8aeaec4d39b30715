"""Operators on codes, and models as ONNX Runtime's quantizer writes them, as float graphs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.nets import Graph
from tests.quantized import MICROSOFT, Net
from tests.space import space
from tests.unit.test_dequantize import F, folded, on_grid, same, zero_of
from tests.unit.test_graph_passes import run

ZERO = np.asarray(120, np.uint8)
STEP = np.asarray(0.02, F)


def quantized_input(net: Net, zero: NDArray[Any] = ZERO) -> list[Any]:
    """The codes of `x`, their scale and their zero point."""
    return [net.op("QuantizeLinear", "x", STEP, zero), STEP, zero]


def finished(net: Net, codes: str, scale: Any, zero: NDArray[Any]) -> None:
    net.op("DequantizeLinear", codes, np.asarray(scale, F), zero, out="y")


@space(40)
@given(
    st.sampled_from(["int8", "uint8"]), st.booleans(), st.booleans(), st.sampled_from([1, 2]),
    st.sampled_from(["uint8", "int8"]),
)  # fmt: skip
def test_qlinear_conv(kind: str, by_channel: bool, biased: bool, group: int, out: str) -> None:
    rng = np.random.default_rng(1)
    kind = kind if out == "uint8" else "int8"  # as ONNX Runtime has it
    info = np.iinfo(kind)
    w = rng.integers(info.min, info.max, (6, 4 // group, 3, 2)).astype(kind)
    ws = np.linspace(1e-3, 4e-3, 6).astype(F) if by_channel else np.asarray(2e-3, F)
    wz = np.full(ws.shape, 0 if kind == "int8" else 128, kind)
    zero = ZERO if out == "uint8" else np.asarray(-5, np.int8)
    bias = [rng.integers(-9999, 9999, 6).astype(np.int32)] if biased else []
    net = Net(17)
    codes = net.op(
        "QLinearConv", *quantized_input(net, zero_of(out, 0.5)), w, ws, wz, np.asarray(0.05, F), zero, *bias,
        group=group, pads=[1, 0, 1, 0], strides=[2, 1],
    )  # fmt: skip
    finished(net, codes, 0.05, zero)
    x = on_grid((1, 4, 7, 7), 0.02, zero_of(out, 0.5), 2)
    same(net.model((1, 4, 7, 7), (1, 6, 4, 6)), x, 0.05)


@space(20)
@given(st.booleans(), st.booleans())
def test_qlinear_matmul(by_column: bool, computed: bool) -> None:
    rng = np.random.default_rng(1)
    net = Net(17)
    x = quantized_input(net)
    if computed:
        other = [net.op("Transpose", x[0], perm=[0, 2, 1]), *x[1:]]
    else:
        ws = np.linspace(1e-3, 4e-3, 6).astype(F) if by_column else np.asarray(2e-3, F)
        wz = np.full(ws.shape, 4, np.int8)
        other = [rng.integers(-128, 127, (5, 6)).astype(np.int8), ws, wz]
    finished(net, net.op("QLinearMatMul", *x, *other, np.asarray(0.05, F), ZERO), 0.05, ZERO)
    shape = (2, 4, 4) if computed else (2, 4, 6)
    same(net.model((2, 4, 5), shape), on_grid((2, 4, 5), 0.02, ZERO, 2), 0.05)


LIKE: dict[str, tuple[tuple[int, ...], dict[str, Any]]] = {
    "QLinearSigmoid": ((1, 4, 6, 6), {}),
    "QLinearLeakyRelu": ((1, 4, 6, 6), {"alpha": 0.3}),
    "QLinearGlobalAveragePool": ((1, 4, 1, 1), {"channels_last": 0}),
    "QLinearAveragePool": ((1, 4, 5, 5), {"kernel_shape": [2, 2]}),
    "QLinearSoftmax": ((1, 4, 6, 6), {"axis": 1, "opset": 17}),
}


@pytest.mark.parametrize("operator", LIKE)
def test_operators_of_one_tensor_of_codes(operator: str) -> None:
    shape, attributes = LIKE[operator]
    net = Net(17)
    step, zero = np.asarray(0.01, F), np.asarray(100, np.uint8)
    codes = net.op(operator, *quantized_input(net), step, zero, domain=MICROSOFT, **attributes)
    finished(net, codes, step, zero)
    same(net.model((1, 4, 6, 6), shape), on_grid((1, 4, 6, 6), 0.02, ZERO, 2), 0.011)


@pytest.mark.parametrize("operator", ["QLinearAdd", "QLinearMul", "QLinearConcat", "QLinearWhere"])
@pytest.mark.parametrize("constant", [False, True])
def test_operators_of_two_tensors_of_codes(operator: str, constant: bool) -> None:
    net = Net(17)
    x, end = quantized_input(net), [np.asarray(0.03, F), np.asarray(100, np.uint8)]
    other = [
        np.random.default_rng(0).integers(0, 255, (3, 4)).astype(np.uint8),
        np.asarray(0.01, F),
        ZERO,
    ]
    if not constant:
        other = [net.op("QuantizeLinear", net.op("Neg", "x"), *other[1:]), *other[1:]]
    if operator == "QLinearConcat":
        codes = net.op(operator, *end, *x, *other, domain=MICROSOFT, axis=0)
    elif operator == "QLinearWhere":
        which = net.op("Less", "x", np.asarray(0.5, F))
        codes = net.op(operator, which, *x, *other, *end, domain=MICROSOFT)
    else:
        codes = net.op(operator, *x, *other, *end, domain=MICROSOFT)
    finished(net, codes, *end)
    shape = (6, 4) if operator == "QLinearConcat" else (3, 4)
    same(net.model((3, 4), shape), on_grid((3, 4), 0.02, ZERO, 2), 0.031)


@pytest.mark.parametrize("flipped", [0, 1])
@pytest.mark.parametrize("by_column", [False, True])
@pytest.mark.parametrize("floats", [False, True])
def test_qgemm(flipped: int, by_column: bool, floats: bool) -> None:
    rng = np.random.default_rng(0)
    net = Net(17)
    w = rng.integers(-128, 127, (6, 5) if flipped else (5, 6)).astype(np.int8)
    ws = np.linspace(1e-3, 4e-3, 6).astype(F) if by_column else np.asarray(2e-3, F)
    wz = np.zeros(ws.shape, np.int8)
    c = rng.integers(-999, 999, 6).astype(np.int32)
    end = [] if floats else [np.asarray(0.05, F), ZERO]
    x = quantized_input(net)
    kinds: dict[str, Any] = {"domain": MICROSOFT, "transB": flipped, "alpha": 1.0}
    codes = net.op("QGemm", *x, w, ws, wz, c, *end, out="y" if floats else "", **kinds)
    if not floats:
        finished(net, codes, 0.05, ZERO)
    same(net.model((4, 5), (4, 6)), on_grid((4, 5), 0.02, ZERO, 2), 1e-4 if floats else 0.05)


@space(40)
@given(st.sampled_from(["int8", "uint8"]), st.booleans(), st.booleans(), st.booleans())
def test_a_product_of_measured_codes_takes_the_scale_into_its_weights(
    kind: str, by_column: bool, dynamic: bool, scale_first: bool
) -> None:
    rng = np.random.default_rng(0)
    info = np.iinfo(kind)
    w = rng.integers(info.min, info.max, (5, 6)).astype(kind)
    ws = np.linspace(1e-3, 4e-3, 6).astype(F) if by_column else np.asarray(2e-3, F)
    wz = np.full(ws.shape, 3, kind)
    net = Net(17)
    if dynamic:
        net.ops("DynamicQuantizeLinear", ["codes", "scale", "zero"], "x")
        scale: Any = net.op("Mul", *(["scale", ws] if scale_first else [ws, "scale"]))
        codes: list[Any] = ["codes", "zero"]
    else:
        codes = [net.op("QuantizeLinear", "x", STEP, ZERO), ZERO]
        scale = (STEP * ws).astype(F)
    product = net.op("Cast", net.op("MatMulInteger", codes[0], w, codes[1], wz), to=1)
    net.op("Mul", product, scale, out="y")
    x = on_grid((4, 5), 0.02, ZERO, 2)
    # The grid is measured on x: a step of it for each of the five products.
    ranges = same(
        net.model((4, 5), (4, 6)),
        x,
        5 * 0.012 * 0.5 * float(abs(w).max() * ws.max()) if dynamic else 1e-4,
    )
    if dynamic:
        made, _ = folded(net.model((4, 5), (4, 6)))
        assert [node.op_type for node in made.graph.node] == ["MatMul"]
        (grid,) = ranges.values()
        assert np.allclose(grid.scale, ws)
        assert np.array_equal(grid.zero_point, wz)


def test_a_convolution_of_measured_codes() -> None:
    rng = np.random.default_rng(0)
    w = rng.integers(-127, 127, (6, 4, 3, 3)).astype(np.int8)
    net = Net(17)
    net.ops("DynamicQuantizeLinear", ["codes", "scale", "zero"], "x")
    product = net.op("ConvInteger", "codes", w, "zero", np.asarray(3, np.int8), pads=[1, 1, 1, 1])
    scale = net.op("Mul", "scale", np.asarray(1e-3, F))
    net.op("Mul", net.op("Cast", product, to=1), scale, out="y")
    model = net.model((1, 4, 6, 6), (1, 6, 6, 6))
    same(model, rng.normal(0, 1, (1, 4, 6, 6)).astype(F), 0.03)
    assert [node.op_type for node in folded(model)[0].graph.node] == ["Conv"]


@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize("operator", ["DynamicQuantizeMatMul", "MatMulIntegerToFloat"])
def test_products_of_onnx_runtime_that_give_floats(operator: str, biased: bool) -> None:
    rng = np.random.default_rng(0)
    w = rng.integers(-128, 127, (5, 6)).astype(np.int8)
    ws, wz = np.linspace(1e-3, 4e-3, 6).astype(F), np.full(6, 3, np.int8)
    net = Net(17)
    bias = rng.normal(0, 1, 6).astype(F) if biased else None
    if operator == "DynamicQuantizeMatMul":
        net.op(operator, "x", w, ws, wz, bias, domain=MICROSOFT, out="y")
    else:
        net.ops("DynamicQuantizeLinear", ["codes", "scale", "zero"], "x")
        net.op(operator, "codes", w, "scale", ws, "zero", wz, bias, domain=MICROSOFT, out="y")
    same(net.model((4, 5), (4, 6)), rng.normal(0, 1, (4, 5)).astype(F), 0.02)


def _net() -> onnx.ModelProto:
    g = Graph(5)
    y = g.op("Relu", g.conv("images", 3, 8))
    y = g.op("Add", g.op("Clip", g.conv(y, 8, 8), g.constant(0.0), g.constant(6.0)), y)
    y = g.op(
        "Concat",
        g.op("MaxPool", y, kernel_shape=[2, 2], strides=[2, 2]),
        g.conv(y, 8, 4, stride=2),
        axis=1,
    )
    y = g.op("Mul", y, g.op("Sigmoid", y))
    y = g.op("Flatten", g.op("GlobalAveragePool", y))
    y = g.op("Gemm", y, g.weight(5, 12), g.constant(np.linspace(-1, 1, 5)), transB=1)
    return g.model((1, 3, 12, 12), {"y": (y, (1, 5))}, 17)


def _reader(frames: list[NDArray[Any]]) -> Any:
    from onnxruntime.quantization import CalibrationDataReader

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self._rest = iter(frames)

        def get_next(self) -> Any:
            frame = next(self._rest, None)
            return None if frame is None else {"images": frame}

    return Reader()


# ONNX Runtime has no operators on codes of 16 bits.
@pytest.mark.parametrize(
    ("form", "activations"),
    [
        ("QDQ", "QUInt8"),
        ("QDQ", "QInt8"),
        ("QDQ", "QUInt16"),
        ("QOperator", "QUInt8"),
        ("QOperator", "QInt8"),
    ],
)
@pytest.mark.parametrize("per_channel", [False, True])
def test_models_of_onnx_runtimes_quantizer(
    tmp_path: Path, form: str, activations: str, per_channel: bool
) -> None:
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

    rng = np.random.default_rng(0)
    frames = [rng.uniform(0, 1, (1, 3, 12, 12)).astype(F) for _ in range(4)]
    target = tmp_path / "quantized.onnx"
    quantize_static(
        _net(), target, _reader(frames), quant_format=QuantFormat[form], per_channel=per_channel,
        activation_type=QuantType[activations], weight_type=QuantType.QInt8,
        extra_options={"UseQDQContribOps": activations == "QUInt16"},
    )  # fmt: skip
    model = onnx.load(target)
    made, ranges = folded(model)
    assert len(ranges) > 6
    for frame in frames:
        (expected,), (found,) = run(model, {"images": frame}), run(made, {"images": frame})
        (unquantized,) = run(_net(), {"images": frame})
        assert np.abs(found - expected).max() < 0.03 * np.abs(expected).max()
        assert np.abs(found - unquantized).max() < 0.03 * np.abs(expected).max()
    # The ranges end where values end that the frames did not have: a Relu that was left out is there.
    (clipped,), (plain,) = (run(each, {"images": -4 * frames[0]}) for each in (model, made))
    assert np.abs(clipped - plain).max() < 0.1 * np.abs(clipped).max()


@pytest.mark.parametrize("recurrent", [False, True])
def test_models_that_onnx_runtime_quantizes_dynamically(tmp_path: Path, recurrent: bool) -> None:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    g = Graph(5)
    y = g.op("MatMul", "images", g.weight(8, 6))
    if recurrent:
        y, _, _ = g.op("LSTM", y, g.weight(2, 20, 6), g.weight(2, 20, 5), g.weight(2, 40), outputs=3, hidden_size=5, direction="bidirectional")  # fmt: skip
        y = g.op("Reshape", y, g.constant([7, 1, 10], np.int64))
        y = g.op("MatMul", y, g.weight(10, 6))
    y = g.op("Add", g.op("Relu", y), g.constant(np.linspace(0, 1, 6)))
    y = g.op("MatMul", y, g.op("Transpose", y, perm=[0, 2, 1]))
    source, target = tmp_path / "float.onnx", tmp_path / "quantized.onnx"
    onnx.save(g.model((7, 1, 8), {"y": (y, (7, 1, 1))}, 17), source)
    quantize_dynamic(
        source, target, weight_type=QuantType.QInt8, extra_options={"MatMulConstBOnly": False}
    )
    model = onnx.load(target)
    made, ranges = folded(model)
    assert ranges
    x = np.random.default_rng(0).normal(0, 1, (7, 1, 8)).astype(F)
    (expected,), (found,) = run(model, {"images": x}), run(made, {"images": x})
    assert np.abs(found - expected).max() < 0.03 * np.abs(expected).max()
    assert "Mul" not in {node.op_type for node in made.graph.node}
