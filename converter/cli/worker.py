"""`worker`: this machine converts for a Dask scheduler."""

# ruff: noqa: T201 - printing is what this module is for

from __future__ import annotations

import sys

from converter.errors import UsageError
from converter.processes.sandbox import Mode


def worker(
    scheduler: str, slots: int | None, memory_gb: float | None, storage: str | None, sandbox: Mode
) -> int:
    """Work until SIGTERM or Ctrl-C.

    Raises:
        UsageError: Dask is not installed, or the address is none.
        ToolchainError: A sandbox is required, and does not work here.
        OtherVersion: The dispatcher is of another version.
    """
    try:
        from converter.jobs.worker import serve
    except ModuleNotFoundError as error:
        raise UsageError(
            f"A worker needs {error.name}.",
            remedy="Run: pip install 'nnarchive-converter[cluster]'",
        ) from error
    serve(
        scheduler,
        slots=slots,
        memory_bytes=None if memory_gb is None else int(memory_gb * 1e9),
        storage=storage,
        sandbox=sandbox,
        say=lambda text: print(text, file=sys.stderr, flush=True),
    )
    return 0
