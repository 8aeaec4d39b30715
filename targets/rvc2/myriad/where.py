"""Where the compiler's process runs: on this machine, or in a container of its image."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

from converter.errors import ConvertError, ToolchainError
from converter.processes.completed import Completed, died
from converter.processes.run import Processes, python_env
from targets.rvc2.myriad import toolchain as toolchains
from targets.rvc2.myriad.toolchain import Toolchain

if TYPE_CHECKING:
    from converter.container.session import Session

_CHILD: Final = "targets.rvc2.myriad.worker"
# The folder of the compiler's libraries in the image (docker/rvc2/Dockerfile).
IMAGE_LIBRARIES: Final = "/opt/openvino"


class Place(Protocol):
    """A place where the child process (`targets.rvc2.myriad.worker`) can run."""

    @property
    def libraries(self) -> str:
        """The folder of OpenVINO's libraries, as the process sees it."""
        ...

    @property
    def libusb(self) -> str | None:
        """The library of that name, as the process sees it; None for the system's."""
        ...

    @property
    def parent(self) -> int | None:
        """The id of the process that starts it, as the process sees it; None if it cannot see it."""
        ...

    def inside(self, path: Path) -> str:
        """A file of the work folder, as the process sees it."""
        ...

    def run(
        self, request: Path, *, what: str, timeout_s: float, on_line: Callable[[str], None]
    ) -> Completed:
        """Run the process with a request."""
        ...

    def failure(self, done: Completed, what: str, timeout_s: float) -> ConvertError:
        """The error for a process that gave no answer."""
        ...


@dataclass(frozen=True)
class Native:
    """This machine, with the toolchain in the cache."""

    toolchain: Toolchain
    processes: Processes

    @property
    def libraries(self) -> str:
        """The toolchain's folder."""
        return str(self.toolchain.libraries)

    @property
    def libusb(self) -> str | None:
        """The library of the package libusb-package, if it is there."""
        return str(self.toolchain.libusb) if self.toolchain.libusb else None

    @property
    def parent(self) -> int | None:
        """This process."""
        return os.getpid()

    def inside(self, path: Path) -> str:
        """The path itself."""
        return str(path)

    def run(
        self, request: Path, *, what: str, timeout_s: float, on_line: Callable[[str], None]
    ) -> Completed:
        """Run the child with this process's Python."""
        del what
        return self.processes.run(
            [sys.executable, "-m", _CHILD, str(request)],
            timeout_s=timeout_s,
            env=python_env(request.parent),
            cwd=request.parent,
            on_line=on_line,
        )

    def failure(self, done: Completed, what: str, timeout_s: float) -> ConvertError:
        """A damaged toolchain, or the end of the process."""
        if (damage := toolchains.PINNED.damage()) is not None and not done.timed_out:
            return ToolchainError(
                f"{what} could not be started: {damage}.",
                remedy="Run: nnconvert toolchain install rvc2",
                tool_text=done.stdout + done.stderr,
            )
        return died(done, what, timeout_s)


@dataclass(frozen=True)
class InContainer:
    """A container of RVC2's image, which holds Python, the child and the same libraries."""

    session: Session

    @property
    def libraries(self) -> str:
        """The libraries' folder in the image."""
        return IMAGE_LIBRARIES

    @property
    def libusb(self) -> str | None:
        """The library in the libraries' folder."""
        return f"{IMAGE_LIBRARIES}/libusb-1.0.so"

    @property
    def parent(self) -> int | None:
        """A process of the container, which ends with the container."""
        return None

    def inside(self, path: Path) -> str:
        """The path below the container's mount."""
        return self.session.inside(path)

    def run(
        self, request: Path, *, what: str, timeout_s: float, on_line: Callable[[str], None]
    ) -> Completed:
        """Run the child with the image's Python."""
        return self.session.container.run(
            ["python3", "-m", _CHILD, self.inside(request)],
            what=what,
            timeout_s=timeout_s,
            on_line=on_line,
        )

    def failure(self, done: Completed, what: str, timeout_s: float) -> ConvertError:
        """Out of memory, time or disk, or the end of the process."""
        from converter.container import failure

        return failure(done, what, timeout_s, self.session.container)
