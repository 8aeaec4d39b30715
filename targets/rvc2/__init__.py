"""RVC2 (Myriad X): ONNX to a blob or superblob with OpenVINO 2022.2's own compiler.

The face of the target, as `converter.target.Target` has it; heavy modules load where they are used.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from converter.errors import UsageError
from converter.events import Notice, OnEvent
from converter.target import Check, Run, TargetPlan

if TYPE_CHECKING:
    from converter.archive import Archive
    from converter.artifact import Artifact
    from converter.model import SourceModel
    from converter.options import Options

NAME: Final = "rvc2"
TOOLCHAINS: Final[Sequence[str]] = ("native",)


def plan(
    model: SourceModel,
    archive: Archive,  # noqa: ARG001 - the Protocol's; the model says it all
    options: Options,
    toolchain: str,
) -> TargetPlan:
    """Resolve the compiler's parameters and the steps."""
    from targets.rvc2.steps import steps
    from targets.rvc2.translate import translate

    if toolchain not in ("auto", *TOOLCHAINS):
        raise UsageError(
            f"rvc2 has no toolchain {toolchain!r}.", remedy=f"There is: {', '.join(TOOLCHAINS)}."
        )
    parameters = translate(model, options)
    return TargetPlan(
        toolchain="native", parameters=parameters, steps=steps(model, parameters, options)
    )


def run(run: Run) -> Artifact:
    """Carry a plan out."""
    from targets.rvc2.steps import run as run_steps

    return run_steps(run)


def checks() -> Sequence[Check]:
    """The native toolchain's state."""
    from targets.rvc2 import toolchain

    machine = toolchain.problem_with_machine()
    if machine:
        return [Check(name="rvc2 native", detail="", problem=machine)]
    detail = f"OpenVINO {toolchain.OPENVINO} ({toolchain.LICENSES}) in {toolchain.location()}"
    found = [
        Check(
            name="rvc2 native",
            detail=detail,
            problem=toolchain.check(),
            remedy="Run: nnconvert toolchain install rvc2",
        )
    ]
    if toolchain._libusb() is None:
        found.append(
            Check(
                name="rvc2 libusb",
                detail="libusb-package",
                problem="the package libusb-package is not installed",
                remedy="Run: pip install libusb-package",
            )
        )
    return found


def install(on_event: OnEvent, *, wheel: Path | None = None) -> str:
    """Fetch, check and unpack the compiler."""
    from targets.rvc2 import toolchain

    if wheel is None and toolchain.check() is None:
        on_event(Notice(text="The RVC2 toolchain is installed already."))
    else:
        toolchain.install(wheel)
    return str(toolchain.location())


def remove() -> bool:
    """Delete the compiler from the cache."""
    from targets.rvc2 import toolchain

    return toolchain.remove()
