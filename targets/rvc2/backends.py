"""The toolchain for RVC2: the native compiler here or in a container, compile_tool, or the service."""

from __future__ import annotations

from typing import Final

from converter.backend import Backend, Kind, wanted
from converter.errors import ToolchainError, UsageError
from converter.options.resolve import Options
from targets.rvc2.myriad.toolchain import OPENVINO, PINNED, WHEEL, WHEEL_SHA256, WHEEL_VERSION

TOOLCHAINS: Final[tuple[Kind, ...]] = ("native", "container", "online")
VERSION: Final = f"{OPENVINO} ({WHEEL} {WHEEL_VERSION}, sha256:{WHEEL_SHA256})"
MYRIAD: Final = "OpenVINO MYRIAD"
BLOBCONVERTER: Final = "blobconverter"
# The service's newest for Myriad X.
ONLINE_VERSION: Final = "2022.1"
COMPILE_TOOL: Final = "compile_tool"
_LATER: Final = "2022.3.0"


def public_image(version: str) -> str:
    """ModelConverter's image of a version."""
    return f"ghcr.io/luxonis/modelconverter-rvc2:{version}-latest"


def choose(options: Options, toolchain: str) -> Backend:
    """The toolchain for a conversion; `auto` is the native one.

    Raises:
        UsageError: There is no toolchain of that name or version.
        ToolchainError: A container is asked for, and there is no engine or image.
    """
    kind = wanted("rvc2", toolchain, TOOLCHAINS) or "native"
    version = options.text("rvc2.tool_version")
    own = {"native": OPENVINO, "container": OPENVINO, "online": ONLINE_VERSION}[kind]
    if kind != "container" and version not in (None, own):
        raise UsageError(
            f"rvc2.tool_version: the {kind} toolchain is OpenVINO {own}, not {version}.",
            remedy=f"Leave it out, or convert with --toolchain container ({OPENVINO} or {_LATER}).",
        )
    match kind:
        case "native":
            return Backend(toolchain=kind, tool=MYRIAD, version=VERSION, caveat=PINNED.caveat())
        case "online":
            return Backend(toolchain=kind, tool=BLOBCONVERTER, version=ONLINE_VERSION)
    return _in_container(options, version or OPENVINO)


def _in_container(options: Options, version: str) -> Backend:
    from converter.container.choose import require_image

    if version not in (OPENVINO, _LATER):
        raise UsageError(
            f"rvc2.tool_version: no container has OpenVINO {version}.",
            remedy=f"Use {OPENVINO} or {_LATER}, or convert with --toolchain online.",
        )
    if version == OPENVINO:
        from targets.rvc2.myriad.image import contents, image_name

        cure = "Run: nnconvert toolchain build rvc2"
        image = require_image(options, [image_name()], cure)
        if image.labels.get("nnconvert.contents") != contents():
            raise ToolchainError(
                f"The image {image.name} was not built by this version of the converter.",
                remedy=f"{cure} (or, for ModelConverter's image, set rvc2.tool_version={_LATER}).",
            )
        tool, version = MYRIAD, VERSION
    else:
        cure = f"Run: nnconvert toolchain install rvc2 --toolchain container --tool-version {version}"
        image = require_image(options, [public_image(version)], cure)
        tool = COMPILE_TOOL
    return Backend(
        toolchain="container", tool=tool, version=version, image=image.id, image_name=image.name
    )
