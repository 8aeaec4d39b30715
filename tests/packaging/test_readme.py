"""Every command and every example of the README runs."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from converter.container import Image
from targets.rvc2.myriad.toolchain import Toolchain
from tests.benchmarks.accuracy.__main__ import ordered, stored
from tests.benchmarks.accuracy.table import full_table, short_table
from tests.benchmarks.speed import RESULTS
from tests.documents import ROOT, blocks, example_folder, run, run_python
from tests.engine import openvino_archive, snpe_sdk
from tests.online_server import ServiceDouble, compiled_double
from tests.sources import DIGITS_ARCHIVE

README = (ROOT / "README.md").read_text()
SET_UP, CHECK, COMMANDS, CONTAINER_COMMANDS = blocks(README, "bash")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, toolchain: Toolchain) -> Path:
    """A folder of a user, with the example in it."""
    return example_folder(tmp_path_factory.mktemp("user"))


def test_the_first_command_sets_everything_up_and_converts(
    tmp_path: Path, toolchain: Toolchain
) -> None:
    """In a copy of what is in the repository, with a virtual environment of its own."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    for name in listed.stdout.splitlines():
        if (ROOT / name).is_file():
            target = tmp_path / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, target)
    command = SET_UP.replace("python3 ", f"{sys.executable} ", 1)
    done = run(command, tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "digits.rvc2.tar.xz"
    assert (tmp_path / "digits.rvc2.tar.xz").is_file()
    # What was installed is a wheel: it works from any folder, its options inside it.
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    shutil.copy(DIGITS_ARCHIVE, elsewhere)
    again = run(
        f"{tmp_path}/.venv/bin/nnconvert plan -t rvc2 digits.tar.xz --preset superblob", elsewhere
    )
    assert "superblob: True" in again.stdout, again.stderr


def test_the_second_command_is_what_ci_runs() -> None:
    script = (ROOT / ".ci" / "run").read_text()
    (awk,) = re.findall(r"command=\$\((awk .*)\)", script)
    done = run(awk, ROOT)
    assert done.stdout.strip() == CHECK.strip()
    assert 'bash -euo pipefail -c "$command"' in script


@pytest.mark.parametrize("command", [line for line in COMMANDS.splitlines() if line.strip()])
def test_a_command_of_the_readme_runs(folder: Path, command: str) -> None:
    done = run(command, folder)
    assert done.returncode == 0, done.stderr


@pytest.mark.usefixtures("reachable")
def test_the_commands_about_containers_run(folder: Path, debian: Image) -> None:
    """One after the other, with DOUBLES of the SDKs and of the service, and no registry for a base."""
    snpe_sdk(folder / "snpe-2.41.0.zip")
    openvino_archive(folder / "l_openvino_toolkit_ubuntu20_2022.3.0_x86_64.tgz")
    with ServiceDouble(compiled_double) as service:
        for command in CONTAINER_COMMANDS.splitlines():
            if "toolchain build" in command:
                command += f" --base {debian.name}"
            if "--toolchain online" in command:
                command += f" online.url={service.url}"
            done = run(command, folder)
            assert done.returncode == 0, f"{command}\n{done.stderr}"


def test_the_python_example_runs(folder: Path) -> None:
    (example,) = blocks(README, "python")
    done = run_python(example, folder)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[1].startswith("from-python.tar.xz 1.0")


def test_the_options_and_exit_codes_it_lists_are_the_declared_ones() -> None:
    from converter.errors import ConvertError
    from converter.options.declared import specs

    declared = {spec.key for spec in specs()}
    listed = set(
        re.findall(
            r"`((?:rvc2|rvc3|rvc4|calibration|container|online|inputs|outputs|verify|preprocess)\.[\w.]+)`",
            README,
        )
    )
    assert {name for name in listed if name not in declared} == set()
    codes = {int(code) for code in re.findall(r"^\| (\d+) \|", README, re.MULTILINE)}
    assert codes == {0, 1, 8} | {kind.exit_code for kind in ConvertError.__subclasses__()}


def test_the_accuracies_it_shows_are_the_measured_ones() -> None:
    rows = ordered(stored(RESULTS / "accuracy-rvc4.json").values())
    assert short_table(rows) in README
    assert full_table(rows) in (ROOT / "docs" / "accuracy.md").read_text()
    assert full_table(rows) in (RESULTS / "accuracy-rvc4.md").read_text()
