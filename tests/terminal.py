"""A terminal for a child: what it prints is seen, what it asks is answered when it asks."""

from __future__ import annotations

import os
import pty
import re
import select
import termios
import time
from collections.abc import Sequence
from pathlib import Path


def talk(
    argv: Sequence[str | Path], answers: Sequence[tuple[str, str]], *, timeout_s: float = 60
) -> tuple[int, str]:
    """Run a program on a terminal of its own.

    Args:
        argv: The program.
        answers: What it asks, as a pattern, and what is typed then, in this order.

    Returns:
        Exit code, and everything on the screen; a question that never came fails.
    """
    pid, terminal = pty.fork()
    if pid == 0:
        os.environ["TERM"] = "dumb"
        os.execv(argv[0], [str(word) for word in argv])
    screen, seen, left = "", 0, list(answers)
    end = time.monotonic() + timeout_s
    try:
        while time.monotonic() < end:
            found = re.search(left[0][0], screen[seen:]) if left else None
            if found and screen.endswith(": ") and _listens(terminal):
                seen += found.end()
                os.write(terminal, left.pop(0)[1].encode())
            if select.select([terminal], [], [], 0.1)[0]:
                try:
                    data = os.read(terminal, 1 << 16)
                except OSError:  # what Linux says when the other side has closed
                    data = b""
                if not data:
                    break
                screen += data.decode(errors="replace").replace("\r", "")
        else:
            raise AssertionError(f"it did not end; on the screen is:\n{screen}")
    except BaseException:
        os.kill(pid, 9)
        raise
    finally:
        os.close(terminal)
        _, status = os.waitpid(pid, 0)
    assert not left, f"it never asked {left[0][0]!r}; on the screen is:\n{screen}"
    return os.waitstatus_to_exitcode(status), screen


def _listens(terminal: int) -> bool:
    """Whether the child reads what is typed; what comes before readline is ready may be lost."""
    for _ in range(20):
        if not termios.tcgetattr(terminal)[3] & termios.ICANON:
            return True
        time.sleep(0.1)
    return True  # it reads without readline
