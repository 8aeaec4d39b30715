"""Running whole blobs: what is odd is noticed, what is unknown is named, what is hostile is refused."""

from __future__ import annotations

import struct
import time
import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from converter.errors import ArchiveError
from targets.rvc2.blob.execute import Program, execute
from tests.blob_reference import drawn
from tests.blob_writer import BSS, CMX, BlobWriter, Tensor, tensor

COPY, SIGMOID, CONV, SUM = 19, 20, 0, 12
PLAIN_SUM = ("2fi3f", (1, 1, -1, 0, 0, 0))


def in_cmx(*shape: int, at: int = 0, dtype: str = "float16") -> Tensor:
    return tensor(shape, CMX, dtype).at(at)


def in_bss(*shape: int, at: int = 0, dtype: str = "float16") -> Tensor:
    return tensor(shape, BSS, dtype).at(at)


def test_stages_run_one_after_the_other_over_all_memories() -> None:
    writer = BlobWriter()
    x, y = writer.input((2, 3)), writer.output((2, 3))
    one, two = in_cmx(2, 3), in_bss(2, 3, at=64)
    writer.stage(COPY, "", (), x, one)
    writer.stage(SUM, *PLAIN_SUM, one, two, one, one)
    writer.stage(SUM, *PLAIN_SUM, two, y, one, one)
    feed = drawn(0, 2, 3)
    done = writer.run(feed)
    assert (done.unknown, done.overlaps, done.unwritten) == ((), (), ())
    assert np.array_equal(done.outputs["y0"], (3 * feed.astype(np.float32)).astype(np.float16))


def test_a_program_forgets_the_frame_before() -> None:
    writer = BlobWriter()
    x, y = writer.input((2, 3)), writer.output((2, 3))
    writer.stage(SIGMOID, "", (), x, y)
    program = Program(writer.to_bytes())
    first = program.run({"x0": drawn(0, 2, 3)}).outputs["y0"]
    kept = first.copy()
    second = program.run({"x0": drawn(1, 2, 3)}).outputs["y0"]
    assert np.array_equal(first, kept)
    assert not np.array_equal(first, second)


def test_inputs_are_checked_by_name_and_size() -> None:
    writer = BlobWriter()
    writer.stage(COPY, "", (), writer.input((2, 3), "uint8"), writer.output((2, 3), "uint8"))
    program = Program(writer.to_bytes())
    feed = np.arange(6, dtype=np.float32)
    assert program.run({"x0": feed}).outputs["y0"].tolist() == [[0, 1, 2], [3, 4, 5]]
    with pytest.raises(ValueError, match="'x0' is missing"):
        program.run({"x1": feed})
    with pytest.raises(ValueError, match="has 5 elements, not 6"):
        program.run({"x0": feed[:5]})


# ------------------------------------------------------------ odd


def test_memory_that_no_stage_wrote_is_noticed_where_it_is_computed_with() -> None:
    writer = BlobWriter()
    x, y, z = writer.input((2, 3)), writer.output((2, 3)), writer.output((2, 3))
    lost, moved = in_bss(2, 3), in_bss(2, 3, at=64)
    writer.stage(COPY, "", (), x, y)
    writer.stage(COPY, "", (), lost, moved)
    writer.stage(57, "2f", (0, 1), moved, z)
    done = writer.run(drawn(0, 2, 3))
    assert done.unwritten == ("Clamp (2)", "output y1")
    assert np.isnan(done.outputs["y1"]).all()
    assert np.isfinite(done.outputs["y0"]).all()


def test_an_output_that_no_stage_wrote_is_noticed() -> None:
    writer = BlobWriter()
    writer.stage(COPY, "", (), writer.input((2, 3)), in_cmx(2, 3))
    writer.output((4,))
    assert writer.run(drawn(0, 2, 3)).unwritten == ("output y0",)


def test_a_stage_that_writes_over_what_it_reads_is_noticed() -> None:
    weights = np.ones((1, 1, 3, 1, 1))

    def overlaps(offset: int, kind: int) -> tuple[str, ...]:
        writer = BlobWriter()
        x, y = writer.input((1, 1, 4, 4)), writer.output((1, 1, 4, 4))
        here, there = in_cmx(1, 1, 4, 4), in_cmx(1, 1, 4, 4, at=offset)
        writer.stage(COPY, "", (), x, here)
        if kind == CONV:
            writer.stage(kind, "8I", (3, 1, 1, 1, 1, 0, 1, 1), here, there, writer.constant(weights))
        else:
            writer.stage(kind, "", (), here, there)
        writer.stage(COPY, "", (), there, y)
        return writer.run(drawn(0, 1, 1, 4, 4)).overlaps

    assert overlaps(32, CONV) == ()
    assert overlaps(16, CONV) == ("Conv (1)",)
    assert overlaps(0, CONV) == ("Conv (1)",)
    assert overlaps(0, SIGMOID) == ()
    assert overlaps(16, SIGMOID) == ("Sigmoid (1)",)


def test_interleaved_channels_of_two_tensors_do_not_overlap() -> None:
    writer = BlobWriter()
    x, y = writer.input((1, 4, 4, 2), order="NHWC"), writer.output((1, 4, 4, 2), order="NHWC")
    strides = (128, 32, 8, 2)
    left = Tensor("float16", "NHWC", (1, 4, 4, 2), strides, CMX)
    right = Tensor("float16", "NHWC", (1, 4, 4, 2), strides, CMX, offset=4)
    writer.stage(COPY, "", (), x, left)
    writer.stage(COPY, "", (), left, right)
    writer.stage(COPY, "", (), right, y)
    feed = drawn(0, 1, 4, 4, 2)
    done = writer.run(feed)
    assert done.overlaps == ()
    assert np.array_equal(done.outputs["y0"], feed)


def pooled(writer: BlobWriter, x: Tensor, y: Tensor, source: Tensor, target: Tensor) -> None:
    """A stage of the convolution unit that pools x into y, and a copy that runs beside it."""
    operation = struct.pack("<16i", 1, 4, 0, 0, 0, 0, 1, -1, -1, -1, 0, 2, 2, 2, 2, 0)
    buffers = b"".join(map(writer._buffer, (source, target)))
    injected = writer.encoded(COPY, b"", buffers)
    writer.hardware(operation + struct.pack("<3i", 0, 0, 0), x, y, injected=injected)


def test_a_stage_runs_beside_the_convolution_unit() -> None:
    writer = BlobWriter()
    x, y = writer.input((1, 2, 4, 4)), writer.output((1, 2, 2, 2))
    other, copied = writer.input((3, 5)), writer.output((3, 5))
    pooled(writer, x, y, other, copied)
    feeds = drawn(0, 1, 2, 4, 4), drawn(1, 3, 5)
    done = writer.run(*feeds)
    assert (done.unknown, done.overlaps, done.unwritten) == ((), (), ())
    wanted = feeds[0].reshape(2, 2, 2, 2, 2).max((2, 4))[None]
    assert np.array_equal(done.outputs["y0"], wanted)
    assert np.array_equal(done.outputs["y1"], feeds[1])


def test_what_runs_beside_each_other_must_not_overlap() -> None:
    writer = BlobWriter()
    x, y = writer.input((1, 2, 4, 4)), writer.output((1, 2, 2, 2))
    here = in_cmx(1, 2, 2, 2)
    pooled(writer, x, here, here, y)
    assert writer.run(drawn(0, 1, 2, 4, 4)).overlaps == ("MyriadXHwOp (0)",)


# ------------------------------------------------------------ unknown


def test_an_unknown_stage_is_named_and_what_depends_on_it_is_left_out() -> None:
    writer = BlobWriter()
    x = writer.input((2, 3))
    y, z = writer.output((2, 3)), writer.output((2, 3))
    one, two = in_cmx(2, 3), in_cmx(2, 3, at=64)
    writer.stage(9999, "3I", (1, 2, 3), x, one)
    writer.stage(SIGMOID, "", (), one, two)
    writer.stage(SIGMOID, "", (), two, y)
    writer.stage(SIGMOID, "", (), x, z)
    done = writer.run(drawn(0, 2, 3))
    (unknown,) = done.unknown
    assert (unknown.index, unknown.name, unknown.outputs) == (0, "type 9999", ("y0",))
    assert set(done.outputs) == {"y1"}


def test_memory_that_is_written_anew_depends_on_nothing_unknown() -> None:
    writer = BlobWriter()
    x, y, z = writer.input((2, 3)), writer.output((2, 3)), writer.output((2, 3))
    here, there = in_cmx(2, 3), in_cmx(2, 3, at=64)
    writer.stage(9999, "", (), x, here)
    writer.stage(130, "", (), x, there)
    writer.stage(SIGMOID, "", (), x, here)
    writer.stage(SIGMOID, "", (), here, y)
    writer.stage(SIGMOID, "", (), there, z)
    done = writer.run(drawn(0, 2, 3))
    assert [(stage.name, stage.outputs) for stage in done.unknown] == [
        ("type 9999", ()), ("StaticShapeNMS", ("y1",)),
    ]  # fmt: skip
    assert set(done.outputs) == {"y0"}


def test_another_compilers_parameters_are_not_guessed() -> None:
    writer = BlobWriter()
    x, y = writer.input((2, 3)), writer.output((2, 3))
    writer.stage(57, "3f", (0, 1, 2), x, y)
    (unknown,) = writer.run(drawn(0, 2, 3)).unknown
    assert unknown.reason == "12 bytes of parameters instead of 8"


def test_a_stage_with_other_buffers_makes_all_that_follows_unknown() -> None:
    writer = BlobWriter()
    x, y = writer.input((2, 3)), writer.output((2, 3))
    writer._stages.append(writer.encoded(119, b"", b"what is this?..."))
    writer.stage(SIGMOID, "", (), x, in_cmx(2, 3))
    writer.stage(SIGMOID, "", (), in_cmx(2, 3), y)
    done = writer.run(drawn(0, 2, 3))
    assert done.unknown[0].name == "LoopStart"
    assert set(done.outputs) == {"y0"}  # written anew
    writer.output((2, 3))
    assert writer.run(drawn(0, 2, 3)).unknown[0].outputs == ("y1",)


def test_more_unknown_stages_than_can_be_told_apart() -> None:
    writer = BlobWriter()
    x, y = writer.input((2, 3)), writer.output((2, 3))
    for number in range(40):
        writer.stage(9999, "", (), x, in_cmx(2, 3, at=64 * number))
    writer.stage(SIGMOID, "", (), in_cmx(2, 3, at=64 * 39), y)
    done = writer.run(drawn(0, 2, 3))
    assert len(done.unknown) == 40
    assert [stage.index for stage in done.unknown if stage.outputs] == list(range(31, 40))


# ------------------------------------------------------------ hostile


def mixed() -> bytes:
    """A blob with stages of most families."""
    writer = BlobWriter()
    x = writer.input((1, 3, 6, 6))
    y = writer.output((1, 3, 6, 6))
    a, b = in_cmx(1, 3, 6, 6), in_cmx(1, 3, 6, 6, at=512)
    weights = writer.constant(drawn(0, 9, 3, 3))
    writer.stage(CONV, "8I", (3, 3, 1, 1, 1, 1, 1, 1), x, a, weights)
    writer.stage(1, "7I", (3, 3, 1, 1, 1, 1, 1), a, b)
    writer.stage(8, "8I", (3, 3, 1, 1, 1, 1, 1, 1), b, a, writer.constant(drawn(1, 9, 3)))
    writer.stage(22, "6I", (3, 3, 1, 1, 1, 1), a, b, weights)
    writer.stage(67, "i2I", (0, 3, 0), b, in_cmx(1, 3, 3, 3, at=1024))
    writer.stage(72, "if3I", (0, 2, 0, 2, 2), in_cmx(1, 3, 3, 3, at=1024), a)
    writer.stage(34, "8i", (1, 0, 2, 3, -1, -1, -1, -1), a, b)
    writer.stage(71, "8IfI", (*[0] * 8, 0.0, 0), b, a)
    writer.stage(28, "2i", (0, 1), a, b)
    writer.stage(3, "i", (2,), b, a)
    writer.stage(11, "I4e", (3, 1, 0.5, 0.5, 0), a, b)
    writer.stage(73, "9i", (1, 1, 1, 0, 0, 0, 0, 0, 0), b, a)
    best = writer.constant([2], "int32")
    found = in_bss(1, 3, 6, 2), in_bss(1, 3, 6, 2, at=256, dtype="int32")
    writer.stage(104, "5i", (0, 0, 1, 1, 1), a, best, *found)
    writer.stage(139, "2i", (3, 0), a, in_bss(1, 3, 6, 2, at=512), found[1])
    writer.stage(100, "i", (2,), a, b, writer.constant([2, 0, 1], "int32"))
    writer.stage(114, "i", (1,), b, in_bss(1, 3, 6, 1), writer.constant([0], "int32"))
    writer.stage(SUM, *PLAIN_SUM, b, a, in_bss(1, 3, 6, 1), in_bss(1, 3, 6, 1))
    boxes, numbers = writer.constant([[0, 0, 4, 4]]), writer.constant([0], "int32")
    writer.stage(123, "3If2i", (2, 2, 2, 1.0, 0, 2), a, boxes, numbers, in_bss(1, 3, 2, 2, at=1024))
    operation = struct.pack("<9i", 1, 4, 0, 0, 1, 15, 0, 1, -1) + struct.pack(
        "<9i", -1, -1, 0, 3, 3, 3, 1, 0, 0
    )  # fmt: skip
    writer.hardware(operation + struct.pack("<2i", 0, 0), a, y)
    return writer.to_bytes()


MIXED = mixed()
FEED = {"x0": drawn(3, 1, 3, 6, 6)}


def test_the_blob_that_is_damaged_below_runs() -> None:
    done = execute(MIXED, FEED)
    assert (done.unknown, done.overlaps, done.unwritten) == ((), (), ())


def try_to_run(data: bytes) -> None:
    try:
        Program(data, max_operations=2e7).run(FEED)
    except ArchiveError:
        pass
    except ValueError as error:
        assert "the input" in str(error)


NUMBERS = st.sampled_from(
    [0, 1, 2, 3, 255, 65_535, 2**16, 2**24, 2**31 - 1, 2**31, 2**32 - 1, 2**32 - 2]
)


@settings(max_examples=600, deadline=1500)
@given(st.lists(st.tuples(st.integers(13, len(MIXED) // 4 - 1), NUMBERS), min_size=1, max_size=3))
def test_any_word_may_be_hostile(changes: list[tuple[int, int]]) -> None:
    data = bytearray(MIXED)
    for at, value in changes:
        struct.pack_into("<I", data, 4 * at, value)
    try_to_run(bytes(data))


@settings(max_examples=200, deadline=1500)
@given(st.lists(st.tuples(st.integers(0, len(MIXED) - 1), st.integers(0, 255)), min_size=1, max_size=6),
       st.integers(0, len(MIXED)))  # fmt: skip
def test_any_byte_may_be_hostile(changes: list[tuple[int, int]], end: int) -> None:
    data = bytearray(MIXED)
    for at, value in changes:
        data[at] = value
    try_to_run(bytes(data))
    try_to_run(bytes(data[:end]))


def test_every_word_in_turn_takes_little_time_and_memory() -> None:
    tracemalloc.start()
    begin = time.perf_counter()
    try:
        for at in range(52, len(MIXED) - 3, 28):
            for value in (2**31 - 1, 0xFFFFFFFF):
                try_to_run(MIXED[:at] + struct.pack("<I", value) + MIXED[at + 4 :])
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 600e6
    assert time.perf_counter() - begin < 120


def test_memory_that_no_camera_has_is_refused() -> None:
    writer = BlobWriter(bss_bytes=2**31)
    writer.stage(COPY, "", (), writer.input((2,)), writer.output((2,)))
    with pytest.raises(ArchiveError, match="a Myriad X has fewer"):
        Program(writer.to_bytes())


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        (tensor((4, 4), CMX).at(131_072 - 16), "leads out of its memory"),
        (Tensor("float16", "NC", (2**31, 2**31), (0, 0), CMX), "lie over each other"),
        (Tensor("float16", "NC", (4, 4), (2, 2), CMX), "lie over each other"),
        (tensor((4, 4), 1, io_index=7), "there is no input 7"),
    ],
)  # fmt: skip
def test_tensors_outside_of_their_memory_are_refused(bad: Tensor, says: str) -> None:
    writer = BlobWriter()
    writer.stage(COPY, "", (), bad, writer.output((4, 4)))
    with pytest.raises(ArchiveError, match=says):
        Program(writer.to_bytes())


def test_a_stage_that_writes_to_constants_is_refused() -> None:
    writer = BlobWriter()
    constant: Any = writer.constant(np.zeros((2, 3)))
    writer.stage(COPY, "", (), writer.input((2, 3)), constant)
    with pytest.raises(ArchiveError, match="writes to constants"):
        writer.run(drawn(0, 2, 3))
