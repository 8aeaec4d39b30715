"""Whole conversions for RVC4 in a container, with DOUBLES of SNPE's tools in an image of our Dockerfile.

The doubles refuse what Qualcomm's documentation does not list and compute in floating point with ONNX
Runtime. What passes here agrees with the documentation; nothing here says that SNPE does the same.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

import converter
from converter.checks.lint import lint
from converter.container import Engine, Image
from converter.container.build import build
from converter.errors import (
    ConvertError,
    ModelError,
    ToolchainError,
    ToolError,
    VerificationError,
)
from converter.events import Notice, ToolSaid, ignore
from converter.findings import Severity
from targets.rvc4.dlc.read import read_dlc
from targets.rvc4.snpe.image import recipe
from tests.container.test_container import ours
from tests.container.test_rvc2_container import member
from tests.engine import derived, snpe_sdk
from tests.sources import DIGITS, DIGITS_ARCHIVE, MEAN, SCALE, config_for, conv_model, write_folder

NNCONVERT = Path(sys.executable).parent / "nnconvert"
DATA = {"calibration.path": str(DIGITS / "calibration"), "calibration.max_images": 8}
RANDOM = {"calibration.random": True, "calibration.max_images": 3}


@pytest.fixture(scope="module", autouse=True)
def image(engine: Engine, debian: Image, tmp_path_factory: pytest.TempPathFactory) -> Image:
    """Our Dockerfile's image, out of an SDK of doubles."""
    sdk = snpe_sdk(tmp_path_factory.mktemp("sdk") / "snpe-2.41.0.zip")
    return build(recipe(sdk, debian.name, None), ignore, engine_address=engine.socket)


@pytest.fixture(autouse=True)
def in_reach(reachable: Engine) -> Iterator[None]:
    yield
    assert ours(reachable) == []


def convert(source: Path, folder: Path, **options: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Convert in the container: config and build record of the result, which lint finds nothing wrong in."""
    done = converter.convert(
        source, "rvc4", output=folder / "out.tar", options=options, toolchain="container", force=True
    )
    said = [found for found in lint(done.output) if found.severity is not Severity.INFO]
    assert {found.code for found in said} <= {"head.none"}  # these models are of no parser
    config = json.loads(member(done.output, "config.json"))["model"]
    return config, json.loads(member(done.output, "buildinfo.json"))


# ----------------------------------------------------------------- the image


def test_the_image_has_the_tools_the_licence_and_nothing_else_of_the_sdk(
    engine: Engine, image: Image
) -> None:
    assert image.name == "localhost/nnconvert/rvc4:2.41.0"
    assert image.labels["nnconvert.snpe"] == "2.41.0.251128"
    code = "import os; print(sorted(os.listdir('/opt/snpe')), sorted(os.listdir('/opt/snpe/lib')))"
    said = engine.client.containers.run(image.id, ["python3", "-c", code], remove=True)
    assert said.decode().strip() == (
        "['LICENSE.pdf', 'bin', 'lib', 'site-packages'] ['python', 'x86_64-linux-clang']"
    )


def test_a_version_that_is_not_the_sdks_is_refused(here: Path, debian: Image) -> None:
    sdk = snpe_sdk(here / "snpe-2.41.0.zip")
    argv = ["toolchain", "build", "rvc4", "--base", debian.name]
    for more, code, message in (
        (["--sdk", str(sdk), "--tool-version", "2.32.6"], 5, "is version 2.41.0.251128, not 2.32.6"),
        (["--sdk", str(sdk), "--tool-version", "2.4"], 5, "is version 2.41.0.251128, not 2.4"),
        (["--sdk", "none.zip"], 5, "none.zip: no such file"),
        ([], 2, "Give it with --sdk"),
    ):
        done = subprocess.run([NNCONVERT, *argv, *more], capture_output=True, text=True)
        assert (done.returncode, message in done.stderr) == (code, True), done.stderr


# ------------------------------------------------------------------- choosing


def test_auto_takes_the_container_where_it_is_and_says_so(tmp_path: Path, image: Image) -> None:
    events: list[Any] = []
    done = converter.convert(
        DIGITS_ARCHIVE, "rvc4", output=tmp_path / "x.tar", options=DATA, on_event=events.append
    )
    assert done.plan.toolchain == "container"
    notices = [event.text for event in events if isinstance(event, Notice)]
    assert (
        notices[0]
        == "Converting with SNPE in the container image localhost/nnconvert/rvc4:latest: it is there."
    )
    lines = [event.text for event in events if isinstance(event, ToolSaid)]
    assert lines[1] == "DOUBLE of snpe-onnx-to-dlc, not Qualcomm's"


def test_auto_without_an_image_is_native_and_says_why(
    monkeypatch: pytest.MonkeyPatch, engine: Engine
) -> None:
    monkeypatch.setattr("targets.rvc4.backends.OWN_IMAGE", "no/such")
    plan = converter.plan(DIGITS_ARCHIVE, "rvc4", options=DATA)
    assert plan.toolchain == "native"
    assert plan.backend.reason.startswith("Converting natively with QNN, not with SNPE: ")
    assert "has no image no/such:latest or ghcr.io/luxonis/modelconverter-rvc4:2.41.0-latest" in (
        plan.backend.reason
    )
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere.sock")
    plan = converter.plan(DIGITS_ARCHIVE, "rvc4", options=DATA)
    assert plan.toolchain == "native"
    assert "no container engine answers at unix:///nowhere.sock" in plan.backend.reason


def test_a_version_that_is_asked_for_is_never_replaced(image: Image) -> None:
    with pytest.raises(
        ToolchainError, match=r"has no image localhost/nnconvert/rvc4:2\.32\.6 or ghcr"
    ) as error:
        converter.plan(DIGITS_ARCHIVE, "rvc4", options={**DATA, "rvc4.tool_version": "2.32.6"})
    assert "nnconvert toolchain build rvc4 --sdk snpe-2.32.6.zip" in error.value.remedy
    plan = converter.plan(DIGITS_ARCHIVE, "rvc4", options={**DATA, "rvc4.tool_version": "2.41.0"})
    assert (plan.backend.image, plan.backend.version) == (image.id, "2.41.0.251128")


def test_plan_and_record_have_image_versions_and_commands(tmp_path: Path, image: Image) -> None:
    _, record = convert(DIGITS_ARCHIVE, tmp_path, **DATA)
    assert record["tools"] == {
        "snpe": "SNPE v2.41.0.251128 (a DOUBLE, not Qualcomm's)", "image": image.id,
    }  # fmt: skip
    steps = {step["name"]: step for step in record["plan"]["steps"]}
    assert list(steps) == [
        "prepare", "convert", "calibrate", "quantize", "compile", "inspect", "verify", "pack",
    ]  # fmt: skip
    assert steps["quantize"]["argv"][0] == "snpe-dlc-quant"
    assert steps["quantize"]["call"]["image"] == image.id
    assert "DOUBLE" in record["verification"]["checked_on"]
    assert "not on a camera" in record["verification"]["checked_on"]


# ---------------------------------------------------------------- translation

FRAMES = [
    ("RGB888p", "NCHW", 3), ("BGR888p", "NCHW", 3), ("RGB888i", "NHWC", 3), ("BGR888i", "NHWC", 3),
    ("GRAY8", "NCHW", 1), ("GRAY8", "NHWC", 1),
]  # fmt: skip


@pytest.mark.parametrize(("dai_type", "layout", "channels"), FRAMES)
def test_every_colour_and_layout_comes_out_as_the_source_computes(
    tmp_path: Path, dai_type: str, layout: str, channels: int
) -> None:
    """Asymmetric mean and scale, colourful frames; the limit is far below what a swap would make."""
    model = conv_model(layout=layout, channels=channels)
    pre = {"mean": MEAN[:channels], "scale": SCALE[:channels], "dai_type": dai_type}
    folder = write_folder(tmp_path / "net", model, layout=layout, preprocessing=pre)
    config, record = convert(folder, tmp_path, **RANDOM, **{"verify.max_rel_rmse": 1e-4})
    (item,) = config["inputs"]
    assert (item["dtype"], item["layout"], item["shape"]) == ("uint8", "NHWC", [1, 12, 16, channels])
    assert item["preprocessing"]["dai_type"] == ("GRAY8" if channels == 1 else "BGR888i")
    assert set(item["preprocessing"]["mean"]) == {0.0}
    assert record["verification"]["outputs"]["map"]["rel_rmse"] < 1e-4
    # The map is 4 × 12 × 16 in the source, and left NHWC.
    assert config["outputs"][0]["shape"] == [1, 12, 16, 4]
    assert config["outputs"][0]["layout"] in ("NHWC", "NDEC")


def test_a_wrong_colour_would_be_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pre = {"mean": MEAN, "scale": SCALE, "dai_type": "RGB888p"}
    folder = write_folder(tmp_path / "net", conv_model(), preprocessing=pre)
    from converter.preprocessing import Preprocessing

    monkeypatch.setattr(Preprocessing, "reverses", property(lambda _self: False))
    with pytest.raises(VerificationError, match="'map'"):
        convert(folder, tmp_path, **RANDOM)
    assert not (tmp_path / "out.tar").exists()


MODES = {
    "INT8_STANDARD": ("int8", "uint8", "uint8"),
    "INT8_INT16_MIXED": ("int8", "uint8", "uint16"),
    "INT16_STANDARD": ("int16", "uint8", "uint16"),
    "FP16_STANDARD": ("float16", "float16", "float16"),
}


@pytest.mark.parametrize("mode", MODES)
def test_bit_widths_are_read_back_and_told(tmp_path: Path, mode: str) -> None:
    config, record = convert(DIGITS_ARCHIVE, tmp_path, **DATA, **{"rvc4.quantization_mode": mode})
    precision, frame, output = MODES[mode]
    assert config["metadata"]["precision"] == precision
    assert config["inputs"][0]["dtype"] == frame
    assert config["outputs"][0]["dtype"] == output
    assert record["compiled"]["weight_types"] == {precision: 1}
    dlc = read_dlc(member(tmp_path / "out.tar", "digits.dlc"))
    if frame == "uint8":
        (encoding,) = dlc.inputs[0].encodings
        assert (encoding.scale, encoding.offset) == (1.0, 0)


def test_bit_widths_that_are_not_what_was_asked_for_are_an_error(tmp_path: Path) -> None:
    options = {
        "rvc4.quantization_mode": "CUSTOM",
        "rvc4.snpe_dlc_quant_args": "--weights_bitwidth 16",
    }
    with pytest.raises(ToolError, match="weights: 1 are int16 where CUSTOM has int8"):
        convert(DIGITS_ARCHIVE, tmp_path, **DATA, **options)


def test_numbers_beside_a_frame_stay_floats_and_whole_numbers_whole(tmp_path: Path) -> None:
    graph = helper.make_graph(
        [
            helper.make_node("ReduceMean", ["images"], ["level"], axes=[1, 2, 3], keepdims=0),
            helper.make_node("Add", ["level", "numbers"], ["sum"]),
            helper.make_node("Cast", ["ids"], ["floats"], to=TensorProto.FLOAT),
            helper.make_node("Add", ["sum", "floats"], ["y"]),
        ],
        "three",
        [
            helper.make_tensor_value_info("images", TensorProto.FLOAT, (1, 3, 8, 8)),
            helper.make_tensor_value_info("numbers", TensorProto.FLOAT, (1, 5)),
            helper.make_tensor_value_info("ids", TensorProto.INT64, (1, 5)),
        ],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, (1, 5))],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    config = config_for(model, image=False)
    config["model"]["inputs"][0] |= {
        "input_type": "image", "layout": "NCHW",
        "preprocessing": {"mean": MEAN, "scale": SCALE, "dai_type": "RGB888p"},
    }  # fmt: skip
    folder = write_folder(tmp_path / "net", model, config)
    made, _ = convert(folder, tmp_path, **RANDOM, **{"verify.max_rel_rmse": 1e-4})
    assert [(i["name"], i["dtype"], i["shape"]) for i in made["inputs"]] == [
        ("images", "uint8", [1, 8, 8, 3]),
        ("numbers", "float32", [1, 5]),
        ("ids", "int32", [1, 5]),
    ]
    assert "dai_type" not in made["inputs"][1]["preprocessing"]


def test_calibration_is_reported(tmp_path: Path) -> None:
    _, record = convert(DIGITS_ARCHIVE, tmp_path, **DATA)
    report = record["compiled"]["calibration"]
    assert report["frames"] == 8
    told = report["inputs"]["image"]
    assert (told["shape"], told["layout"], told["color"]) == ([1, 32, 32, 3], "NHWC", "BGR")
    assert 0 <= told["min"] < told["max"] <= 255
    assert len(told["names"]) == 8
    assert report["method"] == "SNPE's tf"


def test_the_same_again_gives_the_same_bytes(tmp_path: Path) -> None:
    digests = []
    for name in ("one", "two"):
        done = converter.convert(
            DIGITS_ARCHIVE, "rvc4", output=tmp_path / f"{name}.tar", options=DATA, toolchain="container"
        )
        digests.append(done.sha256)
        time.sleep(1)  # the double's DLC has the time in it, as SNPE's has
    assert digests[0] == digests[1]


def test_raw_files_are_kept_where_that_is_asked_for(tmp_path: Path) -> None:
    work = tmp_path / "work"
    converter.convert(
        DIGITS_ARCHIVE,
        "rvc4",
        output=tmp_path / "x.tar",
        options={**DATA, "rvc4.keep_raw_images": True},
        toolchain="container",
        keep_work=work,
    )
    assert len(list((work / "raw").glob("*.raw"))) == 8
    lines = (work / "calibration.txt").read_text().splitlines()
    assert lines[0] == "image:=/work/raw/00000-0.raw"
    assert (work / "model.dlc").stat().st_uid == os.getuid()
    assert (work / "info.csv").read_text().startswith("DOUBLE")


def test_a_finished_archive_is_compared_again_by_running_its_own_dlc(tmp_path: Path) -> None:
    convert(DIGITS_ARCHIVE, tmp_path, **DATA)
    record = converter.verify_archive(
        tmp_path / "out.tar", DIGITS_ARCHIVE, data=str(DIGITS / "calibration")
    )
    assert record["status"] == "passed"
    assert record["frames"] == "20 of verify.data"
    with pytest.raises(VerificationError):
        converter.verify_archive(
            tmp_path / "out.tar",
            DIGITS_ARCHIVE,
            options={"verify.min_cosine": 1, "verify.max_rel_rmse": 0},
        )


# --------------------------------------------------------------------- faults


def faulty(engine: Engine, image: Image, tool: str, what: str) -> dict[str, str]:
    """The image with a tool that misbehaves."""
    tag = f"nnconvert-test/faulty:{tool}-{what}"
    made = derived(engine, image.name, tag, f"ENV DOUBLE_FAULT={tool}:{what}")
    return {"container.image": made.name}


FAULTS = {
    ("snpe-dlc-quant", "oom"): (6, "snpe-dlc-quant ran out of memory: its container may take 0.5 GiB"),
    ("snpe-dlc-quant", "log"): (6, "snpe-dlc-quant ended with exit code 3: DOUBLE: the last line says"),
    ("snpe-dlc-quant", "hang"): (6, "snpe-dlc-quant did not end within 12 s"),
    ("snpe-onnx-to-dlc", "crash"): (6, "snpe-onnx-to-dlc crashed on this model (SIGSEGV)"),
    ("snpe-dlc-graph-prepare", "nothing"): (6, "ended well but did not write model.dlc"),
    ("snpe-net-run", "nothing"): (6, "snpe-net-run did not write the outputs"),
}


@pytest.mark.parametrize(("tool", "what"), FAULTS)
def test_a_tool_that_misbehaves_is_told_and_nothing_is_left(
    tmp_path: Path,
    engine: Engine,
    image: Image,
    monkeypatch: pytest.MonkeyPatch,
    tool: str,
    what: str,
) -> None:
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    out = tmp_path / "out.tar"
    out.write_text("mine")
    with pytest.raises(ConvertError) as error:
        converter.convert(
            DIGITS_ARCHIVE,
            "rvc4",
            output=out,
            force=True,
            toolchain="container",
            options={
                **DATA,
                **faulty(engine, image, tool, what),
                "container.memory": "512m",
                "rvc4.compile_timeout_s": 12 if what == "hang" else 300,
            },
        )
    code, message = FAULTS[tool, what]
    assert (error.value.exit_code, message in error.value.message) == (code, True), error.value.message
    assert out.read_text() == "mine"
    assert list(temporary.iterdir()) == []
    if what == "log":
        # The end of ten megabytes is there, not all of them.
        assert "DOUBLE: line 099999" in error.value.tool_text
        assert len(error.value.tool_text) < 4 << 20


def test_a_tool_that_fills_the_disk_is_told(
    tmp_path: Path, here: Path, engine: Engine, image: Image
) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small disk")
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=30m", "tmpfs", disk], check=True)
    try:
        fault = faulty(engine, image, "snpe-dlc-quant", "fill")
        argv = [
            *("convert", "--target", "rvc4", str(DIGITS_ARCHIVE), "--toolchain", "container"),
            *(f"{key}={value}" for key, value in {**DATA, **fault}.items()),
        ]
        done = subprocess.run(
            [NNCONVERT, *argv], capture_output=True, text=True, env={**os.environ, "TMPDIR": str(disk)}
        )
        assert done.returncode == 6, done.stderr
        assert "The disk is full while snpe-dlc-quant was running" in done.stderr
        assert list(disk.iterdir()) == list(here.iterdir()) == []
    finally:
        subprocess.run(["umount", disk], check=True)


def test_an_operator_that_the_converter_does_not_take_is_a_fault_of_the_models(tmp_path: Path) -> None:
    graph = helper.make_graph(
        [helper.make_node("Det", ["x"], ["y"], name="the_Det")],
        "det",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, (1, 4, 4))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, (1,))],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    folder = write_folder(tmp_path / "net", model, image=False, layout="NHW")
    with pytest.raises(
        ModelError, match=r"SNPE does not take the model: .*Det of node the_Det"
    ) as error:
        convert(folder, tmp_path, **RANDOM)
    assert error.value.exit_code == 4


def test_an_image_without_the_tools_is_named(tmp_path: Path, debian: Image) -> None:
    with pytest.raises(ToolchainError, match="nnconvert-test/debian:bookworm has no snpe-dlc-quant"):
        convert(DIGITS_ARCHIVE, tmp_path, **DATA, **{"container.image": debian.name})


def test_the_tools_words_are_in_debug_and_json(here: Path, engine: Engine, image: Image) -> None:
    fault = faulty(engine, image, "snpe-dlc-quant", "log")
    argv = [
        *("convert", "--target", "rvc4", str(DIGITS_ARCHIVE), "--toolchain", "container", "--json"),
        *(f"{key}={value}" for key, value in {**DATA, **fault}.items()),
    ]
    done = subprocess.run([NNCONVERT, *argv], capture_output=True, text=True)
    assert done.returncode == 6
    document = json.loads(done.stdout)["error"]
    assert document["message"].startswith("snpe-dlc-quant ended with exit code 3")
    assert "DOUBLE: line 099999" in document["tool_text"]
    assert len(done.stderr.splitlines()) < 10


def test_frames_of_the_archive_are_inside_the_result(tmp_path: Path) -> None:
    """DepthAI, an independent reader, takes the archive."""
    convert(DIGITS_ARCHIVE, tmp_path, **DATA)
    import depthai as dai

    archive = dai.NNArchive(str(tmp_path / "out.tar"))
    assert archive.getModelType() == dai.ModelType.DLC
    with tarfile.open(tmp_path / "out.tar") as tar:
        assert tar.getnames() == ["config.json", "buildinfo.json", "digits.dlc"]
    assert np.prod(archive.getConfig().model.inputs[0].shape) == 32 * 32 * 3
