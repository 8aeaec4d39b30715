"""The toolchain for RVC3: compile_tool in a container, or blobconverter's service."""

from __future__ import annotations

from typing import Final

from converter.backend import Backend, Kind, wanted
from converter.options.resolve import Options
from targets.openvino.compile_tool import TOOL

TOOLCHAINS: Final[tuple[Kind, ...]] = ("container", "online")
ONLINE_VERSION: Final = "2022.3_RVC3"
BLOBCONVERTER: Final = "blobconverter"
# `localhost/` is no registry: no other image can be fetched under this name.
OWN_IMAGE: Final = "localhost/nnconvert/rvc3"
DEVICE: Final = "VPUX.3400"


def image_names(options: Options) -> list[str]:
    """The images that may have compile_tool: the one that was built here, then ModelConverter's."""
    version = options.text("rvc3.tool_version")
    return [
        f"{OWN_IMAGE}:{version}",
        f"ghcr.io/luxonis/modelconverter-rvc3:{version}-latest",
    ]


def choose(options: Options, toolchain: str) -> Backend:
    """The toolchain for a conversion; `auto` is the container.

    Raises:
        UsageError: There is no toolchain of that name.
        ToolchainError: There is no engine or image.
    """
    kind = wanted("rvc3", toolchain, TOOLCHAINS) or "container"
    if kind == "online":
        return Backend(toolchain=kind, tool=BLOBCONVERTER, version=ONLINE_VERSION)
    from converter.container.choose import require_image

    version = str(options.text("rvc3.tool_version"))
    image = require_image(
        options,
        image_names(options),
        "Run: nnconvert toolchain install rvc3 --toolchain container (ModelConverter's image), or: "
        "nnconvert toolchain build rvc3 --sdk FILE.tgz (your OpenVINO archive); or convert with "
        "--toolchain online.",
    )
    return Backend(
        toolchain="container", tool=TOOL, version=version, image=image.id, image_name=image.name
    )
