"""Functions that tests let run in child processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from converter.errors import ModelError
from converter.processes.linux import peak_rss_bytes


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
