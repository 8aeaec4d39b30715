"""RVC4's image: Qualcomm's tools from the user's SDK zip, and what they need."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from converter import resources
from converter.container.build import Base, Recipe, fetch_wheels
from converter.errors import ToolchainError, UsageError
from targets.rvc4.backends import OWN_IMAGE
from targets.rvc4.snpe.sdk import read_sdk

# The SDK's Python modules are built for this one.
_BASE: Final = "python:3.10-slim-bookworm"


def recipe(sdk: Path | None, base: str | None, version: str | None) -> Recipe:
    """How the image is made.

    Raises:
        UsageError: No SDK is named.
        ToolchainError: It is not one, or of another version than is asked for.
    """
    if sdk is None:
        raise UsageError(
            "rvc4's image needs Qualcomm's SDK, which may not be redistributed.",
            remedy="Give it with --sdk FILE.zip.",
        )
    found = read_sdk(sdk)
    if version and not f"{found.version}.".startswith(f"{version}."):
        raise ToolchainError(
            f"{sdk.name} is version {found.version}, not {version}.", remedy="Name the right file."
        )

    def fill(context: Path, start: Base) -> None:
        found.unpack(context / "snpe")
        fetch_wheels(requirements(), start.python(), context / "wheels")

    short = ".".join(found.version.split(".")[:3])
    return Recipe(
        target="rvc4",
        tag=f"{OWN_IMAGE}:{version or short}",
        also=(f"{OWN_IMAGE}:latest",),
        base=base or _BASE,
        fill=fill,
        arguments={"VERSION": found.version},
    )


def requirements() -> list[str]:
    """The Python packages that the SDK's tools import."""
    text = (resources.folder("docker") / "rvc4" / "requirements.txt").read_text(encoding="utf-8")
    lines = [line.partition("#")[0].strip() for line in text.splitlines()]
    return [line for line in lines if line]
