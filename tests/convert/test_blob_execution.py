"""Blobs of the real compiler, executed and compared with ONNX Runtime on the source.

The limits are relative root mean squares. A blob rounds weights and every tensor to float16, half a unit in
the last place of which is 2^-11 = 4.9e-4; one operator's figure was 6.7e-4 at most over all of CASES, so
its limit is 1e-3. Errors of layers behind each other add up like noise: nets may have 3e-3. What only
moves or chooses elements has none.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto

import converter
from converter.errors import ArchiveError
from converter.processes.run import Processes
from targets.rvc2.blob.blame import blame
from targets.rvc2.blob.execute import Execution, Program, execute
from targets.rvc2.blob.patches import Base
from targets.rvc2.blob.run import run_blob
from targets.rvc2.blob.superblob import Superblob, checked_patch
from targets.rvc2.myriad.toolchain import Toolchain
from tests import nets
from tests.blob_attributes import ATTRIBUTES, DROPPED
from tests.blob_cases import CASES
from tests.blob_models import ints, one
from tests.blobs import NO_HARDWARE, Compiler, feeds_for, relative_error, run_source
from tests.sources import DIGITS, DIGITS_ARCHIVE

OPERATOR, NET = 1e-3, 3e-3
WINDOWS = [name for name in CASES if name.split()[0] in (
    "Conv", "ConvTranspose", "MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool", "Resize",
    "MatMul", "Gemm", "Relu", "LeakyRelu", "PRelu", "BatchNormalization",
)]  # fmt: skip
EVERY = CASES | {f"{name}, attributes": case for name, case in ATTRIBUTES.items()}


@pytest.fixture(scope="module")
def compiler(toolchain: Toolchain, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Compiler]:
    with Compiler(toolchain, tmp_path_factory.mktemp("blobs")) as compiler:
        yield compiler


def executed(blob: bytes, feeds: Mapping[str, NDArray[Any]]) -> Execution:
    """A run in which nothing is odd."""
    done = execute(blob, feeds)
    assert (done.unknown, done.overlaps, done.unwritten) == ((), (), ())
    return done


def errors(model: onnx.ModelProto, blob: bytes, seed: int = 0) -> dict[str, float]:
    feeds = feeds_for(model, seed)
    wanted, found = run_source(model, feeds), executed(blob, feeds).outputs
    assert set(wanted) == set(found)
    return {name: relative_error(values, found[name]) for name, values in wanted.items()}


@pytest.mark.parametrize("name", EVERY)
def test_an_operator_is_computed_as_its_source_computes(compiler: Compiler, name: str) -> None:
    model = EVERY[name]()
    assert max(errors(model, compiler.compile(model)).values()) < OPERATOR


@pytest.mark.parametrize("name", WINDOWS)
def test_an_operator_without_the_convolution_unit(compiler: Compiler, name: str) -> None:
    model = CASES[name]()
    blob = compiler.compile(model, settings=NO_HARDWARE)
    assert all(stage.type != 38 for stage in Program(blob).stages)
    assert max(errors(model, blob).values()) < OPERATOR


NETS: dict[str, Callable[[], onnx.ModelProto]] = {
    "yolo": nets.yolo, "unet": nets.unet, "vit": nets.vit,
}  # fmt: skip


@pytest.fixture(scope="module")
def blobs(compiler: Compiler) -> dict[str, bytes]:
    return {name: compiler.compile(build()) for name, build in NETS.items()}


@pytest.mark.parametrize("name", NETS)
def test_a_net_is_computed_as_its_source_computes(blobs: dict[str, bytes], name: str) -> None:
    for seed in range(2):
        assert max(errors(NETS[name](), blobs[name], seed).values()) < NET


@pytest.mark.parametrize("name", NETS)
def test_a_twin_without_the_convolution_unit_gives_the_same(
    compiler: Compiler, blobs: dict[str, bytes], name: str
) -> None:
    model = NETS[name]()
    feeds = feeds_for(model)
    twin = executed(compiler.compile(model, settings=NO_HARDWARE), feeds).outputs
    for output, values in executed(blobs[name], feeds).outputs.items():
        assert relative_error(twin[output], values) < NET


def test_the_number_of_shaves_changes_no_figure(compiler: Compiler, blobs: dict[str, bytes]) -> None:
    """The blobs of a superblob: base and patches."""
    model = nets.yolo()
    feeds = feeds_for(model)
    base = Base(blobs["yolo"])
    patches = {}
    for shaves in (1, 16):
        settings = dict.fromkeys(
            ("MYRIAD_NUMBER_OF_SHAVES", "MYRIAD_NUMBER_OF_CMX_SLICES"), str(shaves)
        )
        patches[shaves] = checked_patch(base, compiler.compile(model, settings=settings))
    superblob = Superblob(base=base.blob, patches=patches)
    wanted = executed(superblob.blob(8), feeds).outputs["output0"]
    for shaves in patches:
        assert relative_error(wanted, executed(superblob.blob(shaves), feeds).outputs["output0"]) < 1e-3


def test_an_interleaved_input(compiler: Compiler) -> None:
    model = CASES["Conv 3 stride 1 pads"]()
    blob = compiler.compile(model, layouts={"x0": "NHWC"})
    feeds = feeds_for(model)
    (wanted,) = run_source(model, feeds).values()
    assert Program(blob).header.inputs[0].order == "NHWC"
    (found,) = executed(blob, {"x0": feeds["x0"].transpose(0, 2, 3, 1)}).outputs.values()
    assert relative_error(wanted, found) < OPERATOR


def test_the_example_tells_digits_apart(toolchain: Toolchain, tmp_path: Path) -> None:
    """Frames of bytes, as a camera gives them, through a blob of a whole conversion."""
    del toolchain
    import tarfile

    done = converter.convert(DIGITS_ARCHIVE, "rvc2", output=tmp_path / "digits.tar")
    with tarfile.open(done.output) as archive:
        member = archive.extractfile("digits.blob")
        assert member
        program = Program(member.read())
    held_out = np.load(DIGITS / "held_out.npz")
    images, labels = (held_out[key] for key in ("images", "labels"))
    item = program.header.inputs[0]
    assert (item.dtype, item.shape) == ("uint8", (1, 3, 32, 32))
    right = 0
    for image, label in zip(images[:60], labels[:60], strict=True):
        frame = image[:, :, ::-1].transpose(2, 0, 1)  # BGR, planar
        scores = program.run({item.name: frame[None]}).outputs["scores"]
        right += int(scores.argmax() == label)
    assert right >= 55


# ------------------------------------------------------------ what the compiler drops


@pytest.mark.parametrize("name", DROPPED)
def test_what_the_compiler_drops_is_seen(compiler: Compiler, name: str) -> None:
    """The model goes to the compiler as it is: a conversion may rewrite what it drops."""
    model = DROPPED[name]()
    model.ir_version = 7
    del model.opset_import[:]
    model.opset_import.append(onnx.helper.make_opsetid("", 13))
    assert max(errors(model, compiler.compile(model, prepared=True)).values()) > 0.02


@pytest.mark.parametrize("name", ["ConvTranspose in groups", "AveragePool 3 without pads", "LSTM Relu"])
def test_the_node_that_a_blob_computes_otherwise_is_found(
    compiler: Compiler, name: str, tmp_path: Path
) -> None:
    """In front of the wrong node is a sound one, and behind it another."""
    model = DROPPED[name]()
    model.ir_version = 7
    del model.opset_import[:]
    model.opset_import.append(onnx.helper.make_opsetid("", 13))
    (node,) = [node for node in model.graph.node if node.op_type == name.split()[0]]
    node.name, node.input[0] = "wrong", "before"
    first = onnx.helper.make_node("Sigmoid", [model.graph.input[0].name], ["before"], name="sound")
    model.graph.node.insert(0, first)
    graph, blob = tmp_path / "graph.onnx", tmp_path / "model.blob"
    onnx.save(model, graph)
    blob.write_bytes(compiler.compile(model, prepared=True))
    feed = feeds_for(model)
    processes = Processes()
    found = blame(blob, graph, feed, feed, processes=processes, work=tmp_path, timeout_s=60)
    assert found == {"node": "wrong", "operator": name.split()[0]}


# ------------------------------------------------------------ what is unknown, and damage


def test_a_stage_whose_shape_the_camera_computes_is_not_compared(compiler: Compiler) -> None:
    model = onnx.helper.make_model(
        onnx.helper.make_graph(
            [
                onnx.helper.make_node("NonZero", ["x"], ["n"]),
                onnx.helper.make_node("Relu", ["x"], ["y"]),
            ],
            "dynamic",
            [onnx.helper.make_tensor_value_info("x", TensorProto.FLOAT, (2, 5))],
            [
                onnx.helper.make_tensor_value_info("n", TensorProto.INT64, (2, None)),
                onnx.helper.make_tensor_value_info("y", TensorProto.FLOAT, (2, 5)),
            ],
        ),
        opset_imports=[onnx.helper.make_opsetid("", 13)],
        ir_version=7,
    )
    done = execute(compiler.compile(model, prepared=True, outputs={"n": "I32"}), feeds_for(model))
    assert "NonZero" in {stage.name for stage in done.unknown}
    assert "n" not in done.outputs


@pytest.mark.parametrize(
    ("name", "model", "reason"),
    [
        ("Gather", lambda: one("Gather", constants=[ints(-1, 2)], axis=2), "an index outside of 0 to 10"),
        ("MyriadXHwOp", lambda: one("AveragePool", kernel_shape=[3, 3], pads=[1, 0, 0, 1],
                                    count_include_pad=1), "pads on one side only"),
    ],
)  # fmt: skip
def test_what_the_parameters_do_not_say_is_not_guessed(
    compiler: Compiler, name: str, model: Callable[[], onnx.ModelProto], reason: str
) -> None:
    done = execute(compiler.compile(model(), prepared=True), feeds_for(model()))
    assert [stage.name for stage in done.unknown] == [name]
    assert reason in done.unknown[0].reason
    assert done.outputs == {}


def test_frames_run_in_a_child_process(compiler: Compiler, tmp_path: Path) -> None:
    model = CASES["Conv 3 stride 1 pads"]()
    path = tmp_path / "it.blob"
    path.write_bytes(compiler.compile(model, layouts={"x0": "NHWC"}))
    feeds = [feeds_for(model, seed) for seed in range(2)]
    done = run_blob(path, feeds, processes=Processes(), work=tmp_path, timeout_s=60)
    assert (done.not_compared, done.overlaps, done.others) == ({}, (), {})
    for feed, found in zip(feeds, done.frames, strict=True):
        assert relative_error(run_source(model, feed)["y0"], found["y0"]) < OPERATOR
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(ArchiveError, match="blob"):
        run_blob(path, feeds, processes=Processes(), work=tmp_path, timeout_s=60)


def test_what_is_unknown_comes_out_of_the_child_process(compiler: Compiler, tmp_path: Path) -> None:
    model = one("Gather", constants=[ints(-1, 2)], axis=2)
    path = tmp_path / "it.blob"
    path.write_bytes(compiler.compile(model, prepared=True))
    done = run_blob(path, [feeds_for(model)], processes=Processes(), work=tmp_path, timeout_s=60)
    assert list(done.not_compared) == ["y0"]
    assert done.not_compared["y0"].startswith("the stage Gather (")
    assert done.frames == ({},)


def words_of(blob: bytes) -> list[tuple[str, int]]:
    """Where the words of all stages' parameters and their buffers' offsets lie, with what they are."""
    header, places = Program(blob).header, []
    at = header.stages_at
    for _ in range(header.stages):
        length, kind, _, size = struct.unpack_from("<4I", blob, at)
        places += [("parameter", at + 16 + 4 * word) for word in range((size - 4) // 4)]
        first, end = at + 12 + size + (4 if kind == 38 else 0), at + length - 8
        while first < end:
            (location,) = struct.unpack_from("<I", blob, first + 28)
            first += 36 + (8 if location in (1, 2) else 0)
            if location:
                places.append(("offset", first - 4))
        at += length
    return places


def changed(blob: bytes, at: int) -> bytes:
    """A word that is another number, whether it is read as a float or as an integer."""
    whole, real = struct.unpack_from("<i", blob, at)[0], struct.unpack_from("<f", blob, at)[0]
    word = struct.pack("<f", real * 1.25 + 0.25) if 1e-6 < abs(real) < 1e6 else None
    return blob[:at] + (word or struct.pack("<i", (whole + 1) % 2**31)) + blob[at + 4 :]


@pytest.mark.parametrize(
    ("name", "least", "least_moved"),
    [("yolo", 0.5, 0.8), ("unet", 0.4, 0.6), ("LSTM forward", 0.5, 0.8)],
)
def test_a_changed_word_is_noticed(
    compiler: Compiler, blobs: dict[str, bytes], name: str, least: float, least_moved: float
) -> None:
    """Of the words that say what is computed or where it lies; the rest are hints for scheduling.

    In a normalization that is written out, half of the stages carry epsilon and a common factor, which
    hardly change a result.
    """
    build = NETS.get(name) or CASES[name]
    blob = blobs.get(name) or compiler.compile(build())
    feeds = feeds_for(build())
    wanted = executed(blob, feeds).outputs
    places = words_of(blob)
    random.Random(1).shuffle(places)
    places = places[:90]
    noticed = {"parameter": [0, 0], "offset": [0, 0]}
    for kind, at in places:
        data = changed(blob, at) if kind == "parameter" else moved(blob, at)
        noticed[kind][1] += 1
        try:
            done = execute(data, feeds)
        except ArchiveError:
            noticed[kind][0] += 1
            continue
        odd = done.unknown or done.overlaps or done.unwritten
        far = [
            relative_error(values, done.outputs[n]) > 0.01
            for n, values in wanted.items()
            if n in done.outputs
        ]
        noticed[kind][0] += bool(odd or any(far))
    print(name, noticed)
    assert noticed["parameter"][0] >= least * noticed["parameter"][1], noticed
    assert noticed["offset"][0] >= least_moved * noticed["offset"][1], noticed


def moved(blob: bytes, at: int) -> bytes:
    (offset,) = struct.unpack_from("<I", blob, at)
    return blob[:at] + struct.pack("<I", offset + 64) + blob[at + 4 :]
