"""What works where the native toolchains do not: simulated, what a system lacks is taken from Python."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from converter.checks.lint import lint
from converter.container import engine
from converter.errors import ToolchainError
from converter.findings import Severity
from converter.processes import owner
from converter.processes.owner import Owner
from converter.run import plan
from converter.system import System, usable_cores
from targets.rvc2.myriad import toolchain as rvc2
from targets.rvc4 import toolchain as rvc4
from tests.documents import ROOT
from tests.lesser_systems import SYSTEMS
from tests.online_server import ServiceDouble, compiled_double
from tests.sources import DIGITS, DIGITS_ARCHIVE

DATA = f"calibration.path={DIGITS / 'calibration'}"
RVC2, RVC4 = ("--target", "rvc2"), ("--target", "rvc4")
PEOPLE = {
    "macos": "macOS arm64",
    "windows": "Windows x86_64",
    "aarch64": "Linux aarch64 with glibc 2.39",
    "musl": "Linux x86_64 without glibc",
    "glibc-2.31": "Linux x86_64 with glibc 2.31",
}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    subprocess.run(["tar", "-xf", DIGITS_ARCHIVE, "-C", folder], check=True)
    (path,) = folder.glob("*.onnx")
    return path


def run_on(name: str, commands: list[list[str]], folder: Path) -> list[dict[str, Any]]:
    """Run commands in a process that has only what a system has."""
    temporary = folder / "cache" / "tmp"
    temporary.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        [sys.executable, "-m", "tests.lesser_systems", name, json.dumps(commands)],
        cwd=folder,
        env=os.environ
        | {
            "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
            "XDG_CACHE_HOME": str(folder / "cache"),
            "TMPDIR": str(temporary),
            "DOCKER_HOST": "",
        },
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    answers: list[dict[str, Any]] = json.loads(done.stdout.splitlines()[-1])
    return answers


@pytest.mark.parametrize("name", SYSTEMS)
def test_all_but_converting_works_and_converting_says_what_can_be_done(
    name: str, here: Path, model: Path
) -> None:
    source = str(DIGITS_ARCHIVE)
    work = [
        ["init", str(model), "--yes", "-o", "made.tar.xz"],
        ["lint", "made.tar.xz", "--fail-on", "error"],
        ["inspect", source],
        ["diff", source, source],
        ["plan", *RVC2, source],
        ["plan", *RVC4, source, DATA],
        ["plan", "--target", "rvc3", source, "--toolchain", "online"],
        ["doctor"],
    ]
    converting = [
        ["convert", *RVC2, source, "--toolchain", "native"],
        ["convert", *RVC4, source, DATA],
    ]
    answers = run_on(name, [*work, *converting], here)
    for answer in answers[: len(work)]:
        assert answer["code"] == 0, answer
    doctor = answers[len(work) - 1]["out"]
    assert f"ok machine: {PEOPLE[name]}" in doctor
    if name != "glibc-2.31":  # RVC2's compiler runs there
        (error,) = [line for line in answers[-2]["err"].splitlines() if line.startswith("error:")]
        assert answers[-2]["code"] == 5
        assert f"runs on Linux x86-64 with glibc 2.17 or newer; this is {PEOPLE[name]}." in error
        assert "--toolchain online" in error
        assert ("--toolchain container" in error) == (name != "windows")
    (error,) = [line for line in answers[-1]["err"].splitlines() if line.startswith("error:")]
    assert answers[-1]["code"] == 5
    assert f"runs on Linux x86-64 with glibc 2.35 or newer; this is {PEOPLE[name]}." in error
    assert ("--toolchain container" in error) == (name != "windows")
    made = {path.name for path in here.iterdir()} - {"cache"}
    assert made == {"made.tar.xz"} | ({"digits.rvc2.tar.xz"} if name == "glibc-2.31" else set())
    assert not (here / "cache" / "nnconvert" / "toolchains" / rvc4.PINNED.location().name).exists()


@pytest.mark.parametrize(
    ("name", "marked"),
    [
        ("macos", "> macOS"),
        ("windows", "> Windows"),
        ("aarch64", "> Linux aarch64, glibc"),
        ("musl", "> Linux, musl"),
        ("glibc-2.31", "> Linux x86-64, glibc 2.27 to 2.34"),
    ],
)
def test_doctor_shows_where_it_runs_and_advises_what_the_system_has(
    name: str, marked: str, here: Path
) -> None:
    words, document = run_on(name, [["doctor"], ["doctor", "--json"]], here)
    assert [line for line in words["out"].splitlines() if line.startswith(">")] == [marked]
    rows = json.loads(document["out"])["where_it_runs"]
    (row,) = [row for row in rows if row["here"]]
    assert ("native" in row["toolchains"]["rvc2"]) == (name == "glibc-2.31")
    assert "native" not in row["toolchains"]["rvc4"]
    assert row["toolchains"]["rvc3"] == {
        "macos": ["container (emulated)", "online"],
        "windows": ["online"],
        "aarch64": ["container (emulated)", "online"],
    }.get(name, ["container", "online"])
    advice = words["out"]
    if name in ("macos", "windows"):
        assert "systemctl" not in advice
        assert "usermod" not in advice
    assert ("Docker Desktop" in advice) == (name == "macos")
    assert ("WSL 2" in advice) == (name == "windows")


@pytest.mark.parametrize("name", ["macos", "windows"])
def test_what_it_says_can_be_done_there_can_be_done(name: str, here: Path) -> None:
    """The online toolchain, with a DOUBLE of the service."""
    with ServiceDouble(compiled_double) as service:
        words = ["convert", "--target", "rvc3", str(DIGITS_ARCHIVE), "--toolchain", "online"]
        options = ["rvc3.superblob=false", f"online.url={service.url}"]
        (answer,) = run_on(name, [[*words, *options, "-o", "made.tar.xz"]], here)
    assert answer["code"] == 0, answer
    assert (here / "made.tar.xz").is_file()
    assert not [error for error in lint(here / "made.tar.xz") if error.severity is Severity.ERROR]


def test_int8_without_its_extra_is_one_line_and_float16_needs_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("targets.rvc3.translate.find_spec", lambda name: None)
    data = {"calibration.path": str(DIGITS / "calibration"), "rvc3.superblob": False}
    with pytest.raises(ToolchainError, match=r"INT8 for RVC3 needs NNCF") as caught:
        plan(DIGITS_ARCHIVE, "rvc3", options=data, toolchain="online")
    assert "pip install 'nnarchive-converter[int8]'" in caught.value.remedy
    made = plan(
        DIGITS_ARCHIVE, "rvc3", options={**data, "disable_calibration": True}, toolchain="online"
    )
    assert made.parameters.to_json()["precision"] == "float16"


@pytest.mark.parametrize("has_systemd", [True, False])
def test_systemctl_is_advised_where_systemd_runs(
    has_systemd: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "_SYSTEMD", tmp_path if has_systemd else tmp_path / "none")
    with pytest.raises(ToolchainError, match="No container engine answers") as caught:
        engine.connect(f"{tmp_path}/none.sock")
    assert ("systemctl" in caught.value.remedy) == has_systemd


@pytest.mark.parametrize(
    ("confstr", "glibc"),
    [
        ("glibc 2.36", (2, 36)),
        ("glibc 2.36.9000", (2, 36)),
        ("NPTL 2.36", None),
        ("glibc", None),
        ("", None),
        (None, None),
    ],
)
def test_the_c_library_is_asked_for_its_version(
    confstr: str | None, glibc: tuple[int, int] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("platform.system", lambda: "Linux")
    monkeypatch.setattr(os, "confstr", lambda name: confstr)
    found = System.current()
    assert (found.glibc, found.libc) == (glibc, "glibc" if glibc else "musl")


@pytest.mark.parametrize(
    ("glibc", "runs"), [((2, 16), ()), ((2, 17), (rvc2,)), ((2, 34), (rvc2,)), ((2, 35), (rvc2, rvc4))]
)
def test_each_toolchain_knows_its_oldest_glibc(glibc: tuple[int, int], runs: tuple[Any, ...]) -> None:
    system = System(name="Linux", machine="x86_64", libc="glibc", glibc=glibc)
    found = tuple(module for module in (rvc2, rvc4) if module.PINNED.native.runs_on(system))
    assert found == runs


def test_cores_are_counted_where_nobody_says_which_are_usable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1, 2}, raising=False)
    assert usable_cores() == 3
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 5)
    assert usable_cores() == 5
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert usable_cores() == 1


def test_an_owner_whose_boot_is_not_known_is_not_gone() -> None:
    """Else a run without `/proc` would remove the work folders of the others, and they its own."""
    me = Owner.current()
    blind = replace(me, boot="", namespace="", started=0)
    assert not blind.is_gone()
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    assert not replace(blind, pid=ended.pid).is_gone()  # from here, which has a boot


def test_where_no_process_knows_its_boot_the_dead_are_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(owner, "_boot", lambda: "")
    monkeypatch.setattr(owner, "_namespace", lambda: "")
    true = Path.read_text

    def no_proc(path: Path, *arguments: Any, **options: Any) -> str:
        if str(path).startswith("/proc"):
            raise FileNotFoundError(path)
        return true(path, *arguments, **options)

    monkeypatch.setattr(Path, "read_text", no_proc)
    me = Owner.current()
    assert not me.is_gone()
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    assert replace(me, pid=ended.pid).is_gone()


def test_windows_is_never_asked_by_a_signal(monkeypatch: pytest.MonkeyPatch) -> None:
    """There `os.kill` ends the process, whatever the signal."""

    def kill(pid: int, number: int) -> None:
        raise AssertionError("ended")

    monkeypatch.setattr(os, "kill", kill)
    monkeypatch.setattr(os, "name", "nt")
    assert owner._lives(os.getpid())


def test_a_child_ends_where_there_are_no_process_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    from converter.processes.run import Processes

    monkeypatch.delattr(os, "killpg")
    done = Processes().run([sys.executable, "-c", "import time; time.sleep(60)"], timeout_s=0.5)
    assert done.timed_out
    assert done.seconds < 30
