"""RVC4 (Qualcomm QCS8550): ONNX to a DLC with QNN, quantized on the user's data.

The face of the target, as `converter.target.Target` has it; heavy modules load where they are used.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from converter.errors import ToolchainError, UsageError
from converter.events import OnEvent
from converter.target import Check, Run, TargetPlan

if TYPE_CHECKING:
    from converter.archive.opened import Archive
    from converter.artifact import Artifact
    from converter.container.build import Recipe
    from converter.model import SourceModel
    from converter.options.resolve import Options
    from targets.rvc4.parameters import Parameters

NAME: Final = "rvc4"
TOOLCHAINS: Final[Sequence[str]] = ("container", "native")
CALLED: Final = (
    *("onnxruntime.quantization.qdq_quantizer", "onnxruntime.quantization.calibrate"),
    *("onnxruntime.quantization.execution_providers.qnn", "PIL.Image"),
    *(
        "converter.calibration.feeds",
        "targets.rvc4.htp_rewrites",
        "targets.rvc4.prepare",
        "targets.rvc4.qnn",
    ),
    *("targets.rvc4.quantization.calibrate", "targets.rvc4.quantization.observers"),
    *("targets.rvc4.quantization.quantize", "targets.rvc4.quantization.output_order"),
    *("targets.rvc4.quantization.float16", "targets.rvc4.quantization.io_codes"),
)


def plan(model: SourceModel, archive: Archive, options: Options, toolchain: str) -> TargetPlan:
    """Resolve the parameters and the steps."""
    from targets.rvc4.backends import choose
    from targets.rvc4.translate import translate

    backend = choose(options, toolchain)
    parameters, warnings = translate(model, archive, options, backend)
    return TargetPlan(
        backend=backend,
        parameters=parameters,
        steps=_flow(parameters).steps(model, parameters, options),
        warnings=warnings,
    )


def run(run: Run) -> Artifact:
    """Carry a plan out."""
    from targets.rvc4.parameters import Parameters

    parameters = run.plan.parameters
    assert isinstance(parameters, Parameters)
    artifact: Artifact = _flow(parameters).run(run, parameters)
    return artifact


def _flow(parameters: Parameters) -> Any:
    """The module that has the toolchain's steps."""
    from targets.rvc4.parameters import QnnParameters

    if isinstance(parameters, QnnParameters):
        from targets.rvc4 import steps as qnn

        return qnn
    from targets.rvc4.snpe import steps as snpe

    return snpe


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


def images(options: Options) -> Sequence[str]:
    """The images that SNPE may be in."""
    from targets.rvc4.backends import image_names

    return image_names(options)


def recipe(on_event: OnEvent, options: Options, *, sdk: Path | None, base: str | None) -> Recipe:
    """How the image is built from the user's SDK."""
    from targets.rvc4.snpe.image import recipe as make

    del on_event
    return make(sdk, base, options.text("rvc4.tool_version"))


def install(on_event: OnEvent, options: Options, *, wheel: Path | None = None) -> str:
    """The toolchain is a Python package, a dependency of ours: there is nothing to fetch."""
    from targets.rvc4 import toolchain as toolchains

    del on_event, options
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
