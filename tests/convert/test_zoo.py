"""A zoo with real conversions, by the command line: the contract's manifest, a rerun, and Ctrl-C."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from converter.archive.opened import open_packed
from tests.zoo import TARGETS

ROOT = Path(__file__).parents[2]
CODE = "import sys; from converter.cli import main; sys.argv[0] = 'nnconvert'; main()"


def command(*words: object) -> list[str]:
    return [sys.executable, "-c", CODE, "zoo", *map(str, words)]


def zoo(*words: object, code: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(command(*words), cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.returncode == code, done.stderr
    return done


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the contract's manifest and a model that is none, which is expected to fail."""
    folder = tmp_path_factory.mktemp("zoo")
    (folder / "broken.onnx").write_bytes(b"no model")
    model = {"name": "digits", "source": "tests/data/digits/digits.tar.xz"}
    broken: dict[str, Any] = {"name": "broken", "source": "broken.onnx", "targets": ["rvc2"]}
    broken["expected_failures"] = [{"reason": "It is no model", "until": "2100-01-01", "exit_code": 3}]
    manifest = {
        "version": 1,
        "options": {"cache.url": str(folder / "cache")},
        "models": [{**model, "calibration": "tests/data/digits/calibration"}, broken],
        "targets": list(TARGETS),
    }
    (folder / "zoo.yaml").write_text(yaml.safe_dump(manifest))
    return folder


@pytest.fixture(scope="module")
def built(folder: Path) -> dict[str, Any]:
    """The build's document."""
    done = zoo("build", folder / "zoo.yaml", "--out", folder / "site", "--json")
    return dict(json.loads(done.stdout))


def test_every_cell_is_green_or_fails_as_expected(folder: Path, built: dict[str, Any]) -> None:
    assert json.loads((folder / "site/index.json").read_text())["cells"] == built["cells"]
    *digits, broken = built["cells"]
    assert [cell["mode"] for cell in digits] == ["default", "INT8_STANDARD", "FP16_STANDARD"]
    for cell in digits:
        assert (cell["status"], cell["cached"]) == ("succeeded", False)
        assert cell["verification"]["status"] == "passed"
        archive = folder / "site" / cell["archive"]
        assert hashlib.sha256(archive.read_bytes()).hexdigest() == cell["sha256"]
        with open_packed(archive) as opened:
            assert [one["name"] for one in opened.config["model"]["inputs"]] == [
                one["name"] for one in cell["tensors"]["inputs"]
            ]
        assert "<html" in (folder / "site" / cell["report"]).read_text()
        assert (folder / "site" / cell["log"]).stat().st_size > 0
    assert (broken["status"], broken["archive"]) == ("expected_failure", None)
    assert broken["error"]["exit_code"] == 3
    assert "broken.onnx" in broken["error"]["message"]
    assert zoo("verify", folder / "site").returncode == 0


def test_a_rerun_converts_nothing(folder: Path, built: dict[str, Any]) -> None:
    assert "4 cells: 0 will run." in zoo("plan", folder / "zoo.yaml").stdout
    again = json.loads(zoo("build", folder / "zoo.yaml", "--out", folder / "site", "--json").stdout)
    for one, other in zip(built["cells"], again["cells"], strict=True):
        assert {**one, "cached": True} == other


def test_ctrl_c_leaves_the_folder_as_it_was_and_nobody_behind(
    folder: Path, built: dict[str, Any]
) -> None:
    """Other options are other cells: these have to be converted."""
    manifest = yaml.safe_load((folder / "zoo.yaml").read_text())
    manifest["options"]["verify.frames"] = 3
    (folder / "other.yaml").write_text(yaml.safe_dump(manifest))
    before = {path: path.stat().st_mtime_ns for path in (folder / "site").rglob("*")}
    mark = f"zoo-test-{os.getpid()}"
    running = subprocess.Popen(
        command("build", folder / "other.yaml", "--out", folder / "site"),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "ZOO_TEST": mark},
    )
    assert running.stderr is not None
    for line in running.stderr:
        if line.endswith(": started\n"):
            break
    running.send_signal(signal.SIGINT)
    _, said = running.communicate(timeout=60)
    assert running.returncode == 130, said
    assert "is as it was" in said
    assert marked(mark) == []
    assert {path: path.stat().st_mtime_ns for path in (folder / "site").rglob("*")} == before


def marked(mark: str) -> list[int]:
    """The processes that inherited the mark, in whatever session they are."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if f"ZOO_TEST={mark}".encode() in path.read_bytes().split(b"\0"):
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


def test_the_example_is_a_manifest_of_what_is_there() -> None:
    document = json.loads(zoo("plan", "configs/zoo-example.yaml", "--json").stdout)
    assert {cell["model"] for cell in document["cells"]} >= {"digits", "outliers", "mobile"}
    assert all(cell["error"] is None for cell in document["cells"])
