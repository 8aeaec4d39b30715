"""What this process asks of the kernel. Nothing else of ours is needed here: it also runs in images."""

from __future__ import annotations

import contextlib
import ctypes
import signal
from pathlib import Path


def die_with_parent() -> None:
    """In a child, on Linux: be killed when the parent is, even by `kill -9`.

    `prctl(PR_SET_PDEATHSIG, SIGKILL)`, see prctl(2). Elsewhere this does nothing.
    """
    with contextlib.suppress(OSError, AttributeError, TypeError):
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def peak_rss_bytes() -> int:
    """The most memory that this process has held; zero where the system does not tell."""
    # Not getrusage(): its figure begins with the memory of the process that started us.
    status = Path("/proc/self/status")
    for line in status.read_text().splitlines() if status.exists() else ():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0
