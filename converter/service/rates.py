"""How often a tenant asks."""

from __future__ import annotations

import threading
import time


class Rates:
    """Counts requests by tenant: a bucket that fills evenly over a minute. One process' memory."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._buckets: dict[str, tuple[float, float]] = {}

    def wait(self, tenant: str, per_minute: int) -> float:
        """Take one request; 0, or the seconds until there is room."""
        with self._lock:
            moment = time.monotonic()
            left, at = self._buckets.get(tenant, (float(per_minute), moment))
            left = min(float(per_minute), left + (moment - at) * per_minute / 60)
            taken = left >= 1
            self._buckets[tenant] = (left - 1 if taken else left, moment)
            return 0.0 if taken else (1 - left) * 60 / per_minute
