"""The native RVC4 toolchain: Qualcomm's QAIRT out of the pinned wheel `onnxruntime-qnn`, in the cache.

It writes DLC files for the HTP of RVC4 and emulates that HTP on x86-64. Its libraries are Qualcomm's
own, under its licence ("AI Stack License"): the wheel is fetched from the user's index, and we ship
nothing of it. It is a plug-in of ONNX Runtime, which is a library of ours.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Final

from converter.errors import ToolchainError
from converter.events import OnEvent
from converter.pinned_wheel import PinnedWheel
from converter.system import Native

PACKAGE: Final = "onnxruntime-qnn"
VERSION: Final = "2.7.0"
# The version of QAIRT in the wheel, as its `build_and_package_info.py` says it.
QAIRT: Final = "2.51.0"
TOOL: Final = f"QAIRT {QAIRT} ({PACKAGE} {VERSION})"
PROVIDER: Final = "QNNExecutionProvider"
LICENSE: Final = "Qualcomm_LICENSE.pdf"
# What production uses today; a DLC of a newer QAIRT states no oldest runtime that takes it.
SNPE_RUNTIMES: Final = ("2.32.6", "2.41.0")
UNTRIED: Final = (
    "No camera has loaded a DLC of QNN's for us: it is newer than production's SNPE "
    f"({' and '.join(SNPE_RUNTIMES)}). Try it on your camera before you rely on it."
)
# What the wheel's metadata says: an older ONNX Runtime does not know the plug-in's interface.
OLDEST_RUNTIME: Final = "1.24.2"
_FOLDER: Final = "onnxruntime_qnn"
_PROVIDER_LIBRARY: Final = f"{_FOLDER}/libonnxruntime_providers_qnn.so"
# Of the wheel's 260 MB the parts that are loaded, by `LD_DEBUG=files`. They keep their places: they
# find each other by them.
_FILES: Final = (
    _PROVIDER_LIBRARY,
    f"{_FOLDER}/libQnnHtp.so",
    f"{_FOLDER}/libQnnIr.so",
    f"{_FOLDER}.libs/libc++-71bc274c.so.1.0",
    f"{_FOLDER}.libs/libc++abi-0539aa51.so.1.0",
    f"{_FOLDER}.libs/libunwind-6b740a46.so.1.0",
)
_NOTICES: Final = tuple(f"{_FOLDER}/{name}" for name in (LICENSE, "LICENSE", "ThirdPartyNotices.txt"))
PINNED: Final = PinnedWheel(
    target="rvc4",
    tool=f"QNN, the tool for RVC4, QAIRT {QAIRT}",
    package=PACKAGE,
    version=VERSION,
    sha256="c56c01562b8534fe8980cfea4601408d950c065f8251fb862ce82101c52c9849",
    python="311",
    platform="manylinux_2_35_x86_64",
    size_mb=99,
    folder=f"rvc4-qairt-{QAIRT}",
    files={name: name for name in _FILES},
    notices={name: name for name in _NOTICES},
    native=Native(glibc=(2, 35)),
    otherwise=("container",),
)


@dataclass(frozen=True, kw_only=True)
class Toolchain:
    """The toolchain in the cache, by the folder that it is kept in."""

    folder: Path

    @property
    def libraries(self) -> Path:
        """The folder of QAIRT's libraries."""
        return self.folder / _FOLDER

    @property
    def provider(self) -> Path:
        """The library that ONNX Runtime registers."""
        return self.folder / _PROVIDER_LIBRARY


def ensure(on_event: OnEvent) -> Toolchain:
    """The toolchain, fetched with one line of notice if it is not there.

    Raises:
        ToolchainError: This machine cannot run it, it cannot be fetched, or ONNX Runtime is too old.
    """
    check_runtime()
    return Toolchain(folder=PINNED.ensure(on_event))


def check_runtime() -> None:
    """See that the installed ONNX Runtime takes the plug-in.

    Raises:
        ToolchainError: It is too old.
    """
    found = version("onnxruntime")
    if _numbers(found) < _numbers(OLDEST_RUNTIME):
        raise ToolchainError(
            f"QNN ({PACKAGE} {VERSION}) needs ONNX Runtime {OLDEST_RUNTIME} or newer; {found} is "
            "installed.",
            remedy=f"Run: pip install 'onnxruntime>={OLDEST_RUNTIME}'",
        )


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", text)[:3])
