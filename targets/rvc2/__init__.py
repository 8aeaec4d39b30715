"""RVC2 (Myriad X): ONNX to a blob or superblob with OpenVINO 2022.2's compiler.

The functions of the target (`converter.target.Target`); heavy modules load where they are used.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from converter.errors import UsageError
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

NAME: Final = "rvc2"
TOOLCHAINS: Final[Sequence[str]] = ("native", "container", "online")
RUNS_FILES: Final = True
# Luxonis' hardware pages, RVC generation 2.
CAMERAS: Final[Sequence[str]] = (
    *("OAK-D", "OAK-D W", "OAK-D PoE", "OAK-D W PoE", "OAK-D Lite", "OAK-D ToF", "OAK-D LR"),
    *("OAK-D S2", "OAK-D S2 PoE", "OAK-D SR", "OAK-D SR PoE", "OAK-D CM4", "OAK-D CM4 PoE"),
    *("OAK-D Pro", "OAK-D Pro W", "OAK-D Pro PoE", "OAK-D Pro W PoE"),
    *("OAK-1", "OAK-1 W", "OAK-1 MAX", "OAK-1 Lite", "OAK-1 Lite W", "OAK-1 PoE", "OAK-1 W PoE"),
    *("OAK-FFC 1P PoE", "OAK-FFC 3P", "OAK-FFC 4P", "OAK-FFC 4P PoE", "OAK-SoM", "OAK Thermal"),
)
CALLED: Final = (
    *("targets.rvc2.blob.run", "targets.rvc2.blob.execute"),
    *("targets.openvino.prepare", "targets.openvino.myriad_rules.opset13"),
    *("targets.openvino.myriad_rules.scalars", "targets.openvino.myriad_rules.whole_numbers"),
)


def backend(options: Options, toolchain: str) -> Backend:
    """The toolchain that a plan takes."""
    from targets.rvc2.backends import choose

    return choose(options, toolchain)


def plan(
    model: SourceModel,
    archive: Archive,
    options: Options,
    toolchain: str,
) -> TargetPlan:
    """Resolve the compiler's parameters and the steps."""
    from targets.rvc2.backends import MYRIAD
    from targets.rvc2.compilers import check_online
    from targets.rvc2.steps import steps
    from targets.rvc2.translate import translate

    taken = backend(options, toolchain)
    parameters = translate(model, options, taken)
    names = [item.name for item in (*model.inputs, *model.outputs)]
    if taken.toolchain == "online":
        check_online(parameters, names)
    elif taken.tool != MYRIAD:
        from targets.openvino.compile_tool import check_names

        check_names(names)
    return TargetPlan(
        backend=taken,
        parameters=parameters,
        steps=steps(model, parameters, options),
        warnings=foreseen(model, archive, Severity.WARNING) if taken.tool == MYRIAD else (),
    )


def foreseen(model: SourceModel, archive: Archive, severity: Severity) -> tuple[Finding, ...]:
    """The nodes that a conversion will refuse; of a bare or packed ONNX file, which is read again."""
    from targets.openvino.myriad_rules.foreseen import foreseen as nodes

    return nodes(archive.path(model.path), severity) if model.format == "ONNX" else ()


def run(run: Run) -> Artifact:
    """Carry a plan out."""
    from targets.rvc2.steps import run as run_steps

    return run_steps(run)


def checks() -> Sequence[Check]:
    """The native toolchain's state."""
    from targets.rvc2.myriad import toolchain

    found = [toolchain.PINNED.check(f"OpenVINO {toolchain.OPENVINO} ({toolchain.LICENSES})")]
    if toolchain.PINNED.problem_with_system() is None and toolchain.find_libusb() is None:
        found.append(
            Check(
                name="rvc2 libusb",
                detail="libusb-package",
                problem="the package libusb-package is not installed",
                remedy="Run: pip install libusb-package",
            )
        )
    return found


def native() -> Native:
    """What the native toolchain needs of a system."""
    from targets.rvc2.myriad.toolchain import PINNED

    return PINNED.native


def images(options: Options) -> Sequence[str]:
    """The images that this target can be converted in."""
    from targets.rvc2.backends import public_image
    from targets.rvc2.myriad.image import image_name

    version = options.text("rvc2.tool_version")
    return [public_image(version)] if version == "2022.3.0" else [image_name()]


def install(on_event: OnEvent, options: Options, *, wheel: Path | None = None) -> str:
    """Fetch, check and unpack the compiler."""
    from targets.rvc2.myriad import toolchain

    del options
    return toolchain.PINNED.install_once(on_event, wheel)


def recipe(on_event: OnEvent, options: Options, *, sdk: Path | None, base: str | None) -> Recipe:
    """How the image with the native compiler is built; it needs no SDK."""
    from targets.rvc2.myriad.image import recipe as make

    del options
    if sdk is not None:
        raise UsageError("rvc2's image needs no SDK.", remedy="Leave --sdk out.")
    return make(base, on_event)


def remove() -> bool:
    """Delete the compiler from the cache."""
    from targets.rvc2.myriad import toolchain

    return toolchain.PINNED.remove()
