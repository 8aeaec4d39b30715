"""A conversion that was started by another program ends with that program."""

from __future__ import annotations

import os
import signal
import threading
import time
from typing import Final

from converter.processes.forked import ready

_LOOK_S: Final = 1.0


def end_with_parent() -> None:
    """Cancel this process when its parent ends, even by `kill -9`.

    It is cancelled as by SIGTERM, so that nothing is left behind: no part of an output, no work folder,
    no container, no child.
    """
    parent = os.getppid()
    threading.Thread(target=_watch, args=(parent,), name="parent", daemon=True).start()


def _watch(parent: int) -> None:
    # Not prctl(PR_SET_PDEATHSIG): its signal comes when the thread ends that started us, and a program
    # with a pool of threads starts conversions from threads that end.
    try:
        watched = os.pidfd_open(parent)
    except (AttributeError, OSError):  # not Linux, or before 5.3; or the parent is gone
        watched = -1
    while os.getppid() == parent:
        if watched < 0:
            time.sleep(_LOOK_S)
        else:
            ready(watched, _LOOK_S)
    os.kill(os.getpid(), signal.SIGTERM)
