"""Whether this machine can convert, and what to do where it cannot."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import tempfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

from converter.errors import ConvertError
from converter.options.resolve import Options
from converter.processes.sandbox import find as find_sandbox
from converter.system import System
from converter.target import Check, load, names

_LIBRARIES: Final = (
    *("onnx", "onnx-ir", "onnxslim", "onnxruntime", "luxonis-ml", "bsdiff4"),
    *("openvino", "docker", "blobconverter"),
)
_LOW_DISK_BYTES: Final = 2 << 30


def checks() -> list[Check]:
    """Every check, those of the targets last."""
    found = [
        Check(
            name="machine",
            detail=f"{System.current()}, Python {sys.version.split()[0]}, {os.cpu_count()} cores",
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
    found.append(_sandbox())
    for name in names():
        found += load(name).checks()
    return [*found, *_containers()]


def _sandbox() -> Check:
    """What `serve` and `worker` convert strangers' models in."""
    found, said = find_sandbox("auto")
    if found is not None:
        return Check(name="sandbox", detail=f"{said}; for `serve` and `worker`")
    return Check(
        name="sandbox",
        detail="",
        problem=f"`serve` and `worker` convert outside of one ({said.removeprefix('off: ')})",
        remedy="Install bubblewrap, and let this user make user namespaces.",
        is_needed=False,
    )


def _containers() -> list[Check]:
    """The container engine and the images in it. Neither is a must: what needs them is said."""
    from converter.container import connect
    from converter.container.session import ignored

    name, options = "container engine", Options({})
    try:
        engine = connect()
    except ConvertError as error:
        needs = "RVC3 (or --toolchain online), and SNPE for RVC4, need one."
        remedy = f"{needs} {error.remedy}"
        return [Check(name=name, detail="", problem=error.message, remedy=remedy, is_needed=False)]
    with contextlib.closing(engine):
        told = ignored(engine, options)
        found = [
            Check(name=name, detail=f"{engine.name} at {engine.socket}{f'; {told}' if told else ''}")
        ]
        for target in names():
            try:
                image = engine.first_of(load(target).images(options))
            except ConvertError as error:
                found.append(
                    Check(name=f"{target} image", detail="", problem=error.message, is_needed=False)
                )
                continue
            size = f"{image.size_bytes / 1e6:,.0f} MB" if image else ""
            found.append(
                Check(
                    name=f"{target} image",
                    detail=f"{image.name} ({image.short_id}, {size})" if image else "",
                    problem=None if image else "there is none",
                    remedy=f"See: nnconvert toolchain build --help, for {target}",
                    is_needed=False,
                )
            )
    return found
