"""What every attempt's process imports, kept in one process that forks them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from converter.jobs.isolation import CONVERSION
from converter.processes.run import kept_warm
from converter.target import modules_called, names


@contextlib.contextmanager
def warm(folder: Path) -> Iterator[None]:
    """Keep it for the attempts inside the block.

    Args:
        folder: For what libraries leave behind.
    """
    called = [module for name in names() for module in modules_called(name)]
    with kept_warm(tuple(dict.fromkeys((*called, *CONVERSION))), folder):
        yield
