"""A child process that was begun: a program of its own, on the machine or in a sandbox."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from dataclasses import dataclass
from typing import IO, Final, Protocol

from converter.processes.forked import ready

GRACE_S: Final = 2.0
KILL: Final = 9  # SIGKILL, which Windows has no name for
_BY_SIGNAL: Final = 128


class Child(Protocol):
    """A child process that was begun, of either kind."""

    stdout: IO[str]
    stderr: IO[str]

    @property
    def pid(self) -> int | None:
        """Its process id; None while it has none."""
        ...

    def wait(self, timeout_s: float) -> int | None:
        """The exit status, negative for a signal's number; None if it does not end in time."""
        ...

    def end(self) -> None:
        """End it and whatever it started; a no-op for one that ended."""
        ...

    def close(self) -> None:
        """Let go of what else was opened for it than its two streams."""
        ...


@dataclass(eq=False)
class Started:
    """A program that was started."""

    process: subprocess.Popen[str]
    grace_s: float = GRACE_S

    def __post_init__(self) -> None:
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        self.stdout, self.stderr = self.process.stdout, self.process.stderr

    @property
    def pid(self) -> int | None:
        """Its process id."""
        return self.process.pid

    def wait(self, timeout_s: float) -> int | None:
        """The exit status, negative for a signal's number; None if it does not end in time."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self.process.wait(timeout_s)
        return None

    def end(self) -> None:
        """End its process group, which may have others in it when it is gone itself."""
        if self.process.poll() is None:
            self._signal(signal.SIGTERM)
            self.wait(self.grace_s)
        self._signal(KILL)

    def _signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if hasattr(os, "killpg"):
                os.killpg(self.process.pid, number)
            else:  # Windows has no process groups to end: the child alone
                self.process.terminate()

    def close(self) -> None:
        """There is nothing else."""


@dataclass(eq=False)
class Boxed(Started):
    """A program that was started in a sandbox.

    Attributes:
        first: Can be read once all inside have ended; -1 if nothing was begun inside.
    """

    first: int = -1

    def wait(self, timeout_s: float) -> int | None:
        """As of the program inside; bubblewrap adds 128 to the number of a signal."""
        code = super().wait(timeout_s)
        if code is None:
            return None
        if self.first >= 0:
            ready(self.first, GRACE_S)  # the kernel ends what is left inside a little later
        return _BY_SIGNAL - code if code > _BY_SIGNAL else code

    def close(self) -> None:
        """Let go of the descriptor."""
        if self.first >= 0:
            os.close(self.first)
