"""The plan of a conversion: pure data that can be printed, hashed, compared and sent elsewhere."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any, Final, Protocol

from converter.backend import Backend
from converter.findings import Finding
from converter.html import table, titled
from converter.model import SourceModel
from converter.options.declared import specs
from converter.options.resolve import Options


class Parameters(Protocol):
    """A target's typed parameters; `calibration`, where there is one, is a `Calibration`."""

    def to_json(self) -> dict[str, Any]:
        """The parameters as plain JSON data."""
        ...


class Frames(Protocol):
    """The user's frames to compare on: a `converter.verification.frames.GivenFrames`."""

    @property
    def data(self) -> Any:
        """A `Calibration`."""
        ...

    @property
    def origin(self) -> str:
        """Where they are from, in words."""
        ...

    @property
    def of_first_stage(self) -> bool:
        """Whether they are for the first stage, though the plan is the second's."""
        ...

    def to_json(self) -> dict[str, Any]:
        """Their content as plain JSON data."""
        ...


@dataclass(frozen=True, kw_only=True)
class Step:
    """One step of a plan.

    Attributes:
        tool: The tool that does it, with `version`.
        call: The tool's arguments, as plain data.
        argv: The command, where the tool is a program; paths are those in its container.
        needs: The files that the step reads; gives: the files that it writes.
    """

    name: str
    title: str
    tool: str
    version: str
    call: Mapping[str, Any] = field(default_factory=dict)
    argv: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    gives: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The step as plain JSON data."""
        return {
            "name": self.name,
            "tool": self.tool,
            "version": self.version,
            **({"argv": list(self.argv)} if self.argv else {}),
            "call": dict(self.call),
            "needs": list(self.needs),
            "gives": list(self.gives),
        }


def prepare_step(
    model: SourceModel, *, simplify: bool, gives: tuple[str, ...], call: Mapping[str, Any] | None = None
) -> Step:
    """The first step of every plan: the graph, simplified or not, as the next step takes it."""
    tool = "onnxslim" if simplify else "onnx-ir"
    return Step(
        name="prepare",
        title="Preparing the graph",
        tool=tool,
        version=version(tool),
        call={"simplify": simplify, **(call or {})},
        needs=(model.onnx,),
        gives=gives,
    )


# The last step.
PACK: Final = Step(name="pack", title="Packing", tool="nnarchive-converter", version="1")


@dataclass(frozen=True, kw_only=True, repr=False)
class Plan:
    """Everything that decides the result of a conversion, resolved.

    Attributes:
        backend: The toolchain, its tool and version, and its image.
        parameters: The target's typed parameters.
        warnings: What the user should check.
        options: The options the plan was made from, each with its origin.
        frames: The user's frames to compare on, if there are any. They decide no byte of the model, so
            they are not part of the hash.
        labelled: Labelled frames to measure accuracy on, a
            `converter.verification.accuracy.labelled.Labelled`.
        second: The plan of the second stage, for archives that have one.
        guesses: What was inferred of the source, by this conversion or by `init`, and is not settled.
    """

    target: str
    backend: Backend
    model: SourceModel
    parameters: Parameters
    steps: tuple[Step, ...]
    warnings: tuple[Finding, ...]
    options: Options
    frames: Frames | None = None
    labelled: object | None = None
    second: Plan | None = None
    guesses: tuple[Finding, ...] = ()

    def __repr__(self) -> str:
        """A few lines: all of it is in `to_json`."""
        lines = [
            f"<Plan {self.hash[:12]}: {self.model.path} for {self.target}, {self.toolchain} toolchain",
            *(f"  input {item}" for item in self.model.inputs),
            *(f"  output {item}" for item in self.model.outputs),
            f"  steps: {', '.join(step.name for step in self.steps)}",
        ]
        if self.warnings:
            lines.append(f"  warnings: {len(self.warnings)}")
        if self.second:
            lines.append(f"  second stage: {self.second.model.path}")
        return "\n".join(lines) + ">"

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        rows = [
            (kind, item.name, item.dtype, item.layout, item.shape)
            for kind, items in (("input", self.model.inputs), ("output", self.model.outputs))
            for item in items
        ]
        lines = [
            f"{self.backend.tool} {self.backend.version}, toolchain {self.toolchain}",
            *filter(None, (self.backend.reason, self.backend.caveat)),
            f"plan {self.hash}",
            *(warning.said for warning in self.warnings),
        ]
        return titled(
            f"{self.model.path} for {self.target}",
            table(("", "name", "dtype", "layout", "shape"), rows),
            table(("step", "tool"), [(step.title, step.tool) for step in self.steps]),
            lines=lines,
        )

    def step(self, name: str) -> Step:
        """The step of that name.

        Raises:
            KeyError: There is none.
        """
        found = next((step for step in self.steps if step.name == name), None)
        if found is None:
            raise KeyError(f"the plan has no step {name!r}")
        return found

    @property
    def toolchain(self) -> str:
        """`native`, `container` or `online`."""
        return self.backend.toolchain

    @property
    def stages(self) -> tuple[Plan, ...]:
        """This plan, and the second stage's if there is one."""
        return (self, self.second) if self.second else (self,)

    @property
    def hash(self) -> str:
        """SHA-256 over all that decides the bytes of the result: the key of a cache."""
        decisive = {
            "target": self.target,
            "backend": self.backend.to_json(),
            "config": self.model.config,
            "model": self.model.to_json(),
            "parameters": self.parameters.to_json(),
            "steps": [step.to_json() for step in self.steps],
            **({"postprocessor": self.second.hash} if self.second else {}),
        }
        canonical = json.dumps(decisive, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return hashlib.sha256(canonical.encode()).hexdigest()

    @property
    def origins(self) -> dict[str, dict[str, Any]]:
        """Every option that this target reads, its value, and who set it."""
        shown = {}
        for spec in specs():
            if "NAME" in spec.key or (spec.targets and self.target not in spec.targets):
                continue
            setting = self.options.setting(spec.key)
            shown[spec.key] = {"value": setting.value, "origin": setting.origin}
        for key, setting in self.options.settings.items():
            if key not in shown:
                shown[key] = {"value": setting.value, "origin": setting.origin}
        return shown

    def to_json(self) -> dict[str, Any]:
        """The plan as plain JSON data."""
        return {
            "target": self.target,
            "toolchain": self.toolchain,
            "hash": self.hash,
            "model": self.model.to_json(),
            "parameters": self.parameters.to_json(),
            "steps": [step.to_json() for step in self.steps],
            "warnings": [warning.to_json() for warning in self.warnings],
            "origins": self.origins,
            **({"postprocessor": self.second.to_json()} if self.second else {}),
        }
