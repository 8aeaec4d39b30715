"""`init`: a source archive from a bare model; every guess is told, nothing is written by halves."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from PIL import Image

import converter
from converter.bare.config import InputHints, draft, read_signature
from converter.cli.flags import in_flags, input_hints
from converter.config.read import understand
from converter.errors import ArchiveError, ConvertError, ModelError, UsageError
from converter.open_source import open_archive
from converter.options.resolve import Options
from converter.preprocessing import Color
from tests.sources import conv_model, one_op_model
from tests.terminal import talk

MEAN, SCALE = (110.0, 70.0, 30.0), (20.0, 45.0, 90.0)
FP16 = {"rvc4.quantization_mode": "FP16_STANDARD"}
SETTLED = (
    "--image=images", "--layout=NCHW", "--color=RGB", "--mean=110,70,30", "--scale=20,45,90", "--head=none",
)  # fmt: skip


def nnconvert(*words: str | Path, **more: Any) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-c", "from converter.cli import main; main()", *map(str, words)]
    return subprocess.run(argv, capture_output=True, text=True, timeout=300, **more)


def left_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def net(here: Path) -> Path:
    """A bare model in the current folder: an image in, a map and six scores out."""
    onnx.save(conv_model(), here / "net.onnx")
    return here / "net.onnx"


def bare(folder: Path, shape: Any, dtype: int = TensorProto.FLOAT, name: str = "x") -> Path:
    """A model that hands its one input on."""
    graph = helper.make_graph(
        [helper.make_node("Relu", [name], ["y"])],
        "bare",
        [helper.make_tensor_value_info(name, dtype, shape)],
        [helper.make_tensor_value_info("y", dtype, shape)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    path = folder / "bare.onnx"
    onnx.save(model, path)
    return path


def codes(findings: Any) -> list[str]:
    return [finding.code.removeprefix("init.") for finding in findings]


# ---------------------------------------------------------------- inference


SHAPES: list[tuple[Any, int, str, str, list[int], list[str]]] = [
    ([1, 3, 12, 16], 1, "NCHW", "image", [1, 3, 12, 16], ["input-type", "layout", "color", "normalization"]),
    ([1, 12, 16, 3], 1, "NHWC", "image", [1, 12, 16, 3], ["input-type", "layout", "color", "normalization"]),
    ([1, 1, 12, 16], 1, "NCHW", "image", [1, 1, 12, 16], ["input-type", "layout", "normalization"]),
    ([1, 3, 12, 16], 2, "NCHW", "image", [1, 3, 12, 16], ["input-type", "layout", "color"]),
    (["N", 3, 12, 16], 1, "NCHW", "image", [1, 3, 12, 16],
     ["batch", "input-type", "layout", "color", "normalization"]),
    ([3, 12, 16], 1, "CHW", "image", [3, 12, 16], ["input-type", "layout", "color", "normalization"]),
    ([1, 12, 16], 1, "NCD", "raw", [1, 12, 16], ["input-type"]),
    ([1, 1, 1, 16], 1, "NCDE", "raw", [1, 1, 1, 16], ["input-type"]),
    ([1, 2, 12, 16], 1, "NCHW", "raw", [1, 2, 12, 16], ["input-type"]),
    ([1, 3, 12, 16], 7, "NCHW", "raw", [1, 3, 12, 16], ["input-type"]),
    ([1, 50], 1, "NC", "raw", [1, 50], []),
]  # fmt: skip


@pytest.mark.parametrize(("shape", "dtype", "layout", "kind", "sizes", "guessed"), SHAPES)
def test_what_follows_from_a_shape_is_taken_and_what_may_be_wrong_is_told(
    tmp_path: Path,
    shape: Any,
    dtype: int,
    layout: str,
    kind: str,
    sizes: list[int],
    guessed: list[str],
) -> None:
    made = draft(bare(tmp_path, shape, dtype))
    item = made.config["model"]["inputs"][0]
    assert (item["layout"], item["input_type"], item["shape"]) == (layout, kind, sizes)
    assert codes(made.guesses) == guessed
    assert made.config["model"]["outputs"][0]["shape"] == sizes
    # The reader of archives agrees.
    with open_archive(tmp_path / "bare.onnx") as archive:
        source, findings = understand(archive, Options({}))
    assert not findings
    assert source.inputs[0].is_image is (kind == "image")


def test_hints_leave_nothing_to_guess(net: Path) -> None:
    hint = InputHints(
        layout="nchw", is_image=True, color=Color.BGR, mean=MEAN, scale=SCALE, resize_mode="LETTERBOX"
    )
    made = draft(net, name="mine", inputs={"images": hint})
    assert made.guesses == ()
    assert made.config["model"]["metadata"]["name"] == "mine"
    assert made.config["model"]["inputs"][0]["preprocessing"] == {
        "mean": [110, 70, 30],
        "scale": [20, 45, 90],
        "dai_type": "BGR888p",
        "resize_mode": "LETTERBOX",
    }


def test_no_mean_said_is_no_guess(net: Path) -> None:
    assert "normalization" not in codes(draft(net, inputs={"images": InputHints(mean=())}).guesses)


REFUSED: list[tuple[Any, InputHints, str]] = [
    ([1, 3, 12, 3], InputHints(), r"may be NCHW or NHWC.*inputs\.x\.layout NHWC.*input_type raw"),
    (["N", 3, "h", "w"], InputHints(), r"\[N, 3, h, w\].*inputs\.x\.shape: 1,3,SIZE,SIZE"),
    (["n"], InputHints(), r"inputs\.x\.shape: SIZE"),
    (None, InputHints(), r"does not say the shape.*inputs\.x\.shape"),
    ([1, 3, 12, 16], InputHints(shape=(1, 3, 16, 12)), r"\[1, 3, 16, 12\] is not the model's"),
    ([1, 3, 12, 16], InputHints(layout="NHWC", is_image=True), "16 channels"),
    ([1, 3, 12, 16], InputHints(layout="NCW"), "3 letters"),
    ([1, 3, 12, 16], InputHints(mean=(1.0, 2.0)), "2 values for 3 channels"),
    ([1, 3, 12, 16], InputHints(scale=(0.0,)), "divides by zero"),
    ([1, 3, 12, 16], InputHints(color=Color.GRAY), "one channel, but the input has 3"),
    ([1, 1, 12, 16], InputHints(color=Color.RGB), "three channels, 'x' has one"),
    ([1, 4, 12, 16], InputHints(is_image=True), "not a frame's shape"),
    ([1, 3, 12, 16], InputHints(resize_mode="zoom"), "resize_mode: 'ZOOM'"),
]


@pytest.mark.parametrize(("shape", "hint", "message"), REFUSED)
def test_what_cannot_be_inferred_or_contradicts_the_model_is_refused(
    tmp_path: Path, shape: Any, hint: InputHints, message: str
) -> None:
    model = bare(tmp_path, shape)
    with pytest.raises(UsageError, match=message):
        draft(model, inputs={"x": hint})


def test_everything_wrong_is_told_at_once(tmp_path: Path) -> None:
    model = one_op_model("Add", {"a": (1, 3, 8, 8), "b": (1, 3, 8, 8)})
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_param = "h"
    onnx.save(model, tmp_path / "two.onnx")
    with pytest.raises(UsageError) as caught:
        draft(tmp_path / "two.onnx", inputs={"b": InputHints(mean=(1.0, 2.0))})
    assert [finding.where.split("]")[0] for finding in caught.value.findings] == [
        "model.inputs[0",
        "model.inputs[1",
    ]


def two_inputs(folder: Path, *shapes: tuple[int, ...]) -> Path:
    """A model of two inputs, `a` and `b`."""
    model = one_op_model("Add", dict(zip("ab", shapes, strict=True)))
    onnx.save(model, folder / "two.onnx")
    return folder / "two.onnx"


def test_a_value_without_a_name_is_for_the_only_image(tmp_path: Path) -> None:
    facts = read_signature(two_inputs(tmp_path, (1, 3, 8, 8), (8,)))
    hints = input_hints(facts, [], [], {"mean": ["1,2,3"], "scale": ["b=4", "a=-5"], "color": ["bgr"]})
    assert hints == {
        "a": InputHints(mean=(1, 2, 3), scale=(-5,), color=Color.BGR),
        "b": InputHints(scale=(4,)),
    }
    facts = read_signature(two_inputs(tmp_path, (1, 3, 8, 8), (1, 3, 8, 8)))
    with pytest.raises(UsageError, match=r"'1,2,3' is for one of the inputs 'a', 'b'.*--mean a=1,2,3"):
        input_hints(facts, [], [], {"mean": ["1,2,3"]})
    assert input_hints(facts, ["b"], [], {"mean": ["1"]})["b"].mean == (1,)
    assert input_hints(facts, [], ["b"], {"mean": ["none"]})["a"].mean == ()


def test_remedies_speak_of_flags_whatever_the_input_is_called(tmp_path: Path) -> None:
    names = ["in.0", "inputs.in.0.layout"]
    for name in names:
        guesses = draft(bare(tmp_path, ["N", 3, 8, 8], name=name)).guesses
        told = [in_flags(guess, [name]).remedy for guess in guesses]
        assert told == [
            "For another, set --shape, for example 1,3,8,8.",
            f"Settle it with --image {name}, or --raw {name}.",
            "Settle it with --layout NCHW.",
            "If it was trained on BGR, set --color BGR.",
            "If it was trained on others, set --mean and --scale.",
        ]
    guess = draft(bare(tmp_path, [1, 8, 8, 3], name="in.0")).guesses[1]
    assert in_flags(guess, ["in.0", "in"]).remedy == "Settle it with --layout in.0=NHWC."


def test_a_symbol_has_the_size_that_the_inputs_give_it(tmp_path: Path) -> None:
    model = bare(tmp_path, ["N", 3, "h", "w"])
    made = draft(model, inputs={"x": InputHints(shape=(1, 3, 8, 9))})
    assert made.config["model"]["outputs"][0]["shape"] == [1, 3, 8, 9]


@pytest.mark.parametrize(
    ("name", "content", "error", "message"),
    [
        ("junk.onnx", b"no model at all", ArchiveError, "not an ONNX model"),
        ("empty.onnx", b"", ArchiveError, "empty file"),
        ("net.pt", b"PK\x03\x04", ModelError, r"a \.pt file; ONNX, OpenVINO IR"),
        ("missing.onnx", None, UsageError, "no such file"),
    ],
)
def test_no_model_is_a_plain_error(
    tmp_path: Path, name: str, content: bytes | None, error: type[ConvertError], message: str
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(error, match=message):
        draft(tmp_path / name)


def test_a_type_that_the_format_lacks_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError) as caught:
        draft(bare(tmp_path, [1, 3, 8, 8], TensorProto.BFLOAT16))
    assert [finding.where for finding in caught.value.findings] == ["x", "y"]


# ------------------------------------------------------------------ archives


def test_an_archive_comes_out_that_lint_and_plans_take(net: Path, here: Path) -> None:
    done = nnconvert("init", net.name, stdin=subprocess.DEVNULL)
    assert (done.returncode, done.stdout) == (0, "net.tar.xz\n"), done.stderr
    guesses = [line for line in done.stderr.splitlines() if line.startswith("guess: ")]
    assert len(guesses) == 5
    assert any("taken as RGB. If it was trained on BGR, set --color BGR." in line for line in guesses)
    assert any("the model takes 0 to 255" in line for line in guesses)
    codes = [finding.code for finding in converter.lint("net.tar.xz")]
    assert codes == ["head.none", *["archive.guessed"] * len(guesses)]
    with open_archive("net.tar.xz") as archive:
        assert [member.name for member in archive.members] == [
            "config.json",
            "buildinfo.json",
            "net.onnx",
        ]
        assert archive.path("net.onnx").read_bytes() == net.read_bytes()
    for target, options in (("rvc2", {}), ("rvc4", FP16)):
        made = converter.plan("net.tar.xz", target, options=options)
        assert not [warning for warning in made.warnings if warning.code.startswith("init.")]
        assert made.model.inputs[0].preprocessing.color is Color.RGB


def test_the_same_model_gives_the_same_bytes(net: Path, here: Path) -> None:
    assert nnconvert("init", net, *SETTLED, "-o", "a.tar.xz").returncode == 0
    os.utime(net, (1, 1))
    assert nnconvert("init", net, *SETTLED, "-o", "b.tar.xz").returncode == 0
    assert (here / "a.tar.xz").read_bytes() == (here / "b.tar.xz").read_bytes()


@pytest.mark.parametrize("suffix", [".tar.gz", ".tar.bz2", ".tar"])
def test_the_suffix_decides_how_it_is_packed(net: Path, here: Path, suffix: str) -> None:
    assert nnconvert("init", net, *SETTLED, "-o", f"a{suffix}").returncode == 0
    magic = {".tar.gz": b"\x1f\x8b", ".tar.bz2": b"BZh", ".tar": b"config.json"}[suffix]
    assert (here / f"a{suffix}").read_bytes().startswith(magic)


def test_json_is_one_document(net: Path) -> None:
    done = nnconvert("init", net, "--mean", "1,2,3", "--json")
    document = json.loads(done.stdout)
    assert set(document) >= {"output", "sha256", "config", "guesses"}
    assert document["config"]["model"]["inputs"][0]["preprocessing"]["mean"] == [1, 2, 3]
    assert "init.color" in [guess["code"] for guess in document["guesses"]]
    assert done.stderr == ""


def test_an_existing_output_is_kept(net: Path, here: Path) -> None:
    (here / "net.tar.xz").write_bytes(b"precious")
    done = nnconvert("init", net)
    assert (done.returncode, done.stdout) == (2, "")
    assert "exists. Replace it with --force" in done.stderr
    assert (here / "net.tar.xz").read_bytes() == b"precious"
    assert nnconvert("init", net, "--force").returncode == 0
    assert left_in(here) == ["net.onnx", "net.tar.xz"]


WRONG: list[tuple[list[str], int, str]] = [
    (["--layout", "NHWC", "--image", "images"], 2, "16 channels.*--layout"),
    (["--color", "pink"], 2, "--color: 'pink'.*RGB, BGR or GRAY"),
    (["--mean", "a,b"], 2, "--mean: 'a,b'"),
    (["--shape", "1,3"], 2, r"2 axes.*set --shape"),
    (["--layout", "imags=NCHW"], 2, "no input 'imags'.*'images'"),
    (["--raw", "images", "--image", "images"], 2, "given to --image and --raw"),
    (["--classes", "a,b"], 2, "flags for a head, but no head"),
    (["--head", "yolo"], 2, r"(?s)2 problems.*classes: is missing.*subtype: is missing"),
    (
        ["--head", "classification", "--classes", "a,b", "--softmax"],
        2,
        "takes one output.*'map', 'scores'",
    ),
    (["--head", "yolo", "--parser", "X"], 2, "--head and --parser"),
    (["--head", "nonsense"], 2, "nonsense"),
    (["--calibration", "nowhere"], 2, "nowhere is not a folder"),
    (["--encodings", "net.onnx"], 2, "is not JSON"),
    (["-o", "net.zip"], 2, "not an archive name"),
    (["-o", "nowhere/net.tar"], 2, "no such folder"),
    (["--name", ""], 2, "name"),
]


@pytest.mark.parametrize(("words", "code", "message"), WRONG)
def test_wrong_words_end_in_a_message_and_nothing_is_written(
    net: Path, here: Path, words: list[str], code: int, message: str
) -> None:
    import re

    done = nnconvert("init", net.name, *words, stdin=subprocess.DEVNULL)
    assert (done.returncode, done.stdout) == (code, "")
    assert re.search(message, done.stderr), done.stderr
    assert "Traceback" not in done.stderr
    assert left_in(here) == ["net.onnx"]


def test_a_model_that_no_compiler_takes_is_refused_before_it_is_packed(here: Path) -> None:
    model = conv_model()
    model.graph.input.append(helper.make_tensor_value_info("idle", TensorProto.FLOAT, [1, 4]))
    onnx.save(model, here / "net.onnx")
    done = nnconvert("init", "net.onnx", stdin=subprocess.DEVNULL)
    assert done.returncode == 4
    assert "idle: no node of the model reads this input" in done.stderr
    assert left_in(here) == ["net.onnx"]


# ---------------------------------------------------------- files that travel


def with_weights_beside(folder: Path, location: str) -> Path:
    onnx.save(
        conv_model(),
        folder / "net.onnx",
        save_as_external_data=True,
        location="w.bin",
        size_threshold=0,
    )
    model = onnx.load(folder / "net.onnx", load_external_data=False)
    for tensor in model.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = location
    (folder / "net.onnx").write_bytes(model.SerializeToString())
    return folder / "net.onnx"


def test_weights_in_other_files_travel_under_their_own_names(here: Path) -> None:
    model = with_weights_beside(here, "parts/weights.data")
    (here / "parts").mkdir()
    (here / "w.bin").rename(here / "parts" / "weights.data")
    assert nnconvert("init", model, *SETTLED).returncode == 0
    with open_archive("net.tar.xz") as archive:
        names = [member.name for member in archive.members]
        source, _ = understand(archive, Options({}))
    assert names == ["config.json", "net.onnx", "parts/weights.data"]
    assert set(source.files) == {"net.onnx", "parts/weights.data"}


@pytest.mark.parametrize(
    ("location", "message"),
    [
        ("gone.data", "is not beside the model"),
        ("../w.bin", "leads out"),
        ("/etc/hostname", "absolute path"),
        ("config.json", "is the config"),
    ],
)
def test_weights_elsewhere_are_refused(here: Path, location: str, message: str) -> None:
    model = with_weights_beside(here, location)
    done = nnconvert("init", model, *SETTLED)
    assert done.returncode == 3
    assert message in done.stderr
    assert left_in(here) == ["net.onnx", "w.bin"]


def test_frames_and_encodings_travel_and_are_used(net: Path, here: Path) -> None:
    frames = here / "frames"
    frames.mkdir()
    rng = np.random.default_rng(3)
    for index in range(3):
        pixels = rng.integers(0, 256, (12, 16, 3), np.uint8)
        Image.fromarray(pixels).save(frames / f"{index}.png")
    (frames / "notes.txt").write_text("no frame")
    (here / "e.json").write_text('{"activation_encodings": {}, "param_encodings": {}}')
    done = nnconvert("init", net, *SETTLED, "--calibration", frames, "--encodings", "e.json")
    assert done.returncode == 0, done.stderr
    assert "warning: " in done.stderr
    assert "'notes.txt'" in done.stderr
    with open_archive("net.tar.xz") as archive:
        names = [member.name for member in archive.members]
    assert names[2:] == ["encodings.json", *(f"calibration/{index}.png" for index in range(3))]
    made = converter.plan("net.tar.xz", "rvc4").to_json()
    assert made["parameters"]["calibration"]["frames"] == 3
    assert made["parameters"]["encodings"]["activations"] == 0


# --------------------------------------------------------------- end to end


def test_an_archive_of_ours_is_converted_and_compares_with_its_source(net: Path, here: Path) -> None:
    assert nnconvert("init", net, *SETTLED).returncode == 0
    done = converter.convert("net.tar.xz", "rvc4", options=FP16)
    assert done.verification["status"] == "passed"
    assert done.verification["outputs"]["scores"]["cosine"] > 0.999
    embedded = done.plan.to_json()["parameters"]["inputs"][0]["embedded"]
    assert (embedded["color"], embedded["mean"], embedded["scale"]) == ("RGB", [*MEAN], [*SCALE])
    assert converter.verify_archive(done.output, "net.tar.xz")["status"] == "passed"


def test_a_bare_model_is_converted_and_its_guesses_are_warnings(net: Path, here: Path) -> None:
    done = converter.convert("net.onnx", "rvc4", options=FP16)
    assert done.output == Path("net.rvc4.tar.xz")
    assert any("taken as RGB" in warning for warning in done.warnings)
    assert done.verification["status"] == "passed"
    assert converter.verify_archive(done.output, "net.onnx")["status"] == "passed"


def test_options_settle_the_guesses_of_a_bare_model(net: Path) -> None:
    options = {
        **FP16,
        "inputs.images.layout": "NCHW",
        "inputs.images.input_type": "image",
        "inputs.images.dai_type": "BGR888p",
        "inputs.images.mean_values": [*MEAN],
        "inputs.images.scale_values": [*SCALE],
    }
    made = converter.plan("net.onnx", "rvc4", options=options)
    assert codes(made.warnings) == ["heads"]  # no option gives a head
    preprocessing = made.model.inputs[0].preprocessing
    assert (preprocessing.color, preprocessing.mean, preprocessing.scale) == (Color.BGR, MEAN, SCALE)
    # The same with an archive that was opened before.
    with open_archive("net.onnx") as archive:
        assert codes(archive.guesses) == ["input-type", "layout", "color", "normalization"]
        assert codes(converter.plan(archive, "rvc4", options=options).warnings) == []


def test_what_a_bare_model_leaves_open_is_settled_by_options(tmp_path: Path) -> None:
    model = bare(tmp_path, ["N", 3, "h", "w"], name="in.0")
    with pytest.raises(UsageError, match=r"inputs\.in\.0\.shape"):
        converter.plan(model, "rvc4", options=FP16)
    made = converter.plan(model, "rvc4", options={**FP16, "inputs.in.0.shape": [1, 3, 8, 9]})
    assert made.model.inputs[0].shape == (1, 3, 8, 9)
    with pytest.raises(UsageError, match="may be NCHW or NHWC"):
        converter.plan(bare(tmp_path, [1, 3, 8, 3]), "rvc4", options=FP16)
    with open_archive(tmp_path / "bare.onnx", hints={"x": InputHints(layout="NHWC")}) as archive:
        assert archive.config["model"]["inputs"][0]["preprocessing"]["dai_type"] == "RGB888i"


def test_a_bare_model_without_its_weights_is_refused(here: Path) -> None:
    model = with_weights_beside(here, "gone.data")
    with pytest.raises(ArchiveError, match=r"gone\.data"):
        converter.plan(model, "rvc4", options=FP16)


# ---------------------------------------------------------------- questions


def init_on_terminal(*words: str | Path) -> list[str | Path]:
    return [sys.executable, "-c", "from converter.cli import main; main()", "init", *words]


def test_on_a_terminal_what_is_guessed_is_asked(net: Path, here: Path) -> None:
    code, screen = talk(
        init_on_terminal(net),
        [
            (r"camera frames or numbers", "\n"),
            (r"Layout of images[^:]*\(NCHW\)", "nhwc\n"),
            (r"16 channels[^:]*Layout of images", "\n"),
            (r"Colour order", "bgr\n"),
            (r"Mean of images", "1,2\n"),
            (r"Scale of images", "none\n"),
            (r"has 2 values[^:]*Mean of images", "1,2,3\n"),
            (r"Scale of images", "4\n"),
            (r"Head, what", "classification\n"),
            (r"Classes", "a,b\n"),
            (r"Outputs of the head", "scores\n"),
            (r"has 6 scores; it would have 2 with 2[^:]*softmax", "maybe\n"),
            (r"not yes or no[^:]*softmax", "no\n"),
            (r"Classes", "a,b,c,d,e,f\n"),
        ],
    )
    assert code == 0, screen
    assert screen.splitlines()[-1] == "net.tar.xz"
    assert "guess:" not in screen
    # Each question is at the beginning of a line, also after an empty answer.
    lines = screen.splitlines()
    for begin in ("Layout of images", "Colour order", "Mean of images", "Head, what", "Classes"):
        assert any(line.startswith(begin) for line in lines), screen
    with open_archive("net.tar.xz") as archive:
        model = archive.config["model"]
    assert model["inputs"][0]["preprocessing"] == {
        "mean": [1, 2, 3],
        "scale": [4],
        "dai_type": "BGR888p",
    }
    head = model["heads"][0]
    assert head["metadata"] == {"classes": [*"abcdef"], "n_classes": 6, "is_softmax": False}
    assert (head["parser"], head["outputs"]) == ("ClassificationParser", ["scores"])


def test_a_yolo_subtype_is_one_that_parsers_know() -> None:
    from converter.bare.heads import SUBTYPES
    from converter.cli.questions import _FIELDS

    read = _FIELDS["subtype"].read
    assert [read(name.upper()) for name in SUBTYPES] == list(SUBTYPES)
    for wrong, told in (("yolov88", "'yolov8'"), ("classes.txt", "There are: ")):
        with pytest.raises(UsageError) as caught:
            read(wrong)
        assert told in caught.value.remedy


def test_each_question_has_an_example_or_its_choices() -> None:
    from converter.cli.questions import _FIELDS

    for field in _FIELDS.values():
        assert re.search("such as|yes or no|from 0 to 1", field.text)
        assert field.expected


def test_on_a_terminal_an_open_shape_and_layout_are_asked(here: Path) -> None:
    model = bare(here, ["N", 3, "h", "w"])
    code, screen = talk(
        init_on_terminal(model, "--head", "none"),
        [
            (r"Shape of x", "1,3,eight\n"),
            (r"not a size for each axis, such as 1,3,224,224\.\s*Shape of x", "1,3,8,3\n"),
            (r"Layout of x", "NCHW\n"),
            (r"camera frames or numbers", "raw\n"),
        ],
    )
    assert code == 0, screen
    with open_archive("bare.tar.xz") as archive:
        item = archive.config["model"]["inputs"][0]
    assert (item["shape"], item["layout"], item["input_type"]) == ([1, 3, 8, 3], "NCHW", "raw")


def test_a_closed_terminal_cancels(net: Path, here: Path) -> None:
    code, screen = talk(init_on_terminal(net), [(r"camera frames", "\x04")])
    assert code == 130
    assert "nothing was written" in screen
    assert left_in(here) == ["net.onnx"]


def test_yes_asks_nothing_on_a_terminal(net: Path) -> None:
    code, screen = talk(init_on_terminal(net, "--yes"), [])
    assert code == 0
    assert "guess: model.inputs[0]" in screen


def test_a_pipe_is_never_asked(net: Path, here: Path) -> None:
    argv = [sys.executable, "-c", "from converter.cli import main; main()", "init", str(net)]
    # Its standard input stays open and says nothing: whoever reads it hangs.
    with subprocess.Popen(
        argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as child:
        assert child.wait(60) == 0
        assert child.stdout is not None
        assert child.stdout.read() == "net.tar.xz\n"


# ------------------------------------------------------- by hand, as documented


@pytest.mark.parametrize("with_head", [True, False])
def test_the_documentations_example_packed_by_hand_is_taken(here: Path, with_head: bool) -> None:
    folder = here / "by-hand"
    folder.mkdir()
    onnx.save(conv_model(), folder / "yolov6n.onnx")
    head = {
        "name": None,
        "parser": "YOLO",
        "metadata": {
            "postprocessor_path": None,
            "classes": ["person"],
            "n_classes": 1,
            "iou_threshold": 0.5,
            "conf_threshold": 0.5,
            "max_det": 300,
            "anchors": None,
            "yolo_outputs": ["map"],
            "mask_outputs": None,
            "protos_outputs": None,
            "keypoints_outputs": None,
            "angles_outputs": None,
            "subtype": "yolov6",
            "n_prototypes": None,
            "n_keypoints": None,
            "is_softmax": None,
        },
        "outputs": ["map"],
    }
    config = {
        "config_version": None,
        "model": {
            "metadata": {"name": "yolov6n", "path": "yolov6n.onnx"},
            "inputs": [
                {
                    "name": "images",
                    "dtype": "float32",
                    "input_type": "image",
                    "shape": [1, 3, 12, 16],
                    "layout": "NCHW",
                    "preprocessing": {
                        "mean": [0, 0, 0],
                        "scale": [255, 255, 255],
                        "reverse_channels": False,
                        "interleaved_to_planar": None,
                    },
                }
            ],
            "outputs": [
                {"name": "map", "dtype": "float32"},
                {"name": "scores", "dtype": "float32"},
            ],
            "heads": [head] if with_head else None,
        },
    }
    (folder / "config.json").write_text(json.dumps(config, indent=4))
    subprocess.run(
        ["tar", "-cJf", "../yolov6n.tar.xz", "config.json", "yolov6n.onnx"], cwd=folder, check=True
    )
    made = converter.plan("yolov6n.tar.xz", "rvc2")
    assert made.warnings == ()
    preprocessing = made.model.inputs[0].preprocessing
    assert (preprocessing.color, preprocessing.scale) == (Color.BGR, (255, 255, 255))
    assert made.model.config["model"]["heads"] == ([head] if with_head else None)


def test_frames_of_whole_numbers_are_a_guess_that_is_told(tmp_path: Path) -> None:
    import onnx

    from converter.bare.config import draft
    from tests.sources import conv_model

    onnx.save(conv_model(dtype=onnx.TensorProto.INT32), tmp_path / "net.onnx")
    drafted = draft(tmp_path / "net.onnx")
    assert drafted.config["model"]["inputs"][0]["input_type"] == "raw"
    assert "init.input-type" in {guess.code for guess in drafted.guesses}


def test_more_classes_than_anything_has_are_refused_at_once() -> None:
    from converter.bare.heads import HeadHints, make_head
    from converter.errors import UsageError
    from converter.graph.facts import TensorFacts

    output = TensorFacts(name="y", dtype="float32", shape=(1, 10))
    with pytest.raises(UsageError, match="999,999,999 classes"):
        make_head("classification", HeadHints(n_classes=999_999_999, is_softmax=True), [output])
