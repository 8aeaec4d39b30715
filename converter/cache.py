"""Archives that were made before, by all that decides their bytes: plan, version, packing.

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
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from converter.plans import Plan

_ARCHIVE: Final = "archive"
_DOCUMENT: Final = "result.json"


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A result in the cache: its archive, and what `Conversion` tells of it."""

    key: str
    archive: Path
    document: dict[str, Any]


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
        "options": options.decisive(),
        "verify": {k: s.value for k, s in sorted(options.settings.items()) if k.startswith("verify.")},
        "converter": version("nnarchive-converter"),
        "suffix": suffix,
    }
    return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()


def find(key: str) -> Entry | None:
    """The result of a key, whole and unchanged; a damaged one is removed."""
    place = folder() / key
    try:
        document = json.loads((place / _DOCUMENT).read_bytes())
        with (place / _ARCHIVE).open("rb") as file:
            whole = hashlib.file_digest(file, "sha256").hexdigest() == document["sha256"]
        if whole:
            os.utime(place)
            return Entry(key=key, archive=place / _ARCHIVE, document=document)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError):
        pass
    shutil.rmtree(place, ignore_errors=True)
    return None


def keep(key: str, archive: Path, document: dict[str, Any], max_bytes: int) -> None:
    """Put a result into the cache, whole or not at all, and let the oldest ones go.

    A cache that cannot be written to is none: the conversion has succeeded all the same.
    """
    place = folder() / key
    part = place.with_name(f".{secrets.token_hex(6)}.part")
    try:
        part.mkdir(parents=True)
        shutil.copyfile(archive, part / _ARCHIVE)
        (part / _DOCUMENT).write_text(json.dumps(document))
        with contextlib.suppress(FileExistsError):
            part.rename(place)
        _prune(max_bytes)
    except OSError:
        pass
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _prune(max_bytes: int) -> None:
    """Remove the results that were used longest ago, until the rest is small enough."""
    found = [
        (path.stat().st_mtime, sum(file.stat().st_size for file in path.iterdir()), path)
        for path in folder().iterdir()
        if not path.name.startswith(".")
    ]
    total = sum(size for _, size, _ in found)
    for _, size, path in sorted(found):
        if total <= max_bytes:
            return
        shutil.rmtree(path, ignore_errors=True)
        total -= size
