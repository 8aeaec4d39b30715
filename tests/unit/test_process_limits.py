"""A child ends when its time is up, and whoever waits for it is told which option gives it more."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

from converter.errors import ToolError
from converter.processes import linux
from converter.processes.completed import died
from converter.processes.run import Processes

# Long enough to be ended, short enough for a test that fails.
SLEEPS = "import time; print('begun', flush=True); time.sleep(8); print('ended')"


def wait(seconds: float) -> None:
    """What the child is asked to do."""
    time.sleep(seconds)


def test_a_child_whose_time_is_up_is_ended_and_what_it_said_is_kept() -> None:
    done = Processes().run([sys.executable, "-c", SLEEPS], timeout_s=1.5)
    assert done.timed_out
    assert done.returncode < 0
    assert "ended" not in done.stdout
    error = died(done, "The compiler", 1.5)
    assert isinstance(error, ToolError)
    assert "did not end within 1.5 s" in error.message
    assert "timeout_s" in error.remedy


def test_a_function_that_takes_too_long_is_a_failed_tool(tmp_path: Path) -> None:
    with pytest.raises(ToolError, match=r"The tool did not end within 0\.5 s"):
        Processes().call(
            f"{__name__}:wait", {"seconds": 8}, what="The tool", work=tmp_path, timeout_s=0.5
        )


def test_a_child_that_ends_in_time_is_not_touched() -> None:
    done = Processes().run([sys.executable, "-c", "print('ended')"], timeout_s=60)
    assert (done.returncode, done.stdout, done.timed_out) == (0, "ended\n", False)


def take(kind: str, bounds: dict[str, int]) -> None:
    """Take more than a child may."""
    linux.bound_this_process(**bounds)
    if kind == "memory":
        bytearray(1 << 30)
    elif kind == "file":
        Path("large").write_bytes(bytes(1 << 20))
    else:
        until = time.process_time() + 20
        while time.process_time() < until:
            pass


@pytest.mark.parametrize(
    ("kind", "bounds", "said"),
    [
        ("memory", {"memory_bytes": 1 << 28}, "MemoryError"),
        ("file", {"file_bytes": 1 << 16}, "File too large"),
        ("cpu", {"cpu_s": 1}, "used all the CPU time"),
    ],
)
def test_the_kernel_holds_a_child_to_its_limits(
    kind: str, bounds: dict[str, int], said: str, tmp_path: Path
) -> None:
    with pytest.raises(ToolError, match=said) as error:
        Processes().call(
            f"{__name__}:take",
            {"kind": kind, "bounds": bounds},
            what="The tool",
            work=tmp_path,
            timeout_s=60,
        )
    assert not error.value.was_killed  # the same would happen again
    bytearray(1 << 29)  # who asked is held to nothing
