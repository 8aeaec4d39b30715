"""A DOUBLE of a conversion's child that hostile input took over. A source that names no deed is converted."""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from converter.jobs import child
from converter.jobs.child import EVENTS, LOG, OUTPUT
from converter.processes import linux

NAME = "tests.hostile_child"


def convert(request: Mapping[str, Any], folder: str, bounds: Any = None) -> dict[str, Any]:
    """In the child: what the source's first line says, or a conversion."""
    source = Path(request["source"])
    deed, _, rest = source.read_bytes()[:4096].partition(b"\n")
    if not deed.startswith(b"deed:"):
        return child.convert(request, folder, bounds)
    linux.bound_this_process(**bounds)
    match deed.decode().removeprefix("deed:"):
        case "fork bomb":
            _fork()
        case "endless":
            while True:
                print("on and on", flush=True)
        case "database":
            return _database(Path(folder), Path(rest.decode()))
    raise AssertionError(deed)


def _fork() -> None:
    """Children that fork children; for root, whose processes the kernel does not count, few enough."""
    for _ in range(6):
        with contextlib.suppress(OSError):
            if os.fork() == 0:
                os.setsid()
                continue
    time.sleep(3600)


def _database(folder: Path, database: Path) -> dict[str, Any]:
    """Give the server's database away, by every way there is."""
    (folder / OUTPUT).mkdir()
    output = folder / OUTPUT / "net.tar"
    try:
        output.write_bytes(database.read_bytes())
    except OSError:
        output.symlink_to(database)
    (folder / LOG).symlink_to(database)
    (folder / EVENTS).symlink_to(database)
    digest = hashlib.sha256(b"").hexdigest()
    return {"exit_code": 0, "output": str(database), "sha256": digest}
