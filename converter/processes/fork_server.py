"""A process that has imported what the calls need, and forks a child for each of them.

`python -m converter.processes.fork_server SOCKET MODULE…`, where SOCKET is the number of an inherited
Unix socket. `converter.processes.forked` is the other end of it.

Importing onnx, onnx-ir and ONNX Runtime costs more than most calls compute; here it is paid once. The
standard library's `multiprocessing.forkserver` does not serve: its children import the user's
`__main__` again, outlive a caller that is killed, and share one process group.

Nothing here starts a thread, and the environment keeps libraries from it (`run.python_env`): a fork
copies only the thread that forks.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import selectors
import signal
import socket
import sys
import tempfile
import time
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NoReturn

from converter.processes import linux

# How often the server looks whether its parent lives: a copy of the socket may be open elsewhere.
_LOOK_S: Final = 1.0
_POLL_S: Final = 0.02
_SIZE_BYTES: Final = 8
# Standard output, standard error and the pipe that a call's end is written to.
_STREAMS: Final = 3


def receive(control: socket.socket) -> tuple[dict[str, Any], list[int]] | None:
    """Read a message and the file descriptors that came with it; None at the end."""
    head, descriptors, _flags, _address = socket.recv_fds(control, _SIZE_BYTES, _STREAMS)
    while head and len(head) < _SIZE_BYTES:
        more = control.recv(_SIZE_BYTES - len(head))
        head = head + more if more else b""
    if not head:
        return None
    left, parts = int.from_bytes(head), []
    while left:
        part = control.recv(min(left, 1 << 20))
        if not part:
            return None
        parts.append(part)
        left -= len(part)
    return json.loads(b"".join(parts)), list(descriptors)


def send(control: socket.socket, message: Mapping[str, Any], descriptors: Sequence[int] = ()) -> None:
    """Write a message and hand over file descriptors.

    Raises:
        OSError: The other end is gone.
    """
    data = json.dumps(message).encode()
    whole = len(data).to_bytes(_SIZE_BYTES) + data
    sent = socket.send_fds(control, [whole], list(descriptors))
    control.sendall(whole[sent:])


@dataclass
class _Call:
    """A call that runs: the caller's number for it, and the pipe that its end is written to.

    Attributes:
        grace_s: How long it may clean up after SIGTERM; 0 for one that is killed at once.
        until: When it is killed, once it was asked to end.
    """

    number: int
    end: int
    grace_s: float = 0.0
    until: float | None = None

    def ask_to_end(self, pid: int) -> None:
        """Let it clean up, if it does, or kill it with what it started."""
        if self.grace_s <= 0:
            _kill(pid)
        elif self.until is None:
            self.until = time.monotonic() + self.grace_s
            os.kill(pid, signal.SIGTERM)


@dataclass
class _Server:
    """The calls that run, by the process id of their child."""

    control: socket.socket
    parent: int
    calls: dict[int, _Call]

    def serve(self) -> None:
        """Fork a child for each call, until the parent closes the socket or dies."""
        woken, wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        with selectors.DefaultSelector() as selector:
            selector.register(self.control, selectors.EVENT_READ)
            selector.register(woken, selectors.EVENT_READ)
            while os.getppid() == self.parent:
                for key, _ in selector.select(self._wait_s()):
                    if key.fd == woken:
                        with contextlib.suppress(BlockingIOError):
                            os.read(woken, 4096)
                    elif not self._take():
                        return
                self._reap()
                self._kill_overdue()

    def _take(self) -> bool:
        """Do what a message asks; False at the end."""
        message = receive(self.control)
        if message is None:
            return False
        request, descriptors = message
        if "end" in request:
            for pid, call in self.calls.items():
                if call.number == request["end"]:
                    call.ask_to_end(pid)
            return True
        out, err, end = descriptors
        server = os.getpid()
        pid = os.fork()
        if pid == 0:
            others = [call.end for call in self.calls.values()]
            _work(request, server, out, err, [self.control.fileno(), end, *others])
        grace_s = float(request.get("grace_s", 0))
        self.calls[pid] = _Call(number=request["call"], end=end, grace_s=grace_s)
        _tell(end, pid=pid)
        os.close(out)
        os.close(err)
        return True

    def _reap(self) -> None:
        """Tell the end of each child that ended, and end whatever it left behind."""
        while self.calls:
            found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            if found is None:
                return
            # Before it is waited for: until then no other process can have its number.
            _kill_group(found.si_pid)
            pid, status = os.waitpid(found.si_pid, 0)
            end = self.calls.pop(pid).end
            _tell(end, returncode=os.waitstatus_to_exitcode(status))
            os.close(end)

    def _wait_s(self) -> float:
        """How long nothing need be done, unless something is said."""
        now = time.monotonic()
        return max(0.0, min([_LOOK_S, *(c.until - now for c in self.calls.values() if c.until)]))

    def _kill_overdue(self) -> None:
        """Kill the calls that were asked to end and have not."""
        for pid, call in self.calls.items():
            if call.until is not None and time.monotonic() >= call.until:
                _kill(pid)

    def end_all(self) -> None:
        """End every child and what it started."""
        for pid, call in self.calls.items():
            call.ask_to_end(pid)
        while any(call.until for call in self.calls.values()):
            self._reap()
            self._kill_overdue()
            time.sleep(_POLL_S)


def _kill(pid: int) -> None:
    """End a child that was not waited for, and its group, which it may not have made yet."""
    _kill_group(pid)
    os.kill(pid, signal.SIGKILL)


def _kill_group(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def _tell(end: int, **message: int) -> None:
    # The caller may have gone.
    with contextlib.suppress(BrokenPipeError):
        os.write(end, json.dumps(message).encode() + b"\n")


def _work(
    request: Mapping[str, Any], server: int, out: int, err: int, others: Sequence[int]
) -> NoReturn:
    """In the child: become what `python -m converter.processes.worker` would be, and do the call."""
    code = 1
    try:
        # A group of its own, so that it ends together with whatever it starts.
        os.setsid()
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGCHLD, signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        linux.die_with_parent(server)
        linux.forget_peak()
        os.dup2(out, 1)
        os.dup2(err, 2)
        for descriptor in (out, err, *others):
            os.close(descriptor)
        for name in request["unset"]:
            os.environ.pop(name, None)
        os.environ.update(request["set"])
        os.chdir(request["cwd"])
        sys.path[:] = request["path"]
        tempfile.tempdir = None
        from converter.processes.worker import main

        main(request["request"])
        code = 0
    except BaseException:  # noqa: BLE001 - like an interpreter at its end
        traceback.print_exc()
    finally:
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def main(descriptor: str, modules: Sequence[str]) -> NoReturn:
    """Import the modules, then fork a child for each call until the parent is gone."""
    parent = os.getppid()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's, which ends us
    control = socket.socket(fileno=int(descriptor))
    control.set_inheritable(False)
    for module in modules:
        # A call that needs it will say what is wrong with it.
        with contextlib.suppress(BaseException):
            importlib.import_module(module)
    # What is there now is never collected, so that children do not copy its pages.
    gc.collect()
    gc.freeze()
    server = _Server(control=control, parent=parent, calls={})
    try:
        server.serve()
    finally:
        server.end_all()
        os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
