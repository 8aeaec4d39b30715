"""The children of one conversion: started, waited for and ended.

Native code (graph tools, compilers, inference) runs in children: a crash there is an error here, a
time limit holds, and the memory is given back. A child gets a process group of its own, so that
Ctrl-C in a terminal reaches this process alone, which ends the child and whatever it started; a child
never outlives the call that started it.

Functions of the converter are called in children that a fork server forks (`fork_server`), where the
system has that.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

from converter.errors import Cancelled
from converter.processes import forked, linux
from converter.processes.completed import Completed, died
from converter.processes.forked import ForkServer
from converter.processes.pure import Memory, Pure
from converter.processes.said import KEPT_LINES, MOST_ANSWER_BYTES, answer, drain
from converter.processes.sandbox import Box
from converter.processes.started import GRACE_S, KILL, Boxed, Child, Started

# A converter tells nobody of its models. ONNX Runtime would also start a thread and leave files in the
# home folder; OpenVINO's tools send nothing where they believe to run in CI.
_NO_TELEMETRY: Final = {"ORT_DISABLE_TELEMETRY": "1", "NNCF_CI": "true", "CI": "true"}
# What keeps libraries from starting a thread as they are imported.
ALONE: Final = {"OPENBLAS_NUM_THREADS": "1"}
# A server that `kept_warm` keeps for every conversion of this process.
_kept: ForkServer | None = None
# How many blocks want it; the last one that is left ends it.
_keepers = 0
_keeping = threading.Lock()


@dataclass
class Processes:
    """The children of one conversion, started from any of its threads and ended together.

    Attributes:
        memory: Where the results of pure calls are kept; None to keep none.
    """

    memory: Memory | None = None
    _live: set[Child] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _ended: bool = False
    _server: ForkServer | None = None

    def warm_up(self, modules: Sequence[str], work: Path) -> None:
        """Start a fork server of this conversion's own, unless one is kept warm; returns at once.

        Args:
            modules: What it imports; see `ForkServer`.
            work: A folder for what libraries leave behind.
        """
        if forked.is_possible() and not (_kept is not None and _kept.is_alive):
            self._server = ForkServer(modules, _server_env(work), work)

    def end_all(self) -> None:
        """End every child that runs, and let no new one start."""
        with self._lock:
            self._ended = True
            live = list(self._live)
        for child in live:
            child.end()
        if self._server is not None:
            self._server.close()

    def rss_bytes(self) -> int:
        """The memory that the children and all that they started hold now; zero if unknown."""
        with self._lock:
            pids = [child.pid for child in self._live]
        return sum(linux.tree_rss_bytes(pid) for pid in pids if pid)

    def run(
        self,
        argv: Sequence[str | os.PathLike[str]],
        *,
        timeout_s: float,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        on_line: Callable[[str], None] | None = None,
        grace_s: float = GRACE_S,
    ) -> Completed:
        """Run a program to its end and return what it said.

        Args:
            argv: The program and its arguments; no shell is involved.
            timeout_s: After this many seconds the child and its children are ended.
            env: The whole environment of the child; None hands on this process's.
            on_line: Called with each line of standard output as it comes, in another thread.
            grace_s: How long it may clean up after SIGTERM, before it is killed.

        Raises:
            FileNotFoundError, PermissionError: The program cannot be started.
            KeyboardInterrupt and others: Handed on once the child has been ended.
        """

        def start() -> Child:
            return Started(
                subprocess.Popen(
                    [os.fspath(part) for part in argv],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    env=None if env is None else dict(env),
                    cwd=cwd,
                    text=True,
                    errors="replace",
                    start_new_session=True,
                ),
                grace_s,
            )

        return self._complete(start, timeout_s, on_line, grace_s)

    def call(
        self,
        function: str,
        arguments: Mapping[str, Any],
        *,
        what: str,
        work: Path,
        timeout_s: float,
        grace_s: float = 0.0,
        on_line: Callable[[str], None] | None = None,
        most_bytes: int = MOST_ANSWER_BYTES,
        pure: Pure | None = None,
        box: Box | None = None,
    ) -> Any:
        """Call a function of the converter in a child process.

        Args:
            function: `module:name`; it takes and returns plain JSON data.
            what: The subject of error messages, such as "The graph tools".
            work: A folder for the request and the answer.
            grace_s: How long the function may clean up after SIGTERM when it is ended before its time;
                0 for one that need not.
            on_line: Called with each line that the function prints, as `run` does.
            most_bytes: How long the answer may be, as JSON.
            pure: What its arguments mean, where its result may be kept, or taken from an earlier call.
            box: The sandbox that it is called in; it ends without grace, and may write `work` alone.

        Raises:
            ConvertError: Whatever the function raised of that kind.
            ToolError: The child crashed, ran out of time or failed otherwise; its answer is none.
        """
        if pure is not None and self.memory is not None:
            make = partial(
                self.call,
                function,
                arguments,
                what=what,
                work=work,
                timeout_s=timeout_s,
                grace_s=grace_s,
                on_line=on_line,
                most_bytes=most_bytes,
                box=box,
            )
            return self.memory.recall(pure, function, arguments, make)
        handle, name = tempfile.mkstemp(dir=work, prefix="call-", suffix=".json")
        request = Path(name)
        with os.fdopen(handle, "w") as file:
            json.dump({"function": function, "arguments": dict(arguments), "what": what}, file)
        done = (
            self._work(request, work, timeout_s, grace_s, on_line)
            if box is None
            else self._boxed(box, request, work, timeout_s, on_line)
        )
        if done.returncode == 0:
            with contextlib.suppress(FileNotFoundError):
                return answer(work, request.with_suffix(".answer").name, what, most_bytes)
        raise died(done, what, timeout_s)

    def _work(
        self,
        request: Path,
        work: Path,
        timeout_s: float,
        grace_s: float,
        on_line: Callable[[str], None] | None,
    ) -> Completed:
        """Let `converter.processes.worker` carry out a request."""
        server = next((one for one in (self._server, _kept) if one is not None and one.is_alive), None)
        if server is not None:
            done = self._forked(server, request, work, timeout_s, grace_s, on_line)
            if done is not None:
                return done
        argv = [sys.executable, "-m", "converter.processes.worker", str(request), str(os.getpid())]
        return self.run(
            argv,
            timeout_s=timeout_s,
            env=python_env(work),
            cwd=work,
            on_line=on_line,
            grace_s=max(grace_s, GRACE_S),
        )

    def _boxed(
        self,
        box: Box,
        request: Path,
        work: Path,
        timeout_s: float,
        on_line: Callable[[str], None] | None,
    ) -> Completed:
        """The same in a sandbox."""
        argv = [sys.executable, "-m", "converter.processes.sandboxed", str(request), *box.modules]
        env = python_env(work) | ALONE

        def start() -> Child:
            process, first = box.sandbox.start(argv, work, env, box.read_only)
            return Boxed(process, first=first)

        return self._complete(start, timeout_s, on_line, GRACE_S)

    def _forked(
        self,
        server: ForkServer,
        request: Path,
        work: Path,
        timeout_s: float,
        grace_s: float,
        on_line: Callable[[str], None] | None,
    ) -> Completed | None:
        """The same by a server's child; None if the server ended before there was one."""
        asked = {
            "request": str(request.absolute()),
            "cwd": str(work.absolute()),
            "path": _search_path(),
            "grace_s": grace_s,
        }
        begun: list[forked.Forked] = []

        def start() -> Child:
            begun.append(server.fork(asked, python_env(work)))
            return begun[0]

        try:
            done = self._complete(start, timeout_s, on_line, max(grace_s, GRACE_S))
        except OSError:
            if begun:
                raise
            server.close()
            return None
        return done if done.timed_out or begun[0].was_begun else None

    def _complete(
        self,
        start: Callable[[], Child],
        timeout_s: float,
        on_line: Callable[[str], None] | None,
        grace_s: float,
    ) -> Completed:
        """Start a child, wait for its end, and end what it left behind, whatever happens."""
        started = time.monotonic()
        with self._lock:
            if self._ended:
                raise Cancelled("Cancelled; nothing was written.")
            child = start()
            self._live.add(child)
        out: deque[str] = deque(maxlen=KEPT_LINES)
        err: deque[str] = deque(maxlen=KEPT_LINES)
        readers = [
            threading.Thread(target=drain, args=(child.stdout, out, on_line), daemon=True),
            threading.Thread(target=drain, args=(child.stderr, err, None), daemon=True),
        ]
        try:
            for reader in readers:
                reader.start()
            returncode = child.wait(timeout_s)
        finally:
            child.end()
            ended = child.wait(grace_s + 1)
            with self._lock:
                self._live.discard(child)
            for reader in readers:
                if reader.ident is not None:
                    reader.join(GRACE_S)
            child.close()
        return Completed(
            returncode=returncode if returncode is not None else ended or -KILL,
            stdout="".join(out),
            stderr="".join(err),
            seconds=time.monotonic() - started,
            timed_out=returncode is None,
        )


@contextlib.contextmanager
def kept_warm(modules: Sequence[str], work: Path) -> Iterator[None]:
    """Keep one fork server for every conversion inside the block, of any thread.

    For whoever converts many models in one process: they share what one conversion would import.

    Args:
        modules: What it imports; see `ForkServer`.
        work: A folder for what libraries leave behind.
    """
    global _kept, _keepers
    with _keeping:
        _keepers += 1
        if _kept is None and forked.is_possible():
            _kept = ForkServer(modules, _server_env(work), work)
    try:
        yield
    finally:
        with _keeping:
            _keepers -= 1
            server = None
            if _keepers == 0:
                server, _kept = _kept, None
        if server is not None:
            server.close()


@contextlib.contextmanager
def kept_as_twin() -> Iterator[None]:
    """As `kept_warm`, for a process that has all imported: its own server is a fork of itself.

    It does nothing elsewhere. To be called before there is a second thread.
    """
    global _kept
    if not forked.may_be_twin():
        yield
        return
    with _keeping:
        _kept = ForkServer.twin()
    try:
        yield
    finally:
        with _keeping:
            server, _kept = _kept, None
        if server is not None:
            server.close()


def python_env(work: Path) -> dict[str, str]:
    """The environment of a Python child: this process's, no telemetry, and a TMPDIR of its own."""
    return {
        **_NO_TELEMETRY,
        **os.environ,
        "PYTHONPATH": os.pathsep.join(_search_path()),
        "TMPDIR": str(work),
    }


def _search_path() -> list[str]:
    return [str(Path(path).absolute()) for path in sys.path if path]


def _server_env(work: Path) -> dict[str, str]:
    """The environment in which a fork server imports: no library may start a thread there."""
    return python_env(work) | ALONE | {"ORT_DISABLE_TELEMETRY": "1"}
