"""What a job is made of: plain values that go into rows, to other machines and to callers."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Final, Self

from converter.jobs.states import ENDED, State

# What `Request.wants` may name beside the keys of options.
SOURCE: Final = "source"
CALIBRATION: Final = "calibration"


@dataclass(frozen=True, kw_only=True)
class Attachment:
    """A file that an option names: its digest in the storage, and the name it is written under."""

    digest: str
    name: str


@dataclass(frozen=True, kw_only=True)
class Request:
    """What is to be converted, and how.

    Attributes:
        source: The source's digest (`sha256:…`); None while it is still to come.
        source_name: Its file name, which decides what it is taken for and how the result is called.
        target: `rvc2` or another target.
        options: Options by dotted key, as `converter.run.convert` takes them.
        toolchain: `auto`, or one of the target's.
        calibration: The digest of an archive (zip or tar) of the folder `calibration.path`.
        attachments: Files that other options of type path name, by the option's key. One that is a
            zip or tar is handed on as it is.
        wants: What is still to come: `source`, `calibration` or an option's key.
        beside: Digests of the files that lie beside the source, by their names relative to its folder:
            its weights.
        report: Whether a page (`convert --report`) is made.
    """

    source: str | None
    source_name: str
    target: str
    options: Mapping[str, Any] = field(default_factory=dict)
    toolchain: str = "auto"
    calibration: str | None = None
    attachments: Mapping[str, Attachment] = field(default_factory=dict)
    wants: tuple[str, ...] = ()
    beside: Mapping[str, str] = field(default_factory=dict)
    report: bool = True

    def to_json(self) -> dict[str, Any]:
        """Plain JSON data, which `from_json` reads."""
        attached = {
            key: {"digest": one.digest, "name": one.name} for key, one in self.attachments.items()
        }
        return {
            "source": self.source,
            "source_name": self.source_name,
            "target": self.target,
            "options": dict(self.options),
            "toolchain": self.toolchain,
            "calibration": self.calibration,
            "attachments": attached,
            "wants": list(self.wants),
            "beside": dict(self.beside),
            "report": self.report,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """The request that `to_json` wrote down."""
        attached = {key: Attachment(**one) for key, one in data.get("attachments", {}).items()}
        return cls(**{**data, "attachments": attached, "wants": tuple(data.get("wants", ()))})

    @property
    def digests(self) -> frozenset[str]:
        """The files of the storage that it names."""
        attached = (one.digest for one in self.attachments.values())
        named = (self.source, self.calibration, *attached, *self.beside.values())
        return frozenset(digest for digest in named if digest)

    @property
    def missing(self) -> tuple[str, ...]:
        """What is still to come, each once."""
        return tuple(dict.fromkeys((*self.wants, *(() if self.source else (SOURCE,)))))

    @property
    def kind(self) -> str:
        """A hash of all that decides what a run costs: two jobs of a kind need the same memory."""
        whole = {key: value for key, value in self.to_json().items() if key != "wants"}
        return hash_of(whole)

    def with_inputs(self, given: Mapping[str, str | Attachment]) -> Self:
        """The same with files that came: `source`, `calibration`, or an option's key."""
        named = {key: one.digest if isinstance(one, Attachment) else one for key, one in given.items()}
        attached = dict(self.attachments)
        for key, one in given.items():
            if key not in (SOURCE, CALIBRATION):
                attached[key] = one if isinstance(one, Attachment) else Attachment(digest=one, name=key)
        return replace(
            self,
            source=named.get(SOURCE, self.source),
            calibration=named.get(CALIBRATION, self.calibration),
            attachments=attached,
            wants=tuple(key for key in self.wants if key not in given),
        )


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a job may use.

    Attributes:
        time_s: Wall seconds of one attempt; then it fails.
        memory_bytes: What is set aside for it; None for what earlier runs of its kind took, or an
            estimate from the source's size. It is a figure for planning, not enforced.
        wait_s: Seconds that files may take to come before the job expires; None for ever.
        most_memory_bytes: What any one of its processes may hold; beyond it an allocation fails.
        most_cpu_s: CPU seconds of any one of its processes.
        most_file_bytes: The size of any one file that it writes.
    """

    time_s: float = 3600.0
    memory_bytes: int | None = None
    wait_s: float | None = 86_400.0
    most_memory_bytes: int | None = None
    most_cpu_s: int | None = None
    most_file_bytes: int | None = None

    @property
    def bounds(self) -> dict[str, int | None]:
        """What the kernel enforces: see `converter.processes.linux.bound_this_process`."""
        return {
            "memory_bytes": self.most_memory_bytes,
            "cpu_s": self.most_cpu_s,
            "file_bytes": self.most_file_bytes,
        }


@dataclass(frozen=True, kw_only=True)
class Submission:
    """A job that is handed in.

    Attributes:
        id: Chosen by whoever submits; the same job may be handed in again.
        hold: Whether it stays ACCEPTED until `Rows.release`.
        source_bytes: The source's size, from which its memory is estimated.

    See `Job` for the rest.
    """

    id: str
    request: Request
    limits: Limits = field(default_factory=Limits)
    labels: frozenset[str] = frozenset()
    priority: int = 0
    tenant: str = ""
    name: str = ""
    batch: str = ""
    source_bytes: int = 0
    hold: bool = False

    @property
    def asked(self) -> str:
        """A hash of what is asked for: another one under the same id is a conflict."""
        return hash_of([self.tenant, self.request.to_json(), asdict(self.limits), sorted(self.labels)])


@dataclass(frozen=True, kw_only=True)
class Job:
    """A job as its row says.

    Attributes:
        number: Counts up with every job that was submitted: the order of `Rows.find`.
        name: What its owner calls it, such as a cell of the zoo.
        batch: What it is part of, such as one build.
        kind: See `Request.kind`.
        labels: What the place that runs it must offer (`Place.labels`).
        attempt: The number of its latest attempt; 0 before the first.
        losses: How many attempts were lost that count against `Dispatcher.max_losses`.
        reason: Why it waits, or why it ended as it did; empty where there is nothing to say.
        result: The document of `convert --json`, with `exit_code`, and with `error` if it failed.
        events: How many events it has: the position of the latest one.
        cancelling: Whether its end was asked for while it ran.
    """

    id: str
    number: int
    tenant: str
    name: str
    batch: str
    state: State
    request: Request
    kind: str
    limits: Limits
    labels: frozenset[str]
    priority: int
    attempt: int
    losses: int
    reason: str
    result: Mapping[str, Any] | None
    events: int
    cancelling: bool
    source_bytes: int
    created_at: float
    queued_at: float | None
    started_at: float | None
    ended_at: float | None
    expires_at: float | None

    @property
    def has_ended(self) -> bool:
        """Whether nothing more will happen to it."""
        return self.state in ENDED


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """One attempt at a job.

    Attributes:
        worker: Where it ran.
        state: RUNNING, SUCCEEDED, FAILED, CANCELLED, or None if it was lost.
        counts: Whether its loss counts against the bound: an outage and draining do not.
        peak_bytes: The most memory that its processes held at once; 0 where that was not measured.
    """

    job_id: str
    number: int
    worker: str
    state: State | None
    reason: str
    counts: bool
    peak_bytes: int
    started_at: float
    ended_at: float | None


@dataclass(frozen=True, kw_only=True)
class Event:
    """Something that happened to a job.

    Attributes:
        position: 1, 2, … without a gap in each job: where a reader goes on.
        attempt: The attempt that told it; 0 for the job's own, which have kind `state`.
        number: 1, 2, … in each attempt: nothing that is told twice is kept twice.
        at: Seconds since 1970.
        kind: `stage`, `progress`, `log`, `warning` or `state`.
        data: Of `stage`: `stage`, `title`, `index`, `total`, and `seconds` once it ended. Of
            `progress`: `stage`, `done`, `total`. Of `log`: `text`, and `stage` of a tool's line. Of
            `warning`: `text`. Of `state`: `state`, `attempt`, `reason`.
    """

    position: int = 0
    attempt: int
    number: int
    at: float
    kind: str
    data: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Artefact:
    """A file that a job made: `kind` is `archive`, `report` or `log`."""

    kind: str
    digest: str
    name: str
    size_bytes: int


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How an attempt ended.

    Attributes:
        state: SUCCEEDED, FAILED or CANCELLED.
        result: See `Job.result`.
        events: What it told since it was last asked.
    """

    job_id: str
    attempt: int
    state: State
    result: Mapping[str, Any]
    artefacts: tuple[Artefact, ...] = ()
    reason: str = ""
    peak_bytes: int = 0
    events: tuple[Event, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Plain JSON data, which `from_json` reads."""
        return asdict(self) | {"state": str(self.state)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """The outcome that `to_json` wrote down."""
        return cls(
            **{
                **data,
                "state": State(data["state"]),
                "artefacts": tuple(Artefact(**one) for one in data["artefacts"]),
                "events": tuple(Event(**one) for one in data["events"]),
            }
        )


def hash_of(data: Any) -> str:
    """SHA-256 over JSON data, the same for the same data."""
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()


def limits_of(data: Mapping[str, Any]) -> Limits:
    """The limits in JSON data; what a later version knows besides is left out."""
    known = {one.name for one in fields(Limits)}
    return Limits(**{key: value for key, value in data.items() if key in known})
