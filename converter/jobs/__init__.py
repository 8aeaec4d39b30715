"""Jobs: conversions that are on record, queued, run and followed; for the zoo and the service.

    from converter.jobs import Dispatcher, Here, Request, Rows, Storage, Submission, connect

    rows = Rows(connect("work/jobs.db"))                # or postgresql://…
    storage = Storage("work/files")                     # or s3://bucket/prefix
    source = storage.put("model.tar.xz")                # "sha256:…"
    request = Request(source=source, source_name="model.tar.xz", target="rvc2")
    rows.submit(Submission(id="1", request=request))
    dispatcher = Dispatcher(rows, Here(storage))
    dispatcher.run_until_idle()                         # or run(stop), in a thread
    job = rows.get("1")                                 # job.state, job.result: the document of --json
    storage.fetch(rows.artefacts("1")["archive"].digest, Path("out.tar.xz"))
    rows.events("1", after=0)                           # every stage, and what follows a position
    dispatcher.close()

**Rows are the truth.** `Rows` changes a job in one transaction each, fenced by its state and its
attempt's number; whoever comes too late changes nothing. Any process may submit, cancel and look; one
dispatcher hands queued jobs to an executor. Killing anything loses nothing: what a row calls running,
and nobody runs, is queued again.

**States**: accepted → waiting_inputs → queued → running → succeeded | failed | cancelled | expired.
`Submission(hold=True)` stays accepted until `Rows.release`; a request that `wants` files waits for
`Rows.give_inputs`, and expires. Submitting the same job again under its id gives the same job; another
one is a `Conflict`.

**Files** travel through `Storage` alone, by digest. A finished job names its files in the transaction
that ends it; `Storage.sweep(rows.digests())` removes what nobody names.

**A job's result** is the document of `convert --json` (`output` without a folder), with `exit_code`; a
job that failed has `error` (class, message, remedy, code, stage, findings) and, from a failed
verification, `verification`. Its artefacts are `archive`, `report` and `log`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from converter.jobs.database import connect as connect
    from converter.jobs.dispatcher import Dispatcher as Dispatcher
    from converter.jobs.errors import Conflict as Conflict
    from converter.jobs.errors import Corrupt as Corrupt
    from converter.jobs.errors import DatabaseAway as DatabaseAway
    from converter.jobs.errors import Missing as Missing
    from converter.jobs.errors import OtherVersion as OtherVersion
    from converter.jobs.here import Here as Here
    from converter.jobs.rows import Rows as Rows
    from converter.jobs.states import ENDED as ENDED
    from converter.jobs.states import State as State
    from converter.jobs.values import Artefact as Artefact
    from converter.jobs.values import Attachment as Attachment
    from converter.jobs.values import Attempt as Attempt
    from converter.jobs.values import Event as Event
    from converter.jobs.values import Job as Job
    from converter.jobs.values import Limits as Limits
    from converter.jobs.values import Outcome as Outcome
    from converter.jobs.values import Request as Request
    from converter.jobs.values import Submission as Submission
    from converter.storage import Storage as Storage

# Loaded when they are asked for: SQLAlchemy alone takes a third of a second.
_WHERE: Final = {
    "connect": "database",
    "Dispatcher": "dispatcher",
    **dict.fromkeys(("Conflict", "Corrupt", "DatabaseAway", "Missing", "OtherVersion"), "errors"),
    "Here": "here",
    "Rows": "rows",
    **dict.fromkeys(("ENDED", "State"), "states"),
    "Storage": ".storage",
    **dict.fromkeys(
        ("Artefact", "Attachment", "Attempt", "Event", "Job", "Limits", "Outcome", "Request"), "values"
    ),
    "Submission": "values",
}


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_WHERE[name]}", __name__), name)
