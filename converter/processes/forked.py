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
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import IO, Any, Final, Protocol, Self

from converter.processes.fork_server import send, serve_as_twin

_END_S: Final = 5.0
_SLICE_S: Final = 0.2
_SEND_S: Final = 10.0
_TWIN_S: Final = 0.01
_TO_BE_FORKED: Final = {"converter.processes.fork_server", "converter.processes.sandboxed"}


class _Server(Protocol):
    """The server's process, as the caller sees it."""

    pid: int

    def poll(self) -> int | None:
        """The exit status; None while it runs."""
        ...

    def wait(self, timeout: float | None = None) -> int:
        """Wait for it; raises subprocess.TimeoutExpired."""
        ...

    def kill(self) -> None:
        """End it at once."""
        ...


class _Twin:
    """A server that is a fork of this process."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._returncode: int | None = None

    def poll(self) -> int | None:
        if self._returncode is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self._returncode = os.waitstatus_to_exitcode(status)
        return self._returncode

    def wait(self, timeout: float | None = None) -> int:
        until = None if timeout is None else time.monotonic() + timeout
        while (found := self.poll()) is None:
            if until is not None and time.monotonic() >= until:
                raise subprocess.TimeoutExpired("fork server", timeout or 0)
            time.sleep(_TWIN_S)
        return found

    def kill(self) -> None:
        if self.poll() is None:
            os.kill(self.pid, signal.SIGKILL)


def may_be_twin() -> bool:
    """Whether this process was made to be forked from, with all that it had imported.

    A fork server forked it, or it is the first one in a sandbox.
    """
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    return spec is not None and spec.name in _TO_BE_FORKED


def is_possible() -> bool:
    """Whether calls are forked on this system; elsewhere each starts Python anew.

    macOS has fork(), but its frameworks do not survive it.
    """
    return platform.system() == "Linux"


class ForkServer:
    """A running fork server; `close` ends it and every child."""

    _process: _Server

    def __init__(self, modules: Sequence[str], env: Mapping[str, str], cwd: Path) -> None:
        """Start the server; it imports the modules while the caller goes on.

        Args:
            modules: Modules that start no threads: a fork has none but the one that forks.
            env: The server's environment.
            cwd: Where it runs.
        """
        import fcntl  # not on Windows

        own, theirs = socket.socketpair()
        # A full socket means a server that is stuck in an import.
        own.settimeout(_SEND_S)
        with theirs:
            # Above the standard streams, which are replaced in the server.
            descriptor = fcntl.fcntl(theirs, fcntl.F_DUPFD_CLOEXEC, 3)
        command = [sys.executable, "-m", "converter.processes.fork_server", str(descriptor), *modules]
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=dict(env),
                cwd=cwd,
                start_new_session=True,
                pass_fds=[descriptor],
            )
        finally:
            os.close(descriptor)
        self._begin(own, env)

    def _begin(self, control: socket.socket, env: Mapping[str, str]) -> None:
        self._control = control
        self._env = dict(env)
        self._sending = threading.Lock()
        self._numbers = count()
        self._owner = os.getpid()

    @classmethod
    def twin(cls) -> Self:
        """A server that is a fork of this process, which has no second thread and has all imported.

        It costs milliseconds, where a new one imports for a second.
        """
        own, theirs = socket.socketpair()
        own.settimeout(_SEND_S)
        pid = os.fork()
        if pid == 0:
            own.close()
            serve_as_twin(theirs)
        theirs.close()
        made = cls.__new__(cls)
        made._process = _Twin(pid)
        made._begin(own, os.environ)
        return made

    @property
    def is_alive(self) -> bool:
        """Whether it runs, and in this process: a fork of the caller has no server."""
        return self._owner == os.getpid() and self._process.poll() is None

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def fork(self, request: Mapping[str, Any], env: Mapping[str, str]) -> Forked:
        """Let a child do what `converter.processes.worker` is asked for.

        Args:
            request: `request` (the worker's file), `cwd` and `path` (the module search path).
            env: The child's environment.

        Raises:
            OSError: The server is gone, or stuck.
        """
        # What differs from the server's: a whole environment may not fit into the socket.
        changes = {
            "set": {name: value for name, value in env.items() if self._env.get(name) != value},
            "unset": [name for name in self._env if name not in env],
        }
        (out, out_child), (err, err_child), (end, end_child) = (os.pipe() for _ in range(3))
        number = next(self._numbers)
        streams = [os.fdopen(stream, encoding="utf-8", errors="replace") for stream in (out, err)]
        forked = Forked(self, number, stdout=streams[0], stderr=streams[1], _end=end)
        try:
            with self._sending:
                message = {**request, **changes, "call": number}
                send(self._control, message, [out_child, err_child, end_child])
        except BaseException:
            # Half a message: the server cannot go on.
            self._hang_up()
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

    def close(self) -> None:
        """End every child and the server."""
        if self._owner != os.getpid():
            return
        self._hang_up()
        try:
            self._process.wait(_END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _hang_up(self) -> None:
        # The server sees the end of it even where a fork of this process has a copy of the socket.
        with contextlib.suppress(OSError):
            self._control.shutdown(socket.SHUT_RDWR)
        self._control.close()


def ready(descriptor: int, timeout_s: float) -> bool:
    """Whether there is something to read, after waiting for it; for any number of descriptors."""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(1000 * timeout_s))


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

    @property
    def pid(self) -> int | None:
        """Its process id; None before the server told it."""
        return self._pid

    @property
    def was_begun(self) -> bool:
        """Whether the server forked the child before it ended itself."""
        return self._pid is not None

    def wait(self, timeout_s: float) -> int | None:
        """The exit status, negative for a signal's number; None if it does not end in time."""
        until = time.monotonic() + timeout_s
        while self._returncode is None:
            left = max(0.0, until - time.monotonic())
            # In slices: a signal that another thread receives does not wake this one.
            if ready(self._end, min(left, _SLICE_S)):
                self._read()
            elif left <= _SLICE_S:
                return None
        return self._returncode

    def _read(self) -> None:
        """Read what the server says of the child: its process id, later its exit status."""
        part = os.read(self._end, 4096)
        if not part:
            self._lost()
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
