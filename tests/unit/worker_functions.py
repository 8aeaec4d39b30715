"""Functions that tests let run in child processes."""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from converter.errors import ModelError
from converter.processes.linux import bound_this_process, peak_rss_bytes
from converter.processes.run import Processes, kept_as_twin


def about(**given: Any) -> dict[str, Any]:
    """What the process sees of itself."""
    print("said", flush=True)
    return {
        "given": given,
        "pid": os.getpid(),
        "parent": os.getppid(),
        "group": os.getpgid(0),
        "folder": str(Path.cwd()),
        "temporary": tempfile.gettempdir(),
        "variable": os.environ.get("NNCONVERT_TEST"),
        "threads": len(list(Path("/proc/self/task").iterdir())),
        "onnx": "onnx" in sys.modules,
        "main": getattr(sys.modules["__main__"], "__file__", None),
    }


def peak(size_bytes: int) -> int:
    """The peak memory after holding that much."""
    held = bytearray(size_bytes)
    held[::4096] = b"x" * len(held[::4096])
    return peak_rss_bytes()


def refuse() -> None:
    """Raise an error of the converter."""
    raise ModelError("It has no shape.", remedy="Give it one.")


def fail() -> None:
    """Raise somebody else's error."""
    raise ZeroDivisionError("by zero")


def run_old_types() -> None:
    """Raise what ONNX Runtime says of element types that it has no kernel for."""
    raise RuntimeError("Could not find an implementation for OneHot(11) node with name 'hot'")


def die(number: int) -> None:
    """Be ended by a signal, as by a fault in native code."""
    print("last words", file=sys.stderr, flush=True)
    os.kill(os.getpid(), number)


def leave(code: int) -> None:
    """End without an answer."""
    os._exit(code)


def wait(folder: str, seconds: float = 60) -> None:
    """Write down the own process id and a grandchild's, then wait."""
    child = subprocess.Popen(["sleep", str(seconds)])
    part = Path(folder) / f"{os.getpid()}.part"
    part.write_text(f"{os.getpid()} {child.pid}")
    part.rename(part.with_suffix(".pids"))
    time.sleep(seconds)


def orphan(folder: str) -> None:
    """Leave a grandchild behind."""
    child = subprocess.Popen(["sleep", "60"])
    (Path(folder) / "orphan").write_text(str(child.pid))


def ignore_signals(folder: str) -> None:
    """Wait, deaf to what can be ignored."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    wait(folder)


def look(paths: list[str], pid: int, port: int) -> dict[str, Any]:
    """What a process in a sandbox can reach."""

    def tried(what: Callable[[], object]) -> str:
        try:
            what()
        except OSError as error:
            return errno.errorcode[error.errno or 0]
        return "done"

    def connect() -> None:
        with socket.create_connection(("127.0.0.1", port), timeout=5):
            pass

    status = Path("/proc/self/status").read_text()
    places = ("/", "/usr", "/etc", "/dev", "/proc/sys/kernel", str(Path(__file__).parent))
    return {
        "seen": [path for path in paths if Path(path).exists()],
        "written": [one for one in places if tried(Path(one, "made").touch) == "done"],
        "own": tried(Path("made").touch),
        "temporary": tried(Path("/tmp/made").touch),
        "connect": tried(connect),
        "interfaces": [name for _, name in socket.if_nameindex()],
        "kill": tried(lambda: os.kill(pid, 0)),
        "processes": len([one for one in Path("/proc").iterdir() if one.name.isdigit()]),
        "capabilities": [line.split()[1] for line in status.splitlines() if line.startswith("Cap")],
        "namespace": ctypes.CDLL(None, use_errno=True).unshare(0x10000000),  # CLONE_NEWUSER
        "variables": sorted(os.environ),
        "temporary_bytes": shutil.disk_usage("/tmp").total,
    }


def fork_all(most: int, seconds: float = 3600) -> int:
    """Fork sleeping children, each in a session of its own, until the kernel refuses; how many."""
    bound_this_process(processes=most)
    for count in range(10 * most):
        try:
            pid = os.fork()
        except OSError:
            return count
        if pid == 0:
            os.setsid()
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            time.sleep(seconds)
            os._exit(0)
    time.sleep(seconds)
    return 10 * most


def call_as_twin(work: str) -> Any:
    """What a call of this process's own sees, by a server that is a fork of it."""
    with kept_as_twin():
        return Processes().call(f"{__name__}:about", {}, what="It", work=Path(work), timeout_s=60)
