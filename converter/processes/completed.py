"""How a child process ended, and what a user is told of one that failed."""

from __future__ import annotations

import contextlib
import re
import signal
from dataclasses import dataclass
from typing import Final

from converter.errors import ModelError, ToolError

_LONGEST_SAID: Final = 400


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
        killed = ToolError(
            f"{what} was killed from outside, most likely for want of memory.",
            remedy="Free memory, or convert where there is more.",
            tool_text=text,
        )
        killed.was_killed = True
        return killed
    if done.signal_name == "SIGXCPU":
        return ToolError(
            f"{what} used all the CPU time that it may.",
            remedy="Cut the model, or ask whoever runs the converter for more.",
            tool_text=text,
        )
    if done.signal_name:
        return ToolError(
            f"{what} crashed on this model ({done.signal_name}).",
            remedy="Cut the model (--outputs) to find the node that does it. Loops and sequences of "
            "unknown length are known to.",
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
