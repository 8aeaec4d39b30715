"""Which conversions run in a sandbox, and what they find there."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Mapping
from typing import Any, Final

from converter.cameras import target_of
from converter.errors import ConvertError, ToolchainError, UsageError
from converter.events import ignore
from converter.options.resolve import Layer, Options, resolve
from converter.pinned_wheel import cache_root
from converter.processes.sandbox import Box, Sandbox
from converter.target import backend_of, load, modules_called

# What a conversion's process imports beside what its children do.
CONVERSION: Final = (
    *("converter.jobs.child", "converter.run", "converter.config.read", "converter.checks.lint"),
)
_NEEDS: Final = {"container": "a container engine", "online": "the network"}


class Isolation:
    """The sandbox of a machine, for many conversions; from any thread."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox
        self._installed: set[str] = set()
        self._lock = threading.Lock()

    def box(
        self,
        target: str,
        options: Mapping[str, Any],
        toolchain: str,
        *,
        installs: bool = True,
    ) -> tuple[Box | None, str]:
        """What a conversion is given; None, and why, if its tools cannot work in a sandbox.

        Args:
            installs: Whether a native toolchain that is not there yet is fetched: inside there is no
                network. A plan needs none.

        Raises:
            ToolchainError: It cannot be fetched, or an engine or an image is missing.
        """
        try:
            name = target_of(target).target
            kind = _toolchain(name, options, toolchain)
            modules = modules_called(name)
        except ToolchainError:
            raise
        except ConvertError:  # the conversion itself says all that is wrong
            return Box(sandbox=self.sandbox, modules=CONVERSION), ""
        if kind in _NEEDS:
            return None, f"Not in a sandbox: the toolchain {kind} needs {_NEEDS[kind]}."
        if installs:
            self._install(name)
        toolchains = cache_root() / "toolchains"
        return Box(sandbox=self.sandbox, modules=(*modules, *CONVERSION), read_only=(toolchains,)), ""

    def _install(self, target: str) -> None:
        with self._lock:
            if target in self._installed:
                return
            with contextlib.suppress(UsageError):  # it has none that is fetched
                load(target).install(ignore, Options({}))
            self._installed.add(target)


def _toolchain(target: str, options: Mapping[str, Any], toolchain: str) -> str:
    """The toolchain that a conversion takes, whatever its model is."""
    if toolchain in _NEEDS:
        return toolchain
    resolved = resolve([Layer(origin="options", values=options)])
    backend = backend_of(target, resolved, toolchain)
    return toolchain if backend is None else backend.toolchain
