"""RVC3's image: compile_tool and the VPUX plugin from the user's OpenVINO 2022.3 archive."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from converter.archive import tar
from converter.container.build import Base, Recipe
from converter.errors import ArchiveError, ToolchainError, UsageError
from targets.rvc3.backends import OWN_IMAGE

_BASE: Final = "python:3.10-slim-bookworm"
_TOOL: Final = "tools/compile_tool/compile_tool"
_PLUGIN: Final = "libopenvino_intel_vpux_plugin.so"
_KEPT: Final = ("runtime/lib/intel64/", "runtime/3rdparty/", "tools/compile_tool/", "docs/licensing/")
_VERSION: Final = re.compile(r"20\d\d\.\d+(?:\.\d+)*")
_REMEDY: Final = "Give OpenVINO 2022.3's archive for Linux that has the VPUX (Keem Bay) plugin."


def recipe(sdk: Path | None, base: str | None, version: str) -> Recipe:
    """How the image is made.

    Raises:
        UsageError: No archive is named.
        ToolchainError: It is not such an archive, or has no compiler for RVC3.
    """
    if sdk is None:
        raise UsageError(
            "rvc3's image needs OpenVINO 2022.3's archive with the VPUX plugin.",
            remedy="Give it with --sdk FILE.tgz.",
        )
    try:
        names = tar.tool_names(sdk)
    except ArchiveError as error:
        raise ToolchainError(error.message, remedy=_REMEDY) from error
    root = _root(sdk, names)
    said = _VERSION.search(root) or _VERSION.search(sdk.name)
    if said is None or not said[0].startswith("2022.3"):
        found = f"is OpenVINO {said[0]}" if said else "does not say which OpenVINO it is"
        raise ToolchainError(f"{sdk.name} {found}.", remedy=_REMEDY)

    def fill(context: Path, _base: Base) -> None:
        try:
            tar.unpack_tools(sdk, context / "openvino", root, _KEPT)
        except ArchiveError as error:
            raise ToolchainError(f"{sdk.name}: {error.message}", remedy=_REMEDY) from error

    return Recipe(
        target="rvc3",
        tag=f"{OWN_IMAGE}:{version}",
        base=base or _BASE,
        fill=fill,
        arguments={"VERSION": version},
    )


def _root(sdk: Path, names: list[str]) -> str:
    """The folder in the archive that holds `runtime` and `tools`."""
    roots = sorted((name.removesuffix(_TOOL) for name in names if _is_tool(name)), key=len)
    if not roots:
        raise ToolchainError(f"{sdk.name} has no {_TOOL}.", remedy=_REMEDY)
    root = roots[0]
    if not any(name.startswith(root) and name.endswith(f"/{_PLUGIN}") for name in names):
        raise ToolchainError(
            f"{sdk.name} has no {_PLUGIN}: it is an OpenVINO without a compiler for RVC3.",
            remedy=_REMEDY,
        )
    return root


def _is_tool(name: str) -> bool:
    return name == _TOOL or name.endswith(f"/{_TOOL}")
