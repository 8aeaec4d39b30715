"""OpenVINO 2022.2's Myriad compiler, out of a pinned wheel that is kept in the cache."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from converter.events import OnEvent
from converter.pinned_wheel import PinnedWheel
from converter.system import Native

OPENVINO: Final = "2022.2"
WHEEL: Final = "onnxruntime-openvino"
WHEEL_VERSION: Final = "1.13.1"
WHEEL_SHA256: Final = "6946b2790e8e713825284fef88b3e455708ff4d04ce1172066adeccf907d9f1c"
LICENSES: Final = "OpenVINO: Apache-2.0; the wheel around it: MIT"
FILES: Final = (
    "libopenvino.so",
    "libopenvino_c.so",
    "libopenvino_onnx_frontend.so",
    "libopenvino_intel_myriad_plugin.so",
    "libtbb.so.2",
    "libtbbmalloc.so.2",
    "plugins.xml",
)
NOTICES: Final = ("LICENSE", "ThirdPartyNotices.txt")
PINNED: Final = PinnedWheel(
    target="rvc2",
    tool=f"the RVC2 compiler, OpenVINO {OPENVINO}",
    package=WHEEL,
    version=WHEEL_VERSION,
    sha256=WHEEL_SHA256,
    python="39",
    platform="manylinux2014_x86_64",
    size_mb=42,
    folder=f"rvc2-openvino-{OPENVINO}",
    files={name: f"onnxruntime/capi/{name}" for name in FILES},
    notices={name: f"onnxruntime/{name}" for name in NOTICES},
    native=Native(glibc=(2, 17)),
    otherwise=("container", "online"),
)


@dataclass(frozen=True, kw_only=True)
class Toolchain:
    """The toolchain in the cache: the folder with its libraries, and libusb's library."""

    libraries: Path
    libusb: Path | None


def ensure(on_event: OnEvent) -> Toolchain:
    """The toolchain, fetched with one line of notice if it is not there.

    Raises:
        ToolchainError: This machine cannot run it, or it cannot be fetched.
    """
    return Toolchain(libraries=PINNED.ensure(on_event), libusb=find_libusb())


def present(on_event: OnEvent) -> Toolchain:
    """The toolchain's files, fetched if they are not there; whether they run here is not asked.

    Raises:
        ToolchainError: They cannot be fetched.
    """
    return Toolchain(libraries=PINNED.present(on_event), libusb=find_libusb())


def find_libusb() -> Path | None:
    """The libusb that the Myriad plugin wants to load; None for the system's."""
    spec = importlib.util.find_spec("libusb_package")
    if spec is None or spec.origin is None:
        return None
    library = Path(spec.origin).parent / "libusb-1.0.so"
    return library if library.is_file() else None
