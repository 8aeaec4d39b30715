"""A real server process, and the official client (hubai-sdk) in processes of its own, unchanged."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import converter
from tests.convert.test_stages import staged
from tests.serving import NNCONVERT, Server, running
from tests.sources import DIGITS, DIGITS_ARCHIVE


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DOCKER_HOST", "unix:///nowhere/docker.sock")  # containers: tests/container
        with running(tmp_path_factory.mktemp("serve")) as found:
            yield found


def test_the_official_client_converts_for_rvc2(server: Server, tmp_path: Path) -> None:
    done = server.hubai("convert", "rvc2", "--path", str(DIGITS_ARCHIVE), folder=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    (archive,) = tmp_path.glob("*/*.tar.xz")
    assert re.fullmatch(r"digits-32x32-rvc2-[0-9a-f]{7}\.tar\.xz", archive.name)
    with converter.open_archive(archive) as found:
        assert found.config["model"]["metadata"]["path"].endswith(".superblob")


def test_its_python_api_calibrates_with_a_zip(server: Server, tmp_path: Path) -> None:
    import zipfile

    with zipfile.ZipFile(tmp_path / "data.zip", "w") as pack:
        for path in sorted((DIGITS / "calibration").iterdir())[:8]:
            pack.write(path, path.name)
    script = (
        "from hubai_sdk import HubAIClient\n"
        f"done = HubAIClient().convert.RVC4(path={str(DIGITS_ARCHIVE)!r}, quantization_data='data.zip')\n"
        "print('got', done.downloaded_path)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env=server.environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (archive,) = tmp_path.glob("*/*.tar.xz")
    assert f"got {archive.parent.name}/{archive.name}" in done.stdout


def test_a_failure_reaches_the_client_in_one_line(server: Server, tmp_path: Path) -> None:
    done = server.hubai("convert", "rvc4", "--path", str(DIGITS_ARCHIVE), folder=tmp_path)
    assert done.returncode == 1
    assert "no calibration data 'GENERAL'" in " ".join((done.stdout + done.stderr).split())


MOBILE = DIGITS.parent / "tflite/mobile.tflite"
# Each line: what is asked for, then what the client told of it.
SEVERAL = """
import sys
from hubai_sdk import HubAIClient
convert = HubAIClient().convert
archive, tflite, stages = sys.argv[1:]
for target, path, given in (
    ("RVC2", tflite, {"yolo_version": "yolov8"}),
    ("RVC2", archive, {"yolo_class_names": ["one"]}),
    ("RVC2", archive, {"tool_version": "2021.4.0"}),
    ("RVC2", archive, {"tool_version": "2022.3.0"}),
    ("RVC3", archive, {}),
    ("RVC2", stages, {}),
):
    try:
        done = getattr(convert, target)(path=path, **given)
        said = f"{done.downloaded_path} {done.job.logs}"
    except Exception as error:
        said = f"{type(error).__name__}: {error}"
    print("told", " ".join(said.split()))
"""


def test_it_is_told_what_cannot_be_had(server: Server, tmp_path: Path) -> None:
    stages, folder = tmp_path / "stages.tar", staged(tmp_path / "two")
    with tarfile.open(stages, "w") as pack:
        for path in folder.rglob("*"):
            pack.add(path, path.relative_to(folder), recursive=False)
    done = subprocess.run(
        [sys.executable, "-c", SEVERAL, str(DIGITS_ARCHIVE), str(MOBILE), str(stages)],
        cwd=tmp_path,
        env=server.environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    told = [line for line in done.stdout.splitlines() if line.startswith("told ")]
    expected = (
        r"mobile-.*\.tar\.xz yolo_version: yolov8 has no effect: how a detector is decoded is found",
        r"ValidationError: yolo_class_names: \['one'\] would name no class",
        r"ValidationError: rvc2.tool_version: '2021.4.0' is not one of the choices",
        r"HubApiError: .*the native toolchain is OpenVINO 2022.2, not 2022.3.0",
        r"HubApiError: .*No container engine answers",
        r"InputError: Only single-stage models are supported",
    )
    assert len(told) == len(expected), done.stdout + done.stderr
    for line, text in zip(told, expected, strict=True):
        assert re.match(f"told {text}", line), line


def test_its_other_commands(server: Server, tmp_path: Path) -> None:
    for words in (["instance", "ls"], ["model", "info", "digits"]):
        done = server.hubai(*words, folder=tmp_path)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "digits" in done.stdout + done.stderr
    found = json.loads(server.get("/models/api/v1/modelInstances?model_type=ONNX"))
    done = server.hubai("instance", "config", found[0]["id"], folder=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_key_is_in_no_log(server: Server) -> None:
    assert server.key.rpartition("_")[2] not in server.log


def test_the_same_command_elsewhere_gives_the_same_bytes(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NNCONVERT_API_KEY", server.key)
    words = ["convert", "--target", "rvc2", str(DIGITS_ARCHIVE), "rvc2.number_of_shaves=6"]
    elsewhere = [*NNCONVERT, *words, "--server", server.url, "-o", str(tmp_path / "elsewhere.tar")]
    done = subprocess.run(elsewhere, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == str(tmp_path / "elsewhere.tar")
    here = converter.convert(
        DIGITS_ARCHIVE,
        "rvc2",
        output=tmp_path / "here.tar.xz",
        options={"rvc2.number_of_shaves": 6},
    )
    with (
        converter.open_archive(tmp_path / "elsewhere.tar") as a,
        converter.open_archive(here.output) as b,
    ):
        assert [one for one in a.members if one.name != "buildinfo.json"] == [
            one for one in b.members if one.name != "buildinfo.json"
        ]


def test_a_model_that_is_wrong_fails_as_here(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NNCONVERT_API_KEY", server.key)
    broken = tmp_path / "broken.tar.xz"
    broken.write_bytes(b"no archive")
    words = ["convert", "--target", "rvc2", str(broken), "--server", server.url]
    done = subprocess.run(
        [*NNCONVERT, *words], capture_output=True, text=True, timeout=300, cwd=tmp_path
    )
    assert done.returncode == 3, done.stderr
    assert "broken.tar.xz" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["broken.tar.xz"]
