"""What an attempt does, on any machine: files in, a conversion in a child process, files out.

An attempt has a folder of its own, and names nothing to anybody before it is finished: what it stores
is nobody's until a row names it.
"""

from __future__ import annotations

import errno
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any, Final

from converter.archive.tar import name_problem
from converter.errors import Cancelled, ConvertError, ToolError, UsageError
from converter.jobs.child import EVENTS, LOG, OUTPUT, REPORT
from converter.jobs.executor import Lost, Ticket
from converter.jobs.isolation import Isolation
from converter.jobs.results import checked, failed
from converter.jobs.states import State
from converter.jobs.tail import Tail
from converter.jobs.values import Artefact, Event, Outcome
from converter.processes import untrusted
from converter.processes.run import Processes
from converter.storage import Storage

# What the child process calls.
FUNCTION = "converter.jobs.child:convert"
# How long a conversion may take to end its children and containers when it is cancelled.
GRACE_S = 10.0
# What is taken of a child's files where its limits say nothing.
_MOST_BYTES: Final = 64 << 30
_MOST_LOG_BYTES: Final = 64 << 20
_MOST_ANSWER_BYTES: Final = 32 << 20


class Working:
    """An attempt that works: `run` does it all, in one thread; others may look at it and end it."""

    def __init__(
        self, ticket: Ticket, storage: Storage, folder: Path, isolation: Isolation | None = None
    ) -> None:
        """An attempt to come.

        Args:
            folder: An empty folder of the attempt's own; whoever made it removes it.
            isolation: The sandbox for its child, where there is one.
        """
        self.ticket = ticket
        self._storage = storage
        self._folder = folder
        self._isolation = isolation
        self._processes = Processes()
        self._tail = Tail(folder, EVENTS)
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
            if self._cancelled and isinstance(error, ToolError):
                # It was ended before it could say so; in a sandbox always.
                return Lost(
                    job_id=self.ticket.job_id,
                    attempt=self.ticket.attempt,
                    reason=self._cancelled,
                    counts=False,
                )
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
        self._peak_bytes = max(self._peak_bytes, self._processes.rss_bytes())
        return self._tail.read()

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
        box, note, bounds = None, "", dict(self.ticket.bounds)
        if self._isolation is not None:
            asked = self.ticket.request
            box, note = self._isolation.box(asked.target, asked.options, asked.toolchain)
        if box is not None:  # elsewhere the bound would count every process of this user
            bounds["processes"] = box.sandbox.most_processes
        answer = self._processes.call(
            FUNCTION,
            {
                "request": {**request, "note": note},
                "folder": str(self._folder),
                "bounds": bounds,
            },
            what="The conversion",
            work=self._folder,
            timeout_s=self.ticket.time_s,
            grace_s=GRACE_S,
            most_bytes=_MOST_ANSWER_BYTES,
            box=box,
        )
        return checked(answer)

    def _stored(self, document: dict[str, Any]) -> tuple[Artefact, ...]:
        """Put what it made into the storage; the document then names no path of this machine.

        Raises:
            ToolError: The child left something else than it says; or the storage fails.
        """
        most = self.ticket.bounds.get("file_bytes") or _MOST_BYTES
        made: list[Artefact | None] = []
        if document["exit_code"] == 0:
            # Of the path that the child names, the last part: its folder is given.
            name = PurePosixPath(document["output"]).name
            if name_problem(name):
                raise ToolError(f"The conversion named its result {name!r}.")
            document["output"] = name
            archive = self._put("archive", OUTPUT, name, most_bytes=most)
            if archive is None:
                raise ToolError(f"The conversion left no {name}.")
            if archive.digest != f"sha256:{document['sha256']}":
                raise ToolError(f"The conversion left another {name} than it says.")
            made.append(archive)
        made.append(self._put("report", REPORT, most_bytes=most))
        made.append(self._put("log", LOG, most_bytes=_MOST_LOG_BYTES, cuts=True))
        return tuple(one for one in made if one is not None)

    def _put(self, kind: str, *names: str, most_bytes: int, cuts: bool = False) -> Artefact | None:
        """Store a file of the attempt's folder; None if there is none, or nothing in it."""
        try:
            with untrusted.opened(self._folder, *names, most_bytes=most_bytes, cuts=cuts) as file:
                digest = self._storage.put(file)
        except FileNotFoundError:
            return None
        if not file.size_bytes:
            return None
        return Artefact(kind=kind, digest=digest, name=names[-1], size_bytes=file.size_bytes)

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
            peak_bytes=int(max(self._peak_bytes, *given.get("peak_bytes", {}).values(), 0)),
            events=self.look(),
        )


def _is_outage(error: ToolError) -> bool:
    """Whether a disk or a store failed, and not for want of room: it may be better next time."""
    cause = error.__cause__
    return isinstance(cause, OSError) and cause.errno not in (errno.ENOSPC, errno.EDQUOT)
