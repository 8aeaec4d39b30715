"""Who started what may outlive it: a container, a work folder. We tidy up after the dead."""

from __future__ import annotations

import contextlib
import json
import os
import platform
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self


@dataclass(frozen=True, kw_only=True)
class Owner:
    """A process, told apart from every other one, also from a later one of the same number.

    Attributes:
        host: The machine's name; a container has one of its own.
        boot: The kernel's boot id: nothing of another boot of this machine still runs.
        namespace: The PID namespace, in which `pid` means something.
        started: When the process started, in clock ticks since the boot (proc(5), field 22 of `stat`).
    """

    host: str
    boot: str
    namespace: str
    pid: int
    started: int

    @classmethod
    def current(cls) -> Self:
        """This process."""
        pid = os.getpid()
        return cls(
            host=platform.node(), boot=_boot(), namespace=_namespace(), pid=pid, started=_started(pid)
        )

    def to_text(self) -> str:
        """The owner as a line of text."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_text(cls, text: str) -> Self | None:
        """The owner that `to_text` wrote down; None for any other text."""
        try:
            data = json.loads(text)
            return cls(
                host=str(data["host"]),
                boot=str(data["boot"]),
                namespace=str(data["namespace"]),
                pid=int(data["pid"]),
                started=int(data["started"]),
            )
        except (ValueError, KeyError, TypeError):
            return None

    def is_gone(self) -> bool:
        """Whether this process certainly no longer runs. What cannot be told from here is not gone."""
        here = Owner.current()
        if self.host != here.host:
            return False
        if not (self.boot and here.boot):  # macOS and Windows have none to tell
            return self.boot == here.boot and _started(self.pid) == -1
        if self.boot != here.boot:
            return True
        return self.namespace == here.namespace and _started(self.pid) not in (self.started, 0)


def _boot() -> str:
    with contextlib.suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return ""


def _namespace() -> str:
    with contextlib.suppress(OSError):
        return str(Path("/proc/self/ns/pid").readlink())
    return ""


def _lives(pid: int) -> bool:
    if os.name == "nt":  # there the call would end the process; what cannot be told is not gone
        return True
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass
    return True


def _started(pid: int) -> int:
    """The start time of a process; -1 if it is gone, 0 where the system does not tell."""
    try:
        # The command's name stands in brackets and may hold anything, brackets and spaces too.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:  # no such process, no /proc, or one that hides other users' (hidepid)
        return 0 if _lives(pid) else -1
    return -1 if fields[0] == "Z" else int(fields[19])
