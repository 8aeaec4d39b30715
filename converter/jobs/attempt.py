"""What an attempt does, on any machine: files in, a conversion in a child process, files out.

An attempt has a folder of its own, and names nothing to anybody before it is finished: what it stores
is nobody's until a row names it.
"""

from __future__ import annotations

import errno
import json
import threading
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from converter.archive.tar import name_problem
from converter.errors import Cancelled, ConvertError, ToolError, UsageError
from converter.jobs.child import EVENTS, LOG, REPORT
from converter.jobs.executor import Lost, Ticket
from converter.jobs.results import failed
from converter.jobs.states import State
from converter.jobs.values import Artefact, Event, Outcome
from converter.processes import linux
from converter.processes.run import Processes
from converter.storage import Storage

# What the child process calls.
FUNCTION = "converter.jobs.child:convert"
# How long a conversion may take to end its children and containers when it is cancelled.
GRACE_S = 10.0


class Working:
    """An attempt that works: `run` does it all, in one thread; others may look at it and end it."""

    def __init__(self, ticket: Ticket, storage: Storage, folder: Path) -> None:
        """An attempt to come.

        Args:
            folder: An empty folder of the attempt's own; whoever made it removes it.
        """
        self.ticket = ticket
        self._storage = storage
        self._folder = folder
        self._processes = Processes()
        self._tail = Tail(folder / EVENTS)
        self._peak_bytes = 0
        self._cancelled = ""

    def run(self) -> Outcome | Lost:
        """Do it; an error is an outcome, too."""
        try:
            request = self._fetched()
            document = self._converted(request)
        except Cancelled:
            return self._outcome(State.CANCELLED, reason=self._cancelled or "It was cancelled.")
        except ConvertError as error:
            if isinstance(error, ToolError) and (error.was_killed or _is_outage(error)):
                return Lost(
                    job_id=self.ticket.job_id,
                    attempt=self.ticket.attempt,
                    reason=error.message,
                )
            document = failed(error)
        if document["exit_code"] == Cancelled.exit_code:
            return self._outcome(State.CANCELLED, reason=self._cancelled or "It was cancelled.")
        try:
            artefacts = self._stored(document)
        except ToolError as error:
            if _is_outage(error):
                return Lost(
                    job_id=self.ticket.job_id, attempt=self.ticket.attempt, reason=error.message
                )
            return self._outcome(State.FAILED, failed(error), str(error))
        if document["exit_code"]:
            told = document["error"]
            reason = f"{told['message']} {told['remedy']}".strip()
            return self._outcome(State.FAILED, document, reason, artefacts)
        return self._outcome(State.SUCCEEDED, document, "", artefacts)

    def cancel(self, reason: str = "It was cancelled.") -> None:
        """End it with all that it started; from any thread."""
        self._cancelled = self._cancelled or reason
        self._processes.end_all()

    def look(self) -> tuple[Event, ...]:
        """What it told since it was last asked; from any thread. Also measures its memory."""
        told = self._tail.read()
        if self._tail.pid:
            self._peak_bytes = max(self._peak_bytes, linux.tree_rss_bytes(self._tail.pid))
        return told

    def _fetched(self) -> dict[str, Any]:
        """Fetch the files that the request names; the request with their paths."""
        request, inputs = self.ticket.request, self._folder / "inputs"
        inputs.mkdir()
        assert request.source is not None
        options = dict(request.options)
        source = self._file("source", request.source, request.source_name)
        for name, digest in request.beside.items():
            self._beside(source.parent, name, digest)
        if request.calibration is not None:
            # Its kind is told by its first bytes: whoever sent it may have called it anything.
            data = self._file("calibration", request.calibration, "calibration.zip")
            options["calibration.path"] = str(data)  # a tar is unpacked in the child
        for index, (key, attached) in enumerate(sorted(request.attachments.items())):
            options[key] = str(self._file(f"file{index}", attached.digest, attached.name))
        return {
            "source": str(source),
            "target": request.target,
            "options": options,
            "toolchain": request.toolchain,
            "report": request.report,
            "unpack": request.calibration is not None,
        }

    def _file(self, folder: str, digest: str, name: str) -> Path:
        """Fetch one file into a folder of its own, under the last part of its name."""
        place = self._folder / "inputs" / folder / (PurePosixPath(name).name or "file")
        place.parent.mkdir()
        self._storage.fetch(digest, place)
        return place

    def _beside(self, folder: Path, name: str, digest: str) -> None:
        """Fetch a file that lies beside the source, never above its folder."""
        if name_problem(name):
            raise UsageError(f"{name!r} cannot lie beside the source.")
        place = folder / name
        place.parent.mkdir(parents=True, exist_ok=True)
        self._storage.fetch(digest, place)

    def _converted(self, request: Mapping[str, Any]) -> dict[str, Any]:
        return dict(
            self._processes.call(
                FUNCTION,
                {
                    "request": dict(request),
                    "folder": str(self._folder),
                    "bounds": dict(self.ticket.bounds),
                },
                what="The conversion",
                work=self._folder,
                timeout_s=self.ticket.time_s,
                grace_s=GRACE_S,
            )
        )

    def _stored(self, document: dict[str, Any]) -> tuple[Artefact, ...]:
        """Put what it made into the storage; the document then names no path of this machine."""
        made = {"report": self._folder / REPORT, "log": self._folder / LOG}
        if document["exit_code"] == 0:
            made = {"archive": Path(document["output"]), **made}
            document["output"] = Path(document["output"]).name
        return tuple(
            Artefact(
                kind=kind,
                digest=self._storage.put(path),
                name=path.name,
                size_bytes=path.stat().st_size,
            )
            for kind, path in made.items()
            if path.is_file() and path.stat().st_size
        )

    def _outcome(
        self,
        state: State,
        document: Mapping[str, Any] | None = None,
        reason: str = "",
        artefacts: tuple[Artefact, ...] = (),
    ) -> Outcome:
        given = document or failed(Cancelled(reason))
        return Outcome(
            job_id=self.ticket.job_id,
            attempt=self.ticket.attempt,
            state=state,
            result=given,
            artefacts=artefacts,
            reason=reason,
            peak_bytes=max(self._peak_bytes, *given.get("peak_bytes", {}).values(), 0),
            events=self.look(),
        )


class Tail:
    """Reads a file of events as it grows.

    Attributes:
        pid: The process that writes it; 0 before it does.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read = 0
        self._lock = threading.Lock()
        self.pid = 0

    def read(self) -> tuple[Event, ...]:
        """The events that were not read before; half a line is left for later."""
        with self._lock:
            try:
                with self._path.open("rb") as file:
                    file.seek(self._read)
                    data = file.read()
            except FileNotFoundError:
                return ()
            whole = data[: data.rfind(b"\n") + 1]
            self._read += len(whole)
        told = []
        for line in whole.splitlines():
            one = json.loads(line)
            if "pid" in one:
                self.pid = one["pid"]
            else:
                told.append(Event(attempt=0, **one))
        return tuple(told)


def _is_outage(error: ToolError) -> bool:
    """Whether a disk or a store failed, and not for want of room: it may be better next time."""
    cause = error.__cause__
    return isinstance(cause, OSError) and cause.errno not in (errno.ENOSPC, errno.EDQUOT)
