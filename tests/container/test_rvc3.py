"""Whole conversions for RVC3: a real IR, a DOUBLE of compile_tool in an image of our Dockerfile.

The double compiles nothing; it wants every tensor's precision and an IR that 2022.3 reads. What is compared
with the source is the IR, on today's OpenVINO (and in `test_ir_2022.py` on the true 2022.3.2).
"""

from __future__ import annotations

import json
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from onnx import TensorProto, helper

import converter
from converter.backend import Backend
from converter.checks.lint import lint
from converter.container import Engine, Image
from converter.container.build import build
from converter.errors import (
    ArchiveError,
    ModelError,
    ToolchainError,
    ToolError,
    UsageError,
    VerificationError,
)
from converter.events import ignore
from converter.inspect import inspect
from converter.options.resolve import Layer, resolve
from converter.processes.run import Processes
from targets.openvino import compile_tool
from targets.openvino.ir import make_ir
from targets.rvc3 import vpux
from targets.rvc3.image import recipe
from tests.container.test_container import ours
from tests.container.test_rvc2_container import member
from tests.engine import derived, openvino_archive
from tests.nets import NETS
from tests.serving import running
from tests.sources import (
    DIGITS,
    DIGITS_ARCHIVE,
    MEAN,
    RGB,
    SCALE,
    config_for,
    conv_model,
    make_model,
    one_op_model,
    write_folder,
)

NNCONVERT = Path(sys.executable).parent / "nnconvert"
DATA = {"calibration.path": str(DIGITS / "calibration"), "calibration.max_images": 20}
VPUX_BLOB = struct.pack("<I", 16) + b"BLOB" + bytes(8) + struct.pack("<i", 4) + b"DOUBLE"


@pytest.fixture(scope="module", autouse=True)
def image(engine: Engine, debian: Image, tmp_path_factory: pytest.TempPathFactory) -> Image:
    """Our Dockerfile's image, out of an OpenVINO archive of doubles."""
    sdk = openvino_archive(tmp_path_factory.mktemp("sdk") / "openvino.tgz")
    return build(recipe(sdk, debian.name, "2022.3.0"), ignore, engine_address=engine.socket)


@pytest.fixture(autouse=True)
def in_reach(reachable: Engine) -> Iterator[None]:
    yield
    assert ours(reachable) == []


def convert(source: Path, folder: Path, **options: Any) -> tuple[Any, dict[str, Any], dict[str, Any]]:
    """Convert: the conversion, config and build record of the result."""
    done = converter.convert(source, "rvc3", output=folder / "out.tar", options=options, force=True)
    config = json.loads(member(done.output, "config.json"))["model"]
    return done, config, json.loads(member(done.output, "buildinfo.json"))


# --------------------------------------------------------------------- result


def test_a_superblob_of_one_blob_is_written_with_the_warning(tmp_path: Path, image: Image) -> None:
    done, config, record = convert(DIGITS_ARCHIVE, tmp_path)
    assert config["metadata"]["path"] == "digits.superblob"
    assert config["metadata"]["precision"] == "float16"
    data = member(done.output, "digits.superblob")
    sizes = struct.unpack_from(">17q", data)
    assert sizes[1:] == (0,) * 16
    assert sizes[0] == len(data) - 17 * 8
    assert data[17 * 8 + 4 : 17 * 8 + 8] == b"BLOB"
    (warning,) = done.warnings
    assert "DepthAI lists an archive with a superblob as one for RVC2 only" in warning
    assert "rvc3.superblob=false" in warning
    assert [finding.code for finding in lint(done.output)] == ["camera.superblob-rvc3"]
    assert record["tools"]["compile_tool"] == "2022.3.0"
    assert record["tools"]["image"] == image.id
    assert "its schema is not public" in record["compiled"]["read_back"]


def test_the_official_client_converts_for_it(tmp_path: Path) -> None:
    with running(tmp_path) as server:
        folder = tmp_path / "client"
        folder.mkdir()
        done = server.hubai("convert", "rvc3", "--path", str(DIGITS_ARCHIVE), folder=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    (archive,) = folder.glob("*/*.tar.xz")
    assert archive.name.startswith("digits-32x32-rvc3-")
    with converter.open_archive(archive) as found:
        assert found.config["model"]["metadata"]["path"] == "digits.superblob"


def test_a_plain_blob_on_request_is_what_depthai_takes_for_rvc3(tmp_path: Path) -> None:
    done, config, _ = convert(DIGITS_ARCHIVE, tmp_path, **{"rvc3.superblob": False})
    assert done.warnings == ()
    assert lint(done.output) == ()
    assert config["metadata"]["path"] == "digits.blob"
    (item,) = config["inputs"]
    assert (item["dtype"], item["shape"], item["layout"]) == ("uint8", [1, 3, 32, 32], "NCHW")
    assert item["preprocessing"]["dai_type"] == "BGR888p"
    assert config["outputs"][0]["dtype"] == "float16"
    import depthai as dai

    archive = dai.NNArchive(str(done.output))
    assert archive.getModelType() == dai.ModelType.BLOB
    assert archive.getSupportedPlatforms() == [dai.Platform.RVC3]


def test_every_tensors_precision_reaches_the_tool_by_name(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "net", conv_model(), preprocessing=RGB)
    done, config, record = convert(
        folder, tmp_path, **{"rvc3.superblob": False, "outputs.scores.data_type": "float32"}
    )
    # The double writes what it was told into its file.
    assert member(done.output, "model.blob").endswith(b"images:U8,map:FP16,scores:FP32")
    assert [output["dtype"] for output in config["outputs"]] == ["float16", "float32"]
    (step,) = [step for step in record["plan"]["steps"] if step["name"] == "compile"]
    assert step["argv"] == [
        *("compile_tool", "-d", "VPUX.3400", "-m", "/work/model.xml", "-o", "/work/model.blob"),
        *("-iop", "images:U8,map:FP16,scores:FP32"),
    ]


def test_numbers_stay_numbers(tmp_path: Path) -> None:
    model = one_op_model("Relu", {"x": (1, 4)})
    folder = write_folder(tmp_path / "net", model, image=False, layout="NC")
    done, config, _ = convert(folder, tmp_path, **{"rvc3.superblob": False})
    assert config["inputs"][0]["dtype"] == "float32"
    assert member(done.output, "model.blob").endswith(b"x:FP32,y0:FP16")


@pytest.mark.parametrize("dai_type", ["RGB888p", "BGR888p", "GRAY8"])
@pytest.mark.parametrize("preprocess", ["embedded", "archive"])
def test_every_colour_comes_out_as_the_source_computes(
    tmp_path: Path, dai_type: str, preprocess: str
) -> None:
    channels = 1 if dai_type == "GRAY8" else 3
    pre = {"mean": MEAN[:channels], "scale": SCALE[:channels], "dai_type": dai_type}
    folder = write_folder(tmp_path / "net", conv_model(channels=channels), preprocessing=pre)
    _, config, record = convert(folder, tmp_path, preprocess=preprocess)
    assert record["verification"]["outputs"]["map"]["rel_rmse"] < 2e-3
    told = config["inputs"][0]["preprocessing"]["dai_type"]
    if preprocess == "embedded":
        assert told == ("GRAY8" if channels == 1 else "BGR888p")
    else:
        assert told == ("GRAYF16" if channels == 1 else f"{dai_type[:3]}F16F16F16p")


@pytest.mark.parametrize("name", NETS)
def test_nets_of_the_usual_kinds_convert(tmp_path: Path, name: str) -> None:
    folder = write_folder(tmp_path / name, NETS[name](), preprocessing=RGB)
    _, _, record = convert(folder, tmp_path)
    for figures in record["verification"]["outputs"].values():
        assert figures["cosine"] > 0.9999


def test_a_wrong_colour_would_be_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_folder(tmp_path / "net", conv_model(), preprocessing=RGB)
    from converter.preprocessing import Preprocessing

    monkeypatch.setattr(Preprocessing, "reverses", property(lambda _self: False))
    with pytest.raises(VerificationError, match="'map'"):
        convert(folder, tmp_path)


# ----------------------------------------------------------------------- INT8


def test_calibration_data_makes_it_int8(tmp_path: Path) -> None:
    _, config, record = convert(DIGITS_ARCHIVE, tmp_path, **DATA)
    assert config["metadata"]["precision"] == "int8"
    assert record["compiled"]["calibration"]["frames"] == 20
    assert record["compiled"]["calibration"]["inputs"]["image"]["color"] == "BGR"
    assert "the int8 IR" in record["verification"]["checked_on"]
    assert record["verification"]["outputs"]["scores"]["cosine"] > 0.95
    assert {"nncf", "openvino", "compile_tool"} <= set(record["tools"])
    _, config, _ = convert(DIGITS_ARCHIVE, tmp_path, **DATA, disable_calibration=True)
    assert config["metadata"]["precision"] == "float16"


def test_the_same_again_gives_the_same_bytes(tmp_path: Path) -> None:
    first, _, _ = convert(DIGITS_ARCHIVE, tmp_path, **DATA)
    again, _, _ = convert(DIGITS_ARCHIVE, tmp_path, **DATA)
    assert first.sha256 == again.sha256


def test_an_archive_is_compared_with_its_source_later(tmp_path: Path) -> None:
    done, _, _ = convert(DIGITS_ARCHIVE, tmp_path)
    assert converter.verify_archive(done.output, DIGITS_ARCHIVE)["status"] == "passed"
    quantized, _, _ = convert(DIGITS_ARCHIVE, tmp_path, **DATA)
    with pytest.raises(UsageError, match="measured on data that is not in its source"):
        converter.verify_archive(quantized.output, DIGITS_ARCHIVE)
    record = converter.verify_archive(quantized.output, DIGITS_ARCHIVE, options=DATA)
    assert record["status"] == "passed"


# --------------------------------------------------------------------- errors


def test_without_an_image_every_way_out_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("targets.rvc3.backends.image_names", lambda _options: ["no/such:image"])
    with pytest.raises(ToolchainError, match="has no image no/such:image") as error:
        converter.plan(DIGITS_ARCHIVE, "rvc3")
    assert error.value.exit_code == 5
    for way in ("toolchain install rvc3", "toolchain build rvc3 --sdk", "--toolchain online"):
        assert way in error.value.remedy


def test_there_is_no_native_toolchain() -> None:
    with pytest.raises(UsageError, match="rvc3 has no toolchain 'native'"):
        converter.plan(DIGITS_ARCHIVE, "rvc3", toolchain="native")
    done = subprocess.run([NNCONVERT, "toolchain", "install", "rvc3"], capture_output=True, text=True)
    assert (done.returncode, "--toolchain container" in done.stderr) == (2, True)


def test_an_archive_without_the_compiler_is_refused_by_what_it_lacks(tmp_path: Path) -> None:
    plain = tmp_path / "plain.tgz"
    plain.write_text("no tar")
    for path, message in (
        (openvino_archive(tmp_path / "a.tgz", leave_out="vpux"), "without a compiler for RVC3"),
        (openvino_archive(tmp_path / "b.tgz", leave_out="compile_tool"), "has no tools/compile_tool"),
        (plain, "no readable tar"),
        (tmp_path / "none.tgz", "no readable tar"),
    ):
        with pytest.raises(ToolchainError, match=message):
            recipe(path, None, "2022.3.0")
    with pytest.raises(UsageError, match=r"needs OpenVINO 2022\.3's archive"):
        recipe(None, None, "2022.3.0")


def test_the_image_has_only_what_the_compiler_needs(engine: Engine, image: Image) -> None:
    code = (
        "import os; root='/opt/intel/openvino'; print(sorted(os.listdir(root)), "
        "os.readlink(root + '/runtime/lib/intel64/libopenvino.so'))"
    )
    said = engine.client.containers.run(image.id, ["python3", "-c", code], remove=True)
    assert said.decode().strip() == "['docs', 'runtime', 'tools'] libopenvino.so.2230"


def test_a_tool_elsewhere_in_an_image_is_found_with_its_libraries(
    tmp_path: Path, engine: Engine, debian: Image
) -> None:
    """As in ModelConverter's older images, whose tool is on no path."""
    tool = (Path(__file__).parents[1] / "doubles" / "compile_tool").read_bytes()
    place = "/opt/intel/tools/compile_tool"
    lines = (
        f"COPY compile_tool {place}/compile_tool\nCOPY lib.so /opt/intel/runtime/lib/libx.so\n"
        f"RUN chmod 755 {place}/compile_tool"
    )
    files = {"compile_tool": tool, "lib.so": b"DOUBLE"}
    made = derived(engine, debian.name, "nnconvert-test/elsewhere:1", lines, files)
    done, _, _ = convert(DIGITS_ARCHIVE, tmp_path, **{"container.image": made.name})
    assert done.plan.backend.image == made.id
    with pytest.raises(ToolchainError, match="nnconvert-test/debian:bookworm has no compile_tool"):
        convert(DIGITS_ARCHIVE, tmp_path, **{"container.image": debian.name})


def test_a_tool_that_hangs_is_ended_in_time(tmp_path: Path, engine: Engine, image: Image) -> None:
    made = derived(engine, image.name, "nnconvert-test/hang:1", "ENV DOUBLE_FAULT=hang")
    with pytest.raises(ToolError, match="compile_tool did not end within 15 s"):
        convert(
            DIGITS_ARCHIVE,
            tmp_path,
            **{"container.image": made.name, "rvc3.compile_timeout_s": 15},
        )


def test_a_tool_that_was_stopped_is_no_fault_of_the_models(
    tmp_path: Path, engine: Engine, image: Image
) -> None:
    """What it warned of before is not why."""
    tool = (
        "#!/usr/bin/env python3\nimport time\nprint('dynamic shapes are unsupported', flush=True)\n"
        "time.sleep(60)\n"
    )
    chatty = derived(
        engine,
        image.name,
        "nnconvert-test/chatty:1",
        "COPY compile_tool /usr/local/bin/compile_tool",
        {"compile_tool": tool.encode()},
    )
    with pytest.raises(ToolError, match="did not end within"):
        convert(
            DIGITS_ARCHIVE, tmp_path, **{"container.image": chatty.name, "rvc3.compile_timeout_s": 5}
        )


def test_outputs_of_one_node_keep_their_names(tmp_path: Path) -> None:
    """The old API would name them after the node and a number."""
    tensors = {
        name: helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, size])
        for name, size in (("x", 4), ("left", 2), ("right", 2))
    }
    split = helper.make_node("Split", ["x"], ["left", "right"], axis=1)
    graph = helper.make_graph([split], "g", [tensors["x"]], [tensors["left"], tensors["right"]])
    model = make_model(graph)
    folder = write_folder(tmp_path / "a", model, image=False)
    _, config, _ = convert(folder, tmp_path)
    assert [item["name"] for item in config["outputs"]] == ["left", "right"]
    ir = make_ir(
        folder / config_for(model, image=False)["model"]["metadata"]["path"],
        tmp_path / "model.xml",
        int8=None,
        processes=Processes(),
        work=tmp_path,
        timeout_s=120,
    )
    text = ir.xml.read_text()
    assert 'name="left" type="Convert"' in text
    assert 'name="right" type="Convert"' in text


def test_an_operator_that_2022_has_not_is_named(tmp_path: Path) -> None:
    model = one_op_model("Det", {"x": (1, 4, 4)}, shape=(1,))
    folder = write_folder(tmp_path / "net", model, image=False, layout="NHW")
    with pytest.raises(ModelError, match="Det"):
        convert(folder, tmp_path)


@pytest.mark.parametrize("name", ["a b", "a:0", "a,b", "it's"])
def test_names_that_the_tool_would_split_are_refused(tmp_path: Path, name: str) -> None:
    model = conv_model(name=name)
    config = config_for(model, preprocessing=RGB)
    folder = write_folder(tmp_path / "net", model, config)
    with pytest.raises(ModelError, match="compile_tool splits its arguments"):
        converter.plan(folder, "rvc3")


def test_precision_false_is_refused_and_an_unknown_device_is_the_tools_to_refuse() -> None:
    with pytest.raises(UsageError, match="Keem Bay computes in float16 or INT8"):
        converter.plan(DIGITS_ARCHIVE, "rvc3", options={"rvc3.compress_to_fp16": False})


def test_interleaved_frames_are_told_with_both_layouts() -> None:
    """For RVC2 with 2022.3's compile_tool, whose image could not be had."""
    from converter.config.read import understand
    from converter.open_source import open_archive
    from targets.rvc2.translate import translate

    options = resolve([Layer(origin="test", values={"rvc2.interleaved_input": True})])
    backend = Backend(toolchain="container", tool="compile_tool", version="2022.3.0", image="sha256:0")
    with open_archive(DIGITS_ARCHIVE) as archive:
        model, _ = understand(archive, options)
        made = translate(model, options, backend)
    argv = compile_tool.command("MYRIAD", "m.xml", "o.blob", made.inputs, made.outputs, config="c")
    assert argv == (
        *("compile_tool", "-d", "MYRIAD", "-m", "m.xml", "-o", "o.blob"),
        *("-iop", "image:U8,scores:FP16", "-iol", "image:NHWC", "-ioml", "image:NCHW", "-c", "c"),
    )


# --------------------------------------------------------------------- reading


def test_blobs_and_superblobs_are_recognized_and_damaged_ones_refused(tmp_path: Path) -> None:
    superblob = vpux.make_superblob(VPUX_BLOB)
    for name, data in (("x.blob", VPUX_BLOB), ("x.superblob", superblob)):
        (tmp_path / name).write_bytes(data)
        facts = inspect(tmp_path / name)
        assert (facts["kind"], facts["target"]) == (name[2:], "rvc3")
    assert vpux.read_superblob(superblob) == VPUX_BLOB
    patched = bytearray(superblob)
    patched[15] = 1
    for damaged in (superblob[:-1], superblob + b"x", bytes(patched), VPUX_BLOB):
        with pytest.raises(ArchiveError):
            vpux.read_superblob(bytes(damaged))
    for damaged in (b"", VPUX_BLOB[:12], b"\xff" * 4 + VPUX_BLOB[4:], b"xxxxxxxx" + VPUX_BLOB[8:]):
        with pytest.raises(ArchiveError):
            vpux.check_vpux(damaged)
