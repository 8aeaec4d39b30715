"""Whether this machine can convert, and what to do where it cannot."""

from __future__ import annotations

import os
import platform
import shutil
import sys
import tempfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

from converter.target import Check, load, names

_LIBRARIES: Final = ("onnx", "onnx-ir", "onnxslim", "onnxruntime", "luxonis-ml", "bsdiff4")
_LOW_DISK_BYTES: Final = 2 << 30


def checks() -> list[Check]:
    """Every check, those of the targets last."""
    found = [
        Check(
            name="machine",
            detail=f"{platform.system()} {platform.machine()}, Python {sys.version.split()[0]}, "
            f"{os.cpu_count()} cores",
        )
    ]
    for name in _LIBRARIES:
        try:
            found.append(Check(name=name, detail=version(name)))
        except PackageNotFoundError:
            found.append(
                Check(
                    name=name,
                    detail="",
                    problem="is not installed",
                    remedy=f"Run: pip install {name}",
                )
            )
    free = shutil.disk_usage(Path(tempfile.gettempdir())).free
    found.append(
        Check(
            name="disk",
            detail=f"{free / (1 << 30):.1f} GiB free in {tempfile.gettempdir()}",
            problem="little room for intermediate files" if free < _LOW_DISK_BYTES else None,
            remedy="Make room, or point TMPDIR to a larger disk.",
        )
    )
    for name in names():
        found += load(name).checks()
    return found
