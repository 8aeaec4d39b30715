"""RVC3 (Keem Bay): ONNX to a VPUX blob with OpenVINO 2022.3's compiler, float16 or INT8.

The functions of the target (`converter.target.Target`); heavy modules load where they are used.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from converter.errors import UsageError
from converter.events import OnEvent
from converter.target import Check, Run, TargetPlan

if TYPE_CHECKING:
    from converter.archive.opened import Archive
    from converter.artifact import Artifact
    from converter.backend import Backend
    from converter.container.build import Recipe
    from converter.model import SourceModel
    from converter.options.resolve import Options

NAME: Final = "rvc3"
TOOLCHAINS: Final[Sequence[str]] = ("container", "online")
# Luxonis' pages name this device alone for RVC generation 3.
CAMERAS: Final[Sequence[str]] = ("RAE",)
_NO_NATIVE: Final = "There is no native compiler for RVC3: no package holds one."


def backend(options: Options, toolchain: str) -> Backend:
    """The toolchain that a plan takes."""
    from targets.rvc3.backends import choose

    return choose(options, toolchain)


def plan(model: SourceModel, archive: Archive, options: Options, toolchain: str) -> TargetPlan:
    """Resolve the compiler's parameters and the steps."""
    from targets.rvc3.backends import choose
    from targets.rvc3.steps import steps
    from targets.rvc3.translate import translate

    taken = backend(options, toolchain)
    parameters, warnings = translate(model, archive, options, taken)
    return TargetPlan(
        backend=taken,
        parameters=parameters,
        steps=steps(model, parameters, options),
        warnings=warnings,
    )


def run(run: Run) -> Artifact:
    """Carry a plan out."""
    from targets.rvc3.steps import run as run_steps

    return run_steps(run)


def checks() -> Sequence[Check]:
    """No checks: doctor checks the container engine, and OpenVINO among the libraries."""
    return []


def images(options: Options) -> Sequence[str]:
    """The images that the compiler may be in."""
    from targets.rvc3.backends import image_names

    return image_names(options)


def recipe(on_event: OnEvent, options: Options, *, sdk: Path | None, base: str | None) -> Recipe:
    """How the image is built from the user's OpenVINO archive."""
    from targets.rvc3.image import recipe as make

    del on_event
    return make(sdk, base, str(options.text("rvc3.tool_version")))


def install(on_event: OnEvent, options: Options, *, wheel: Path | None = None) -> str:
    """There is nothing to install."""
    del on_event, options, wheel
    raise UsageError(_NO_NATIVE, remedy="Run: nnconvert toolchain install rvc3 --toolchain container")


def remove() -> bool:
    """There is nothing to remove."""
    raise UsageError(_NO_NATIVE)
