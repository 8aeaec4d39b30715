"""A target of somebody else's: a network that ONNX Runtime has optimized, for hosts.

The face of the target, as `converter.target.Target` has it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from converter.errors import UsageError
from converter.target import Check, Run, TargetPlan

if TYPE_CHECKING:
    from converter.archive.opened import Archive
    from converter.artifact import Artifact
    from converter.model import SourceModel
    from converter.options.resolve import Options

NAME = "example"
TOOLCHAINS: Sequence[str] = ("native",)
OPTIONS = Path(__file__).with_name("options.yaml")


def plan(model: SourceModel, archive: Archive, options: Options, toolchain: str) -> TargetPlan:
    """Resolve the parameters and the steps; files may be read, nothing is run or written."""
    from nnconvert_example.planning import make

    return make(model, options, toolchain)


def run(run: Run) -> Artifact:
    """Carry a plan out."""
    from nnconvert_example.running import carry_out

    return carry_out(run)


def checks() -> Sequence[Check]:
    """What `doctor` shows."""
    from importlib.metadata import version

    return [Check(name="example native", detail=f"ONNX Runtime {version('onnxruntime')}")]


def images(options: Options) -> Sequence[str]:
    """It has no container toolchain."""
    return []


def install(on_event: Any, options: Options, *, wheel: Path | None = None) -> NoReturn:
    """There is nothing to fetch."""
    raise UsageError("example's toolchain is the package onnxruntime, which is here already.")


def recipe(on_event: Any, options: Options, *, sdk: Path | None, base: str | None) -> NoReturn:
    """It has no image."""
    raise UsageError("example has no image.")


def remove() -> NoReturn:
    """What pip installed, pip removes."""
    raise UsageError("example's toolchain is a package.", remedy="Run: pip uninstall onnxruntime")
