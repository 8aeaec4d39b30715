"""A target that somebody else wrote gets commands, options, plans and lint without touching us."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.sources import DIGITS_ARCHIVE, RGB, conv_model, write_folder

PACKAGE = Path(__file__).parents[1] / "example_target"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example package, installed by pip into a folder of its own."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", folder, PACKAGE]
    subprocess.run(command, check=True, capture_output=True, timeout=300)
    return folder


def nnconvert(site: Path, *words: object, code: int = 0) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PYTHONPATH": str(site), "PYTHONWARNINGS": "default"}
    argv = [sys.executable, "-c", "from converter.cli import main; main()", *map(str, words)]
    done = subprocess.run(argv, capture_output=True, text=True, env=env, timeout=300)
    assert done.returncode == code, done.stderr
    return done


@pytest.mark.network
def test_it_converts_and_what_it_wrote_passes_lint(installed: Path, here: Path) -> None:
    source = write_folder(here / "net", conv_model(), preprocessing=RGB)
    words = ("convert", "--target", "example", source, "example.optimization", "extended", "--json")
    document = json.loads(nnconvert(installed, *words).stdout)
    assert document["target"] == "example"
    assert document["verification"]["status"] == "passed"
    assert document["model"]["inputs"][0]["dai_type"] == "BGR888i"
    out = document["output"]
    assert "error" not in nnconvert(installed, "lint", out).stdout
    shown = nnconvert(installed, "inspect", out).stdout
    assert "example network with 2 outputs" in shown
    verified = nnconvert(installed, "verify", out, "--against", source)
    assert "cosine ≥ 1.000000" in verified.stdout


@pytest.mark.network
def test_its_options_are_declared_checked_and_part_of_the_plan(installed: Path) -> None:
    plan = ("plan", "--target", "example", DIGITS_ARCHIVE, "--json")
    one = json.loads(nnconvert(installed, *plan).stdout)
    two = json.loads(nnconvert(installed, *plan, "example.optimization=extended").stdout)
    assert one["origins"]["example.optimization"] == {"value": "none", "origin": "default"}
    assert one["hash"] != two["hash"]
    said = nnconvert(installed, *plan, "example.optimization=some", code=2).stderr
    assert "none or extended" in said
    said = nnconvert(installed, *plan, "example.optimizatio=extended", code=2).stderr
    assert "Perhaps you meant example.optimization" in said


@pytest.mark.network
def test_doctor_and_messages_know_it(installed: Path) -> None:
    assert "example native" in nnconvert(installed, "doctor", code=0).stdout
    said = nnconvert(installed, "plan", "--target", "exmple", DIGITS_ARCHIVE, code=2).stderr
    assert "There are: example, rvc2, rvc3, rvc4" in said


def test_without_it_nothing_of_it_is_there() -> None:
    said = nnconvert(Path("nowhere"), "plan", "--target", "example", DIGITS_ARCHIVE, code=2).stderr
    assert "no target 'example'" in said
