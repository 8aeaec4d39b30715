"""The caller's end of a fork server: it is started, asked to fork, and ended."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import IO, Any, Final

from converter.processes.fork_server import send

_END_S: Final = 5.0


def is_possible() -> bool:
    """Whether calls are forked on this system; elsewhere each starts Python anew.

    macOS has fork(), but its frameworks do not survive it.
    """
    return platform.system() == "Linux"


class ForkServer:
    """A running fork server; `close` ends it and every child."""

    def __init__(self, modules: Sequence[str], env: Mapping[str, str], cwd: Path) -> None:
        """Start the server; it imports the modules while the caller goes on.

        Args:
            modules: Modules that start no threads: a fork has none but the one that forks.
            env: The server's environment.
            cwd: Where it runs.
        """
        ours, theirs = socket.socketpair()
        self._words = tempfile.TemporaryFile()  # noqa: SIM115 - it lives as long as the server
        with theirs:
            self._process = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "converter.processes.fork_server",
                    str(theirs.fileno()),
                    *modules,
                ],
                stdin=subprocess.DEVNULL,
                stdout=self._words,
                stderr=subprocess.STDOUT,
                env=dict(env),
                cwd=cwd,
                start_new_session=True,
                pass_fds=[theirs.fileno()],
            )
        self._control = ours
        self._sending = threading.Lock()
        self._numbers = count()
        self._owner = os.getpid()

    @property
    def is_alive(self) -> bool:
        """Whether it runs, and in this process: a fork of the caller has no server."""
        return self._owner == os.getpid() and self._process.poll() is None

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def fork(self, request: Mapping[str, Any]) -> Forked:
        """Let a child do what `converter.processes.worker` is asked for.

        Args:
            request: `request` (the worker's file), `env`, `cwd` and `path` (the module search path).

        Raises:
            OSError: The server is gone.
        """
        (out, out_child), (err, err_child), (end, end_child) = (os.pipe() for _ in range(3))
        number = next(self._numbers)
        streams = [os.fdopen(stream, encoding="utf-8", errors="replace") for stream in (out, err)]
        forked = Forked(self, number, stdout=streams[0], stderr=streams[1], _end=end)
        try:
            with self._sending:
                send(self._control, {**request, "call": number}, [out_child, err_child, end_child])
        except BaseException:
            forked.end()
            forked.close()
            for stream in streams:
                stream.close()
            raise
        finally:
            for descriptor in (out_child, err_child, end_child):
                os.close(descriptor)
        return forked

    def end(self, number: int) -> None:
        """End a call's child and whatever it started; one that ended already is left alone."""
        with contextlib.suppress(OSError), self._sending:
            send(self._control, {"end": number})

    def close(self) -> str:
        """End every child and the server, and return what the server itself printed."""
        if self._owner != os.getpid() or self._words.closed:
            return ""
        self._control.close()
        try:
            self._process.wait(_END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        with self._words as words:
            words.seek(0)
            return words.read().decode(errors="replace")


@dataclass(eq=False)
class Forked:
    """A child that the server forked or will fork: what it prints, and its end to come."""

    _server: ForkServer
    _number: int
    stdout: IO[str]
    stderr: IO[str]
    _end: int
    _said: bytes = b""
    _pid: int | None = None
    _returncode: int | None = None

    def wait(self, timeout_s: float) -> int | None:
        """The exit status, negative for a signal's number; None if it does not end in time."""
        until = time.monotonic() + timeout_s
        while self._returncode is None:
            ready, _, _ = select.select([self._end], [], [], max(0.0, until - time.monotonic()))
            if not ready:
                return None
            part = os.read(self._end, 4096)
            if part:
                self._take(part)
            else:
                self._lost()
        return self._returncode

    def _take(self, part: bytes) -> None:
        """Read what the server says of the child: its process id, later its exit status."""
        *lines, self._said = (self._said + part).split(b"\n")
        for line in lines:
            said = json.loads(line)
            self._pid = said.get("pid", self._pid)
            self._returncode = said.get("returncode")

    def _lost(self) -> None:
        """The server was killed, and the child with it; what the child started is left to end."""
        self._returncode = -signal.SIGKILL
        if self._pid is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._pid, signal.SIGKILL)

    def end(self) -> None:
        """End it and whatever it started."""
        if self._returncode is None:
            self._server.end(self._number)

    def close(self) -> None:
        """Close the pipe that told of its end."""
        os.close(self._end)
