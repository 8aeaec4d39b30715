"""The operating system that we run on, and what can be converted there."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from typing import Final, Literal, Self

# As pip's tags have them, from what `platform` says.
_MACHINES: Final = {"AMD64": "x86_64", "x64": "x86_64", "ARM64": "arm64"}
_NAMES: Final = {"Darwin": "macOS"}
Libc = Literal["glibc", "musl", ""]


@dataclass(frozen=True, kw_only=True)
class System:
    """A kind of machine.

    Attributes:
        name: `Linux`, `Darwin` or `Windows`, as `platform.system` says it.
        machine: `x86_64`, `aarch64` or `arm64`.
        libc: On Linux its C library; empty elsewhere.
        glibc: The version of glibc; None for another C library.
    """

    name: str
    machine: str
    libc: Libc = ""
    glibc: tuple[int, int] | None = None

    @classmethod
    def current(cls) -> Self:
        """The one that this process runs on."""
        name, machine = platform.system(), platform.machine()
        glibc = _glibc() if name == "Linux" else None
        libc: Libc = "" if name != "Linux" else "glibc" if glibc else "musl"
        return cls(name=name, machine=_MACHINES.get(machine, machine), libc=libc, glibc=glibc)

    def __str__(self) -> str:
        """For people: `Linux x86_64 with glibc 2.36`, `macOS arm64`."""
        said = f"{_NAMES.get(self.name, self.name)} {self.machine}"
        if self.glibc:
            return f"{said} with glibc {self.glibc[0]}.{self.glibc[1]}"
        # musl is what Linux has where it is not glibc; it does not tell its name to those who ask.
        return f"{said} without glibc" if self.libc else said

    def has(self, toolchain: str, native: Native | None = None) -> bool:
        """Whether a kind of toolchain runs there.

        Args:
            native: What the native one needs; None if it runs anywhere.
        """
        match toolchain:
            case "native":
                return native is None or native.runs_on(self)
            case "container":
                # Engines are driven through a Unix socket, which Python has none of on Windows.
                return self.name != "Windows"
        return True


@dataclass(frozen=True, kw_only=True)
class Native:
    """What a native toolchain needs of a system: Linux on x86-64, with a glibc that is new enough."""

    glibc: tuple[int, int]

    def runs_on(self, system: System) -> bool:
        """Whether it loads there."""
        return (
            (system.name, system.machine) == ("Linux", "x86_64")
            and system.glibc is not None
            and system.glibc >= self.glibc
        )

    def __str__(self) -> str:
        """For people."""
        return f"Linux x86-64 with glibc {self.glibc[0]}.{self.glibc[1]} or newer"


def usable_cores() -> int:
    """How many cores this process may use; where the system does not tell, how many there are."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # macOS, Windows
        return os.cpu_count() or 1


def user_id() -> int | None:
    """The number of the user; None on Windows, which has none."""
    try:
        return os.getuid()
    except AttributeError:
        return None


def _glibc() -> tuple[int, int] | None:
    """The version of the C library that is loaded; None if it is not glibc."""
    try:
        said = os.confstr("CS_GNU_LIBC_VERSION") or ""  # `glibc 2.36`
    except (AttributeError, ValueError, OSError):
        return None
    name, _, version = said.partition(" ")
    numbers = version.split(".")[:2]
    if name != "glibc" or len(numbers) != 2 or not all(part.isdigit() for part in numbers):
        return None
    return int(numbers[0]), int(numbers[1])
