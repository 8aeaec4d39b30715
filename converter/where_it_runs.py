"""Which toolchains run on which systems: a table for `doctor` and for the documentation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from converter.system import Libc, System
from converter.target import names, toolchains_on

# What pip can install was asked of an index in November 2026, for Python 3.12.
_NO_WHEELS: Final = "no: there are no wheels of {}"
_SYSTEMS: Final = (
    ("Linux x86-64, glibc 2.35 or newer", ("Linux", "x86_64", (2, 35)), "yes"),
    ("Linux x86-64, glibc 2.27 to 2.34", ("Linux", "x86_64", (2, 27)), "yes"),
    (
        "Linux x86-64, glibc 2.17 to 2.26",
        ("Linux", "x86_64", (2, 17)),
        _NO_WHEELS.format("onnxruntime"),
    ),
    (
        "Linux, musl",
        ("Linux", "x86_64", None),
        _NO_WHEELS.format("onnx, onnxruntime, openvino"),
    ),
    ("Linux aarch64, glibc", ("Linux", "aarch64", (2, 0)), "yes, with glibc 2.35 or newer"),
    ("macOS", ("Darwin", "arm64", None), "yes"),
    ("Windows", ("Windows", "x86_64", None), "yes"),
)
# The images hold x86-64 programs.
_EMULATED: Final = "container (emulated)"
HEADS: Final = ("system", "pip installs it", "init, lint, inspect, diff, plan")


@dataclass(frozen=True, kw_only=True)
class Row:
    """A kind of system.

    Attributes:
        installs: Whether pip can install the converter there, or why not.
        toolchains: By target those that run there.
        is_here: Whether this machine is one.
    """

    system: str
    installs: str
    toolchains: Mapping[str, Sequence[str]]
    is_here: bool

    @property
    def cells(self) -> tuple[str, ...]:
        """The cells of the table, below `heads`."""
        found = (", ".join(kinds) or "none" for kinds in self.toolchains.values())
        return (self.system, self.installs, "yes", *found)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON data."""
        return {
            "system": self.system,
            "installs": self.installs,
            "toolchains": {name: list(kinds) for name, kinds in self.toolchains.items()},
            "here": self.is_here,
        }


def heads(targets: Sequence[str]) -> tuple[str, ...]:
    """The heads of the columns."""
    return (*HEADS, *(f"convert --target {name}" for name in targets))


def markdown(targets: Sequence[str]) -> str:
    """The table as the documentation shows it."""
    lines = [heads(targets), ("---",) * len(heads(targets)), *(row.cells for row in rows(targets))]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def rows(targets: Sequence[str] | None = None) -> list[Row]:
    """The table, for the targets that are installed unless others are named."""
    here = _place(System.current())
    return [
        Row(
            system=label,
            installs=installs,
            toolchains={name: _kinds(name, _system(*key)) for name in targets or names()},
            is_here=key == here,
        )
        for label, key, installs in _SYSTEMS
    ]


def _system(name: str, machine: str, glibc: tuple[int, int] | None) -> System:
    libc: Libc = "" if name != "Linux" else "glibc" if glibc else "musl"
    return System(name=name, machine=machine, libc=libc, glibc=glibc)


def _kinds(target: str, system: System) -> list[str]:
    kinds = toolchains_on(target, system)
    return [_EMULATED if kind == "container" and system.machine != "x86_64" else kind for kind in kinds]


def _place(system: System) -> tuple[str, str, tuple[int, int] | None] | None:
    """The key of the row that a system belongs to; None if there is none for it."""
    for _, key, _ in _SYSTEMS:
        name, machine, glibc = key
        same_libc = (glibc is None) == (system.glibc is None)
        # On musl, macOS and Windows the machine makes no difference that the table shows.
        if name != system.name or not same_libc or (glibc and machine != system.machine):
            continue
        if glibc is None or (system.glibc is not None and system.glibc >= glibc):
            return key
    return None
