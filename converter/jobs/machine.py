"""What this machine offers to jobs: cores, memory, and what can be converted here."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Final

# For the system, the dispatcher and the page cache.
_KEPT_SHARE: Final = 0.1
_CGROUP: Final = Path("/sys/fs/cgroup")


def memory_bytes() -> int:
    """The memory that jobs may take together: nine tenths of what this process may use.

    A control group's limit counts (`memory.max` of cgroup v2, which a container sees as its own).
    """
    found = []
    with contextlib.suppress(OSError, ValueError, AttributeError):
        found.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    for name in ("memory.max", "memory/memory.limit_in_bytes"):
        with contextlib.suppress(OSError, ValueError):
            found.append(int((_CGROUP / name).read_text()))
    return int((1 - _KEPT_SHARE) * min(found)) if found else 4 << 30


def labels() -> frozenset[str]:
    """What can be converted here: `TARGET/TOOLCHAIN` for each, and `engine` where one answers.

    A toolchain that would be fetched or built first is not left out; `doctor` tells what is missing.
    """
    from converter.container import find_socket
    from converter.system import System
    from converter.target import names, toolchains_on

    found = {f"{name}/{kind}" for name in names() for kind in toolchains_on(name, System.current())}
    if find_socket():
        found.add("engine")
    else:
        found = {one for one in found if not one.endswith("/container")}
    return frozenset(found)
