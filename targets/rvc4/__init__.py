"""RVC4 (Qualcomm QCS8550): ONNX to a DLC with QNN, quantized on the user's data.

The face of the target, as `converter.target.Target` has it; heavy modules load where they are used.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from converter.errors import ToolchainError, UsageError
from converter.events import OnEvent
from converter.target import Check, Run, TargetPlan

if TYPE_CHECKING:
    from converter.archive import Archive
    from converter.artifact import Artifact
    from converter.model import SourceModel
    from converter.options import Options

NAME: Final = "rvc4"
TOOLCHAINS: Final[Sequence[str]] = ("native",)


def plan(model: SourceModel, archive: Archive, options: Options, toolchain: str) -> TargetPlan:
    """Resolve the parameters and the steps."""
    from targets.rvc4 import toolchain as toolchains
    from targets.rvc4.steps import steps
    from targets.rvc4.translate import translate

    if toolchain not in ("auto", *TOOLCHAINS):
        raise UsageError(
            f"rvc4 has no toolchain {toolchain!r}.", remedy=f"There is: {', '.join(TOOLCHAINS)}."
        )
    parameters, warnings = translate(model, archive, options)
    return TargetPlan(
        toolchain="native",
        parameters=parameters,
        steps=steps(model, parameters, options, toolchains.find()),
        warnings=warnings,
    )


def run(run: Run) -> Artifact:
    """Carry a plan out."""
    from targets.rvc4.steps import run as run_steps

    return run_steps(run)


def checks() -> Sequence[Check]:
    """The native toolchain's state, its licence, and the runtimes that are known to differ."""
    from targets.rvc4 import toolchain as toolchains

    try:
        found = toolchains.find()
    except ToolchainError as error:
        return [Check(name="rvc4 native", detail="", problem=error.message, remedy=error.remedy)]
    licence = found.license or "in the wheel"
    runtimes = " and ".join(toolchains.SNPE_RUNTIMES)
    return [
        Check(name="rvc4 native", detail=f"{found.tool}; Qualcomm's own licence: {licence}"),
        Check(
            name="rvc4 runtimes",
            detail=f"no camera has loaded a DLC of QAIRT {found.qairt} for us; production runs SNPE "
            f"{runtimes}, which are older, and no field of the file says what it needs",
        ),
    ]


def install(
    on_event: OnEvent,  # noqa: ARG001 - the Protocol's; there is nothing to tell
    *,
    wheel: Path | None = None,
) -> str:
    """The toolchain is a Python package, a dependency of ours: there is nothing to fetch."""
    from targets.rvc4 import toolchain as toolchains

    if wheel is not None:
        raise UsageError(
            f"rvc4's toolchain is the package {toolchains.PACKAGE}.",
            remedy=f"Run: pip install {wheel}",
        )
    return str(toolchains.find().libraries)


def remove() -> bool:
    """What pip installed, pip removes."""
    from targets.rvc4 import toolchain as toolchains

    raise UsageError(
        f"rvc4's toolchain is the package {toolchains.PACKAGE}.",
        remedy=f"Run: pip uninstall {toolchains.PACKAGE}",
    )
