"""Archives that were made before, by all that decides their bytes: plan, code, libraries, packing.

The result under a key is what a conversion with that key would write, so nothing in the cache is stale.
`cache.enabled` turns it on; the folder may be deleted at any time.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass, fields
from importlib import import_module
from importlib.metadata import version
from io import BufferedReader
from pathlib import Path
from typing import Any, Final

from converter.plans import Plan
from converter.target import package_of

_ARCHIVE: Final = "archive"
_DOCUMENT: Final = "result.json"
_PART: Final = ".part"
_DAY_S: Final = 86400
# A plan does not say what these libraries do to a graph.
_LIBRARIES: Final = ("numpy", "onnx", "onnx-ir", "onnxruntime", "onnxslim")


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A result in the cache: its archive, open, and what a `Conversion` tells of it.

    Attributes:
        archive: It stays readable when another run removes the entry.
        warnings: The warnings of its conversion, without those of its plan.
    """

    archive: BufferedReader
    sha256: str
    size_bytes: int
    model: dict[str, Any]
    verification: dict[str, Any]
    warnings: Sequence[str]


_TOLD: Final = [field.name for field in fields(Entry) if field.name != "archive"]


def folder() -> Path:
    """The cache's folder: `$XDG_CACHE_HOME/nnconvert/results`, or the system's cache folder."""
    import platformdirs

    return Path(platformdirs.user_cache_dir("nnconvert", appauthor=False)) / "results"


def key_of(plan: Plan, suffix: str) -> str | None:
    """The key of a plan's result; None where it depends on more than the plan says.

    Args:
        suffix: How the archive is packed, `.tar.xz`.
    """
    options = plan.options
    # A service's answer and labels may change without a change of the key.
    if plan.toolchain == "online" or plan.labelled is not None or options.record is not None:
        return None
    decisive = {
        "plan": plan.hash,
        # They are written into the build record.
        "warnings": [str(finding) for one in plan.stages for finding in one.warnings],
        "options": options.decisive(),
        # So are the figures of the comparison, which depend on its frames.
        "frames": [one.frames and one.frames.to_json() for one in plan.stages],
        "verify": {k: s.value for k, s in sorted(options.settings.items()) if k.startswith("verify.")},
        "code": [_code("converter"), _code(package_of(plan.target))],
        "libraries": {name: version(name) for name in _LIBRARIES},
        "suffix": suffix,
    }
    return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()


def _code(package: str) -> str:
    """SHA-256 over a package's sources: in a checkout the version number does not change."""
    module = import_module(package)
    roots = [Path(root) for root in getattr(module, "__path__", ())]
    files = [file for root in roots for file in sorted(root.rglob("*.py"))]
    whole = hashlib.sha256()
    for file in files or [Path(str(module.__file__))]:  # a package, or a module by itself
        whole.update(hashlib.sha256(file.read_bytes()).digest())
    return whole.hexdigest()


def find(key: str) -> Entry | None:
    """The result of a key, whole and unchanged; a damaged one is removed."""
    place = folder() / key
    try:
        document = json.loads((place / _DOCUMENT).read_bytes())
        told = {name: document[name] for name in _TOLD}
        entry = Entry(archive=(place / _ARCHIVE).open("rb"), **told)
    except OSError:
        return None  # there is no entry, or it is not the cache's
    except (ValueError, KeyError, TypeError):
        shutil.rmtree(place, ignore_errors=True)
        return None
    try:
        is_whole = hashlib.file_digest(entry.archive, "sha256").hexdigest() == entry.sha256
        entry.archive.seek(0)
    except OSError:
        is_whole = None
    if is_whole:
        with contextlib.suppress(OSError):
            os.utime(place)
        return entry
    entry.archive.close()
    if is_whole is False:
        shutil.rmtree(place, ignore_errors=True)
    return None


def keep(key: str, archive: Path, document: dict[str, Any], max_bytes: int) -> None:
    """Put a result into the cache, whole or not at all, and remove the oldest ones.

    The conversion has succeeded by now: it is no error if the cache cannot be written to, and the
    archive is there even if this is interrupted.

    Args:
        document: The attributes of an `Entry`, all but the archive.
    """
    place = folder() / key
    part = place.with_name(f".{secrets.token_hex(6)}{_PART}")
    try:
        part.mkdir(parents=True)
        shutil.copyfile(archive, part / _ARCHIVE)
        (part / _DOCUMENT).write_text(json.dumps(document))
        with contextlib.suppress(FileExistsError):
            part.rename(place)
        _prune(max_bytes)
    except (OSError, KeyboardInterrupt):
        pass
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _prune(max_bytes: int) -> None:
    """Remove the results that were used longest ago, until the rest is small enough.

    Half copied entries of killed runs are removed after a day.
    """
    found = []
    for path in folder().iterdir():
        with contextlib.suppress(
            OSError
        ):  # another run removes it at this moment, or it is not the cache's
            used = path.stat().st_mtime
            if path.suffix != _PART:
                found.append((used, sum(file.stat().st_size for file in path.iterdir()), path))
            elif used < time.time() - _DAY_S:
                shutil.rmtree(path, ignore_errors=True)
    total = sum(size for _, size, _ in found)
    for _, size, path in sorted(found):
        if total <= max_bytes:
            return
        shutil.rmtree(path, ignore_errors=True)
        total -= size
