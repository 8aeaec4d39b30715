"""Stages of blobs that no compiler wrote, over their parameters, against ONNX Runtime.

Inputs and constants are float16, ONNX Runtime computes in float32 from the same values, and the stage's
result is rounded to float16 once. So a result may be off by half a unit in the last place, 2^-11, and by
what the order of a sum makes of float32, which is far less: the limit is 6e-4 of the largest value.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.blob_reference import LIMIT, assert_same, drawn, reference
from tests.blob_writer import BlobWriter, run_one
from tests.space import space

ORDERS = st.sampled_from(["NCHW", "NHWC"])
SMALL = settings(max_examples=25, deadline=None)
SEEDS = st.integers(0, 2**31)


# ------------------------------------------------------------ windows


@st.composite
def windows(draw: st.DrawFn, *, dilated: bool = True) -> dict[str, Any]:
    kernel = draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
    dilation = draw(st.tuples(st.integers(1, 2), st.integers(1, 2))) if dilated else (1, 1)
    stride = draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    pads = draw(st.tuples(*[st.integers(0, kernel[axis] - 1) for axis in (0, 1, 0, 1)]))
    least = [(k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True)]
    size = draw(st.tuples(st.integers(least[0], least[0] + 8), st.integers(least[1], least[1] + 8)))
    return {"kernel": kernel, "dilation": dilation, "stride": stride, "pads": pads, "size": size}


def words(w: dict[str, Any], *, dilated: bool = True) -> list[int]:
    """Kernel, stride, pads, perhaps dilation: x before y."""
    values = [*w["kernel"][::-1], *w["stride"][::-1], w["pads"][1], w["pads"][0]]
    return values + list(w["dilation"][::-1]) if dilated else values


def onnx_window(w: dict[str, Any]) -> dict[str, Any]:
    return {"kernel_shape": w["kernel"], "strides": w["stride"], "pads": w["pads"]}


@SMALL
@given(windows(), st.integers(1, 20), st.integers(1, 20), ORDERS, SEEDS)
def test_a_convolution(w: dict[str, Any], into: int, out: int, order: str, seed: int) -> None:
    x, weights = drawn(seed, 1, into, *w["size"]), drawn(seed + 1, out, into, *w["kernel"], scale=0.3)
    (wanted,) = reference("Conv", x, weights, dilations=w["dilation"], **onnx_window(w))
    places = w["kernel"][0] * w["kernel"][1]
    flat = weights.reshape(out, into, places)
    interleaved = order == "NHWC"
    large = w["kernel"] == (3, 3) and into > 3 and into * out > 256
    if places == 1:
        stored = flat
    elif interleaved and not large:
        stored = flat.transpose(2, 1, 0)
    else:
        stored = flat.transpose(2, 0, 1)
    found = run_one(0, "8I", words(w), x, wanted.shape, np.ascontiguousarray(stored), order=order)
    assert_same(found, wanted)
    stored = np.ascontiguousarray(flat.transpose(0, 2, 1))
    if places > 1:
        assert_same(run_one(49, "8I", words(w), x, wanted.shape, stored, order=order), wanted)


@SMALL
@given(windows(), st.integers(1, 9), ORDERS, SEEDS)
def test_a_convolution_by_channel(w: dict[str, Any], channels: int, order: str, seed: int) -> None:
    x, weights = drawn(seed, 1, channels, *w["size"]), drawn(seed + 1, channels, 1, *w["kernel"])
    (wanted,) = reference("Conv", x, weights, dilations=w["dilation"], group=channels, **onnx_window(w))
    stored = np.ascontiguousarray(weights.reshape(channels, -1).T)
    assert_same(run_one(8, "8I", words(w), x, wanted.shape, stored, order=order), wanted)


@SMALL
@given(windows(dilated=False), st.integers(1, 7), st.integers(1, 7), ORDERS, SEEDS)
def test_a_deconvolution(w: dict[str, Any], into: int, out: int, order: str, seed: int) -> None:
    x, weights = drawn(seed, 1, into, *w["size"]), drawn(seed + 1, into, out, *w["kernel"])
    (wanted,) = reference("ConvTranspose", x, weights, **onnx_window(w))
    turned = weights[:, :, ::-1, ::-1].reshape(into, out, -1).transpose(2, 1, 0)
    form, values = "6I", words(w, dilated=False)
    stored = np.ascontiguousarray(turned)
    assert_same(run_one(22, form, values, x, wanted.shape, stored, order=order), wanted)
    weights = weights[:, :1]
    (wanted,) = reference("ConvTranspose", x, weights, group=into, **onnx_window(w))
    turned = weights[:, 0, ::-1, ::-1].reshape(into, -1)
    stored = np.ascontiguousarray(turned.T if order == "NHWC" else turned)
    assert_same(run_one(63, form, values, x, wanted.shape, stored, order=order), wanted)


@SMALL
@given(windows(dilated=False), st.booleans(), ORDERS, SEEDS)
def test_a_pool(w: dict[str, Any], counted: bool, order: str, seed: int) -> None:
    x = drawn(seed, 2, 3, *w["size"])
    (wanted,) = reference("MaxPool", x, **onnx_window(w))
    values = words(w, dilated=False)
    assert_same(run_one(1, "7I", [*values, 1], x, wanted.shape, order=order), wanted)
    (wanted,) = reference("AveragePool", x, count_include_pad=int(counted), **onnx_window(w))
    found = run_one(2, "7I", [*values, int(not counted)], x, wanted.shape, order=order)
    assert_same(found, wanted)


def operation(
    kind: int, kernel: int, stride: int, first: int, channels: int, *, padded: bool,
    pool: int | None = None, sides: int = 0, bias: bool = False, scale: bool = False,
    slopes: tuple[int, int, int] | None = None, upper: float | None = None,
) -> bytes:  # fmt: skip
    """An operation of the convolution unit; buffers: in, out, weights, bias, scale."""
    data = struct.pack("<I", kind)
    if kind == 4:
        data += struct.pack("<I", pool)
    data += struct.pack("<2I", 0, padded) + (struct.pack("<I", sides) if padded else b"")
    weights = -1 if kind == 4 else 2
    data += struct.pack("<5i", 0, 1, weights, 3 if bias else -1, 4 if scale else -1)
    data += struct.pack("<5I", first, channels, kernel, kernel, stride)
    if kind == 1:
        data += struct.pack("<2I", 2, 2)
    data += struct.pack("<I", slopes is not None) + (struct.pack("<3I", *slopes) if slopes else b"")
    data += struct.pack("<I", upper is not None) + (struct.pack("<f", upper) if upper else b"")
    return data + struct.pack("<2I", 0, 0)


@SMALL
@given(
    st.integers(1, 5), st.integers(1, 2), st.booleans(), st.integers(1, 12),
    st.integers(1, 20), st.sampled_from([None, (0, 0, 1), (0, 1, 8)]), st.sampled_from([None, 1.5]),
    st.integers(1, 3), ORDERS, SEEDS,
)  # fmt: skip
def test_the_convolution_unit(
    kernel: int, stride: int, padded: bool, into: int, out: int,
    slopes: tuple[int, int, int] | None, upper: float | None, parts: int, order: str, seed: int,
) -> None:  # fmt: skip
    x, weights = drawn(seed, 1, into, 9, 11), drawn(seed + 1, out, into, kernel, kernel, scale=0.3)
    bias, scale = drawn(seed + 2, out), drawn(seed + 3, out)
    before, after = (kernel // 2, (kernel - 1) // 2) if padded else (0, 0)
    (wanted,) = reference(
        "Conv", x, weights, bias, strides=[stride] * 2, pads=[before] * 2 + [after] * 2
    )
    wanted = wanted * scale.astype(np.float32)[:, None, None]
    if slopes is not None:
        wanted = np.where(wanted < slopes[0], wanted * slopes[1], wanted * slopes[2])
    wanted = wanted if upper is None else np.clip(wanted, 0, upper)
    blocks = -(-out // 8)
    stored = np.zeros((blocks * 8, into, kernel * kernel), np.float16)
    stored[:out] = weights.reshape(out, into, -1)
    stored = stored.reshape(blocks, 8, into, -1).transpose(0, 2, 3, 1)
    axes = ["NCHW".index(letter) for letter in order]
    writer = BlobWriter()
    buffers = (
        writer.input([x.shape[axis] for axis in axes], order=order),
        writer.output([wanted.shape[axis] for axis in axes], order=order),
        writer.constant(stored), writer.constant(bias), writer.constant(scale),
    )  # fmt: skip
    ranges = np.array_split(np.arange(out), min(parts, out))
    data = struct.pack("<I", len(ranges)) + b"".join(
        operation(0, kernel, stride, int(part[0]), len(part), padded=padded, bias=True, scale=True,
                  slopes=slopes, upper=upper)
        for part in ranges
    )  # fmt: skip
    writer.hardware(data, *buffers)
    done = writer.run(x.transpose(axes))
    assert (done.unknown, done.overlaps, done.unwritten) == ((), (), ())
    assert_same(done.outputs["y0"].transpose(np.argsort(axes)), wanted)


@SMALL
@given(st.integers(2, 3), st.integers(1, 2), st.booleans(), st.booleans(), SEEDS)
def test_a_pool_of_the_convolution_unit(
    kernel: int, stride: int, average: bool, padded: bool, seed: int
) -> None:
    x = drawn(seed, 2, 3, 9, 11)
    before, after = (kernel // 2, (kernel - 1) // 2) if padded else (0, 0)
    attributes = {
        "kernel_shape": [kernel] * 2,
        "strides": [stride] * 2,
        "pads": [before] * 2 + [after] * 2,
    }
    if average:
        (wanted,) = reference("AveragePool", x, count_include_pad=1, **attributes)
    else:
        (wanted,) = reference("MaxPool", x, **attributes)
    writer = BlobWriter()
    buffers = writer.input(x.shape), writer.output(wanted.shape)
    data = operation(
        4, kernel, stride, 0, 6, padded=padded, pool=int(average), sides=15 if padded else 0
    )
    writer.hardware(struct.pack("<I", 1) + data, *buffers)
    if not (padded and average and stride == 2):  # how the sides are padded then is derived, not said
        assert_same(writer.run(x).outputs["y0"], wanted)


def test_a_pool_behind_a_convolution() -> None:
    x, weights = drawn(0, 1, 4, 8, 10), drawn(1, 8, 4, 3, 3)
    (convolved,) = reference("Conv", x, weights, pads=[1] * 4)
    (wanted,) = reference("MaxPool", np.maximum(convolved, 0), kernel_shape=[2, 2], strides=[2, 2])
    writer = BlobWriter()
    stored = weights.reshape(1, 8, 4, 9).transpose(0, 2, 3, 1)
    buffers = writer.input(x.shape), writer.output(wanted.shape), writer.constant(stored)
    data = operation(1, 3, 1, 0, 8, padded=True, slopes=(0, 0, 1))
    writer.hardware(struct.pack("<I", 1) + data, *buffers)
    assert_same(writer.run(x).outputs["y0"], wanted)


@pytest.mark.parametrize(
    ("alpha", "turn_a", "turn_b", "third"), [(1, 0, 0, 0), (0.5, 1, 0, 1), (2, 0, 1, 1)]
)
def test_matrix_products(alpha: float, turn_a: int, turn_b: int, third: int) -> None:
    a, b, c = drawn(0, 2, 5, 7), drawn(1, 2, 7, 4), drawn(2, 2, 5, 4)
    wanted = alpha * np.matmul(a.astype(np.float64), b.astype(np.float64)) + third * 3 * c
    writer = BlobWriter()
    given_a, given_b = a.swapaxes(1, 2) if turn_a else a, b.swapaxes(1, 2) if turn_b else b
    buffers = [writer.constant(given_a), writer.constant(given_b)]
    buffers += [writer.constant(c)] if third else []
    writer.stage(91, "2f3i", (alpha, 3, third, turn_a, turn_b), *buffers, writer.output(wanted.shape))
    assert_same(writer.run().outputs["y0"], wanted)
    x, weights = drawn(3, 1, 20), drawn(4, 20, 6)
    assert_same(run_one(4, "", (), x, (1, 6), weights), x.astype(np.float64) @ weights)


# ------------------------------------------------------------ elements

UNARY = {
    "Relu": (6, "if", (0, 0.0), {}),
    "LeakyRelu": (44, "if", (0, 0.3), {"alpha": 0.3}),
    "Clip": (57, "2f", (-0.5, 0.75), {}),
    "Elu": (23, "f", (0.7,), {"alpha": 0.7}),
    "Sigmoid": (20, "", (), {}),
    "Tanh": (21, "", (), {}),
    "Exp": (101, "", (), {}),
    "Floor": (102, "", (), {}),
    "Ceil": (138, "", (), {}),
    "Erf": (110, "", (), {}),
    "Mish": (131, "", (), {}),
    "Gelu": (132, "", (), {}),
    "Softplus": (134, "", (), {}),
    "HardSwish": (137, "", (), {}),
    "Round": (140, "i", (0,), {}),
}


@pytest.mark.parametrize("kind", UNARY)
@space(6)
@given(ORDERS, SEEDS)
def test_functions_of_one_element(kind: str, order: str, seed: int) -> None:
    number, form, values, attributes = UNARY[kind]
    x = drawn(seed, 1, 3, 5, 7, scale=2)
    more = [np.float32(-0.5), np.float32(0.75)] if kind == "Clip" else []
    (wanted,) = reference(kind, x, *more, opset=20, **attributes)
    assert_same(run_one(number, form, values, x, x.shape, order=order), wanted)


@space(10)
@given(ORDERS, SEEDS)
def test_functions_without_an_operator_of_their_own(order: str, seed: int) -> None:
    x = drawn(seed, 1, 3, 5, 7, scale=2)
    wide, by_channel, other = x.astype(np.float64), drawn(seed + 1, 3), drawn(seed + 2, 3)
    c, d = (values.astype(np.float64)[:, None, None] for values in (by_channel, other))

    def run(number: int, form: str, values: Sequence[Any], *constants: Any) -> NDArray[Any]:
        return run_one(number, form, values, x, x.shape, *constants, order=order)

    assert_same(run(26, "3f", (0.5, 2, 2)), (0.5 + 2 * wide) ** 2)
    assert_same(run(26, "3f", (0.5, 2, 1)), 0.5 + 2 * wide)
    assert_same(run(135, "f", (1.5,)), wide / (1 + np.exp(-1.5 * wide)))
    assert_same(run(140, "i", (1,)), np.trunc(wide + np.copysign(0.5, wide)))
    assert_same(run(45, "if", (1, 0.0), by_channel), np.maximum(wide + c, 0))
    assert_same(run(46, "if", (1, 0.25), by_channel), np.where(wide + c > 0, wide + c, (wide + c) / 4))
    assert_same(run(10, "", (), by_channel), np.where(wide > 0, wide, wide * c))
    assert_same(run(9, "", (), by_channel), wide + c)
    assert_same(run(15, "", (), by_channel), wide * c)
    assert_same(run(47, "", (), by_channel, other), wide * c + d)
    (wanted,) = reference("Log", np.abs(x) + np.float16(0.1))
    assert_same(run_one(92, "", (), np.abs(x) + np.float16(0.1), x.shape, order=order), wanted)


BINARY = {
    13: np.multiply, 14: np.maximum, 75: np.divide, 76: np.minimum, 77: lambda a, b: (a - b) ** 2,
    78: np.equal, 79: np.not_equal, 80: np.greater, 81: np.greater_equal, 82: np.less,
    83: np.less_equal, 85: np.logical_and, 86: np.logical_or, 87: np.logical_xor,
    89: lambda a, b: a - np.floor(a / b) * b,
}  # fmt: skip


@pytest.mark.parametrize("kind", BINARY)
@space(6)
@given(st.sampled_from([(1, 3, 5, 7), (1, 3, 1, 1), (5, 7), (1,)]), SEEDS)
def test_functions_of_two_tensors(kind: int, shape: tuple[int, ...], seed: int) -> None:
    a = np.round(drawn(seed, 1, 3, 5, 7), 1)
    b = np.round(np.abs(drawn(seed + 1, *shape)) + np.float16(0.5), 1)
    wanted = BINARY[kind](a.astype(np.float32), b.astype(np.float32)).astype(np.float32)
    writer = BlobWriter()
    out = writer.output(a.shape)
    nothing = writer.constant(np.zeros(1))
    writer.stage(
        kind, "2fi3f", (1, 1, -1, 0, 0, 0), writer.constant(a), out, writer.constant(b), nothing
    )
    assert_same(writer.run().outputs["y0"], wanted, 2e-3 if kind == 89 else LIMIT)


@space(12)
@given(st.sampled_from([-1, 6, 44, 57]), st.sampled_from(["float16", "int32"]), SEEDS)
def test_a_sum_has_coefficients_and_an_activation(activation: int, dtype: str, seed: int) -> None:
    scale = 1 if dtype == "float16" else 20
    a, b = (np.asarray(drawn(s, 2, 3, scale=scale), dtype) for s in (seed, seed + 1))
    wanted = 2 * a.astype(np.float64) - 3 * b.astype(np.float64)
    if activation == 6:
        wanted = np.maximum(wanted, 0)
    elif activation == 44:
        wanted = np.where(wanted > 0, wanted, 0.25 * wanted)
    elif activation == 57:
        wanted = np.clip(wanted, -2, 3)
    form = "2fi3f" if dtype == "float16" else "6i"
    if dtype == "int32" and activation == 44:
        return  # a slope that is no whole number
    slope = {44: 0.25 if dtype == "float16" else 0}.get(activation, 0)
    writer = BlobWriter()
    out = writer.output(a.shape, dtype)
    given = [writer.constant(values, dtype) for values in (a, b)]
    writer.stage(12, form, (2, -3, activation, slope, -2, 3), given[0], out, given[1], given[1])
    assert_same(writer.run().outputs["y0"], wanted)


def test_select_abs_not_and_power_of_two_tensors() -> None:
    a, b, c = drawn(0, 2, 5), drawn(1, 2, 5), drawn(2, 2, 5)
    a[0, :2] = 0
    writer = BlobWriter()
    x, y, z = (writer.constant(values) for values in (a, b, c))
    plain = (1, 1, -1, 0, 0, 0)
    writer.stage(90, "2fi3f", plain, x, writer.output(a.shape), y, z)
    writer.stage(142, "2fi3f", plain, x, writer.output(a.shape), x, x)
    writer.stage(84, "2fi3f", plain, x, writer.output(a.shape), x, x)
    writer.stage(
        88,
        "2fi3f",
        plain,
        writer.constant(np.abs(a)),
        writer.output(a.shape),
        writer.constant(np.abs(b)),
        x,
    )
    outputs = writer.run().outputs
    assert_same(outputs["y0"], np.where(a != 0, b, c).astype(np.float64))
    assert_same(outputs["y1"], np.abs(a).astype(np.float64))
    assert_same(outputs["y2"], (a == 0).astype(np.float64))
    assert_same(outputs["y3"], np.abs(a.astype(np.float64)) ** np.abs(b.astype(np.float64)))
