"""Whole conversions with the toolchain `online`, against a DOUBLE of the service on this machine.

For RVC2 the double compiles what it gets with the real compiler (OpenVINO 2022.2; the service has 2022.1);
for RVC3 it answers a file that only begins like a VPUX blob.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import converter
from converter.errors import ModelError, ToolError, UsageError, VerificationError
from converter.events import Notice
from converter.processes.run import Processes, python_env
from targets.rvc2.blob.read import read_blob
from targets.rvc2.myriad.toolchain import Toolchain
from tests.container.test_rvc2_container import member
from tests.online_server import Handler, Received, ServiceDouble, compiled_double, says
from tests.sources import DIGITS_ARCHIVE, RGB, conv_model, write_folder

NNCONVERT = Path(sys.executable).parent / "nnconvert"


@pytest.fixture
def service(toolchain: Toolchain, tmp_path: Path) -> Iterator[ServiceDouble]:
    """A service that compiles for MYRIAD."""

    def compile_and_answer(handler: Handler, received: Received) -> None:
        folder = tmp_path / f"service-{len(handler.server.double.received)}"
        folder.mkdir()
        handler.reply(200, compiled(received, toolchain, folder))

    with ServiceDouble(compile_and_answer) as double:
        yield double


def compiled(received: Received, toolchain: Toolchain, folder: Path) -> bytes:
    """What OpenVINO's compiler makes of a request, its parameters read as the service reads them."""
    model = folder / "model.onnx"
    model.write_bytes(received.files["model.onnx"][1])
    words = received.form["myriad_params_advanced"].split(" ")
    precisions = dict(word.rsplit(":", 1) for word in words[words.index("-iop") + 1].split(","))
    interleaved = "-iol" in words
    import onnx

    graph = onnx.load(model).graph
    shaves = received.form["myriad_shaves"]
    request = {
        "parent": None,
        "model": str(model),
        "libraries": str(toolchain.libraries),
        "libusb": str(toolchain.libusb) if toolchain.libusb else None,
        "inputs": {
            value.name: {
                "precision": precisions[value.name], "layout": "NHWC" if interleaved else "",
            }
            for value in graph.input
        },
        "outputs": {value.name: {"precision": precisions[value.name]} for value in graph.output},
        "jobs": [
            {
                "settings": {
                    "MYRIAD_ENABLE_MX_BOOT": "NO",
                    "MYRIAD_NUMBER_OF_SHAVES": shaves,
                    "MYRIAD_NUMBER_OF_CMX_SLICES": shaves,
                    "MYRIAD_THROUGHPUT_STREAMS": "1",
                },
                "output": str(folder / "model.blob"),
            }
        ],
    }  # fmt: skip
    file = folder / "request.json"
    file.write_text(json.dumps(request))
    done = Processes().run(
        [sys.executable, "-m", "targets.rvc2.myriad.worker", file],
        timeout_s=120,
        env=python_env(folder),
    )
    assert done.returncode == 0, done.stdout
    return (folder / "model.blob").read_bytes()


def convert(source: Path, target: str, folder: Path, url: str, **options: Any) -> converter.Conversion:
    return converter.convert(
        source,
        target,
        output=folder / "out.tar",
        options={"online.url": url, **options},
        toolchain="online",
    )


@pytest.mark.parametrize("interleaved", [False, True])
def test_rvc2_comes_out_as_the_source_computes(
    tmp_path: Path, service: ServiceDouble, interleaved: bool
) -> None:
    folder = write_folder(tmp_path / "net", conv_model(), preprocessing=RGB)
    events: list[Any] = []
    done = converter.convert(
        folder,
        "rvc2",
        output=tmp_path / "out.tar",
        options={"online.url": service.url, "rvc2.interleaved_input": interleaved},
        toolchain="online",
        on_event=events.append,
    )
    assert f"The prepared model is sent to {service.url}." in [
        event.text for event in events if isinstance(event, Notice)
    ]
    blob = read_blob(member(done.output, "model.blob"))
    assert (blob.shaves, blob.inputs[0].dtype) == (8, "uint8")
    assert done.verification["outputs"]["map"]["rel_rmse"] < 3e-3
    assert "the blob, every stage executed" in done.verification["checked_on"]
    (received,) = service.received
    assert received.query["version"] == "2022.1"
    iop = "-iop images:U8,map:FP16,scores:FP16"
    more = " -iol images:NHWC -ioml images:NCHW" if interleaved else ""
    assert received.form["myriad_params_advanced"] == iop + more
    record = json.loads(member(done.output, "buildinfo.json"))
    assert record["toolchain"] == "online"
    assert record["tools"]["openvino"] == "2022.1"


def test_the_weights_travel_in_the_one_file(tmp_path: Path, service: ServiceDouble) -> None:
    convert(DIGITS_ARCHIVE, "rvc2", tmp_path, service.url)
    (received,) = service.received
    import onnx

    sent = onnx.load_from_string(received.files["model.onnx"][1])
    assert not [tensor for tensor in sent.graph.initializer if tensor.external_data]
    assert sum(len(tensor.raw_data) for tensor in sent.graph.initializer) > 10_000


def test_a_superblob_is_sixteen_requests(tmp_path: Path, service: ServiceDouble) -> None:
    done = convert(DIGITS_ARCHIVE, "rvc2", tmp_path, service.url, **{"rvc2.superblob": True})
    assert sorted(int(r.form["myriad_shaves"]) for r in service.received) == list(range(1, 17))
    from targets.rvc2.blob.superblob import read_superblob

    assert read_superblob(member(done.output, "digits.superblob")).blob(3)


def test_rvc3_is_sent_as_an_ir_and_its_superblob_is_ours(tmp_path: Path) -> None:
    with ServiceDouble(compiled_double) as double:
        done = convert(DIGITS_ARCHIVE, "rvc3", tmp_path, double.url)
    (received,) = double.received
    assert received.query["version"] == "2022.3_RVC3"
    assert set(received.files) == {"config", "model.xml", "model.bin"}
    assert received.form["myriad_params_advanced"] == "-iop image:U8,scores:FP16"
    assert b'version="opset1' in received.files["model.xml"][1]
    assert b"DOUBLE" in member(done.output, "digits.superblob")
    assert done.verification["status"] == "passed"


def test_what_the_service_says_gets_out_and_nothing_is_written(tmp_path: Path) -> None:
    refusal = {
        "message": "Command failed",
        "stderr": "[ ERROR ]  Det is not implemented.",
        "exit_code": 1,
    }
    with (
        ServiceDouble(says(400, refusal)) as double,
        pytest.raises(ModelError, match="Det is not implemented") as error,
    ):
        convert(DIGITS_ARCHIVE, "rvc2", tmp_path, double.url)
    assert error.value.exit_code == 4
    with ServiceDouble(says(500, "oops")) as double, pytest.raises(ToolError, match="500"):
        convert(DIGITS_ARCHIVE, "rvc2", tmp_path, double.url)
    assert not (tmp_path / "out.tar").exists()


def test_a_blob_of_something_else_is_refused(
    tmp_path: Path, service: ServiceDouble, toolchain: Toolchain
) -> None:
    """The service's own cache could give another model's: the tensors in it tell."""
    convert(DIGITS_ARCHIVE, "rvc2", tmp_path, service.url)
    other = member(tmp_path / "out.tar", "digits.blob")
    folder = write_folder(tmp_path / "net", conv_model(), preprocessing=RGB)
    (tmp_path / "out.tar").unlink()
    with (
        ServiceDouble(says(200, other)) as double,
        pytest.raises(ToolError, match="not what was asked"),
    ):
        convert(folder, "rvc2", tmp_path, double.url)


def test_a_wrong_colour_would_be_caught(
    tmp_path: Path, service: ServiceDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_folder(tmp_path / "net", conv_model(), preprocessing=RGB)
    from converter.preprocessing import Preprocessing

    monkeypatch.setattr(Preprocessing, "reverses", property(lambda _self: False))
    with pytest.raises(VerificationError):
        convert(folder, "rvc2", tmp_path, service.url)


def test_what_the_service_cannot_be_told_is_refused_before_anything_is_sent(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="as many as SHAVE cores"):
        converter.plan(
            DIGITS_ARCHIVE, "rvc2", toolchain="online", options={"rvc2.number_of_cmx_slices": 3}
        )
    folder = write_folder(tmp_path / "net", conv_model(name="a:0"), preprocessing=RGB)
    for target in ("rvc2", "rvc3"):
        with pytest.raises(ModelError, match="the online service cannot take it"):
            converter.plan(folder, target, toolchain="online")


def test_at_a_shell(here: Path, service: ServiceDouble) -> None:
    argv = ["convert", "--target", "rvc2", str(DIGITS_ARCHIVE), "--toolchain", "online"]
    done = subprocess.run(
        [NNCONVERT, *argv, f"online.url={service.url}"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert f"The prepared model is sent to {service.url}." in done.stderr
    assert done.stdout == "digits.rvc2.tar.xz\n"
    refused = subprocess.run(
        [NNCONVERT, *argv, "online.url=http://127.0.0.1:1", "--force"], capture_output=True, text=True
    )
    assert refused.returncode == 5
    assert "127.0.0.1:1" in refused.stderr
