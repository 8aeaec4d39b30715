"""What this process asks of the kernel. It imports nothing of the converter: it also runs in images."""

from __future__ import annotations

import contextlib
import ctypes
import os
from pathlib import Path
from typing import Final

_KILL: Final = 9  # SIGKILL, which Windows has no name for
_SPARE_S: Final = 5
_NICE: Final = 5
_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096
# What a forked process held when it began; zero in one that was started.
_held_at_fork_bytes = 0


def die_with_parent(parent: int | None = None, number: int = _KILL) -> None:
    """In a child, on Linux: be killed when the parent is, even by `kill -9`.

    `prctl(PR_SET_PDEATHSIG, number)`, see prctl(2): the signal comes when the *thread* ends that
    started this process, so that thread must outlive it. Elsewhere this does nothing.

    Args:
        parent: The parent's process id, where it is known: if it ended before, this process ends too.
        number: Another signal than SIGKILL, for a process that cleans up.
    """
    with contextlib.suppress(OSError, AttributeError, TypeError):
        ctypes.CDLL(None).prctl(1, number)
        if parent is not None and os.getppid() != parent:
            os.kill(os.getpid(), number)


def forget_peak() -> None:
    """In a forked child: leave out of `peak_rss_bytes` what it has from its parent."""
    global _held_at_fork_bytes
    _held_at_fork_bytes = _status_bytes("VmHWM")


def peak_rss_bytes() -> int:
    """The most memory that this process has held of its own; zero where the system does not tell."""
    # Not getrusage(): its figure begins with the memory of the process that started us.
    return max(0, _status_bytes("VmHWM") - _held_at_fork_bytes)


def _status_bytes(key: str) -> int:
    """A size of `/proc/self/status` (proc(5)), which the kernel gives in KiB."""
    status = Path("/proc/self/status")
    for line in status.read_text().splitlines() if status.exists() else ():
        if line.startswith(f"{key}:"):
            return int(line.split()[1]) * 1024
    return 0


def be_killed_first() -> None:
    """Where memory ends, let the kernel choose this process and its children, not who started them.

    proc(5), `oom_score_adj`; it may always be raised.
    """
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("500")


def yield_to_others() -> None:
    """Let who started this process go first where cores are short: it answers while this computes.

    On Linux it does not interrupt others when it has something to do again (sched(7), SCHED_BATCH).
    """
    if hasattr(os, "nice"):
        os.nice(_NICE)
    if hasattr(os, "SCHED_BATCH"):
        with contextlib.suppress(OSError):  # an operator may have chosen another policy
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


def bound_this_process(
    *,
    memory_bytes: int | None = None,
    cpu_s: int | None = None,
    file_bytes: int | None = None,
    processes: int | None = None,
) -> None:
    """Let the kernel hold this process, and each one that it starts, to limits: setrlimit(2).

    A limit that is lower already stays; on Windows this does nothing.

    Args:
        memory_bytes: Of private writable memory (RLIMIT_DATA); an allocation beyond it fails. Not of
            addresses: runtimes reserve many times what they use.
        cpu_s: Seconds of CPU; then SIGXCPU ends the process.
        file_bytes: Of any one file; a write beyond it fails.
        processes: How many processes and threads the user may have (RLIMIT_NPROC): since Linux 5.14
            those of this user namespace, before that all of the user's. Root's are not counted.
    """
    try:
        import resource
    except ImportError:
        return
    for kind, value in (
        (resource.RLIMIT_DATA, memory_bytes),
        (resource.RLIMIT_CPU, cpu_s),
        (resource.RLIMIT_FSIZE, file_bytes),
        (resource.RLIMIT_NPROC, processes),
    ):
        if value is not None:
            _, hard = resource.getrlimit(kind)
            is_free = hard == resource.RLIM_INFINITY
            most = value if is_free else min(value, hard)
            # At the hard limit of CPU time comes SIGKILL, which says nothing.
            spare = _SPARE_S if kind == resource.RLIMIT_CPU and is_free else 0
            resource.setrlimit(kind, (most, most + spare))


def tree_rss_bytes(pid: int) -> int:
    """The memory that a process and all its descendants hold now; what they share counts for each.

    Zero where the system does not tell.
    """
    total, left = 0, [pid]
    while left:
        place = Path(f"/proc/{left.pop()}")
        with contextlib.suppress(OSError, ValueError):
            resident, shared = (place / "statm").read_text().split()[1:3]
            total += (int(resident) - int(shared)) * _PAGE_BYTES
            for task in (place / "task").iterdir():
                with contextlib.suppress(OSError):
                    left += map(int, (task / "children").read_text().split())
    return total
