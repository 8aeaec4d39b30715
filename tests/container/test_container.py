"""The container driver on a real engine: hardening, logs, ends told apart, nothing left behind."""

from __future__ import annotations

import contextlib
import http.server
import json
import os
import signal
import socket
import socketserver
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from converter.container import Container, Engine, Image, Limits, connect, failure, find_socket
from converter.container.container import OWNER_LABEL, reap
from converter.container.session import ignored
from converter.errors import ToolchainError, ToolError, UsageError
from converter.options.resolve import Layer, resolve
from converter.processes.owner import Owner
from tests.engine import derived

PYTHON = "python3"


def ours(engine: Engine) -> list[str]:
    """The containers of this converter that there are."""
    rows = engine.client.api.containers(all=True, filters={"label": OWNER_LABEL})
    return [row["Id"] for row in rows]


@pytest.fixture
def work(tmp_path: Path) -> Path:
    folder = tmp_path / "work"
    folder.mkdir()
    return folder


@pytest.fixture
def container(engine: Engine, debian: Image, work: Path) -> Iterator[Container]:
    limits = Limits(memory_bytes=256 << 20, cpus=1.0, pids=64)
    with Container(engine, debian, work, limits=limits) as found:
        yield found
    assert ours(engine) == []


def run(container: Container, code: str, timeout_s: float = 60) -> Any:
    return container.run([PYTHON, "-c", code], what="the tool", timeout_s=timeout_s)


# ------------------------------------------------------------- hardening


def test_a_tool_runs_as_the_caller_on_a_root_that_cannot_be_written_to(
    container: Container, work: Path
) -> None:
    done = run(
        container,
        """
import os
print(os.getuid(), os.getgid())
open("/work/mine", "w").write("x")
open("/tmp/there", "w").write("x")
try:
    open("/etc/here", "w")
except OSError as error:
    print(error.strerror)
""",
    )
    assert done.stdout.splitlines() == [f"{os.getuid()} {os.getgid()}", "Read-only file system"]
    made = (work / "mine").stat()
    assert (made.st_uid, made.st_gid) == (os.getuid(), os.getgid())


def test_a_tool_has_no_network_no_capabilities_and_no_way_to_more(container: Container) -> None:
    done = run(
        container,
        """
import os
print(sorted(os.listdir("/sys/class/net")))
status = dict(line.split(":", 1) for line in open("/proc/self/status") if ":" in line)
print({status[key].strip() for key in ("CapEff", "CapPrm", "CapBnd")}, status["NoNewPrivs"].strip())
""",
    )
    interfaces, privileges = done.stdout.splitlines()
    assert interfaces == "['lo']"
    assert privileges == "{'0000000000000000'} 1"


def test_memory_processors_and_processes_are_limited(container: Container, engine: Engine) -> None:
    config = engine.client.api.inspect_container(container._name)["HostConfig"]
    assert config["Memory"] == config["MemorySwap"] == 256 << 20
    assert config["NanoCpus"] == 10**9
    assert config["PidsLimit"] == 64
    done = run(
        container,
        """
import threading, time
started = []
try:
    for _ in range(100):
        thread = threading.Thread(target=time.sleep, args=(2,), daemon=True)
        thread.start()
        started.append(thread)
except RuntimeError as error:
    print(len(started), error)
""",
    )
    count, message = done.stdout.split(" ", 1)
    assert int(count) < 64
    assert "can't start new thread" in message


def test_nothing_of_the_callers_environment_gets_in(
    container: Container, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET", "hush")
    done = run(container, "import os; print('SECRET' in os.environ, os.environ['HOME'])")
    assert done.stdout == "False /tmp\n"


# ------------------------------------------------------------------ logs


def test_every_line_arrives_from_the_first_of_both_streams(container: Container) -> None:
    lines: list[str] = []
    code = "import sys\nprint('first'); print('one', file=sys.stderr)\nfor i in range(3000): print(i)"
    done = container.run([PYTHON, "-u", "-c", code], what="t", timeout_s=60, on_line=lines.append)
    assert done.stdout.splitlines() == ["first", *map(str, range(3000))]
    assert done.stderr == "one\n"
    assert set(lines) == {"first", "one", *map(str, range(3000))}


def test_lines_arrive_while_the_tool_runs(container: Container) -> None:
    seen: list[float] = []
    code = "import time\nprint('now', flush=True)\ntime.sleep(1.5)"
    container.run(
        [PYTHON, "-c", code], what="t", timeout_s=60, on_line=lambda _: seen.append(time.time())
    )
    assert time.time() - seen[0] > 1


def test_a_line_without_end_is_cut_and_of_many_lines_the_last_are_kept(container: Container) -> None:
    lines: list[str] = []
    code = "import sys; sys.stdout.write('x' * 200_000); sys.stdout.write('é\\n' * 3)"
    done = container.run([PYTHON, "-c", code], what="t", timeout_s=60, on_line=lines.append)
    assert max(map(len, lines)) <= 16 << 10
    assert done.stdout.replace("\n", "").count("x") == 200_000
    done = run(container, "for i in range(30_000): print(i)")
    kept = done.stdout.splitlines()
    assert len(kept) == 20_000
    assert kept[-1] == "29999"


# ------------------------------------------------------------------ ends


def test_exit_code_signal_memory_and_time_are_told_apart(container: Container) -> None:
    plain = run(container, "import sys; print('why', file=sys.stderr); sys.exit(3)")
    assert (plain.returncode, plain.oom_killed, plain.timed_out) == (3, False, False)
    assert str(failure(plain, "The tool", 60, container)) == "The tool ended with exit code 3: why"
    crashed = run(container, "import os; os.kill(os.getpid(), 11)")
    assert (crashed.signal_name, crashed.oom_killed) == ("SIGSEGV", False)
    greedy = run(container, "x = [bytearray(32 << 20) for _ in range(100)]")
    assert (greedy.signal_name, greedy.oom_killed) == ("SIGKILL", True)
    told = failure(greedy, "The tool", 60, container)
    assert told.message == "The tool ran out of memory: its container may take 0.25 GiB."
    assert "container.memory" in told.remedy
    slow = run(container, "import time; time.sleep(60)", timeout_s=1)
    assert (slow.timed_out, slow.oom_killed) == (True, False)
    assert "did not end within 1 s" in str(failure(slow, "The tool", 1, container))


def test_memory_that_a_child_of_the_tool_wanted_is_told_as_such(container: Container) -> None:
    code = """
import subprocess, sys
done = subprocess.run([sys.executable, "-c", "x = [bytearray(32 << 20) for _ in range(100)]"])
print("my helper died", file=sys.stderr)
sys.exit(2 if done.returncode else 0)
"""
    done = run(container, code)
    assert (done.returncode, done.oom_killed) == (2, True)


def test_a_tool_that_the_image_does_not_have_is_named(container: Container) -> None:
    with pytest.raises(ToolchainError, match=r"nnconvert-test/debian:bookworm has no no-such-tool"):
        container.run(["no-such-tool"], what="it", timeout_s=60)


def test_an_image_without_python_is_none_of_ours(engine: Engine, debian: Image, work: Path) -> None:
    bare = derived(
        engine, debian.name, "nnconvert-test/bare:1", "RUN rm /usr/bin/python3 /usr/bin/python3.11"
    )
    with (
        pytest.raises(ToolchainError, match="has no python3"),
        Container(engine, bare, work, limits=Limits()) as container,
    ):
        run(container, "print()")
    assert ours(engine) == []


@pytest.mark.parametrize("code", (126, 128))
def test_an_idle_process_that_ends_while_a_tool_is_begun_is_seen(
    engine: Engine, debian: Image, work: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    # The engine says so of an exec that it began in a container that was just ending.
    @contextlib.contextmanager
    def nothing(api: Any, session: str) -> Iterator[Iterator[tuple[None, None]]]:
        yield iter(())

    with Container(engine, debian, work, limits=Limits()) as container:
        engine.client.api.kill(container._name)
        monkeypatch.setattr("converter.container.container.output_of", nothing)
        api = engine.client.api
        monkeypatch.setattr(api, "exec_create", lambda *_args, **_kwargs: {"Id": "never begun"})
        monkeypatch.setattr(api, "exec_inspect", lambda _session: {"ExitCode": code})
        with pytest.raises(ToolError, match="ended from outside"):
            run(container, "print()")


def test_a_folder_that_is_gone_is_an_error_that_leaves_nothing(
    engine: Engine, debian: Image, tmp_path: Path
) -> None:
    with (
        pytest.raises(ToolchainError, match="does not start a container"),
        Container(engine, debian, tmp_path / "nowhere", limits=Limits()),
    ):
        pass
    assert ours(engine) == []


def test_a_container_that_is_ended_from_outside_is_told_as_such(
    engine: Engine, container: Container
) -> None:
    timer = threading.Timer(1, lambda: engine.client.api.kill(container._name))
    timer.start()
    with pytest.raises(ToolError, match="ended from outside") as error:
        run(container, "import time; print('so far', flush=True); time.sleep(60)")
    assert "so far" in error.value.tool_text
    timer.join()


def test_an_exception_and_an_interrupt_leave_no_container(
    engine: Engine, debian: Image, work: Path
) -> None:
    for kind in (RuntimeError, KeyboardInterrupt):
        with contextlib.suppress(kind), Container(engine, debian, work, limits=Limits()):
            assert len(ours(engine)) == 1
            raise kind
        assert ours(engine) == []


def test_an_interrupt_while_a_tool_runs_ends_it_at_once(
    engine: Engine, debian: Image, work: Path
) -> None:
    timer = threading.Timer(1, lambda: os.kill(os.getpid(), signal.SIGINT))
    timer.start()
    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt), Container(engine, debian, work, limits=Limits()) as it:
        run(it, "import time; time.sleep(60)")
    assert time.monotonic() - started < 30
    assert ours(engine) == []


# --------------------------------------------------------------- leftovers


def leftover(engine: Engine, debian: Image, owner: Owner) -> str:
    made = engine.client.api.create_container(
        debian.id, [PYTHON, "-c", "import time; time.sleep(600)"], labels={OWNER_LABEL: owner.to_text()}
    )
    engine.client.api.start(made["Id"])
    return str(made["Id"])


def test_the_dead_are_reaped_and_the_living_are_not(engine: Engine, debian: Image) -> None:
    me = Owner.current()
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    try:
        alive = replace(me, pid=child.pid, started=_start_of(child.pid))
        kept = [
            leftover(engine, debian, me),
            leftover(engine, debian, alive),
            leftover(engine, debian, replace(me, host="another machine", pid=1 << 22)),
            leftover(engine, debian, replace(me, namespace="pid:[1]", pid=1 << 22)),
        ]
        dead = [
            leftover(engine, debian, replace(me, pid=1 << 22)),
            leftover(engine, debian, replace(me, started=me.started - 1)),
            leftover(engine, debian, replace(me, boot="before")),
        ]
        assert reap(engine) == len(dead)
        assert set(ours(engine)) == set(kept)
        child.kill()
        child.wait()
        assert reap(engine) == 1
        assert set(ours(engine)) == set(kept) - {kept[1]}
    finally:
        child.kill()
        child.wait()
        for container in ours(engine):
            engine.client.api.remove_container(container, force=True)


def _start_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])


def test_a_run_that_was_killed_is_tidied_up_by_the_next(
    engine: Engine, debian: Image, work: Path
) -> None:
    code = f"""
from pathlib import Path
from converter.container import Container, Limits, connect
engine = connect({engine.socket!r})
with Container(engine, engine.image({debian.name!r}), Path({str(work)!r}), limits=Limits()) as it:
    print("up", flush=True)
    it.run(["python3", "-c", "import time; time.sleep(600)"], what="t", timeout_s=600)
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "up\n"
        child.kill()
    assert len(ours(engine)) == 1
    with Container(engine, debian, work, limits=Limits()):
        assert len(ours(engine)) == 1
    assert ours(engine) == []


def test_owners_survive_being_written_down() -> None:
    me = Owner.current()
    assert Owner.from_text(me.to_text()) == me
    assert not me.is_gone()
    for nonsense in ("", "{}", "[]", '{"pid": "x"}', "null"):
        assert Owner.from_text(nonsense) is None


def test_an_owner_that_proc_hides_is_not_taken_for_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    """With `hidepid` another user's process has no folder there, and lives all the same."""
    me = Owner.current()
    read_text = Path.read_text

    def hidden(path: Path, *args: Any, **options: Any) -> str:
        if path == Path(f"/proc/{me.pid}/stat"):
            raise FileNotFoundError(path)
        return read_text(path, *args, **options)

    monkeypatch.setattr(Path, "read_text", hidden)
    assert not me.is_gone()


# ------------------------------------------------------- finding an engine


def test_no_engine_is_an_error_with_its_cure(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
    with pytest.raises(ToolchainError, match="No container engine answers at") as error:
        connect()
    assert error.value.exit_code == 5
    assert "Docker" in error.value.remedy


def test_an_engine_on_another_machine_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:2375")
    with pytest.raises(ToolchainError, match="must run on this machine"):
        find_socket()
    assert find_socket("/somewhere/docker.sock") == "unix:///somewhere/docker.sock"


def test_a_socket_that_is_not_for_us_says_how_to_get_in(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can become somebody who may not")
    path = tmp_path / "docker.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        path.chmod(0o600)
        for folder in (tmp_path, *tmp_path.parents):
            if folder.owner() == "root" and "pytest" in folder.name:
                folder.chmod(0o755)
        os.seteuid(65534)
        try:
            with pytest.raises(ToolchainError, match="This user may not use") as error:
                connect(str(path))
        finally:
            os.seteuid(0)
    assert "usermod -aG docker" in error.value.remedy


class _Answers(http.server.BaseHTTPRequestHandler):
    """An engine DOUBLE: it answers `/version` and `/info` and nothing else."""

    version: dict[str, Any]
    info: dict[str, Any]

    def do_GET(self) -> None:
        document = self.version if self.path.endswith("/version") else self.info
        body = json.dumps(document).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None: ...

    def address_string(self) -> str:
        return "client"


@contextlib.contextmanager
def engine_double(folder: Path, version: dict[str, Any], info: dict[str, Any]) -> Iterator[str]:
    handler = type("Handler", (_Answers,), {"version": version, "info": info})
    server = socketserver.ThreadingUnixStreamServer(str(folder / "double.sock"), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield str(folder / "double.sock")
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


DOCKER = {"Version": "20.10.24", "ApiVersion": "1.41", "Components": [{"Name": "Engine"}]}
PODMAN = {"Version": "4.3.1", "ApiVersion": "1.41", "Components": [{"Name": "Podman Engine"}]}
INFO = {
    "MemTotal": 8 << 30, "MemoryLimit": True, "CpuCfsQuota": True, "PidsLimit": True,
    "SecurityOptions": ["name=seccomp,profile=default"], "CgroupVersion": "2",
}  # fmt: skip


def test_an_engine_that_is_too_old_is_refused(tmp_path: Path) -> None:
    old = {**DOCKER, "Version": "19.03", "ApiVersion": "1.40"}
    with engine_double(tmp_path, old, INFO) as address, pytest.raises(ToolchainError) as error:
        connect(address)
    assert "Docker 19.03 is too old: it speaks version 1.40" in error.value.message
    assert "20.10" in error.value.remedy


@pytest.mark.parametrize(
    ("version", "changes", "name", "ignores"),
    [
        (DOCKER, {}, "Docker 20.10.24", ()),
        (PODMAN, {}, "podman 4.3.1", ()),
        (PODMAN, {"SecurityOptions": ["name=rootless"]}, "rootless podman 4.3.1", ()),
        (
            PODMAN,
            {"SecurityOptions": ["name=rootless"], "CgroupVersion": "1"},
            "rootless podman 4.3.1",
            ("memory", "CPU", "pids"),
        ),
        (DOCKER, {"MemoryLimit": False}, "Docker 20.10.24", ("memory",)),
    ],
)
def test_limits_that_an_engine_does_not_keep_are_told(
    tmp_path: Path,
    version: dict[str, Any],
    changes: dict[str, Any],
    name: str,
    ignores: tuple[str, ...],
) -> None:
    with engine_double(tmp_path, version, {**INFO, **changes}) as address:
        found = connect(address)
        found.close()
    assert (found.name, found.ignores) == (name, ignores)
    asked = resolve([Layer(origin="test", values={"container.memory": "2g"})])
    told = ignored(found, asked)
    if not ignores:
        assert told is None
    else:
        assert told is not None
        assert told.startswith(f"{name} does not keep limits on memory")
        assert told.endswith("container.memory will have no effect.")


def test_something_that_is_no_engine_is_told_as_such(tmp_path: Path) -> None:
    with engine_double(tmp_path, {}, {}) as address, pytest.raises(ToolchainError) as error:
        connect(address)
    assert address in error.value.message or "too old" in error.value.message


@pytest.mark.parametrize(
    ("text", "size"), [("8g", 8 << 30), ("512m", 512 << 20), ("1.5G", 3 << 29), ("2 GiB", 2 << 30)]
)
def test_amounts_of_memory_are_written_as_everywhere(text: str, size: int) -> None:
    options = resolve([Layer(origin="test", values={"container.memory": text})])
    assert Limits.of(options).memory_of(64 << 30) == size


@pytest.mark.parametrize("text", ["much", "-1g", "1m", "8x", "0"])
def test_an_amount_that_is_none_is_refused(text: str) -> None:
    options = resolve([Layer(origin="test", values={"container.memory": text})])
    with pytest.raises(UsageError, match=r"container\.memory: .* is not an amount"):
        Limits.of(options)


def test_without_a_limit_the_machine_keeps_a_tenth() -> None:
    assert Limits().memory_of(10 << 30) == 9 << 30
