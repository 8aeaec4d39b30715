"""RVC2's image: the native toolchain in a container."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path
from typing import Final

from converter.container.build import Base, Recipe
from converter.errors import ToolchainError
from converter.events import OnEvent
from converter.processes import linux as kernel
from targets.rvc2.myriad import exception_text, openvino_c, worker
from targets.rvc2.myriad.toolchain import FILES, NOTICES, OPENVINO, WHEEL_SHA256, present

_BASE: Final = "python:3.11-slim-bookworm"
# The files that the child imports, and their folders: the image holds no other code of the converter.
_MODULES: Final = (kernel, worker, exception_text, openvino_c)


def image_name() -> str:
    """The name of the image that `nnconvert toolchain build rvc2` makes."""
    # `localhost/` is no registry: no other image can be fetched under this name.
    return f"localhost/nnconvert/rvc2:{OPENVINO}"


def recipe(base: str | None, on_event: OnEvent) -> Recipe:
    """How the image is made: from the toolchain in the cache, which is fetched if it is not there."""
    toolchain = present(on_event)

    def fill(context: Path, _base: Base) -> None:
        libraries = context / "openvino"
        libraries.mkdir()
        for name in (*FILES, *NOTICES):
            shutil.copy2(toolchain.libraries / name, libraries / name)
        if toolchain.libusb is None:
            raise ToolchainError(
                "The package libusb-package is not installed.", remedy="Run: pip install libusb-package"
            )
        shutil.copy2(toolchain.libusb, libraries / "libusb-1.0.so")
        for module in _MODULES:
            place = context / "nnconvert" / Path(*module.__name__.split(".")).with_suffix(".py")
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(str(module.__file__), place)
            for package in place.relative_to(context / "nnconvert").parents:
                if package.name:
                    (context / "nnconvert" / package / "__init__.py").touch()

    return Recipe(
        target="rvc2",
        tag=image_name(),
        base=base or _BASE,
        fill=fill,
        arguments={"CONTENTS": contents()},
    )


def contents() -> str:
    """SHA-256 over the converter's files in the image: another hash means another version."""
    digest = hashlib.sha256(WHEEL_SHA256.encode())
    for module in _MODULES:
        digest.update(Path(str(module.__file__)).read_bytes())
    return digest.hexdigest()
