"""Children end with their call, whatever ends it, whether they are forked or started."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from converter.errors import Cancelled, ModelError, ToolError
from converter.processes import forked, run
from converter.processes.run import Processes, kept_warm
from converter.target import modules_called
from tests.documents import ROOT
from tests.sources import DIGITS_ARCHIVE

FUNCTIONS = "tests.unit.worker_functions"
PRELOADED = ("numpy", "onnx", "converter.processes.worker", FUNCTIONS)


@pytest.fixture(autouse=True)
def own_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """These tests start and end servers themselves: the one of the test session is not theirs."""
    monkeypatch.setattr(run, "_kept", None)
    monkeypatch.setattr(run, "_keepers", 0)


@pytest.fixture(params=["forked", "started"])
def processes(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Processes]:
    """Processes with a fork server, and without one."""
    made = Processes()
    if request.param == "forked":
        made.warm_up(PRELOADED, tmp_path)
    yield made
    made.end_all()


def call(
    processes: Processes, work: Path, name: str, timeout_s: float = 60, **arguments: object
) -> object:
    return processes.call(
        f"{FUNCTIONS}:{name}", arguments, what="The test", work=work, timeout_s=timeout_s
    )


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that ended and was not waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def until(condition: Callable[[], bool], seconds: float = 30) -> bool:
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.02)
    return condition()


def pids_of(folder: Path) -> list[int]:
    """What `wait` wrote down."""
    assert until(lambda: bool(list(folder.glob("*.pids"))))
    return [int(word) for file in folder.glob("*.pids") for word in file.read_text().split()]


def test_a_call_has_its_own_group_folder_and_environment(
    processes: Processes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NNCONVERT_TEST", "set later")
    work = tmp_path / "work"
    work.mkdir()
    found = call(processes, work, "about", text="ä", numbers=[1, 2.5])
    assert isinstance(found, dict)
    assert found["given"] == {"text": "ä", "numbers": [1, 2.5]}
    assert found["group"] == found["pid"] != os.getpid()
    assert found["folder"] == found["temporary"] == str(work)
    assert found["variable"] == "set later"


def test_errors_of_the_converter_come_back_as_they_are(processes: Processes, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"It has no shape\.") as caught:
        call(processes, tmp_path, "refuse")
    assert caught.value.remedy == "Give it one."
    with pytest.raises(ToolError, match="The test failed on this model: ZeroDivisionError: by zero"):
        call(processes, tmp_path, "fail")
    with pytest.raises(ModelError, match=r"node 'hot' \(OneHot\): .* not for these element types"):
        call(processes, tmp_path, "run_old_types")


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGABRT])
def test_a_crash_is_one_error_and_the_next_call_works(
    processes: Processes, tmp_path: Path, number: int
) -> None:
    with pytest.raises(
        ToolError, match=rf"crashed on this model \({signal.Signals(number).name}\)"
    ) as error:
        call(processes, tmp_path, "die", number=int(number))
    assert "last words" in error.value.tool_text
    with pytest.raises(ToolError, match="ended with exit code 3"):
        call(processes, tmp_path, "leave", code=3)
    assert call(processes, tmp_path, "about")


def test_a_call_that_takes_too_long_ends_with_all_it_started(
    processes: Processes, tmp_path: Path
) -> None:
    for name in ("wait", "ignore_signals"):
        folder = tmp_path / name
        folder.mkdir()
        with pytest.raises(ToolError, match="did not end within 3 s and was stopped"):
            call(processes, folder, name, timeout_s=3, folder=str(folder))
        assert until(lambda: not any(map(is_alive, pids_of(folder)))), name  # noqa: B023


def test_what_a_call_leaves_behind_ends_with_it(processes: Processes, tmp_path: Path) -> None:
    call(processes, tmp_path, "orphan", folder=str(tmp_path))
    assert until(lambda: not is_alive(int((tmp_path / "orphan").read_text())))


def test_all_end_together_and_no_new_one_begins(processes: Processes, tmp_path: Path) -> None:
    errors: list[BaseException] = []

    def wait() -> None:
        try:
            call(processes, tmp_path, "wait", folder=str(tmp_path))
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=wait) for _ in range(3)]
    for thread in threads:
        thread.start()
    assert until(lambda: len(list(tmp_path.glob("*.pids"))) == 3)
    pids = pids_of(tmp_path)
    processes.end_all()
    for thread in threads:
        thread.join(30)
    assert len(pids) == 6
    assert until(lambda: not any(map(is_alive, pids)))
    assert [type(error) for error in errors] == [ToolError] * 3
    with pytest.raises(Cancelled):
        call(processes, tmp_path, "about")


def test_the_peak_does_not_count_what_the_server_holds(tmp_path: Path) -> None:
    processes = Processes()
    processes.warm_up(("numpy", "onnx", "onnxruntime", *PRELOADED), tmp_path)
    try:
        size = 64 << 20
        small, large = (call(processes, tmp_path, "peak", size_bytes=held) for held in (0, size))
    finally:
        processes.end_all()
    assert isinstance(small, int)
    assert isinstance(large, int)
    # Less than Python alone, let alone the libraries.
    assert small < 8 << 20
    assert size <= large < size + (16 << 20)


@pytest.mark.parametrize("target", ["rvc2", "rvc3", "rvc4"])
def test_nothing_that_is_imported_ahead_starts_a_thread(target: str, tmp_path: Path) -> None:
    processes = Processes()
    processes.warm_up((*modules_called(target), FUNCTIONS), tmp_path)
    try:
        found = call(processes, tmp_path, "about")
        assert isinstance(found, dict)
        assert found["onnx"]
        server = Path(f"/proc/{found['parent']}/task")
        assert len(list(server.iterdir())) == 1
        assert found["threads"] == 1
    finally:
        processes.end_all()
    # ONNX Runtime's telemetry would have left a file.
    assert not (tmp_path / ".ses").exists()


def test_many_calls_at_once_do_not_meet(tmp_path: Path) -> None:
    processes = Processes()
    processes.warm_up(PRELOADED, tmp_path)
    folders = [tmp_path / str(index) for index in range(24)]
    try:
        with ThreadPoolExecutor(8) as pool:

            def one(folder: Path) -> object:
                folder.mkdir()
                return call(processes, folder, "about", index=folder.name)

            found = list(pool.map(one, folders))
    finally:
        processes.end_all()
    assert [item["given"]["index"] for item in found] == [folder.name for folder in folders]  # type: ignore[index]
    assert len({item["pid"] for item in found}) == len(folders)  # type: ignore[index]


def test_a_server_that_is_killed_is_one_error_and_its_children_end(tmp_path: Path) -> None:
    processes = Processes()
    processes.warm_up(PRELOADED, tmp_path)
    server = processes._server
    assert server is not None

    def kill() -> None:
        pids_of(tmp_path)
        os.kill(server.pid, signal.SIGKILL)

    thread = threading.Thread(target=kill)
    thread.start()
    try:
        with pytest.raises(ToolError, match="was killed from outside"):
            call(processes, tmp_path, "wait", folder=str(tmp_path))
        thread.join()
        assert until(lambda: not any(map(is_alive, pids_of(tmp_path))))
        # Without a server Python is started anew.
        assert call(processes, tmp_path, "about")
    finally:
        processes.end_all()


def test_a_module_that_cannot_be_imported_ahead_is_no_error(tmp_path: Path) -> None:
    processes = Processes()
    processes.warm_up(("no.such.module", FUNCTIONS), tmp_path)
    try:
        assert call(processes, tmp_path, "about")
    finally:
        processes.end_all()


def test_servers_that_are_kept_warm_are_shared_and_end(tmp_path: Path) -> None:
    parents = set()
    with kept_warm(PRELOADED, tmp_path):
        for _ in range(2):
            processes = Processes()
            processes.warm_up(PRELOADED, tmp_path)
            found = call(processes, tmp_path, "about")
            assert isinstance(found, dict)
            parents.add(found["parent"])
            processes.end_all()
        (server,) = parents
        assert is_alive(server)
    assert not is_alive(server)
    assert run._kept is None


def test_whoever_leaves_first_does_not_end_a_server_that_another_keeps(tmp_path: Path) -> None:
    with kept_warm(PRELOADED, tmp_path):
        with kept_warm(PRELOADED, tmp_path):
            pass
        found = call(Processes(), tmp_path, "about")
        assert isinstance(found, dict)
        assert run._kept is not None
        assert found["parent"] == run._kept.pid


def test_a_call_that_is_ended_at_once_does_not_run_on(tmp_path: Path) -> None:
    server = forked.ForkServer(PRELOADED, run.python_env(tmp_path), tmp_path)
    try:
        for index in range(20):
            request = tmp_path / f"{index}.json"
            request.write_text(
                json.dumps(
                    {"function": f"{FUNCTIONS}:wait", "arguments": {"folder": "."}, "what": "It"}
                )
            )
            asked = {"request": str(request), "cwd": str(tmp_path), "path": sys.path}
            one = server.fork(asked, run.python_env(tmp_path))
            one.end()
            assert one.wait(20) == -signal.SIGKILL, index
            one.close()
            one.stdout.close()
            one.stderr.close()
    finally:
        server.close()


def test_a_caller_that_forked_ends_its_server_at_once(tmp_path: Path) -> None:
    processes = Processes()
    processes.warm_up(PRELOADED, tmp_path)
    assert call(processes, tmp_path, "about")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of threads, in newer versions
        copy = os.fork()
    if copy == 0:
        time.sleep(30)
        os._exit(0)
    try:
        server = processes._server
        assert server is not None
        processes.end_all()
        # By itself, and not because it was killed after a while.
        assert server._process.returncode == 0
    finally:
        os.kill(copy, signal.SIGKILL)
        os.waitpid(copy, 0)


def test_a_server_that_dies_as_it_imports_is_done_without(tmp_path: Path) -> None:
    (tmp_path / "dying.py").write_text("import os\nos.abort()\n")
    processes = Processes()
    with pytest.MonkeyPatch.context() as patched:
        patched.syspath_prepend(str(tmp_path))
        processes.warm_up(("dying", *PRELOADED), tmp_path)
        try:
            assert call(processes, tmp_path, "about")
        finally:
            processes.end_all()


CALLER = f"""
import os, sys
from pathlib import Path
from converter.processes.run import Processes
if sys.argv[2] == "many":
    held = [os.open("/dev/null", os.O_RDONLY) for _ in range(1100)]
processes = Processes()
processes.warm_up({PRELOADED!r}, Path(sys.argv[1]))
found = processes.call("{FUNCTIONS}:about", {{}}, what="It", work=Path(sys.argv[1]), timeout_s=60)
processes.end_all()
Path(sys.argv[1], "found").write_text(str(found["parent"] != os.getpid()))
"""


@pytest.mark.parametrize("how", ["many", "none"])
def test_a_caller_may_have_many_open_files_or_no_streams(how: str, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(CALLER)
    shell = 'ulimit -n 4096; exec "$0" "$@"' + (" 0<&- 1>&- 2>&-" if how == "none" else "")
    done = subprocess.run(
        ["bash", "-c", shell, sys.executable, str(script), str(tmp_path), how],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (tmp_path / "found").is_file(), done.stderr
    assert (tmp_path / "found").read_text() == "True"


def test_elsewhere_every_call_starts_python_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forked, "is_possible", lambda: False)
    processes = Processes()
    processes.warm_up(PRELOADED, tmp_path)
    found = call(processes, tmp_path, "about")
    assert isinstance(found, dict)
    assert found["parent"] == os.getpid()


SCRIPT = f"""
import sys
from pathlib import Path
print("main runs", flush=True)
from converter.processes.run import Processes
processes = Processes()
if sys.argv[2] == "forked":
    processes.warm_up({PRELOADED!r}, Path(sys.argv[1]))
processes.call("{FUNCTIONS}:wait", {{"folder": sys.argv[1]}}, what="It", work=Path(sys.argv[1]), timeout_s=60)
"""


@pytest.mark.parametrize("how", ["forked", "started"])
def test_a_caller_that_is_killed_takes_its_children_along(how: str, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    folder = tmp_path / "work"
    folder.mkdir()
    caller = subprocess.Popen(
        [sys.executable, str(script), str(folder), how],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    try:
        child, grandchild = pids_of(folder)
        parent = int(Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[1])
        assert (parent == caller.pid) == (how == "started")
    finally:
        caller.kill()
        said, _ = caller.communicate()
    assert until(lambda: not is_alive(child))
    if how == "forked":
        assert until(lambda: not is_alive(grandchild))
        assert until(lambda: not is_alive(parent))
    elif is_alive(grandchild):
        os.kill(grandchild, signal.SIGKILL)
    # The user's own script has no `if __name__ == "__main__"` and is not run again.
    assert said.count("main runs") == 1


STARTER = textwrap.dedent(
    """
    import os, subprocess, sys, threading
    def start():
        child = subprocess.Popen([sys.executable, "-m", "tests.unit.slow_convert", *sys.argv[1:]])
        print(child.pid, flush=True)
    # From a thread that ends: the conversion must not end with it.
    thread = threading.Thread(target=start)
    thread.start()
    thread.join()
    sys.stdin.read()
    """
)


@pytest.mark.parametrize("asked", [True, False], ids=["asked for", "not asked for"])
def test_a_conversion_ends_with_who_started_it_if_that_is_asked_for(
    asked: bool, tmp_path: Path
) -> None:
    out, marks, temporary = tmp_path / "out.tar", tmp_path / "marks", tmp_path / "tmp"
    marks.mkdir()
    temporary.mkdir()
    env = os.environ | {"PYTHONPATH": str(ROOT), "TMPDIR": str(temporary)}
    starter = subprocess.Popen(
        [sys.executable, "-c", STARTER, str(marks), str(DIGITS_ARCHIVE), str(out)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=env | ({"NNCONVERT_DIE_WITH_PARENT": "1"} if asked else {}),
    )
    assert starter.stdout is not None
    conversion = int(starter.stdout.readline())
    try:
        pids = pids_of(marks)
        assert is_alive(conversion)
        starter.kill()
        starter.wait()
        if asked:
            assert until(lambda: not is_alive(conversion))
            assert until(lambda: not any(map(is_alive, pids)))
            assert list(temporary.iterdir()) == []
        else:
            time.sleep(2)
            assert is_alive(conversion)
    finally:
        if is_alive(conversion):
            os.kill(conversion, signal.SIGTERM)
            assert until(lambda: not is_alive(conversion))
        starter.stdin.close()  # type: ignore[union-attr]
        starter.stdout.close()
    assert not out.exists()
