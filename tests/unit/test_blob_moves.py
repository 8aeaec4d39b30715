"""Stages that move, reduce or look up elements, over their parameters, against ONNX Runtime.

Limits as in `test_blob_stages`: what only moves elements must give them back to the bit.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.blob_reference import assert_same, drawn, reference
from tests.blob_writer import NOTHING, BlobWriter, run_one
from tests.space import space

SMALL = settings(max_examples=20, deadline=None)
SEEDS = st.integers(0, 2**31)
ORDERS = st.sampled_from(["NCHW", "NHWC"])
SHAPES = st.lists(st.integers(1, 6), min_size=1, max_size=4).map(tuple)
FULL = st.tuples(*[st.integers(1, 6)] * 4)


def indices(writer: BlobWriter, values: Any) -> Any:
    return writer.constant(np.atleast_1d(values), "int32")


@SMALL
@given(SHAPES, st.randoms(), SEEDS)
def test_permute(shape: tuple[int, ...], random: Any, seed: int) -> None:
    x, rank = drawn(seed, *shape), len(shape)
    perm = list(range(rank))
    random.shuffle(perm)
    fastest = [rank - 1 - perm[rank - 1 - axis] for axis in range(rank)]
    wanted = x.transpose(perm)
    found = run_one(34, "8i", fastest + [-1] * (8 - rank), x, wanted.shape)
    assert np.array_equal(found, wanted)


@SMALL
@given(FULL, st.sampled_from(["NCHW", "NHWC", "NCWH"]), st.sampled_from(["NCHW", "NHWC"]), SEEDS)
def test_copy_and_convert_change_the_memory_order(
    shape: tuple[int, ...], before: str, after: str, seed: int
) -> None:
    x = drawn(seed, *shape)
    axes = ["NCHW".index(letter) for letter in before]
    wanted = x.transpose(["NCHW".index(letter) for letter in after])
    for kind, form, values in ((19, "", ()), (111, "2f2i", (1, 0, 0, 1))):
        writer = BlobWriter()
        into = writer.input([shape[axis] for axis in axes], order=before)
        writer.stage(kind, form, values, into, writer.output(wanted.shape, order=after))
        assert np.array_equal(writer.run(x.transpose(axes)).outputs["y0"], wanted)


@pytest.mark.parametrize("dtype", ["uint8", "int32", "float32", "int8"])
def test_convert_cuts_off_and_scales(dtype: str) -> None:
    x = np.array([[-1.5, -0.5, 0.5, 2.75, 100]], np.float16)
    wanted = np.clip(np.trunc(x), 0 if dtype == "uint8" else -200, None) if dtype != "float32" else x
    found = run_one(111, "2f2i", (1, 0, 0, 1), x, x.shape, dtype=dtype)
    assert found.dtype == dtype
    assert np.array_equal(found, wanted)
    found = run_one(111, "2f2i", (2, 1, 0, 1), x, x.shape, dtype="float32")
    assert np.array_equal(found, 2 * x.astype(np.float32) + 1)


@SMALL
@given(FULL, st.lists(st.integers(0, 3), min_size=8, max_size=8), st.integers(0, 3), SEEDS)
def test_pad(shape: tuple[int, ...], widths: list[int], mode: int, seed: int) -> None:
    x = drawn(seed, *shape)
    if mode:
        room = [size - (mode == 2) for size in shape]
        widths = [min(width, room[at % 4]) for at, width in enumerate(widths)]
    begins, ends = widths[:4], widths[4:]
    name = ["constant", "edge", "reflect", "symmetric"][mode]
    pairs = list(zip(begins, ends, strict=True))
    wanted = np.pad(x, pairs, mode=name, **({"constant_values": 1.5} if mode == 0 else {}))  # type: ignore[call-overload]
    values = [width for pair in reversed(pairs) for width in pair]
    assert np.array_equal(run_one(71, "8IfI", [*values, 1.5, mode], x, wanted.shape), wanted)


@SMALL
@given(FULL, st.integers(0, 3), st.integers(1, 4), SEEDS)
def test_tile(shape: tuple[int, ...], axis: int, times: int, seed: int) -> None:
    x = drawn(seed, *shape)
    wanted = np.concatenate([x] * times, 3 - axis)
    assert np.array_equal(run_one(28, "2i", (axis, times), x, wanted.shape), wanted)


@SMALL
@given(FULL, st.data(), SEEDS)
def test_strided_slice(shape: tuple[int, ...], data: st.DataObject, seed: int) -> None:
    x = drawn(seed, *shape)
    slices = []
    for size in shape:
        step = data.draw(st.sampled_from([1, 2, -1, -2]))
        edges = sorted(data.draw(st.tuples(st.integers(0, size - 1), st.integers(0, size - 1))))
        slices.append((edges[0], edges[1] + 1, step) if step > 0 else (edges[1], edges[0] - 1, step))
    free_begin, free_end = data.draw(st.integers(0, 15)), data.draw(st.integers(0, 15))
    picked = tuple(
        slice(
            begin if free_begin >> axis & 1 else None,
            end if free_end >> axis & 1 and end >= 0 else None,
            step,
        )
        for axis, (begin, end, step) in enumerate(slices)
    )
    wanted = x[picked]
    if not wanted.size:
        return
    ends = [end if end >= 0 else -1000 for _, end, _ in slices]
    writer = BlobWriter()
    into, out = writer.input(shape), writer.output(wanted.shape)
    vectors = [indices(writer, [s[0] for s in slices]), indices(writer, ends)]
    vectors.append(indices(writer, [s[2] for s in slices]))
    writer.stage(133, "5I", (free_begin, free_end, 0, 0, 0), into, *vectors, out)
    assert np.array_equal(writer.run(x).outputs["y0"], wanted)


@SMALL
@given(SHAPES, st.data(), SEEDS)
def test_reductions(shape: tuple[int, ...], data: st.DataObject, seed: int) -> None:
    x, rank = drawn(seed, *shape), len(shape)
    axes = sorted(data.draw(st.sets(st.integers(0, rank - 1), min_size=1)))
    keep = data.draw(st.booleans()) or len(axes) == rank
    for kind, name in {105: "Min", 112: "Max", 113: "Sum", 114: "Mean"}.items():
        function = {"Min": np.min, "Max": np.max, "Sum": np.sum, "Mean": np.mean}[name]
        wanted = np.asarray(function(x.astype(np.float32), axis=tuple(axes), keepdims=keep))
        writer = BlobWriter()
        along = indices(writer, [rank - 1 - axis for axis in axes])
        into, out = writer.input(shape), writer.output(wanted.shape)
        writer.stage(kind, "i", (int(keep),), into, out, along)
        assert_same(writer.run(x).outputs["y0"], wanted)


@SMALL
@given(SHAPES, st.data(), st.integers(0, 1), st.integers(0, 2), SEEDS)
def test_the_best_along_an_axis(
    shape: tuple[int, ...], data: st.DataObject, mode: int, sort: int, seed: int
) -> None:
    x = drawn(seed, *shape)
    axis = data.draw(st.integers(0, len(shape) - 1))
    k = data.draw(st.integers(1, shape[axis]))
    values, places = reference(
        "TopK", x, np.array([k]), outputs=2, axis=axis, largest=1 - mode, opset=11
    )
    if sort == 2:
        places = np.sort(places, axis)
        values = np.take_along_axis(x, places, axis)
    writer = BlobWriter()
    into, count = writer.input(shape), indices(writer, k)
    outs = writer.output(values.shape), writer.output(places.shape, "int32")
    writer.stage(104, "5i", (len(shape) - 1 - axis, mode, sort, 1, 1), into, count, *outs)
    outputs = writer.run(x).outputs
    assert np.array_equal(outputs["y0"], values)
    assert np.array_equal(np.take_along_axis(x, outputs["y1"].astype(np.int64), axis), values)


@SMALL
@given(SHAPES, st.data(), SEEDS)
def test_softmax(shape: tuple[int, ...], data: st.DataObject, seed: int) -> None:
    x = drawn(seed, *shape, scale=3)
    axis = data.draw(st.integers(0, len(shape) - 1))
    (wanted,) = reference("Softmax", x, axis=axis)
    assert_same(run_one(3, "i", (len(shape) - 1 - axis,), x, shape), wanted)


@SMALL
@given(FULL, ORDERS, st.integers(1, 4), SEEDS)
def test_normalizations(shape: tuple[int, ...], order: str, half: int, seed: int) -> None:
    x, size = drawn(seed, *shape, scale=2), 2 * half - 1
    (wanted,) = reference("LRN", x, size=size, alpha=0.5, beta=0.75, bias=2.0)
    found = run_one(11, "I4e", (size, 2, 0.5, 0.75, 0), x, shape, order=order)
    assert_same(found, wanted)
    wide = x.astype(np.float64)
    for across, width_only, axes in ((0, 0, (2, 3)), (1, 0, (1, 2, 3)), (0, 1, (3,))):
        centred = wide - wide.mean(axes, keepdims=True)
        assert_same(
            run_one(62, "3if", (0, across, width_only, 0.1), x, shape, order=order), centred, 2e-3
        )
        wanted = centred / (np.sqrt((centred**2).mean(axes, keepdims=True)) + 0.1)
        found = run_one(62, "3if", (1, across, width_only, 0.1), x, shape, order=order)
        assert_same(found, wanted, 2e-3)
    for across, axes in ((0, (1,)), (1, (1, 2, 3))):
        scales = drawn(seed + 1, shape[1])
        wanted = wide / np.sqrt((wide**2).sum(axes, keepdims=True) + 1e-3) * scales[:, None, None]
        assert_same(run_one(35, "2if", (across, 0, 1e-3), x, shape, scales, order=order), wanted, 2e-3)


# ------------------------------------------------------------ lookups


@SMALL
@given(st.lists(st.integers(1, 6), min_size=1, max_size=3).map(tuple), st.data(), SEEDS)
def test_gather(shape: tuple[int, ...], data: st.DataObject, seed: int) -> None:
    x = drawn(seed, *shape)
    axis = data.draw(st.integers(0, len(shape) - 1))
    at = np.array(data.draw(st.lists(st.integers(0, shape[axis] - 1), min_size=1, max_size=5)))
    at = at.reshape(1, -1) if data.draw(st.booleans()) else at
    (wanted,) = reference("Gather", x, at, axis=axis)
    writer = BlobWriter()
    into, out = writer.input(shape), writer.output(wanted.shape)
    writer.stage(100, "i", (len(shape) - 1 - axis,), into, out, writer.constant(at, "int32"))
    assert np.array_equal(writer.run(x).outputs["y0"], wanted)


@SMALL
@given(FULL, st.integers(0, 3), SEEDS)
def test_gather_and_scatter_elements(shape: tuple[int, ...], axis: int, seed: int) -> None:
    x, updates, random = drawn(seed, *shape), drawn(seed + 1, *shape), np.random.default_rng(seed)
    at = random.integers(0, shape[axis], shape)
    (wanted,) = reference("GatherElements", x, at, axis=axis)
    writer = BlobWriter()
    buffers = writer.input(shape), writer.output(shape), writer.constant(at, "int32")
    writer.stage(139, "2i", (axis, 0), *buffers)
    assert np.array_equal(writer.run(x).outputs["y0"], wanted)
    at = np.argsort(random.random(shape), axis)
    (wanted,) = reference("ScatterElements", x, at, updates, axis=axis)
    writer = BlobWriter()
    buffers = writer.input(shape), writer.output(shape), writer.constant(at, "int32")
    writer.stage(126, "", (), *buffers, writer.constant(updates), indices(writer, axis))
    assert np.array_equal(writer.run(x).outputs["y0"], wanted)


@SMALL
@given(st.tuples(*[st.integers(1, 5)] * 3), st.integers(0, 1), st.integers(1, 2), SEEDS)
def test_gather_nd(shape: tuple[int, ...], batch: int, width: int, seed: int) -> None:
    x, random = drawn(seed, *shape), np.random.default_rng(seed)
    at = np.stack([random.integers(0, shape[batch + k], (*shape[:batch], 3)) for k in range(width)], -1)
    (wanted,) = reference("GatherND", x, at, batch_dims=batch)
    writer = BlobWriter()
    buffers = writer.input(shape), writer.output(wanted.shape), writer.constant(at, "int32")
    writer.stage(136, "i", (batch,), *buffers)
    assert np.array_equal(writer.run(x).outputs["y0"], wanted)


def test_scatter_update_replaces_slices() -> None:
    x, updates = drawn(0, 5, 3), drawn(1, 2, 3)
    wanted = x.copy()
    wanted[[3, 1]] = updates
    writer = BlobWriter()
    buffers = writer.input(x.shape), writer.output(x.shape), indices(writer, [3, 1])
    writer.stage(103, "", (), *buffers, writer.constant(updates))
    assert np.array_equal(writer.run(x).outputs["y0"], wanted)


@SMALL
@given(st.lists(st.integers(1, 5), min_size=1, max_size=3).map(tuple), st.data(), SEEDS)
def test_one_hot(shape: tuple[int, ...], data: st.DataObject, seed: int) -> None:
    at = np.random.default_rng(seed).integers(0, 4, shape).astype(np.int32)
    axis = data.draw(st.integers(0, len(shape)))
    wanted = np.moveaxis(np.where(at[..., None] == np.arange(4), 2, 0.5), -1, axis)
    writer = BlobWriter()
    into, out = writer.input(shape, "int32"), writer.output(wanted.shape)
    writer.stage(117, "iI2f", (len(shape) - axis, 4, 2, 0.5), into, out)
    assert np.array_equal(writer.run(at).outputs["y0"], wanted)


@pytest.mark.parametrize("bad", [-1, 6])
def test_an_index_out_of_range_is_not_guessed(bad: int) -> None:
    writer = BlobWriter()
    into, out = writer.input((6, 2)), writer.output((1, 2))
    writer.stage(100, "i", (1,), into, out, indices(writer, bad))
    done = writer.run(drawn(0, 6, 2))
    assert done.outputs == {}
    assert done.unknown[0].name == "Gather"
    assert "index outside" in done.unknown[0].reason


# ------------------------------------------------------------ images, sequences

COORDINATES = {0: "half_pixel", 1: "pytorch_half_pixel", 2: "asymmetric", 4: "align_corners"}
ROUNDINGS = ["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"]


def resized(x: NDArray[Any], sizes: tuple[int, int], **attributes: Any) -> NDArray[Any]:
    full = np.array([*x.shape[:2], *sizes], np.int64)
    (wanted,) = reference("Resize", x, None, None, full, **attributes)
    return wanted


@SMALL
@given(st.tuples(*[st.integers(1, 9)] * 4), st.sampled_from(sorted(COORDINATES)), ORDERS, SEEDS)
def test_linear_resizing(sizes: tuple[int, ...], mode: int, order: str, seed: int) -> None:
    x = drawn(seed, 1, 3, *sizes[:2])
    wanted = resized(x, sizes[2:], mode="linear", coordinate_transformation_mode=COORDINATES[mode])
    assert_same(run_one(67, "i2I", (0, 3, mode), x, wanted.shape, order=order), wanted)
    if mode == 4:
        assert_same(run_one(67, "i2I", (1, 1, 0), x, wanted.shape, order=order), wanted)


@SMALL
@given(
    st.tuples(*[st.integers(1, 6)] * 2), st.sampled_from([1, 2, 4]), st.sampled_from([0, 2]),
    st.integers(0, 3), ORDERS, SEEDS,
)  # fmt: skip
def test_nearest_resizing(
    size: tuple[int, int], factor: int, mode: int, rounding: int, order: str, seed: int
) -> None:
    small = drawn(seed, 1, 3, *size)
    large = drawn(seed, 1, 3, *(factor * n for n in size))
    for x, target in ((small, large), (large, small)):
        wanted = resized(
            x, target.shape[2:], mode="nearest", nearest_mode=ROUNDINGS[rounding],
            coordinate_transformation_mode=COORDINATES[mode],
        )  # fmt: skip
        found = run_one(72, "if3I", (0, 1, 0, mode, rounding), x, wanted.shape, order=order)
        assert np.array_equal(found, wanted)


def test_zeros_between_elements() -> None:
    x = drawn(0, 1, 2, 3, 4)
    wanted = np.zeros((1, 2, 7, 12), np.float16)
    wanted[:, :, 1:6:2, 2:12:3] = x
    found = run_one(73, "9i", (3, 2, 1, 2, 0, 1, 0, 0, 0), x, wanted.shape)
    assert np.array_equal(found, wanted)


@pytest.mark.parametrize("forward", [1, 0])
@pytest.mark.parametrize(("steps", "batches"), [(1, 1), (5, 1), (4, 2)])
def test_an_lstm(forward: int, steps: int, batches: int) -> None:
    into, size = 7, 6
    x, h, c = drawn(0, steps, batches, into), drawn(1, 1, batches, size), drawn(2, 1, batches, size)
    w, r = drawn(3, 1, 4 * size, into, scale=0.4), drawn(4, 1, 4 * size, size, scale=0.4)
    b = drawn(5, 1, 8 * size, scale=0.4)
    outs = reference(
        "LSTM", x, w, r, b, None, h, c, outputs=3, opset=14, hidden_size=size,
        direction="forward" if forward else "reverse",
    )  # fmt: skip
    gates = [2, 0, 3, 1]  # ONNX: input, output, forget, cell

    def ordered(values: NDArray[Any]) -> NDArray[Any]:
        parts = values.reshape(4, size, -1)
        return parts[gates].reshape(-1)

    bias = b[0, : 4 * size].astype(np.float32) + b[0, 4 * size :]
    weights = np.concatenate([
        ordered(w[0]).reshape(4 * size, into).ravel(), ordered(r[0]).reshape(4 * size, size).ravel()
    ])  # fmt: skip
    writer = BlobWriter()
    buffers = [writer.input((batches, steps, into)), *(writer.constant(v[0]) for v in (h, c))]
    buffers += [writer.constant(weights), writer.constant(ordered(bias))]
    buffers += [writer.output(s) for s in ((batches, steps, size), (batches, size), (batches, size))]
    writer.stage(70, "5i", (forward, steps, batches, 1, 3), *buffers)
    outputs = writer.run(x.swapaxes(0, 1)).outputs
    # A state is rounded at each step, so errors add up: a few units in the last place.
    assert_same(outputs["y0"], outs[0][:, 0].swapaxes(0, 1), 3e-3)
    assert_same(outputs["y1"], outs[2][0], 3e-3)
    assert_same(outputs["y2"], outs[1][0], 3e-3)


@space(12)
@given(st.integers(0, 1), st.integers(0, 3), st.sampled_from([1.0, 0.5]), SEEDS)
def test_regions(mode: int, samples: int, scale: float, seed: int) -> None:
    x, random = drawn(seed, 2, 3, 9, 11), np.random.default_rng(seed)
    corners = random.uniform(-2, 12, (4, 2))
    boxes = np.concatenate([corners, corners + random.uniform(0.2, 9, (4, 2))], 1).astype(np.float16)
    numbers = np.array([0, 1, 1, 0])
    (wanted,) = reference(
        "RoiAlign", x, boxes, numbers, mode="max" if mode else "avg", output_height=2,
        output_width=3, sampling_ratio=samples, spatial_scale=scale, opset=10,
    )  # fmt: skip
    writer = BlobWriter()
    buffers = writer.input(x.shape), writer.constant(boxes), writer.constant(numbers, "int32")
    values = (3, 2, samples, scale, mode, 2)
    writer.stage(123, "3If2i", values, *buffers, writer.output(wanted.shape))
    assert_same(writer.run(x).outputs["y0"], wanted)


def test_a_buffer_that_is_left_out_is_not_read() -> None:
    x = drawn(0, 4, 5)
    writer = BlobWriter()
    into, out = writer.input(x.shape), writer.output((2, 5))
    writer.stage(
        133, "5I", (3, 3, 0, 0, 0), into, indices(writer, [1, 0]), indices(writer, [3, 5]), NOTHING, out
    )
    assert np.array_equal(writer.run(x).outputs["y0"], x[1:3])


def test_all_along_an_axis_and_the_maximum_of_an_image() -> None:
    x = np.array([[1, 0, 2], [3, 4, 5]], np.float16)
    writer = BlobWriter()
    into, out = writer.input(x.shape), writer.output((2,))
    writer.stage(93, "i", (0,), into, out, indices(writer, 0))
    assert writer.run(x).outputs["y0"].tolist() == [0, 1]
    image = drawn(0, 1, 3, 4, 5)
    found = run_one(60, "7I", (5, 4, 1, 1, 0, 0, 0), image, (1, 3, 1, 1))
    assert np.array_equal(found, image.max((2, 3), keepdims=True))
    slopes = drawn(1, 3)
    found = run_one(109, "", (), image, image.shape, slopes)
    assert_same(found, np.where(image > 0, image, image * slopes[:, None, None].astype(np.float32)))
