"""What runs in the child process of an attempt: one conversion, which tells what it does in a file."""

from __future__ import annotations

import json
import signal
import threading
import time
import zipfile
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from types import FrameType
from typing import Any, Final

from converter.errors import Cancelled, ConvertError, VerificationError
from converter.events import Event, Notice, Progress, StageFinished, StageStarted, ToolSaid, Warned
from converter.jobs.results import error_json
from converter.processes import linux
from converter.processes.run import kept_as_twin

EVENTS: Final = "events.jsonl"
LOG: Final = "log.txt"
OUTPUT: Final = "out"
REPORT: Final = "report.html"
# A tool may print without end: what is kept of it in rows is bounded; the log file has all of it.
_MOST_LINES: Final = 2000
_PROGRESS_S: Final = 0.5


def convert(
    request: Mapping[str, Any], folder: str, bounds: Mapping[str, int | None] | None = None
) -> dict[str, Any]:
    """Convert, as `converter.run.convert` does; SIGTERM, or the parent's end, cancels it.

    Args:
        request: `source`, `target`, `options`, `toolchain` and `report`; with `unpack`,
            `calibration.path` may be a tar; a `note` is told.
        folder: An empty folder of the attempt's own. The archive is written below `out`.
        bounds: What this process and its children may take; see `linux.bound_this_process`.

    Returns:
        The document of `convert --json` with `exit_code`; or `exit_code`, `error`, and `verification`
        if it failed in the verification.
    """
    signal.signal(signal.SIGTERM, _stop)
    linux.die_with_parent(number=signal.SIGTERM)
    linux.be_killed_first()
    linux.yield_to_others()
    linux.bound_this_process(**(bounds or {}))
    with kept_as_twin():
        return _convert(request, Path(folder))


def _convert(request: Mapping[str, Any], place: Path) -> dict[str, Any]:
    teller = Teller(place)
    try:
        from converter.run import convert as run

        if request.get("note"):
            teller.event(Notice(text=request["note"]))
        try:
            options = dict(request["options"])
            if request.get("unpack"):
                options["calibration.path"] = str(_folder_of(Path(options["calibration.path"])))
            done = run(
                request["source"],
                request["target"],
                output=f"{place / OUTPUT}/",
                options=options,
                toolchain=request["toolchain"],
                on_event=teller.event,
                report=place / REPORT if request["report"] else None,
            )
        except ConvertError as error:
            teller.line(f"error: {error}")
            if error.tool_text:
                teller.line(error.tool_text)
            document: dict[str, Any] = {
                "exit_code": error.exit_code,
                "error": error_json(error, teller.stage),
            }
            if isinstance(error, VerificationError) and error.tool_text:
                document["verification"] = json.loads(error.tool_text)
            return document
        return {**done.to_json(), "exit_code": 0}
    finally:
        teller.close()


def _folder_of(archive: Path) -> Path:
    """What `calibration.path` takes: a zip as it is, a tar unpacked.

    Here and not where the attempt was begun: it may be a bomb, and here it is bounded and can be ended.

    Raises:
        Cancelled: By SIGTERM.
    """
    if zipfile.is_zipfile(archive):
        return archive
    from converter.archive.tar import extract

    folder = archive.with_name("frames")
    folder.mkdir()
    try:
        extract(archive, folder)
    except KeyboardInterrupt as error:
        raise Cancelled("It was cancelled.") from error
    return folder


def _stop(_number: int, _frame: FrameType | None) -> None:
    # Once: what is cleaned up now must not be interrupted.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise KeyboardInterrupt


class Teller:
    """Writes events into a file, a line of JSON each, and a log for people beside it."""

    def __init__(self, folder: Path) -> None:
        self._events = (folder / EVENTS).open("w", encoding="utf-8", buffering=1)
        self._log = (folder / LOG).open("w", encoding="utf-8", errors="replace", buffering=1)
        self._lock = threading.Lock()
        self._number = 0
        self._lines = 0
        self._progress_at = 0.0
        self._titles: dict[str, str] = {}
        self.stage = ""

    def event(self, event: Event) -> None:
        """An event of the conversion, from any thread."""
        data = asdict(event)
        with self._lock:
            if isinstance(event, StageStarted | StageFinished):
                self.stage = event.stage
                self._tell("stage", data)
                ended = "" if isinstance(event, StageStarted) else f" ended, {event.seconds:.1f} s"
                self._write(f"[{event.stage}]{ended}")
            elif isinstance(event, Progress):
                now = time.monotonic()
                if now >= self._progress_at + _PROGRESS_S or event.done == event.total:
                    self._progress_at = now
                    self._tell("progress", data)
            elif isinstance(event, Warned):
                self._tell("warning", data)
                self._write(f"warning: {event.text}")
            else:
                assert isinstance(event, Notice | ToolSaid)
                self._lines += 1
                if self._lines <= _MOST_LINES:
                    self._tell("log", data)
                self._write(event.text)

    def line(self, text: str) -> None:
        """A line of the log."""
        with self._lock:
            self._write(text)

    def _write(self, text: str) -> None:
        self._log.write(f"{text}\n")

    def _tell(self, kind: str, data: Mapping[str, Any]) -> None:
        self._number += 1
        told = {"number": self._number, "at": time.time(), "kind": kind, "data": data}
        self._events.write(json.dumps(told) + "\n")

    def close(self) -> None:
        """Nothing is told any more."""
        with self._lock:
            self._events.close()
            self._log.close()
