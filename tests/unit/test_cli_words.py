"""What people write on the command line: flags for a source, several files, near misses."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from converter.cli.app import app
from converter.cli.convert import Request
from converter.cli.convert import convert as run
from converter.cli.nearest import explained
from converter.cli.source_flags import SourceFlags
from converter.cli.sources import split
from converter.errors import UsageError
from converter.options.declared import specs
from converter.options.resolve import Options, from_arguments, resolve
from converter.plans import Plan
from converter.run import convert, plan
from targets.rvc2.myriad.toolchain import Toolchain
from tests.sources import DIGITS_ARCHIVE, RGB, config_for, conv_model, write_folder
from tests.unit.test_cli import left_in, nnconvert
from tests.unit.test_modelconverter import write_two


def planned(source: Path, target: str = "rvc2", **flags: object) -> Plan:
    return plan(source, target, options=resolve([SourceFlags(**flags).layer()]))  # type: ignore[arg-type]


@pytest.fixture
def net(tmp_path: Path) -> Path:
    path = tmp_path / "net.onnx"
    onnx.save(conv_model(), path)
    return path


# --------------------------------------------------------- flags for a source


@pytest.mark.parametrize("name", ["", "images="])
def test_flags_are_short_for_options(net: Path, name: str) -> None:
    for source in (net, write_folder(net.parent / "net", conv_model(), config_for(conv_model()))):
        (item,) = planned(
            source,
            mean=(f"{name}110,70,30",),
            scale=(f"{name}255",),
            color=(f"{name}BGR",),
            shape=(f"{name}1x3x12x16",),
            layout=(f"{name}nchw",),
        ).model.inputs
        assert (item.name, item.shape, item.layout) == ("images", (1, 3, 12, 16), "NCHW")
        assert item.preprocessing.mean == (110.0, 70.0, 30.0)
        assert item.preprocessing.scale == (255.0, 255.0, 255.0)
        assert item.preprocessing.color == "BGR"


def test_a_flag_wins_over_a_file_and_over_what_an_archive_says(tmp_path: Path) -> None:
    archive = write_folder(tmp_path / "a", conv_model(), config_for(conv_model(), preprocessing=RGB))
    layers = [from_arguments(["inputs.images.mean_values=9"]), SourceFlags(mean=("7",)).layer()]
    assert (
        plan(archive, "rvc2", options=resolve(layers)).model.inputs[0].preprocessing.mean == (7.0,) * 3
    )


def test_a_value_without_a_name_is_for_the_only_image_input(tmp_path: Path) -> None:
    two = write_two(tmp_path)
    with pytest.raises(UsageError, match="'left', 'right'") as caught:
        planned(two, mean=("1,2,3",))
    assert "--mean left=1.0,2.0,3.0" in caught.value.remedy
    left, right = planned(two, mean=("left=1,2,3", "right=4")).model.inputs
    assert (left.preprocessing.mean, right.preprocessing.mean) == ((1.0, 2.0, 3.0), (4.0, 4.0, 4.0))
    only = {"inputs.right.input_type": "raw"}
    options = resolve(
        [from_arguments(f"{k}={v}" for k, v in only.items()), SourceFlags(mean=("5",)).layer()]
    )
    left, right = plan(two, "rvc2", options=options).model.inputs
    assert (left.preprocessing.mean, right.preprocessing.mean) == ((5.0, 5.0, 5.0), ())


def test_calibration_is_a_flag(net: Path, tmp_path: Path) -> None:
    folder = tmp_path / "frames"
    folder.mkdir()
    np.save(folder / "0.npy", np.zeros((1, 3, 12, 16), np.float32))
    made = planned(net, "rvc4", calibration=folder)
    assert made.parameters.to_json()["calibration"]["frames"] == 1


def test_frozen_wants_a_name() -> None:
    assert SourceFlags(frozen=("training=false",)).layer().values == {
        "inputs.training.frozen_value": "false"
    }
    with pytest.raises(UsageError, match="NAME=VALUE"):
        SourceFlags(frozen=("false",)).layer()


# -------------------------------------------------------- sources and options


def test_sources_stand_between_options(here: Path) -> None:
    for name in ("a.onnx", "shape", "model=v1.onnx"):
        Path(name).touch()
    Path("folder").mkdir()
    words = ["first", "rvc2.superblob", "true", "a.onnx", "mean_values=1", "gone.tar.xz", "folder"]
    sources, options = split([*words, "shape", "1,3,2,2", "model=v1.onnx", "rvc2.superblobb", "true"])
    assert sources == ["first", "a.onnx", "gone.tar.xz", "folder", "model=v1.onnx"]
    assert options == [
        *("rvc2.superblob", "true", "mean_values=1", "shape", "1,3,2,2", "rvc2.superblobb", "true"),
    ]


@given(st.data())
def test_no_declared_option_is_taken_for_a_source(data: st.DataObject) -> None:
    chosen = data.draw(st.lists(st.sampled_from([spec.key for spec in specs()]), max_size=4))
    words = [
        word
        for key in chosen
        for word in data.draw(st.sampled_from([[key, "a.onnx"], [f"{key}=a.onnx"]]))
    ]
    assert split(["m.onnx", *words, "b.tar.xz"]) == (["m.onnx", "b.tar.xz"], words)


# ---------------------------------------------------------------- near misses


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("--calib", "--calibration"),
        ("--calibraton", "--calibration"),
        ("--std", "--scale"),
        ("--scal", "--scale"),
        ("--mean-values", "--mean"),
        ("--imgsz", "--shape"),
        ("--number-of-shaves", "the option rvc2.number_of_shaves VALUE"),
        ("--quantization_mode", "the option rvc4.quantization_mode VALUE"),
        ("--fp16", "the option rvc4.quantization_mode FP16_STANDARD"),
        ("--outdir", "--output FOLDER/"),
        ("--platform", "--target"),
    ],
)
def test_an_unknown_flag_is_told_with_what_was_meant(word: str, meant: str) -> None:
    from cyclopts import CycloptsError

    with pytest.raises(CycloptsError) as caught:
        app.parse_args(
            ["convert", "-t", "rvc2", "x.onnx", word, "1"], exit_on_error=False, print_error=False
        )
    assert explained(caught.value) == (f"There is no flag {word}.", f"Perhaps you meant {meant}.")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["calibration", "img"], "--calibration FOLDER"),
        (["scale", "255"], "scale_values, or --scale"),
        (["mean=3"], "mean_values, or --mean"),
        (["number_of_shaves", "6"], "rvc2.number_of_shaves"),
    ],
)
def test_an_unknown_option_is_told_with_what_was_meant(words: Sequence[str], told: str) -> None:
    with pytest.raises(UsageError) as caught:
        resolve([from_arguments(words)])
    assert told in str(caught.value)


# -------------------------------------------------------------- several files


def test_several_sources_and_targets_are_all_tried(here: Path, toolchain: Toolchain) -> None:
    onnx.save(conv_model(), "net.onnx")
    Path("bad.onnx").write_bytes(b"no model")
    words = ["net.onnx", "bad.onnx", "rvc4.quantization_mode", "FP16_STANDARD", "verify.emulator=false"]
    done = nnconvert("convert", "-t", "oak-d,RVC4", *words, "-o", "new/sub/", "--color", "RGB", "-q")
    assert done.returncode == 3, done.stderr
    made = ["net.rvc2.tar.xz", "net.rvc4.tar.xz"]
    assert done.stdout.splitlines() == [f"new/sub/{name}" for name in made]
    assert left_in(Path("new/sub")) == made
    said = done.stderr.splitlines()
    assert len([line for line in said if line.startswith("error: bad.onnx")]) == 2
    assert said[-1].startswith("2 of 4 archives were written. Not: bad.onnx for rvc2 (exit code 3)")
    assert not [line for line in said if line.startswith("[")]


def test_several_as_json_are_one_document(here: Path) -> None:
    done = nnconvert("convert", "-t", "rvc2", "a.onnx", "b.onnx", "--json")
    document = json.loads(done.stdout)
    assert done.returncode == document["exit_code"] == 2
    assert [one["source"] for one in document["conversions"]] == ["a.onnx", "b.onnx"]
    assert all(one["error"]["exit_code"] == 2 for one in document["conversions"])


@pytest.mark.parametrize(
    ("sources", "output", "told"),
    [
        (["a.onnx", "b.onnx"], "x.tar.xz", "is one file"),
        (["a/net.onnx", "b/net.tar.xz"], None, "archives of the same name"),
    ],
)
def test_several_that_cannot_all_be_written_are_refused_before_the_work(
    sources: Sequence[str], output: str | None, told: str
) -> None:
    from converter.cameras import named_targets

    request = Request(
        toolchain="auto", chosen=Options({}), output=output, force=True, keep_work=None,
        explain=False, as_json=False, quiet=False, report=None,
    )  # fmt: skip
    with pytest.raises(UsageError, match=told):
        run(sources, named_targets("rvc2"), request)


def test_inspect_and_lint_give_a_line_for_each_and_one_exit_code(here: Path) -> None:
    done = nnconvert("inspect", DIGITS_ARCHIVE, "gone.tar", DIGITS_ARCHIVE)
    assert done.returncode == 2
    lines = done.stdout.splitlines()
    assert [line.rpartition("/")[2].partition(",")[0] for line in lines[:2]] == [
        "digits.tar.xz: NN Archive"
    ] * 2
    assert lines[2] == "2 of 3 files could be read."
    assert done.stderr.startswith("error: gone.tar")
    write_folder(here / "net", conv_model(), config_for(conv_model()))
    config = json.loads(Path("net/config.json").read_text())
    config["model"]["metadata"]["path"] = "other.onnx"
    Path("net/config.json").write_text(json.dumps(config))
    done = nnconvert("lint", DIGITS_ARCHIVE, "net")
    assert done.returncode == 3
    assert done.stdout.splitlines()[1].startswith("net: 1 error")
    assert "  error: [config.model-missing]" in done.stdout
    assert done.stdout.splitlines()[-1].startswith("2 files: 1 error")
    quiet = nnconvert("lint", DIGITS_ARCHIVE, DIGITS_ARCHIVE, "--quiet")
    assert (quiet.returncode, quiet.stdout, quiet.stderr) == (0, "", "")


def test_several_archives_are_one_sarif_file(here: Path) -> None:
    for name in ("one", "two"):
        write_folder(here / name, conv_model(), config_for(conv_model()))
        config = json.loads(Path(name, "config.json").read_text())
        config["model"]["metadata"]["path"] = "other.onnx"
        Path(name, "config.json").write_text(json.dumps(config))
    done = nnconvert("lint", "one", "two", "gone.tar", "--sarif")
    assert done.returncode == 3
    (log,) = json.loads(done.stdout)["runs"]
    assert [item["location"]["uri"] for item in log["artifacts"]][:2] == [
        "one/config.json",
        "two/config.json",
    ]
    places = [
        result["locations"][0]["physicalLocation"]["artifactLocation"] for result in log["results"]
    ]
    assert {(place["uri"], place["index"]) for place in places} == {
        ("one/config.json", 0),
        ("two/config.json", 1),
    }
    (invocation,) = log["invocations"]
    assert not invocation["executionSuccessful"]
    assert "gone.tar" in invocation["toolExecutionNotifications"][0]["message"]["text"]


# -------------------------------------------------------------------- folders


def test_a_new_folder_is_made_when_there_is_something_to_put_in(
    here: Path, toolchain: Toolchain
) -> None:
    for output in ("new/", "out", "a/b/"):
        with pytest.raises(UsageError):
            convert("gone.onnx", "rvc2", output=output)
    assert left_in(here) == []
    done = convert(DIGITS_ARCHIVE, "rvc2", output="a/b/", options={"verify.enabled": False})
    assert done.output == Path("a/b/digits.rvc2.tar.xz")
    again = nnconvert("convert", "rvc2", "--path", DIGITS_ARCHIVE, "--output-dir", "a/b")
    assert again.returncode == 2
    assert "a/b/digits.rvc2.tar.xz exists" in again.stderr


def test_a_folder_is_gone_again_when_writing_fails(here: Path) -> None:
    from converter.archive.write import destination, write_archive

    place = destination("new/sub/", "x.tar.xz", force=False)
    with pytest.raises(FileNotFoundError):
        write_archive(place, [("config.json", b"{}"), ("x", here / "gone")], force=False)
    assert left_in(here) == []
    Path("file").touch()
    with pytest.raises(UsageError, match="file: is no folder"):
        destination("file/", "x.tar.xz", force=False)
