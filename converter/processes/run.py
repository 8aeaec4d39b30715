"""The only module that starts processes.

Native code (graph tools, compilers, inference) runs in children: a crash there is an error here, a
time limit holds, and the memory is given back. A child gets a process group of its own, so that
Ctrl-C in a terminal reaches us alone and we end the child and whatever it started; it never outlives
the call that started it.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from converter.errors import Cancelled, ModelError, ToolError, from_json

_KEPT_LINES = 20_000
_GRACE_S = 2.0
_LONGEST_SAID = 400


@dataclass(frozen=True, kw_only=True)
class Completed:
    """How a child ended.

    Attributes:
        returncode: The exit status; negative is the number of the signal that ended it.
        stdout: What it printed, the last 20,000 lines at most.
        stderr: The same for the error stream.
        timed_out: Whether we ended it because its time was up.
        oom_killed: Whether the kernel ended it, or its child, for want of memory, where that is known.
    """

    returncode: int
    stdout: str
    stderr: str
    seconds: float
    timed_out: bool = False
    oom_killed: bool = False

    @property
    def signal_name(self) -> str | None:
        """`SIGSEGV` and the like if a signal ended it, else None."""
        if self.returncode >= 0:
            return None
        with contextlib.suppress(ValueError):
            return signal.Signals(-self.returncode).name
        return f"signal {-self.returncode}"


@dataclass
class Processes:
    """The children of one conversion, started from any of its threads and ended together."""

    _live: set[subprocess.Popen[str]] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _ended: bool = False

    def end_all(self) -> None:
        """End every child that runs, and let no new one start."""
        with self._lock:
            self._ended = True
            live = list(self._live)
        for child in live:
            with contextlib.suppress(ProcessLookupError):
                _kill_group(child)

    def run(
        self,
        argv: Sequence[str | os.PathLike[str]],
        *,
        timeout_s: float,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        on_line: Callable[[str], None] | None = None,
    ) -> Completed:
        """Run a program to its end and return what it said.

        Args:
            argv: The program and its arguments; no shell is involved.
            timeout_s: After this many seconds the child and its children are ended.
            env: The whole environment of the child; None hands on ours.
            on_line: Called with each line of standard output as it comes, in another thread.

        Raises:
            FileNotFoundError, PermissionError: The program cannot be started.
            KeyboardInterrupt and others: Handed on once the child has been ended.
        """
        started = time.monotonic()
        with self._lock:
            if self._ended:
                raise Cancelled("Cancelled; nothing was written.")
            child = subprocess.Popen(
                [os.fspath(part) for part in argv],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=None if env is None else dict(env),
                cwd=cwd,
                text=True,
                errors="replace",
                start_new_session=True,
            )
            self._live.add(child)
        out: deque[str] = deque(maxlen=_KEPT_LINES)
        err: deque[str] = deque(maxlen=_KEPT_LINES)
        assert child.stdout is not None
        assert child.stderr is not None
        readers = [
            threading.Thread(target=_drain, args=(child.stdout, out, on_line), daemon=True),
            threading.Thread(target=_drain, args=(child.stderr, err, None), daemon=True),
        ]
        timed_out = False
        try:
            for reader in readers:
                reader.start()
            try:
                child.wait(timeout_s)
            except subprocess.TimeoutExpired:
                timed_out = True
        finally:
            _end_group(child)
            with self._lock:
                self._live.discard(child)
            for reader in readers:
                reader.join(_GRACE_S)
            child.stdout.close()
            child.stderr.close()
        return Completed(
            returncode=child.returncode,
            stdout="".join(out),
            stderr="".join(err),
            seconds=time.monotonic() - started,
            timed_out=timed_out,
        )

    def call(
        self,
        function: str,
        arguments: Mapping[str, Any],
        *,
        what: str,
        work: Path,
        timeout_s: float,
    ) -> Any:
        """Call one of our functions in a child process.

        Args:
            function: `module:name`; it takes and returns plain JSON data.
            what: The subject of error messages, such as "The graph tools".
            work: A folder for the request and the answer.

        Raises:
            ConvertError: Whatever the function raised of that kind.
            ToolError: The child crashed, ran out of time or failed otherwise.
        """
        handle, name = tempfile.mkstemp(dir=work, prefix="call-", suffix=".json")
        request = Path(name)
        with os.fdopen(handle, "w") as file:
            json.dump({"function": function, "arguments": dict(arguments), "what": what}, file)
        done = self.run(
            [sys.executable, "-m", "converter.processes.worker", name],
            timeout_s=timeout_s,
            env=python_env(work),
            cwd=work,
        )
        answer_file = request.with_suffix(".answer")
        if done.returncode == 0 and answer_file.is_file():
            answer = json.loads(answer_file.read_text())
            if "error" in answer:
                raise from_json(answer["error"])
            return answer["result"]
        raise died(done, what, timeout_s)


def python_env(work: Path) -> dict[str, str]:
    """The environment of a Python child: ours, our module search path, and its own TMPDIR.

    Libraries leave files in TMPDIR (ONNX Runtime its telemetry's session), so it is the work folder.
    """
    search_path = os.pathsep.join(str(Path(path).absolute()) for path in sys.path if path)
    return os.environ | {"PYTHONPATH": search_path, "TMPDIR": str(work)}


def died(done: Completed, what: str, timeout_s: float) -> ToolError:
    """What to tell a user of a child that gave no answer."""
    text = done.stdout + done.stderr
    if done.timed_out:
        return ToolError(
            f"{what} did not end within {timeout_s:g} s and was stopped.",
            remedy="Give it more time (the option that ends in timeout_s), or cut the model.",
            tool_text=text,
        )
    if done.signal_name == "SIGKILL":
        return ToolError(
            f"{what} was killed from outside, most likely for want of memory.",
            remedy="Free memory, or convert where there is more.",
            tool_text=text,
        )
    if done.signal_name:
        return ToolError(
            f"{what} crashed on this model ({done.signal_name}).",
            remedy="Loops and sequences of unknown length do that; export the model without them.",
            tool_text=text,
        )
    last = (done.stderr.strip() or done.stdout.strip() or "no word").splitlines()[-1].strip()
    last = last if len(last) <= _LONGEST_SAID else last[: _LONGEST_SAID - 1] + "…"
    error = ToolError(f"{what} ended with exit code {done.returncode}: {last}", tool_text=text)
    error.ended_itself = True
    return error


def of_model(error: ToolError, tool: str, faults: re.Pattern[str]) -> ModelError | None:
    """What a tool that gave up says of a model it does not take; None for a failure of its own.

    Args:
        tool: The tool's name for people, at the beginning of a sentence.
        faults: What such a line of the tool's has in it; its warnings do not count.
    """
    for line in error.tool_text.splitlines() if error.ended_itself else ():
        if faults.search(line) and "warning" not in line.lower():
            return ModelError(
                f"{tool} does not take the model: {' '.join(line.split())[:400]}",
                remedy="Cut the model before that node, or export it with other operators.",
                tool_text=error.tool_text,
            )
    return None


def _drain(stream: IO[str], kept: deque[str], on_line: Callable[[str], None] | None) -> None:
    # The stream may be closed under us when the child left a grandchild behind.
    with contextlib.suppress(ValueError, OSError):
        for line in stream:
            kept.append(line)
            if on_line is not None:
                on_line(line.rstrip("\n"))


def _end_group(child: subprocess.Popen[str]) -> None:
    """End the child's process group; a no-op for a child that is gone and left nobody behind."""
    if child.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            _kill_group(child, gently=True)
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(_GRACE_S)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        _kill_group(child)
    child.wait()


def _kill_group(child: subprocess.Popen[str], *, gently: bool = False) -> None:
    if not hasattr(os, "killpg"):  # Windows has no process groups to end: the child alone
        child.terminate()
        return
    os.killpg(child.pid, signal.SIGTERM if gently else signal.SIGKILL)
