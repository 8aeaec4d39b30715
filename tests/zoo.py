"""A zoo without conversions: a double of the executor, which says so, and manifests to build with it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from converter.jobs.executor import Lost, Place, Report, Started, Ticket
from converter.jobs.states import State
from converter.jobs.values import Artefact, Outcome
from converter.storage import Storage
from converter.zoo.build import build
from converter.zoo.events import ZooEvent
from converter.zoo.index import Index
from converter.zoo.running import Runner
from tests.sources import DIGITS, DIGITS_ARCHIVE

TARGETS = (
    {"target": "rvc2"},
    {"target": "rvc4", "toolchain": "native", "modes": ["INT8_STANDARD", "FP16_STANDARD"]},
)
Act = Callable[[Ticket], Report | BaseException | None]


class Pretended:
    """A double of an executor: it converts nothing, and says at once that it has.

    Attributes:
        converted: The tickets that it got.
        act: What becomes of a ticket; None makes an archive out of thin air.
    """

    def __init__(self) -> None:
        self.storage: Storage | None = None
        self.converted: list[Ticket] = []
        self.act: Act = lambda _ticket: None
        self._reports: list[Report] = []
        self._interrupt: BaseException | None = None

    @property
    def cells(self) -> list[str]:
        """The targets and modes of the tickets."""
        return [
            f"{one.request.target}/{one.request.options.get('rvc4.quantization_mode', 'default')}"
            for one in self.converted
        ]

    def room(self) -> Sequence[Place]:
        labels = frozenset({"rvc2/native", "rvc4/native"})
        return [Place(name="double", free=4, free_bytes=1 << 40, total_bytes=1 << 40, labels=labels)]

    def start(self, ticket: Ticket) -> None:
        self.converted.append(ticket)
        self._reports.append(Started(job_id=ticket.job_id, attempt=ticket.attempt, worker="double"))
        report = self.act(ticket)
        if isinstance(report, BaseException):
            self._interrupt = report
        else:
            self._reports.append(self.made(ticket) if report is None else report)

    def made(self, ticket: Ticket) -> Outcome:
        assert self.storage is not None
        content = repr((ticket.request.source, sorted(ticket.request.options.items()))).encode()
        files = {"archive": b"an archive of " + content, "log": b"a log of " + content}
        artefacts = tuple(
            Artefact(kind=kind, digest=self.storage.put(data), name=kind, size_bytes=len(data))
            for kind, data in files.items()
        )
        result = {
            "exit_code": 0,
            "output": "out.tar.xz",
            "sha256": artefacts[0].digest.removeprefix("sha256:"),
            "size_bytes": artefacts[0].size_bytes,
            "plan_hash": "0" * 64,
            "target": ticket.request.target,
            "toolchain": "native",
            "model": {"inputs": [], "outputs": []},
            "verification": {"status": "passed", "outputs": {}},
            "warnings": ["a warning"],
            "timings_s": {"total": 1.5},
            "peak_bytes": {},
            "cache": {"hit": False},
        }
        return Outcome(
            job_id=ticket.job_id,
            attempt=ticket.attempt,
            state=State.SUCCEEDED,
            result=result,
            artefacts=artefacts,
        )

    def failure(self, ticket: Ticket, exit_code: int) -> Outcome:
        error = {"class": "ModelError", "message": "It cannot.", "remedy": "", "stage": "prepare"}
        return Outcome(
            job_id=ticket.job_id,
            attempt=ticket.attempt,
            state=State.FAILED,
            result={"exit_code": exit_code, "error": error},
            reason="It cannot.",
        )

    def lost(self, ticket: Ticket) -> Lost:
        return Lost(job_id=ticket.job_id, attempt=ticket.attempt, reason="The worker is gone.")

    def cancel(self, job_id: str, attempt: int) -> None:
        pass

    def finished(self, timeout_s: float) -> list[Report]:
        if not self._reports and self._interrupt is not None:
            interrupt, self._interrupt = self._interrupt, None
            raise interrupt
        found, self._reports = self._reports, []
        return found

    def close(self) -> None:
        pass


def pretended(monkeypatch: pytest.MonkeyPatch) -> Pretended:
    """Put the double in the place of this machine."""
    double = Pretended()

    def execute(runner: Runner) -> Pretended:
        double.storage = runner.storage
        return double

    monkeypatch.setattr(Runner, "_execute", execute)
    return double


def manifest(folder: Path, **more: Any) -> Path:
    """The smallest manifest, with other keys beside or in place of its own."""
    document: Mapping[str, Any] = {
        "version": 1,
        "models": [
            {
                "name": "digits",
                "source": str(DIGITS_ARCHIVE),
                "calibration": str(DIGITS / "calibration"),
            }
        ],
        "targets": list(TARGETS),
        **more,
    }
    path = folder / "zoo.yaml"
    path.write_text(yaml.safe_dump(dict(document)))
    return path


def built(path: Path, out: Path, **more: Any) -> tuple[Index, list[ZooEvent]]:
    """A build and what it told."""
    events: list[ZooEvent] = []
    return build(path, out, events.append, **more), events
