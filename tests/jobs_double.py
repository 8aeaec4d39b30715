"""A DOUBLE of a conversion for tests of jobs: it converts nothing, and does what its options say.

All around it is real: the child process, its fork server, the child of that which works, the files.

`python -m tests.jobs_double worker SCHEDULER` is a worker of a scheduler, and
`python -m tests.jobs_double dispatcher DATABASE STORAGE [SCHEDULER]` a dispatcher, until it is killed.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import signal
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
from converter.jobs.cluster import Cluster
from converter.jobs.database import connect
from converter.jobs.dispatcher import Dispatcher
from converter.jobs.executor import Executor
from converter.jobs.here import Here
from converter.jobs.leader import Leader
from converter.jobs.results import error_json
from converter.jobs.rows import Rows
from converter.processes import linux
from converter.processes.run import Processes, kept_as_twin, kept_warm
from converter.storage import Storage

NAME = "tests.jobs_double"


def convert(request: Mapping[str, Any], folder: str, bounds: Any = None) -> dict[str, Any]:
    """In the child. Options: `seconds`; `fails`; `dies`, once, by a mark file; `marks`, a folder."""
    signal.signal(signal.SIGTERM, _stop)
    linux.die_with_parent(number=signal.SIGTERM)
    with kept_as_twin():
        return _convert(request, Path(folder))


def _convert(request: Mapping[str, Any], place: Path) -> dict[str, Any]:
    options = request["options"]
    teller = Teller(place)
    processes = Processes()
    try:
        teller.event(StageStarted(stage="double", title="Nothing", index=1, total=1))
        mark(options)
        if options.get("dies") and not Path(options["dies"]).exists():
            Path(options["dies"]).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        processes.call(f"{NAME}:work", {"options": options}, what="It", work=place, timeout_s=600)
        teller.event(Notice(text="worked"))
        if options.get("fails"):
            error = ModelError("It fails.", remedy="As it was asked to.")
            return {"exit_code": error.exit_code, "error": error_json(error)}
        output = place / OUTPUT / "double.tar"
        output.parent.mkdir()
        output.write_bytes(Path(request["source"]).read_bytes() + b" converted")
        sha256 = hashlib.sha256(output.read_bytes()).hexdigest()
        return {"exit_code": 0, "output": str(output), "sha256": sha256}
    except KeyboardInterrupt:
        raise Cancelled("Cancelled.") from None
    finally:
        processes.end_all()
        teller.close()


def work(options: Mapping[str, Any]) -> None:
    """In the child's child."""
    mark(options)
    time.sleep(options.get("seconds", 0))


def mark(options: Mapping[str, Any]) -> None:
    """Leave this process's number in a folder."""
    if "marks" in options:
        Path(options["marks"], str(os.getpid())).touch()


@contextlib.contextmanager
def warm(folder: Path) -> Iterator[None]:
    """As `converter.jobs.warm`, without what conversions import."""
    with kept_warm((NAME, "converter.processes.worker"), folder):
        yield


def use() -> None:
    """Let the attempts of this process run the double."""
    attempt.FUNCTION = f"{NAME}:convert"
    attempt.GRACE_S = 2.0
    here.keep_warm = worker.warm = warm  # type: ignore[attr-defined]


def main(what: str, where: str, storage: str = "", scheduler: str = "") -> None:
    use()
    if what == "worker":
        # A sandbox does not show the double, which is no part of the converter.
        worker.serve(where, slots=2, memory_bytes=10**10, sandbox="off", say=print)
        return
    rows, files = Rows(connect(where, wait_s=60)), Storage(storage)
    with Leader(rows.engine) as leader:
        leader.wait()
        executor: Executor = (
            Cluster(scheduler, files)
            if scheduler
            else Here(files, slots=2, memory_bytes=10**10, labels=frozenset())
        )
        Dispatcher(rows, executor, poll_s=0.1).run(threading.Event())


if __name__ == "__main__":
    main(*sys.argv[1:])
