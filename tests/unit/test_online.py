"""The online toolchain against a double of the service: what is sent, and what becomes of answers."""

from __future__ import annotations

import _thread
import os
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

import converter
from converter.errors import ConvertError, ModelError, ToolchainError, ToolError, UsageError
from converter.processes.run import Processes
from targets.openvino.online import OnlineJob, Service, check_names, compile_online
from targets.rvc2.blob.read import read_blob_file
from targets.rvc2.myriad.toolchain import Toolchain
from tests.online_server import (
    Answer,
    ServiceDouble,
    blob,
    closes,
    compiled_double,
    cut_short,
    cut_short_unnoticed,
    drips,
    hangs,
    says,
    vpux_double,
)
from tests.sources import DIGITS_ARCHIVE

RVC2 = OnlineJob(
    version="2022.1",
    shaves=6,
    optimizer_params=("--mean_values=images[1 2 3]", "--output=scores"),
    compile_params=("-iop images:U8,scores:FP16",),
)
RVC3 = OnlineJob(version="2022.3_RVC3", shaves=4, compile_params=("-ip U8",))
# What the service answers when a tool fails there; the command line is in its message.
COMPILE_TOOL_SAID = {
    "exit_code": 1,
    "message": "Command failed with exit code 1, command: /opt/openvino/tools/compile_tool/compile_tool "
    "-m /tmp/blobconverter/8b/model/FP16/model.xml -o /tmp/blobconverter/8b/model/FP16/model.blob",
    "stderr": '/home/jenkins/agent/stages/unknown.cpp:42 Failed to compile layer "act": unsupported '
    'layer type "HardSigmoid"\n',
    "stdout": "OpenVINO Runtime version ......... 2022.1.0\nE: [xLink] no device\n",
}
MO_SAID = {
    "exit_code": 1,
    "message": "Command failed with exit code 1, command: /app/venv/bin/python omz_converter.py --name model",
    "stderr": "[ WARNING ]  Failed to be quiet.\n[ ERROR ]  -------------------\n"
    '[ ERROR ]  Cannot infer shapes or values for node "Det_1".\n[ ERROR ]  Det is not implemented.\n',
    "stdout": "========== Converting model to IR (FP16)\nFAILED:\nmodel\n",
}


@pytest.fixture(scope="session")
def real_blob(toolchain: Toolchain, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A blob that OpenVINO's compiler made, here and natively."""
    out = tmp_path_factory.mktemp("online") / "digits.tar.xz"
    options = {"verify.enabled": False}
    converter.convert(DIGITS_ARCHIVE, "rvc2", output=out, options=options)
    with tarfile.open(out) as archive:
        member = archive.extractfile("digits.blob")
        assert member is not None
        return member.read()


class Case:
    """A model, an empty work folder, an empty home, and what a compile left behind."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        # `#` and `?` because the library takes paths for URLs, and would cut these.
        self.work = folder / "work#1?a=b.c"
        self.out = folder / "out"
        self.homes = [folder / name for name in ("home", "cache", "tmp")]
        for made in (self.work, self.out, *self.homes):
            made.mkdir()
        for name, home in zip(("HOME", "XDG_CACHE_HOME", "TMPDIR"), self.homes, strict=True):
            monkeypatch.setenv(name, str(home))
        for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
            monkeypatch.delenv(name)
        self.processes = Processes()
        self.onnx = folder / "my.net=1.onnx"
        self.onnx.write_bytes(b"not looked at on this side \0\r\n--\r\n" * 100)
        self.xml = folder / "my.ir.v2.xml"
        self.xml.write_bytes(b"<net/>\r\n")
        self.xml.with_suffix(".bin").write_bytes(bytes(range(256)) * 40)

    def compile(
        self, url: str, job: OnlineJob = RVC2, *, model: Path | None = None, timeout_s: float = 60
    ) -> Path:
        return compile_online(
            model or (self.xml if job.is_rvc3 else self.onnx),
            job,
            Service(url=url, timeout_s=timeout_s),
            self.out / "net.blob",
            processes=self.processes,
            work=self.work,
        )

    def left_behind(self) -> list[Path]:
        return [path for folder in (self.work, *self.homes) for path in folder.rglob("*")]

    def fails(self, answer: Answer, job: OnlineJob = RVC2, *, timeout_s: float = 60) -> ConvertError:
        """The error that an answer leads to; nothing is written then, in no place."""
        with ServiceDouble(answer) as service, pytest.raises(ConvertError) as caught:
            self.compile(service.url, job, timeout_s=timeout_s)
        assert service.url in caught.value.message
        assert "\n" not in str(caught.value)
        assert not list(self.out.iterdir())
        assert not self.left_behind()
        return caught.value


@pytest.fixture
def case(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Case]:
    made = Case(tmp_path, monkeypatch)
    yield made
    assert not made.left_behind()


# ---------------------------------------------------------------- what is sent, and a blob


def test_an_onnx_file_becomes_a_blob(real_blob: bytes, case: Case) -> None:
    with ServiceDouble(blob(real_blob)) as service:
        path = case.compile(service.url + "/")
    assert path == case.out / "net.blob"
    assert path.read_bytes() == real_blob
    assert read_blob_file(path).inputs[0].dtype == "uint8"
    assert [item.name for item in case.out.iterdir()] == ["net.blob"]
    (got,) = service.received
    assert got.target.startswith("/compile?")
    assert got.query == {"version": "2022.1", "no_cache": "True"}
    assert got.form == {
        "name": "model",
        "myriad_shaves": "6",
        "myriad_params_advanced": "-iop images:U8,scores:FP16",
        "data_type": "FP16",
        "download_ir": "False",
        "zoo_type": "intel",
    }
    assert got.files["model.onnx"] == ("model.onnx", case.onnx.read_bytes())
    assert set(got.files) == {"config", "model.onnx"}
    config = yaml.safe_load(got.files["config"][1])
    assert config["framework"] == "onnx"
    assert config["model_optimizer_args"] == [
        "--mean_values=images[1 2 3]",
        "--output=scores",
        "--data_type=FP16",
        "--input_model=$dl_dir/FP16/model.onnx",
    ]


def test_an_ir_becomes_a_vpux_blob(case: Case) -> None:
    with ServiceDouble(compiled_double) as service:
        path = case.compile(service.url, RVC3)
    (got,) = service.received
    assert path.read_bytes() == vpux_double(got)
    assert got.query["version"] == "2022.3_RVC3"
    assert got.form["myriad_shaves"] == "4"
    assert got.form["myriad_params_advanced"] == "-ip U8"
    assert got.files["model.xml"] == ("model.xml", case.xml.read_bytes())
    assert got.files["model.bin"] == ("model.bin", case.xml.with_suffix(".bin").read_bytes())
    config = yaml.safe_load(got.files["config"][1])
    assert config["framework"] == "dldt"
    assert "model_optimizer_args" not in config


def test_a_model_of_20_megabytes_arrives_whole(case: Case) -> None:
    case.onnx.write_bytes(os.urandom(20 << 20))
    job = OnlineJob(version="2022.3_RVC3", shaves=4)
    with ServiceDouble(compiled_double) as service:
        case.compile(service.url, job, model=case.onnx)
    assert service.received[0].model() == case.onnx.read_bytes()


def test_no_cache_answers_for_the_service(case: Case) -> None:
    """The library returns any file of the same name, here and in its bucket."""
    with ServiceDouble(compiled_double) as service:
        first = case.compile(service.url, RVC3).read_bytes()
        case.xml.with_suffix(".bin").write_bytes(b"other weights")
        second = case.compile(service.url, RVC3).read_bytes()
        third = case.compile(service.url, RVC3).read_bytes()
    assert first != second == third
    assert len(service.received) == 3


def test_no_other_host_is_asked(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy for every other host would see it; the library asks a bucket at Amazon first."""
    with ServiceDouble(compiled_double) as service, ServiceDouble(says(404, "")) as proxy:
        monkeypatch.setenv("https_proxy", proxy.url)
        monkeypatch.setenv("http_proxy", proxy.url)
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        case.compile(service.url, RVC3)
    assert [item.method for item in service.received] == ["POST"]
    assert not proxy.received


def test_a_proxy_of_the_environment_is_used(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    with ServiceDouble(compiled_double) as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        path = case.compile("http://blobconverter.invalid", RVC3)
    (got,) = proxy.received
    assert got.target.startswith("http://blobconverter.invalid/compile?")
    assert path.read_bytes() == vpux_double(got)


def test_a_model_is_not_sent_on_to_another_host(case: Case) -> None:
    with ServiceDouble(compiled_double) as other:
        error = case.fails(says(307, "", Location=f"{other.url}/compile"), RVC3)
    assert type(error) is ToolError
    assert other.url in error.message
    assert not other.received


# ---------------------------------------------------------------- the service says no


@pytest.mark.parametrize(
    ("body", "kind", "words"),
    [
        (COMPILE_TOOL_SAID, ModelError, ["compile_tool", "HardSigmoid", "exit code 1"]),
        (MO_SAID, ModelError, ["mo)", 'Cannot infer shapes or values for node "Det_1"']),
        (
            {**MO_SAID, "stderr": "mo: error: unrecognized arguments: --nonsense"},
            ToolError,
            ["--nonsense"],
        ),
        ({**MO_SAID, "exit_code": -9, "stderr": "", "stdout": ""}, ToolError, ["exit code 1"]),
        ({"message": '"files" property is missing'}, ToolError, ['"files" property is missing']),
    ],
    ids=["compile_tool", "mo", "argument", "killed", "refused"],
)
def test_a_tool_that_failed_there_is_heard(
    case: Case, body: dict[str, Any], kind: type[ConvertError], words: list[str]
) -> None:
    error = case.fails(says(400, body))
    assert type(error) is kind
    for word in words:
        assert word in error.message
    assert "/tmp/blobconverter" not in error.message
    assert "/home/jenkins" not in error.message
    assert body["message"][-20:].replace('"', '\\"') in error.tool_text
    assert error.remedy


CLOUDFLARE = """<!DOCTYPE html><html><head><title>blobconverter.luxonis.com |
 523: Origin is unreachable</title><style>body { color: red }</style></head></html>"""


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (says(400, 'Parameter "name" is empty!'), ["400", 'Parameter "name" is empty!']),
        (says(400, ["no", "object"]), ["400", "no"]),
        (says(500, "<html><body><h1>Internal Server Error</h1>\n</body></html>"), ["500", "Internal"]),
        (says(523, CLOUDFLARE), ["523", "523: Origin is unreachable"]),
        (says(503, ""), ["503"]),
        (says(413, "<title>413 Request Entity Too Large</title>"), ["413", "Too Large"]),
        (says(404, "<title>404 Not Found</title>"), ["404", "Not Found"]),
    ],
    ids=["400-text", "400-list", "500", "523", "503", "413", "404"],
)
def test_a_service_in_trouble_is_told_with_its_status(
    case: Case, answer: Answer, words: list[str]
) -> None:
    error = case.fails(answer)
    assert type(error) is ToolError
    for word in [*words, "while compiling"]:
        assert word in error.message
    assert "color: red" not in error.message
    assert error.remedy


# ---------------------------------------------------------------- no blob, or not all of it


@pytest.mark.parametrize("job", [RVC2, RVC3], ids=["rvc2", "rvc3"])
@pytest.mark.parametrize(
    ("body", "words"),
    [(b"<!doctype html><title>Log in</title>", ["<!doctype html>", "36 bytes"]), (b"", ["0 bytes"])],
    ids=["html", "empty"],
)
def test_what_is_no_blob_is_not_written(
    case: Case, job: OnlineJob, body: bytes, words: list[str]
) -> None:
    error = case.fails(says(200, body), job)
    assert type(error) is ToolError
    for word in words:
        assert word in error.message


def test_a_blob_of_the_other_target_is_not_written(real_blob: bytes, case: Case) -> None:
    assert "no VPUX blob" in case.fails(blob(real_blob), RVC3).message


def test_a_blob_cut_short_is_not_written(real_blob: bytes, case: Case) -> None:
    broken = case.fails(cut_short(real_blob))
    assert "broke off" in broken.message
    unnoticed = case.fails(cut_short_unnoticed(real_blob))
    assert "cut short" in unnoticed.message
    assert type(broken) is type(unnoticed) is ToolError


def test_an_output_that_was_there_is_replaced_only_by_a_blob(real_blob: bytes, case: Case) -> None:
    before = case.out / "net.blob"
    before.write_bytes(b"before")
    with ServiceDouble(says(200, "no blob")) as service, pytest.raises(ToolError):
        case.compile(service.url)
    assert before.read_bytes() == b"before"
    with ServiceDouble(blob(real_blob)) as service:
        case.compile(service.url)
    assert before.read_bytes() == real_blob


# ---------------------------------------------------------------- no answer


@pytest.mark.parametrize("answer", [hangs, drips], ids=["hang", "drip"])
def test_a_service_that_does_not_end_is_left(case: Case, answer: Answer) -> None:
    error = case.fails(answer, timeout_s=1.5)
    assert type(error) is ToolError
    assert "1.5 s" in error.message
    assert "timeout_s" in error.remedy


def test_a_service_that_closes_the_connection_failed(case: Case) -> None:
    error = case.fails(closes)
    assert type(error) is ToolError
    assert "broke off" in error.message


@pytest.mark.parametrize("host", ["127.0.0.1:1", "user:secret@127.0.0.1:1", "nowhere.invalid"])
def test_a_service_that_is_not_there_is_a_missing_toolchain(case: Case, host: str) -> None:
    with pytest.raises(ToolchainError) as caught:
        case.compile(f"http://{host}")
    assert host.removeprefix("user:secret@") in caught.value.message
    assert "secret" not in caught.value.message + caught.value.tool_text
    assert "cannot be reached" in caught.value.message
    assert "network" in caught.value.remedy


def test_a_proxy_that_is_not_there_is_told(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    with pytest.raises(ToolchainError, match="Connection refused"):
        case.compile("http://blobconverter.invalid")


def test_a_service_without_tls_is_not_spoken_to_with_it(case: Case) -> None:
    with ServiceDouble(closes) as service, pytest.raises(ToolchainError, match="cannot be reached"):
        case.compile(f"https://{service.address}")
    assert not service.received


@pytest.mark.parametrize(
    ("module", "words"),
    [
        ("raise ModuleNotFoundError('no such', name='blobconverter')", "not installed: blobconverter"),
        ("", "version of blobconverter is not supported"),
    ],
    ids=["missing", "unknown"],
)
def test_a_library_that_is_not_the_one_is_a_missing_toolchain(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str, words: str
) -> None:
    """An unknown one could keep its cache and its bucket."""
    (tmp_path / "first").mkdir()
    (tmp_path / "first" / "blobconverter.py").write_text(module)
    monkeypatch.syspath_prepend(tmp_path / "first")
    with ServiceDouble(closes) as service, pytest.raises(ToolchainError, match=words) as caught:
        case.compile(service.url)
    assert "pip install" in caught.value.remedy
    assert not service.received


@pytest.mark.parametrize("url", ["blobconverter", "ftp://127.0.0.1", "http://"])
def test_what_is_no_url_is_a_usage_error(case: Case, url: str) -> None:
    with pytest.raises(UsageError, match="not the URL"):
        case.compile(url)


@pytest.mark.parametrize("how", ["end_all", "ctrl-c"])
def test_a_compile_can_be_stopped(case: Case, how: str) -> None:
    with ServiceDouble(hangs) as service:

        def stop() -> None:
            service.has_received.wait(20)
            if how == "end_all":
                case.processes.end_all()
            else:
                _thread.interrupt_main()

        stopper = threading.Thread(target=stop)
        stopper.start()
        with pytest.raises((ConvertError, KeyboardInterrupt)) as caught:
            case.compile(service.url)
        stopper.join()
        assert service.client_left.wait(5)  # nobody waits for the answer any more
    assert caught.type is (KeyboardInterrupt if how == "ctrl-c" else caught.type)
    assert not list(case.out.iterdir())


# ---------------------------------------------------------------- refused before anything is sent


def test_names_that_a_command_line_would_tear_apart_are_refused_together() -> None:
    check_names(["images", "/model.22/Concat_output_0", "out-1", "größe", "a=b"])
    torn = ["a b", "out:0", "x,y", "it's", 'say"', "tab\there", "$dl_dir", "x[0]", "f(x)", ""]
    with pytest.raises(ModelError) as caught:
        check_names(["images", *torn])
    assert [finding.where for finding in caught.value.findings] == [f"tensor {name!r}" for name in torn]
    with pytest.raises(ModelError, match=r"'out:0'.*its name has ':'"):
        check_names(["out:0"])


def test_quotes_in_a_parameter_are_refused(case: Case) -> None:
    job = OnlineJob(version="2022.1", shaves=6, compile_params=("-iop 'images:U8, out:FP16'",))
    with ServiceDouble(closes) as service, pytest.raises(UsageError, match="knows no quotes"):
        case.compile(service.url, job)
    assert not service.received
