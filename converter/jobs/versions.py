"""What must be the same on a dispatcher and its workers: a result does not depend on the worker."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Mapping
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points, version
from pathlib import Path
from typing import Final

from converter.target import ENTRY_POINTS

_LIBRARIES: Final = ("numpy", "onnx", "onnx-ir", "onnxruntime", "onnxslim", "openvino", "distributed")


@cache
def own() -> dict[str, str]:
    """The versions here: converter, its code, Python, and the libraries that decide bytes."""
    found = {"converter": version("nnarchive-converter"), "code": _code()}
    found["python"] = ".".join(platform.python_version_tuple()[:2])
    return found | {name: version(name) for name in _LIBRARIES}


def _code() -> str:
    """A hash of the converter's and the targets' sources: a checkout's version does not change."""
    packages = {"converter", *(one.value.partition(".")[0] for one in entry_points(group=ENTRY_POINTS))}
    whole = hashlib.sha256()
    for name in sorted(packages):
        module = import_module(name)
        roots = getattr(module, "__path__", None) or [str(Path(str(module.__file__)).parent)]
        for file in sorted(path for root in roots for path in Path(root).rglob("*.py")):
            whole.update(file.name.encode() + hashlib.sha256(file.read_bytes()).digest())
    return whole.hexdigest()[:12]


def difference(theirs: Mapping[str, str], ours: Mapping[str, str]) -> str:
    """What differs, by name: `onnx 1.17 and not 1.18`; empty if nothing does."""
    names = sorted({*theirs, *ours})
    return ", ".join(
        f"{name} {theirs.get(name, 'none')} and not {ours.get(name, 'none')}"
        for name in names
        if theirs.get(name) != ours.get(name)
    )
