"""The keys of the cache: a result under a key is what a conversion with that key would write.

Two kinds of keys name the same results. A *plan's* key wants the plan, which is what `convert` has. A
*question's* key covers whatever a plan is made from, so that it is there in less than a millisecond:
the zoo has thousands of cells. Planning is pure, so the same question has the same plan.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import platform
import re
import sys
from collections.abc import Mapping
from importlib import import_module
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Any, Final

from converter.backend import Backend
from converter.cache.contents import digest_of
from converter.options.declared import configs
from converter.options.resolve import Options, kind_of
from converter.plans import Plan
from converter.target import package_of

# Another form of entries or keys is another key.
_FORM: Final = 2
# Options that say where and how something runs, or how long it may take, and change no result.
_WHERE: Final = ("container.", "online.", "cache.")
# What separates paths within a word.
_SEPARATED: Final = re.compile(r"[=,:;]")
_DISTRIBUTION: Final = "nnarchive-converter"
_OF_DEVELOPERS: Final = re.compile(r"extra == .(docs|test|dev|cluster|zoo|serve)\b")
_code_digests: dict[tuple[str, tuple[tuple[str, int, int], ...]], str] = {}


def key_of(plan: Plan, suffix: str) -> str | None:
    """The key of a plan's result; None where it depends on more than the plan says.

    Args:
        suffix: How the archive is packed, `.tar.xz`.

    Raises:
        OSError: The labels, or what a tool's own arguments name, cannot be read.
    """
    options = plan.options
    # A service's answer may change without a change of the key.
    if plan.toolchain == "online" or options.record is not None:
        return None
    named = files_of_tools(options)
    if named is None:
        return None
    decisive = {
        "plan": plan.hash,
        # They are written into the build record.
        "warnings": [str(finding) for one in plan.stages for finding in one.warnings],
        "options": options.decisive(),
        # So are the figures of the comparison, which depend on its frames.
        "frames": [one.frames and one.frames.to_json() for one in plan.stages],
        "verify": {k: s.value for k, s in sorted(options.settings.items()) if k.startswith("verify.")},
        "labels": _labels(plan),
        "files": named,
        "made by": made_by(plan.target),
        "suffix": suffix,
    }
    return _digest(decisive)


def _labels(plan: Plan) -> list[str]:
    """The content of labels and labelled data; all of the files, whether or not they are used."""
    if plan.labelled is None:
        return []
    paths = [plan.options.text(key) for key in ("verify.labels", "verify.data")]
    return [digest_of(Path(path)) for path in paths if path is not None]


def files_of_tools(options: Options) -> dict[str, str] | None:
    """SHA-256 of the files and folders that a tool's own arguments name, by option and word.

    A path may be a word, or a part of one: `--config FILE`, `--config=FILE`, `FILE,FILE`, `FILE:NAME`.

    Returns:
        None where a word is the current folder or one above it: who knows what of it is read.

    Raises:
        OSError: It cannot be read.
    """
    found = {}
    for key, setting in options.settings.items():
        words = setting.value if kind_of(key) == "args" and isinstance(setting.value, tuple) else ()
        for word in map(str, words):
            for name in dict.fromkeys([word, word.partition("=")[2], *_SEPARATED.split(word)]):
                path = _existing(name)
                if path is None:
                    continue
                if path.is_dir() and Path.cwd().resolve().is_relative_to(path.resolve()):
                    return None
                found[f"{key} {name}"] = digest_of(path)
    return found


def _existing(name: str) -> Path | None:
    """The file or folder of that name; devices and pipes have no content to compare."""
    try:
        path = Path(name)
        return path if name and (path.is_file() or path.is_dir()) else None
    except (OSError, ValueError):  # a long word, and no name
        return None


def question_of(
    *,
    source: Mapping[str, str],
    name: str,
    target: str,
    toolchain: str,
    backend: Backend,
    options: Mapping[str, Any],
    files: Mapping[str, str],
    suffix: str,
    made_by: Mapping[str, Any],
) -> str | None:
    """The key of what somebody asks for, without a plan; None where the answer may change by itself.

    Args:
        source: SHA-256 of the source and of the files beside it (`contents.files_of_model`).
        name: The source's file name, which names the result's archive and its files.
        toolchain: As it is asked for.
        backend: The toolchain that is taken, with the image's id.
        options: The options that are set, by key, without those that name files.
        files: SHA-256 of the files and folders that options name, by the options' keys.
        made_by: The converter that answers (`made_by`).
    """
    if backend.toolchain == "online":
        return None
    decisive = {
        "source": dict(source),
        "name": name,
        "target": target,
        "toolchain": toolchain,
        "backend": backend.to_json(),
        "options": {k: v for k, v in options.items() if not _is_where(k)},
        "files": dict(files),
        "suffix": suffix,
        "made by": made_by,
    }
    return _digest(decisive)


def _is_where(key: str) -> bool:
    return key.startswith(_WHERE) or key.endswith("timeout_s")


def _digest(decisive: Mapping[str, Any]) -> str:
    text = json.dumps({"form": _FORM, **decisive}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def made_by(target: str) -> dict[str, Any]:
    """What else decides a result: the code, the declared options, the libraries and Python."""
    return {
        "code": [code_of("converter"), code_of(package_of(target))],
        "options": digest_of(configs() / "options.yaml"),
        "libraries": _libraries(),
        "python": [sys.version_info[:3], platform.machine()],
    }


def code_of(package: str) -> str:
    """SHA-256 over a package's sources: in a checkout the version number does not change."""
    module = import_module(package)
    roots = [Path(root) for root in getattr(module, "__path__", ())]
    files = [file for root in roots for file in sorted(root.rglob("*.py"))]
    files = files or [Path(str(module.__file__))]  # a module by itself
    stats = [(file, file.stat()) for file in files]
    # A process asks for each of its conversions; what has neither another time nor size is the same.
    state = package, tuple((str(file), stat.st_mtime_ns, stat.st_size) for file, stat in stats)
    if state not in _code_digests:
        whole = hashlib.sha256()
        for file in files:
            whole.update(hashlib.sha256(file.read_bytes()).digest())
        _code_digests[state] = whole.hexdigest()
    return _code_digests[state]


@functools.cache
def _libraries() -> dict[str, str]:
    """The versions of the libraries that the converter names for its work, where they are installed."""
    found = {}
    for told in requires(_DISTRIBUTION) or ():
        needed, _, marker = told.partition(";")
        name = re.split(r"[^\w.-]", needed.strip(), maxsplit=1)[0]
        if name and not _OF_DEVELOPERS.search(marker):
            with contextlib.suppress(PackageNotFoundError):
                found[name] = version(name)
    return found
