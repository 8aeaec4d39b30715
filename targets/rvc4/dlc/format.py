"""DLC files, for everything that only reads them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from converter.formats import Format
from converter.profile import Profile
from targets.rvc4.dlc.read import is_dlc, read_dlc_file
from targets.rvc4.dlc.weights import parts
from targets.rvc4.toolchain import UNTRIED


def _read(path: Path) -> dict[str, Any]:
    return read_dlc_file(path).to_json()


def _summary(facts: Mapping[str, Any]) -> str:
    types = {what: "/".join(facts[f"{what}_types"]) or "none" for what in ("weight", "activation")}
    return (
        f"dlc for rvc4, model format {facts['version']}, {sum(facts['operators'].values())} operators, "
        f"weights {types['weight']}, activations {types['activation']}"
    )


def _note(facts: Mapping[str, Any]) -> str:
    """QNN's execution provider names the graphs that it writes after itself; SNPE does not."""
    return UNTRIED if str(facts["graph"]).startswith("QNNExecutionProvider") else ""


def _profile(path: Path) -> Profile:
    from targets.rvc4.dlc.profile import profile_file

    return profile_file(path)


DLC: Final = Format(
    suffix=".dlc",
    target="rvc4",
    recognizes=is_dlc,
    read=_read,
    summary=_summary,
    load_with="",
    parts=parts,
    note=_note,
    profile=_profile,
)
