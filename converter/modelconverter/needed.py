"""Which keys of a ModelConverter file are read: none that stronger options set, none without use."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from converter.errors import UsageError
from converter.findings import Finding, Severity
from converter.modelconverter.keys import translated
from converter.modelconverter.paths import located
from converter.options.declared import specs_by_key
from converter.options.resolve import Options, is_declared

# What is said of calibration data apart from where they are.
_HOW: Final = ("max_images", "resize_method")


def needed(
    flat: Mapping[str, Any], given: Options, target: str, folder: Path
) -> tuple[dict[str, Any], list[Finding]]:
    """The keys to read, and notes about those that are left out.

    Args:
        flat: The file's keys, dotted, with their values.
        given: Stronger options.
        target: What is converted for; empty if that is not known.
        folder: The file's folder.
    """
    kept = {key: value for key, value in flat.items() if not _is_set(key, value, given)}
    data = [key for key in kept if "calibration" in key.split(".") and not key.endswith(_HOW)]
    if _sets_data(given):
        return {key: value for key, value in kept.items() if key not in data}, []
    # Every target compares on calibration data; these measure ranges on them.
    uses = specs_by_key()["calibration.random"].targets
    if not target or not uses or target in uses:
        return kept, []
    # Generated frames are what is compared on anyway.
    said = {key: kept[key] for key in data if kept[key] not in (None, False, "random")}
    paths = {key: value for key, value in said.items() if key.endswith("calibration.path")}
    if paths and all(_is_there(key, value, folder) for key, value in paths.items()):
        return kept, []  # frames to compare on
    note = Finding(
        code="modelconverter.ignored",
        severity=Severity.WARNING,
        where="calibration",
        message=f"has no effect here: nothing is calibrated for {target}.",
    )
    rest = {key: value for key, value in kept.items() if "calibration" not in key.split(".")}
    return rest, [note] if said else []


def _is_set(key: str, value: Any, given: Options) -> bool:
    """Whether stronger options set all that a key means."""
    if is_declared(key):
        return key in given.settings
    meant = translated(key, value)
    return (
        meant is not None
        and bool(meant.values)
        and all(option in given.settings for option in meant.values)
    )


def _sets_data(given: Options) -> bool:
    """Whether stronger options say where calibration data come from, or that there are none."""
    return any(
        key.endswith("calibration.path")
        or (key in ("calibration.random", "disable_calibration") and setting.value)
        for key, setting in given.settings.items()
    )


def _is_there(key: str, value: Any, folder: Path) -> bool:
    """Whether a key names a folder or a file of data that exists."""
    if not key.endswith("calibration.path") or not isinstance(value, str):
        return False
    try:
        return Path(located(value, folder, key)).exists()
    except UsageError:
        return False
