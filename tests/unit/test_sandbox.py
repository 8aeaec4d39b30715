"""bubblewrap itself: what a child in it reaches, and that nothing of it is left."""

from __future__ import annotations

import dataclasses
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from converter.errors import ToolchainError, ToolError
from converter.jobs.isolation import Isolation
from converter.processes import run as runs
from converter.processes import sandbox as sandboxes
from converter.processes.run import Processes
from converter.processes.sandbox import Box, Sandbox
from tests.documents import ROOT

PACKAGES = ("converter", "targets", "tests")
FUNCTIONS = "tests.unit.worker_functions"


@pytest.fixture(scope="module")
def sandbox() -> Sandbox:
    found, said = sandboxes.find("auto", packages=PACKAGES)
    if found is None:
        pytest.skip(said)
    return found


def inside(folder: Path) -> list[Path]:
    """The processes of sandboxes on this machine: they have another PID namespace than this one."""
    own, found = os.readlink("/proc/self/ns/pid"), []  # noqa: PTH115
    for place in Path("/proc").glob("[0-9]*"):
        try:
            is_ours = str(folder).encode() in (place / "cmdline").read_bytes()
            if is_ours and os.readlink(place / "ns/pid") != own:  # noqa: PTH115
                found.append(place)
        except OSError:
            continue
    return found


def test_a_child_reaches_its_folder_and_nothing_else(
    sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NNCONVERT_API_KEY", "secret")
    work, data = tmp_path / "work", tmp_path / "data"
    for folder in (work, data):
        folder.mkdir()
    (data / "service.sqlite").touch()
    paths = [str(data / "service.sqlite"), str(ROOT / "pyproject.toml"), str(ROOT / ".git")]
    paths += ["/etc/passwd", "/etc/shadow", "/run", "/sys/kernel", "/var/log", "/boot"]
    with socket.create_server(("127.0.0.1", 0)) as server:
        seen = Processes().call(
            f"{FUNCTIONS}:look",
            {
                "paths": paths,
                "pid": os.getpid(),
                "port": server.getsockname()[1],
            },
            what="It",
            work=work,
            timeout_s=60,
            box=Box(sandbox=sandbox),
        )
    variables = set(seen.pop("variables"))
    assert seen == {
        "seen": [],
        "written": [],
        "own": "done",
        "temporary": "done",
        "connect": "ECONNREFUSED",  # its own loopback, where nobody listens
        "interfaces": ["lo"],
        "kill": "ESRCH",
        "processes": 2,  # bubblewrap's first one, and this
        "capabilities": ["0000000000000000"] * 5,
        "namespace": -1,
        "temporary_bytes": 1 << 30,
    }
    assert {"PATH", "TMPDIR", "HOME"} <= variables
    assert not {"NNCONVERT_API_KEY", "SSH_AUTH_SOCK", "DOCKER_HOST"} & variables
    assert (work / "made").exists()


def test_what_is_hidden_is_not_seen_inside_of_what_is(sandbox: Sandbox, tmp_path: Path) -> None:
    hidden = ROOT / "tests" / "data" / "digits"
    assert hidden.is_dir()
    for one, seen in ((sandbox, True), (dataclasses.replace(sandbox, hidden=(hidden,)), False)):
        command = [sys.executable, "-c", f"import os; print(os.listdir({str(hidden)!r}))"]
        argv = one.argv(command, tmp_path)
        done = subprocess.run(argv, capture_output=True, text=True, check=True)
        assert ("[]" not in done.stdout) is seen


def test_an_environment_below_tmp_is_not_covered(tmp_path: Path) -> None:
    argv = Sandbox(program="bwrap", version="0").argv(["true"], tmp_path)
    assert argv.index("/tmp") < argv.index("--ro-bind") < argv.index("--bind")


def test_the_kernel_ends_all_that_a_child_forked(sandbox: Sandbox, tmp_path: Path) -> None:
    """Root's processes are not counted: sixty sleep until the time is up. Others' are refused."""
    is_root = os.getuid() == 0
    found: list[object] = []

    def call() -> None:
        try:
            found.append(
                Processes().call(
                    f"{FUNCTIONS}:fork_all",
                    {"most": 6},
                    what="The bomb",
                    work=tmp_path,
                    timeout_s=3 if is_root else 60,
                    box=Box(sandbox=sandbox),
                )
            )
        except ToolError as error:
            found.append(error.message)

    thread = threading.Thread(target=call)
    thread.start()
    most = 0
    while thread.is_alive():
        most = max(most, len(inside(tmp_path)))
        time.sleep(0.05)
    thread.join()
    if is_root:
        assert "did not end within 3 s" in str(found[0])
        assert most >= 60
    else:
        assert isinstance(found[0], int)
        assert found[0] < 6
    assert inside(tmp_path) == []


def test_a_signal_is_told_as_outside(sandbox: Sandbox, tmp_path: Path) -> None:
    with pytest.raises(ToolError, match="SIGSEGV") as error:
        Processes().call(
            f"{FUNCTIONS}:die",
            {"number": 11},
            what="It",
            work=tmp_path,
            timeout_s=60,
            box=Box(sandbox=sandbox),
        )
    assert "last words" in error.value.tool_text


def test_a_conversion_s_own_server_is_a_fork_of_the_first_process(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    said = Processes().call(
        f"{FUNCTIONS}:call_as_twin",
        {"work": str(tmp_path)},
        what="It",
        work=tmp_path,
        timeout_s=60,
        box=Box(sandbox=sandbox, modules=("onnx",)),
    )
    assert said["onnx"]
    assert said["threads"] == 1
    assert runs._kept is None or runs._kept.is_alive


def test_where_there_is_none_it_is_said_and_required_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    broken = tmp_path / "bwrap"
    broken.write_text("#!/bin/sh\necho 'bwrap: No permissions to create a new namespace' >&2\nexit 1\n")
    broken.chmod(0o755)
    for path, said in ((tmp_path, "No permissions to create"), (tmp_path / "none", "is not installed")):
        monkeypatch.setenv("PATH", str(path))
        found, why = sandboxes.find("auto")
        assert found is None
        assert said in why
        with pytest.raises(ToolchainError, match=said):
            sandboxes.find("required")
    assert sandboxes.find("off") == (None, "off: it was switched off")


def test_what_needs_an_engine_or_the_network_runs_outside_and_it_is_said() -> None:
    isolated = Isolation(Sandbox(program="bwrap", version="0"))
    for target, toolchain, needs in (
        ("rvc3", "online", "the network"),
        ("OAK-D", "container", "a container engine"),
    ):
        said = f"Not in a sandbox: the toolchain {toolchain} needs {needs}."
        assert isolated.box(target, {}, toolchain) == (None, said)
    # What is wrong with a request the conversion says, inside.
    for target, options in (("rvc2", {"nonsense": 1}), ("rvc9", {})):
        box, said = isolated.box(target, options, "auto")
        assert box is not None
        assert said == ""
    box, said = isolated.box("rvc2", {}, "auto", installs=False)
    assert box is not None
    assert [path.name for path in box.read_only] == ["toolchains"]
