"""Qualcomm's SDK zip: finding out its version, and unpacking what the image needs.

The zip's layout changes between versions (`qairt/2.39.0.250926/bin/…`, `2.23.0.240531/bin/…`): the root
is where `bin/envsetup.sh` is, at whatever depth.
"""

from __future__ import annotations

import lzma
import re
import shutil
import stat
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from converter.errors import ToolchainError
from targets.rvc4.snpe.options import CONVERT, INFO, PREPARE, QUANTIZE, RUN

_ENVSETUP: Final = "bin/envsetup.sh"
_HOST: Final = "x86_64-linux-clang"
_KEPT: Final = (f"bin/{_HOST}/", f"lib/{_HOST}/", "lib/python/")
_NOTICES: Final = re.compile(r"(?:LICENSE|NOTICE|.*\.pdf|sdk\.yaml)[^/]*", re.IGNORECASE)
_TOOLS: Final = (CONVERT, QUANTIZE, PREPARE, INFO, RUN)
_VERSION: Final = re.compile(r"\d+\.\d+\.\d+(?:\.\d+)*")
_REMEDY: Final = "Give the zip of Qualcomm's AI Runtime SDK (QAIRT), or of SNPE 2, for Linux."
# The exceptions of `zipfile` for a file that contradicts the zip's directory.
_DAMAGED: Final = (
    *(zipfile.BadZipFile, zlib.error, lzma.LZMAError, UnicodeDecodeError),
    *(NotImplementedError, EOFError, RuntimeError),
)
_MAX_BYTES: Final = 40 << 30


@dataclass(frozen=True, kw_only=True)
class Sdk:
    """A zip that is an SDK.

    Attributes:
        root: The folder in the zip that holds `bin` and `lib`; empty or ending with a slash.
        version: `2.41.0.251128` and the like.
    """

    path: Path
    root: str
    version: str

    def unpack(self, folder: Path) -> None:
        """Write the tools, their libraries and the licence below a folder.

        Raises:
            ToolchainError: The zip is damaged, or leads out of the folder.
        """
        try:
            with zipfile.ZipFile(self.path) as archive:
                for info in archive.infolist():
                    name = info.filename.removeprefix(self.root)
                    if not info.filename.startswith(self.root) or info.is_dir():
                        continue
                    if name == _ENVSETUP or name.startswith(_KEPT) or _NOTICES.fullmatch(name):
                        _write(archive, info, folder, name)
        except _DAMAGED as error:
            raise ToolchainError(f"{self.path.name} is damaged ({error}).", remedy=_REMEDY) from error


def read_sdk(path: Path) -> Sdk:
    """Find out what an SDK zip is; nothing is unpacked yet.

    Raises:
        ToolchainError: It is not an SDK, or lacks what the image needs; it says what.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            if sum(info.file_size for info in archive.infolist()) > _MAX_BYTES:
                raise ToolchainError(f"{path.name} is absurdly large when unpacked.", remedy=_REMEDY)
            roots = sorted(
                (name.removesuffix(_ENVSETUP) for name in names if _is_envsetup(name)), key=len
            )
            if not roots:
                raise ToolchainError(
                    f"{path.name} is not an SDK: there is no {_ENVSETUP} in it.", remedy=_REMEDY
                )
            root = roots[0]
            missing = [tool for tool in _TOOLS if f"{root}bin/{_HOST}/{tool}" not in names]
            if missing:
                raise ToolchainError(
                    f"{path.name} lacks {', '.join(missing)} in bin/{_HOST}.", remedy=_REMEDY
                )
            if not any(name.startswith(f"{root}lib/python/") for name in names):
                raise ToolchainError(f"{path.name} lacks lib/python.", remedy=_REMEDY)
            return Sdk(path=path, root=root, version=_version(archive, root, path))
    except FileNotFoundError:
        raise ToolchainError(f"{path}: no such file.", remedy=_REMEDY) from None
    except (*_DAMAGED, OSError) as error:
        raise ToolchainError(f"{path.name} is not a zip ({error}).", remedy=_REMEDY) from error


def _is_envsetup(name: str) -> bool:
    return name == _ENVSETUP or name.endswith(f"/{_ENVSETUP}")


def _version(archive: zipfile.ZipFile, root: str, path: Path) -> str:
    """From the SDK's own description, else the folder's name, else the file's."""
    texts = [root, path.name]
    if f"{root}sdk.yaml" in archive.namelist():
        texts.insert(0, archive.read(f"{root}sdk.yaml")[:65536].decode(errors="replace"))
    for text in texts:
        if found := _VERSION.search(text):
            return found[0]
    raise ToolchainError(
        f"{path.name} does not say which version it is.",
        remedy="Name the file after it, snpe-2.41.0.zip.",
    )


def _write(archive: zipfile.ZipFile, info: zipfile.ZipInfo, folder: Path, name: str) -> None:
    parts = PurePosixPath(name).parts
    mode = info.external_attr >> 16
    if ".." in parts or name.startswith("/"):
        raise ToolchainError(f"{archive.filename} leads out of its folder: {name!r}.", remedy=_REMEDY)
    place = folder.joinpath(*parts)
    place.parent.mkdir(parents=True, exist_ok=True)
    if stat.S_ISLNK(mode):
        target = PurePosixPath(archive.read(info).decode())
        if target.is_absolute() or ".." in target.parts:
            raise ToolchainError(
                f"{archive.filename} has a link that leads away: {name!r}.", remedy=_REMEDY
            )
        place.symlink_to(target)
        return
    with archive.open(info) as source, place.open("wb") as target_file:
        shutil.copyfileobj(source, target_file, 1 << 20)
    # A zip made on Windows has no modes: tools must be executable, all files readable.
    runnable = name.startswith("bin/") or mode & 0o111
    place.chmod(0o755 if runnable else 0o644)
