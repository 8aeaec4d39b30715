"""A child ends when its time is up, and whoever waits for it is told which option gives it more."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

from converter.errors import ToolError
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
