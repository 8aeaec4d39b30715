"""What a target is: a module with these names, found through the entry points `converter.targets`."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol, Self, cast

from converter.archive.opened import Archive
from converter.artifact import Artifact
from converter.backend import Backend
from converter.errors import UsageError
from converter.events import Notice, OnEvent, Progress, StageFinished, StageStarted, Warned
from converter.findings import Finding
from converter.model import SourceModel
from converter.options.resolve import Options
from converter.plans import Parameters, Plan, Step
from converter.processes.run import Processes
from converter.system import System

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from converter.container.build import Recipe
    from converter.graph.outputs import OutputFacts

ENTRY_POINTS: Final = "converter.targets"
# What the calls of every conversion import, for a fork server.
_CALLED: Final = (
    *("numpy", "onnx", "onnx_ir", "onnx_ir.passes.common", "onnxslim", "onnxslim.cli._main"),
    *("onnxruntime", "converter.processes.worker", "converter.verification.reference"),
    *("converter.graph.copies", "converter.graph.embed"),
    *("converter.graph.freeze", "converter.graph.half", "converter.graph.heavy"),
    *("converter.graph.rules.table", "converter.graph.simplify", "converter.graph.source"),
)


@dataclass(frozen=True, kw_only=True)
class TargetPlan:
    """A target's share of a plan."""

    backend: Backend
    parameters: Parameters
    steps: tuple[Step, ...]
    warnings: tuple[Finding, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Check:
    """One thing that `doctor` looks at: `problem` says what is wrong, None if nothing is.

    Attributes:
        is_needed: Whether this machine cannot convert with the problem; False where only some
            conversions want it.
    """

    name: str
    detail: str
    problem: str | None = None
    remedy: str = ""
    is_needed: bool = True


@dataclass(frozen=True, kw_only=True)
class Kept:
    """The tensors of a comparison, for those who draw them.

    Attributes:
        frames: By input name, as `converter.verification.frames.frames_for` gives them.
        source, result: For each frame the outputs by name, real numbers; the result's have as many as
            the source's, in the source's order.
        facts: What the outputs consist of, where that is known.
    """

    plan: Plan
    frames: Sequence[Mapping[str, NDArray[Any]]]
    source: Sequence[Mapping[str, NDArray[Any]]]
    result: Sequence[Mapping[str, NDArray[Any]]]
    facts: Mapping[str, OutputFacts] = field(default_factory=dict)


@dataclass
class Run:
    """A running conversion: its work folder, its listener and the time each stage took.

    Attributes:
        work: An empty folder of this run's own.
        source: The source's model file as it was given, its other files beside it.
        before: For a second stage: the first one's model file as it was given.
        model: The ONNX file that the target's first step takes: the source, or what it became.
        compiled: The compiled file that is looked at again; a target that can run it does, and makes
            none. None to make one.
        processes: Every child is started here, so that all of them end with the run.
        kept: By model file, the tensors of its comparison, where somebody will draw them; else None.
        layers: By model file, what each layer loses, where somebody asks for it (a target that can tell
            fills it before it judges, as `converter.analysis.layer.Analysis.to_json`); else None.
        timings_s: Wall seconds by stage; peak_bytes: the tools' peak memory by stage.
    """

    work: Path
    source: Path
    model: Path
    plan: Plan
    on_event: OnEvent
    before: Path | None = None
    compiled: Path | None = None
    processes: Processes = field(default_factory=Processes)
    kept: dict[str, Kept] | None = None
    layers: dict[str, dict[str, Any]] | None = None
    timings_s: dict[str, float] = field(default_factory=dict)
    peak_bytes: dict[str, int] = field(default_factory=dict)
    _done: int = 0

    @classmethod
    def of(
        cls,
        archive: Archive,
        plan: Plan,
        *,
        work: Path,
        on_event: OnEvent,
        processes: Processes | None = None,
    ) -> Self:
        """The run of a plan that was made from an archive."""
        source, link = archive.path(plan.model.path), plan.model.link
        before = archive.path(link.model.path) if link else None
        return cls(
            work=work,
            source=source,
            model=source,
            plan=plan,
            on_event=on_event,
            before=before,
            processes=processes or Processes(),
        )

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[Step]:
        """Carry out a step of the plan; the listener is told when it begins and when it ended well.

        Raises:
            KeyError: The plan has no such step.
        """
        step = self.plan.step(name)
        self._done += 1
        total = len(self.plan.steps)
        self.on_event(StageStarted(stage=name, title=step.title, index=self._done, total=total))
        started = time.monotonic()
        yield step
        seconds = time.monotonic() - started
        self.timings_s[name] = round(seconds, 3)
        self.on_event(StageFinished(stage=name, seconds=seconds))

    def keep(
        self,
        frames: Sequence[Mapping[str, NDArray[Any]]],
        source: Sequence[Mapping[str, NDArray[Any]]],
        result: Sequence[Mapping[str, NDArray[Any]]],
        facts: Mapping[str, OutputFacts] | None = None,
    ) -> None:
        """Keep the tensors of a comparison if they are wanted; those of a later one replace them."""
        if self.kept is not None:
            self.kept[self.plan.model.path] = Kept(
                plan=self.plan, frames=frames, source=source, result=result, facts=facts or {}
            )

    def progress(self, stage: str, done: int, total: int) -> None:
        """Tell the listener how far a stage is."""
        self.on_event(Progress(stage=stage, done=done, total=total))

    def notice(self, text: str) -> None:
        """Tell the listener something worth a line."""
        self.on_event(Notice(text=text))

    def warn(self, text: str) -> None:
        """Tell the listener of something that deserves a second look."""
        self.on_event(Warned(text=text))


class Target(Protocol):
    """A module that converts for one kind of camera.

    A module may have two more functions. `native() -> Native` says what its native toolchain needs of a
    system (`converter.system`); without it the native toolchain is taken to run anywhere.
    `backend(options, toolchain) -> Backend` says which toolchain `plan` takes, whatever the model is;
    without it the zoo takes no result for this target from the cache.
    """

    NAME: str
    TOOLCHAINS: Sequence[str]
    # RUNS_FILES: bool, where there is one: whether `run` compares `Run.compiled` without making it.
    # CALLED: Sequence[str], where there is one: modules that its calls import (`modules_called`).
    # CAMERAS: Sequence[str], where there is one: the cameras that it is for (`converter.cameras`).

    def plan(
        self, model: SourceModel, archive: Archive, options: Options, toolchain: str
    ) -> TargetPlan:
        """Resolve the parameters and steps; files are read, nothing is run or written."""
        ...

    def run(self, run: Run) -> Artifact:
        """Carry a plan out."""
        ...

    def checks(self) -> Sequence[Check]:
        """What `doctor` shows of this target's toolchains."""
        ...

    def install(self, on_event: OnEvent, options: Options, *, wheel: Path | None = None) -> str:
        """Put the native toolchain into the cache and say where it is.

        Raises:
            UsageError: The target has none.
        """
        ...

    def images(self, options: Options) -> Sequence[str]:
        """The images that the target's tools may be in, the one that `recipe` makes first."""
        ...

    def recipe(
        self, on_event: OnEvent, options: Options, *, sdk: Path | None, base: str | None
    ) -> Recipe:
        """How the target's own image is made.

        Args:
            sdk: The vendor's archive, where the image needs one.
            base: The image to build from; None for the one that the Dockerfile names.

        Raises:
            UsageError: An SDK is missing, or is not wanted.
            ToolchainError: It is not what the image needs.
        """
        ...

    def remove(self) -> bool:
        """Take the native toolchain out of the cache; False if it was not there."""
        ...


@cache
def _entries() -> dict[str, Any]:
    return {entry.name: entry for entry in entry_points(group=ENTRY_POINTS)}


def names() -> tuple[str, ...]:
    """The targets that are installed."""
    return tuple(sorted(_entries()))


def load(name: str) -> Target:
    """The target of that name.

    Raises:
        UsageError: There is none; the message lists those there are.
    """
    if name not in _entries():
        raise UsageError(f"There is no target {name!r}.", remedy=f"There are: {', '.join(names())}.")
    return cast("Target", _entries()[name].load())


def modules_called(name: str) -> tuple[str, ...]:
    """What a conversion for that target imports in its children; none of it starts a thread."""
    return (*_CALLED, *getattr(load(name), "CALLED", ()))


def backend_of(name: str, options: Options, toolchain: str) -> Backend | None:
    """Which toolchain a plan takes, without a model; None if the target does not tell.

    Raises:
        UsageError, ToolchainError: It has none that fits, or it is not on this machine.
    """
    asked = getattr(load(name), "backend", None)
    return None if asked is None else cast("Backend", asked(options, toolchain))


def toolchains_on(name: str, system: System) -> list[str]:
    """The toolchains of a target that run on a system, in the target's order."""
    target = load(name)
    asked = getattr(target, "native", None)
    native = asked() if asked else None
    return [kind for kind in target.TOOLCHAINS if system.has(kind, native)]


def package_of(name: str) -> str:
    """The package that the target of that name is in."""
    return str(_entries()[name].module).partition(".")[0]
