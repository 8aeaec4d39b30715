"""How much of the machine a container may take."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Self

from converter.errors import UsageError
from converter.options.resolve import Options

_UNITS: Final = {"": 1, "b": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}
_SIZE: Final = re.compile(r"(\d+(?:\.\d+)?)\s*([bkmgt]?)(?:i?b)?", re.IGNORECASE)
_LEAST_BYTES: Final = 64 << 20
# The default share of the machine's memory: if it runs out, the tool shall end, not the machine.
_SHARE: Final = 0.9


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a container may take at most.

    Attributes:
        memory_bytes: Memory, swap included; None for nine tenths of what the engine has.
        cpus: Processors' worth of time; None for all of them.
        pids: Processes and threads.
    """

    memory_bytes: int | None = None
    cpus: float | None = None
    pids: int = 2048

    @classmethod
    def of(cls, options: Options) -> Self:
        """The limits that the options set.

        Raises:
            UsageError: `container.memory` is no size.
        """
        memory = options.text("container.memory")
        cpus = options.get("container.cpus")
        return cls(
            memory_bytes=None if memory is None else _bytes(memory),
            cpus=float(cpus) if isinstance(cpus, int | float) else None,
            pids=options.integer("container.pids"),
        )

    def memory_of(self, total_bytes: int) -> int:
        """The limit in bytes on an engine that has that much memory."""
        return self.memory_bytes or int(total_bytes * _SHARE)


def _bytes(text: str) -> int:
    found = _SIZE.fullmatch(text.strip())
    size = int(float(found[1]) * _UNITS[found[2].lower()]) if found else 0
    if size < _LEAST_BYTES:
        raise UsageError(
            f"container.memory: {text!r} is not an amount of memory that a tool can run in.",
            remedy="Write it as 8g or 512m.",
        )
    return size
