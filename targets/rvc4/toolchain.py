"""The native RVC4 toolchain: the wheel `onnxruntime-qnn`, which holds Qualcomm's QAIRT libraries.

It writes DLC files for the HTP of RVC4 and emulates that HTP on x86-64. Its libraries are Qualcomm's
own, under its licence ("AI Stack License"): we depend on the wheel and ship nothing of it.
"""

from __future__ import annotations

import platform
import re
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from converter.errors import ToolchainError

PACKAGE: Final = "onnxruntime-qnn"
PROVIDER: Final = "QNNExecutionProvider"
LICENSE: Final = "Qualcomm_LICENSE.pdf"
_INSTALL: Final = f"Run: pip install {PACKAGE}"
# Older ones do not load under today's ONNX Runtime.
_OLDEST: Final = (2, 4)
_QAIRT: Final = re.compile(r"qnn_version\s*=\s*['\"]([\d.]+)")
# What production uses today; a DLC of a newer QAIRT states no oldest runtime that takes it.
SNPE_RUNTIMES: Final = ("2.32.6", "2.41.0")


@dataclass(frozen=True, kw_only=True)
class Toolchain:
    """An installed wheel.

    Attributes:
        version: Of the wheel; qairt: of the libraries in it.
        libraries: The folder that holds them.
        provider: The library that ONNX Runtime registers.
    """

    version: str
    qairt: str
    libraries: Path
    provider: Path

    @property
    def tool(self) -> str:
        """Name and versions for a plan."""
        return f"QAIRT {self.qairt} ({PACKAGE} {self.version})"

    @property
    def license(self) -> Path | None:
        """Where the licence of the libraries lies."""
        path = self.libraries / LICENSE
        return path if path.is_file() else next(self.libraries.parent.rglob(LICENSE), None)


def problem_with_machine() -> str | None:
    """Why this machine has no native toolchain; None if it may have one."""
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        return (
            f"there is no native RVC4 toolchain for {platform.system()} {platform.machine()}, only for "
            "Linux x86-64"
        )
    return None


def find() -> Toolchain:
    """The installed toolchain; nothing of it is loaded.

    Raises:
        ToolchainError: There is none for this machine, or none is installed, or an unusable one.
    """
    if machine := problem_with_machine():
        raise ToolchainError(f"{machine[0].upper()}{machine[1:]}.", remedy="Convert on such a machine.")
    try:
        found = distribution(PACKAGE)
    except PackageNotFoundError:
        raise ToolchainError(f"{PACKAGE} is not installed.", remedy=_INSTALL) from None
    numbers = tuple(int(part) for part in re.findall(r"\d+", found.version)[:2])
    if numbers < _OLDEST:
        raise ToolchainError(
            f"{PACKAGE} {found.version} does not load under today's ONNX Runtime.",
            remedy=f"Run: pip install --upgrade {PACKAGE}",
        )
    spec = find_spec("onnxruntime_qnn")
    if spec is None or spec.origin is None:
        raise ToolchainError(f"{PACKAGE} {found.version} is damaged.", remedy=_INSTALL)
    folder = Path(spec.origin).parent
    names = {path.name: path for path in folder.rglob("lib*.so")}
    needed = ("libQnnHtp.so", "libQnnIr.so", "libonnxruntime_providers_qnn.so")
    missing = [name for name in needed if name not in names]
    if missing:
        raise ToolchainError(
            f"{PACKAGE} {found.version} lacks {', '.join(missing)}.",
            remedy=f"Run: pip install --force-reinstall {PACKAGE}",
        )
    return Toolchain(
        version=found.version,
        qairt=_qairt(folder),
        libraries=names["libQnnHtp.so"].parent,
        provider=names["libonnxruntime_providers_qnn.so"],
    )


def _qairt(folder: Path) -> str:
    """The version of QAIRT that the wheel says it holds."""
    info = folder / "build_and_package_info.py"
    found = _QAIRT.search(info.read_text(encoding="utf-8")) if info.is_file() else None
    return found.group(1) if found else "of unknown version"
