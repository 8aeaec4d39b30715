"""A DOUBLE of a conversion for tests of jobs: it converts nothing, and does what its options say.

`python -m tests.jobs_double worker SCHEDULER STORAGE` is a real worker of a real scheduler whose attempts
run the double; `dispatcher DATABASE STORAGE` is a dispatcher on this machine with it, until it is killed.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from converter.errors import Cancelled, ModelError
from converter.events import Notice, StageStarted
from converter.jobs import attempt, here, worker
from converter.jobs.child import OUTPUT, Teller, _stop
from converter.jobs.database import connect
from converter.jobs.dispatcher import Dispatcher
from converter.jobs.here import Here
from converter.jobs.leader import Leader
from converter.jobs.results import error_json
from converter.jobs.rows import Rows
from converter.jobs.storage import Storage
from converter.processes import linux

FUNCTION = "tests.jobs_double:convert"


def convert(request: Mapping[str, Any], folder: str) -> dict[str, Any]:
    """In the child: options `seconds`, `fails`, `dies` (once, by a mark file), `marks` (a folder)."""
    signal.signal(signal.SIGTERM, _stop)
    linux.die_with_parent(number=signal.SIGTERM)
    options = request["options"]
    place = Path(folder)
    teller = Teller(place)
    tool: subprocess.Popen[bytes] | None = None
    try:
        teller.event(StageStarted(stage="double", title="Nothing", index=1, total=1))
        if "marks" in options:
            # A grandchild, as a vendor's tool is one; it sees to it that it ends with us, as ours do.
            code = (
                f"import time; from converter.processes.linux import *; die_with_parent({os.getpid()})"
            )
            tool = subprocess.Popen([sys.executable, "-c", f"{code}; time.sleep(600)"])
            for pid in (os.getpid(), tool.pid):
                Path(options["marks"], str(pid)).touch()
        if options.get("dies") and not Path(options["dies"]).exists():
            Path(options["dies"]).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        for index in range(round(10 * options.get("seconds", 0))):
            time.sleep(0.1)
            teller.event(Notice(text=f"{index}"))
        if options.get("fails"):
            error = ModelError("It fails.", remedy="As it was asked to.")
            return {"exit_code": error.exit_code, "error": error_json(error)}
        output = place / OUTPUT / "double.tar"
        output.parent.mkdir()
        output.write_bytes(Path(request["source"]).read_bytes() + b"converted")
        sha256 = hashlib.sha256(output.read_bytes()).hexdigest()
        return {"exit_code": 0, "output": str(output), "sha256": sha256}
    except KeyboardInterrupt:
        raise Cancelled("Cancelled.") from None
    finally:
        if tool is not None:
            tool.kill()
            tool.wait()
        teller.close()


@contextlib.contextmanager
def _cold(_folder: Path) -> Iterator[None]:
    yield


def use() -> None:
    """Let the attempts of this process run the double."""
    attempt.FUNCTION = FUNCTION
    here.keep_warm = worker.warm = _cold  # type: ignore[attr-defined]


def main(what: str, where: str, storage: str) -> None:
    use()
    if what == "worker":
        worker.serve(where, slots=2, memory_bytes=10**10, storage=storage, say=print)
        return
    rows = Rows(connect(where, wait_s=60))
    with Leader(rows.engine) as leader:
        leader.wait()
        executor = Here(Storage(storage), slots=2, memory_bytes=10**10, labels=frozenset())
        Dispatcher(rows, executor, poll_s=0.1).run(threading.Event())


if __name__ == "__main__":
    main(*sys.argv[1:])
