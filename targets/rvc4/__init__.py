"""RVC4 (Qualcomm QCS8550): ONNX to a DLC with QNN, quantized on the user's data.

The public functions are those of `converter.target.Target`; heavy modules load where they are used.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from converter.errors import ToolchainError
from converter.events import OnEvent
from converter.findings import Finding, Severity
from converter.target import Check, Run, TargetPlan

if TYPE_CHECKING:
    from converter.archive.opened import Archive
    from converter.artifact import Artifact
    from converter.backend import Backend
    from converter.container.build import Recipe
    from converter.model import SourceModel
    from converter.options.resolve import Options
    from converter.system import Native
    from targets.rvc4.parameters import Parameters

NAME: Final = "rvc4"
TOOLCHAINS: Final[Sequence[str]] = ("container", "native")
# Luxonis' hardware pages, RVC generation 4.
CAMERAS: Final[Sequence[str]] = (
    *("OAK4-D", "OAK4-D W", "OAK4-S", "OAK4-CS", "OAK4-SoM", "OAK4"),
    *("OAK4-D Pro", "OAK4-D Pro W", "OAK4-Pro", "OAK4-Pro W"),
)
CALLED: Final = (
    *("onnxruntime.quantization.qdq_quantizer", "onnxruntime.quantization.calibrate"),
    *("onnxruntime.quantization.execution_providers.qnn", "PIL.Image"),
    *(
        "converter.calibration.feeds",
        "targets.rvc4.htp_rules.table",
        "targets.rvc4.htp_rules.weights",
        "targets.rvc4.prepare",
        "targets.rvc4.qnn",
    ),
    *("targets.rvc4.quantization.calibrate", "targets.rvc4.quantization.observers"),
    *("targets.rvc4.quantization.quantize", "targets.rvc4.quantization.output_order"),
    *("targets.rvc4.quantization.float16", "targets.rvc4.quantization.io_codes"),
)


def backend(options: Options, toolchain: str) -> Backend:
    """The toolchain that a plan takes."""
    from targets.rvc4.backends import choose

    return choose(options, toolchain)


def plan(model: SourceModel, archive: Archive, options: Options, toolchain: str) -> TargetPlan:
    """Resolve the parameters and the steps."""
    from targets.rvc4.translate import translate

    taken = backend(options, toolchain)
    parameters, warnings = translate(model, archive, options, taken)
    native = taken.toolchain == "native"
    refused = foreseen(model, archive, Severity.WARNING) if native else ()
    return TargetPlan(
        backend=taken,
        parameters=parameters,
        steps=_flow(parameters).steps(model, parameters, options),
        warnings=(*warnings, *refused),
    )


def foreseen(model: SourceModel, archive: Archive, severity: Severity) -> tuple[Finding, ...]:
    """The nodes that a conversion will refuse; of a bare or packed ONNX file, which is read again."""
    from targets.rvc4.not_taken import foreseen as nodes

    return nodes(archive.path(model.path), severity) if model.format == "ONNX" else ()


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

    runtimes = " and ".join(toolchains.SNPE_RUNTIMES)
    return [
        toolchains.PINNED.check(
            f"{toolchains.TOOL}, under Qualcomm's own licence ({toolchains.LICENSE})"
        ),
        *_runtime(),
        Check(
            name="rvc4 runtimes",
            detail=f"no camera has loaded a DLC of QAIRT {toolchains.QAIRT} for us; production runs "
            f"SNPE {runtimes}, which are older, and no field of the file says what it needs",
        ),
    ]


def _runtime() -> Sequence[Check]:
    """What is wrong with the ONNX Runtime that the toolchain plugs into."""
    from targets.rvc4 import toolchain as toolchains

    try:
        toolchains.check_runtime()
    except ToolchainError as error:
        return [Check(name="rvc4 native", detail="", problem=error.message, remedy=error.remedy)]
    return []


def native() -> Native:
    """What the native toolchain needs of a system."""
    from targets.rvc4.toolchain import PINNED

    return PINNED.native


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
    """Fetch, check and unpack QNN."""
    from targets.rvc4 import toolchain

    del options
    return toolchain.PINNED.install_once(on_event, wheel)


def remove() -> bool:
    """Delete QNN from the cache."""
    from targets.rvc4 import toolchain

    return toolchain.PINNED.remove()
