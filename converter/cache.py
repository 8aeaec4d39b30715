"""Archives that were made before, by all that decides their bytes: plan, code, libraries, packing.

A result that stands here under a key is what a conversion of that key would write, so nothing in it can
be stale. `cache.enabled` turns it on; the folder may be deleted at any time.
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
# What they do to a graph is not written in a plan.
_LIBRARIES: Final = ("numpy", "onnx", "onnx-ir", "onnxruntime", "onnxslim")


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A result in the cache: its archive, open, and what a `Conversion` tells of it.

    Attributes:
        archive: It stays readable when another run removes the entry.
        warnings: What was said while it was made, beside what its plan says.
    """

    archive: BufferedReader
    sha256: str
    size_bytes: int
    model: dict[str, Any]
    verification: dict[str, Any]
    warnings: Sequence[str]


_TOLD: Final = [field.name for field in fields(Entry) if field.name != "archive"]


def folder() -> Path:
    """Where the results lie: `$XDG_CACHE_HOME/nnconvert/results`, or what the system has for it."""
    import platformdirs

    return Path(platformdirs.user_cache_dir("nnconvert", appauthor=False)) / "results"


def key_of(plan: Plan, suffix: str) -> str | None:
    """The key of a plan's result; None where it depends on more than the plan says.

    Args:
        suffix: How the archive is packed, `.tar.xz`.
    """
    options = plan.options
    # What a service or the user's own frames give today says nothing of tomorrow.
    if plan.toolchain == "online" or options.text("verify.data") or options.record is not None:
        return None
    decisive = {
        "plan": plan.hash,
        # They are written into the build record.
        "warnings": [str(finding) for one in plan.stages for finding in one.warnings],
        "options": options.decisive(),
        "verify": {k: s.value for k, s in sorted(options.settings.items()) if k.startswith("verify.")},
        "code": [_code("converter"), _code(package_of(plan.target))],
        "libraries": {name: version(name) for name in _LIBRARIES},
        "suffix": suffix,
    }
    return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()


def _code(package: str) -> str:
    """SHA-256 over a package's sources: in a checkout its version stays what it is."""
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
        return None  # none, or none of ours
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
    """Put a result into the cache, whole or not at all, and let the oldest ones go.

    The conversion has succeeded by now: a cache that cannot be written to is none, and who interrupts
    this has the archive all the same.

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

    What killed runs have left half copied goes after a day.
    """
    found = []
    for path in folder().iterdir():
        with contextlib.suppress(OSError):  # another run removes it just now, or it is none of ours
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
