"""A limit on how long something may run, and a sign of life meanwhile."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from typing import Final, Self

_HEARTBEAT_S: Final = 60.0


class Watch:
    """Ends what runs too long, and gives a sign of life before that."""

    def __init__(
        self, end: Callable[[], None], timeout_s: float, beat: Callable[[float], None]
    ) -> None:
        self._end, self._timeout_s, self._beat = end, timeout_s, beat
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self.timed_out = False

    def _watch(self) -> None:
        started = time.monotonic()
        while True:
            spent = time.monotonic() - started
            if self._over.wait(min(_HEARTBEAT_S, max(0.0, self._timeout_s - spent))):
                return
            spent = time.monotonic() - started
            if spent >= self._timeout_s:
                self.timed_out = True
                self._end()
                return
            # The listener may fail; the limit is kept all the same.
            with contextlib.suppress(Exception):
                self._beat(spent)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        if threading.current_thread() is not self._thread:
            self._thread.join()
