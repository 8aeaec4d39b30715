"""A process that has only what another system has: calls, modules and files are taken away from Python.

`python -m tests.lesser_systems SYSTEM COMMANDS` runs commands of ours in such a process, where COMMANDS is
JSON, a list of lists of words; it prints for each its exit code and what it wrote, as JSON. This is a
simulation: no such system runs it.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import importlib
import io
import json
import os
import platform
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

_NOT_ON_MACOS: Final = (
    *("os.sched_getaffinity", "os.sched_setaffinity", "os.pidfd_open", "os.memfd_create"),
    *("os.posix_fadvise", "os.O_TMPFILE", "os.O_PATH", "os.getrandom"),
)
_NOT_ON_WINDOWS: Final = (
    *(f"os.{name}" for name in ("getuid", "geteuid", "getgid", "getegid", "getgroups", "getpgid")),
    *(f"os.{name}" for name in ("killpg", "setsid", "setpgid", "fork", "forkpty", "mkfifo", "chown")),
    *(f"os.{name}" for name in ("confstr", "sysconf", "getloadavg", "nice")),
    *("os.O_NOFOLLOW", "os.O_DIRECTORY", "os.O_CLOEXEC", "os.O_NONBLOCK"),
    *(
        f"signal.{name}"
        for name in ("SIGKILL", "SIGALRM", "alarm", "SIGHUP", "SIGPIPE", "pthread_kill")
    ),
    "socket.AF_UNIX",
)
_MODULES_NOT_ON_WINDOWS: Final = ("fcntl", "resource", "pwd", "grp", "termios", "syslog")


@dataclass(frozen=True)
class Lesser:
    system: str
    machine: str
    glibc: str | None = None
    lacks: Sequence[str] = ()
    modules: Sequence[str] = ()
    has_proc: bool = True


SYSTEMS: Final = {
    "macos": Lesser("Darwin", "arm64", lacks=_NOT_ON_MACOS, has_proc=False),
    "windows": Lesser(
        "Windows",
        "AMD64",
        lacks=(*_NOT_ON_MACOS, *_NOT_ON_WINDOWS),
        modules=_MODULES_NOT_ON_WINDOWS,
        has_proc=False,
    ),
    "aarch64": Lesser("Linux", "aarch64", glibc="2.39"),
    "musl": Lesser("Linux", "x86_64"),
    "glibc-2.31": Lesser("Linux", "x86_64", glibc="2.31"),
}


def become(lesser: Lesser) -> None:
    """Take away from this process what the system has not."""
    # It asks `sys.platform`, which stays what it is, which of its modules it needs.
    importlib.import_module("platformdirs")
    platform.system = lambda: lesser.system  # type: ignore[assignment]
    platform.machine = lambda: lesser.machine  # type: ignore[assignment]
    os.confstr = _confstr(lesser.glibc)  # type: ignore[assignment]
    for name in lesser.modules:
        sys.modules[name] = None  # type: ignore[assignment]
    for name in lesser.lacks:
        module, _, attribute = name.partition(".")
        with contextlib.suppress(AttributeError):  # this Python has not got it either
            delattr({"os": os, "signal": signal, "socket": socket}[module], attribute)
    if lesser.system != "Linux":
        true = ctypes.CDLL
        ctypes.CDLL = _library(true, lesser.system)  # type: ignore[assignment,misc]
    if not lesser.has_proc:
        for module, attribute in ((io, "open"), (os, "stat"), (os, "readlink"), (os, "listdir")):
            setattr(module, attribute, _without_proc(getattr(module, attribute)))


def _confstr(glibc: str | None) -> Callable[[Any], str]:
    def confstr(name: Any) -> str:
        if glibc is None:
            raise OSError(errno.EINVAL, "Invalid argument")
        return f"glibc {glibc}"

    return confstr


def _library(true: Any, system: str) -> Callable[..., Any]:
    def library(name: Any, *arguments: Any, **options: Any) -> Any:
        if name is not None:
            return true(name, *arguments, **options)
        if system == "Windows":
            raise TypeError("argument of type 'NoneType' is not iterable")
        return object()  # a C library without prctl

    return library


def _without_proc(true: Any) -> Callable[..., Any]:
    def call(path: Any, *arguments: Any, **options: Any) -> Any:
        if isinstance(path, str | os.PathLike) and os.fspath(path).startswith("/proc"):
            raise FileNotFoundError(errno.ENOENT, "No such file or directory", os.fspath(path))
        return true(path, *arguments, **options)

    return call


def _answers(commands: Sequence[Sequence[str]]) -> list[dict[str, Any]]:
    from converter import cli

    found = []
    for words in commands:
        out, err = io.StringIO(), io.StringIO()
        sys.argv = ["nnconvert", *words]
        code: Any = None
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                cli.main()
            except SystemExit as done:
                code = done.code
        found.append({"words": words, "code": code, "out": out.getvalue(), "err": err.getvalue()})
    return found


if __name__ == "__main__":
    become(SYSTEMS[sys.argv[1]])
    print(json.dumps(_answers(json.loads(sys.argv[2]))))
