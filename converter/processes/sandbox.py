"""A sandbox for a conversion that hostile input may take over: bubblewrap, in a user namespace.

Inside are the interpreter, the packages and the system's libraries, read-only, and one folder that may
be written. There is no network, no other process, no other file, no other variable, no capability,
and when the first process ends the kernel ends all others, however they were forked.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Final, Literal

from converter.errors import ToolchainError
from converter.processes.forked import ready
from converter.resources import folder as resources
from converter.system import usable_cores

Mode = Literal["auto", "required", "off"]
# What programs load; no account, no host, no key.
_SYSTEM: Final = (
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/nix/store",
    "/gnu/store",
)
_BESIDE: Final = (
    *("/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d", "/etc/alternatives"),
    # ONNX Runtime counts cores by it.
    *("/etc/localtime", "/sys/devices/system/cpu"),
)
_SITES: Final = frozenset({"site-packages", "dist-packages"})
_VARIABLES: Final = frozenset(
    {
        "PATH",
        "LANG",
        "LC_ALL",
        "LC_CTYPE",
        "TZ",
        "LD_LIBRARY_PATH",
        "OMP_NUM_THREADS",
        "MKL_NUM_THREADS",
    }
    | {"OPENBLAS_NUM_THREADS", "ORT_DISABLE_TELEMETRY", "NNCF_CI", "CI", "PYTHONPATH", "TMPDIR"}
)
_REMEDY: Final = (
    "Install bubblewrap (the package of that name), and let this user make user namespaces; or take "
    "--sandbox auto."
)
_TMP_BYTES: Final = 1 << 30
_SHM_BYTES: Final = 256 << 20
_PROBE_S: Final = 20.0
_SET_UP_S: Final = 20.0


@dataclass(frozen=True, kw_only=True)
class Sandbox:
    """How children are put into one.

    Attributes:
        program: bubblewrap's path.
        version: What it calls itself.
        options: Options that this version has beyond the oldest one that is used.
        hidden: Folders that are never seen, also where what is bound lies around them.
        packages: Those that may lie in no environment, but in a checkout.
    """

    program: str
    version: str
    options: tuple[str, ...] = ()
    hidden: tuple[Path, ...] = ()
    packages: tuple[str, ...] = ("converter", "targets")

    @property
    def most_processes(self) -> int:
        """How many processes and threads a child may have: enough for every library's pools."""
        return 1024 + 64 * usable_cores()

    def argv(
        self, command: Sequence[str], folder: Path, *, read_only: Sequence[Path] = ()
    ) -> list[str]:
        """The command in the sandbox.

        Args:
            folder: The only folder that it may write; it begins there.
            read_only: What it may read beside; what is not there is left out.
        """
        return [
            self.program,
            *("--unshare-all", "--unshare-user", "--die-with-parent", "--new-session"),
            *("--cap-drop", "ALL", "--hostname", "sandbox", *self.options),
            *("--proc", "/proc", "--dev", "/dev"),
            *("--size", str(_SHM_BYTES), "--tmpfs", "/dev/shm", "--remount-ro", "/dev"),  # noqa: S108
            *("--size", str(_TMP_BYTES), "--tmpfs", "/tmp"),  # noqa: S108
            # Behind those: an environment may lie below /tmp.
            *_bound(self._read_only()),
            *(part for path in self._hidden() for part in ("--tmpfs", str(path))),
            *(part for path in read_only for part in ("--ro-bind-try", str(path), str(path))),
            *("--bind", str(folder), str(folder), "--chdir", str(folder)),
            *("--remount-ro", "/", "--", *command),
        ]

    def _read_only(self) -> list[Path]:
        """The system, the interpreter and the packages."""
        found = [Path(path) for path in (*_SYSTEM, *_BESIDE)]
        prefixes = {sys.prefix, sys.exec_prefix, sys.base_prefix, sys.base_exec_prefix}
        found += [Path(path) for path in sorted(prefixes)]
        # Not the whole module search path: it may have the folder in which somebody started us.
        found += [Path(path) for path in sys.path if Path(path).name in _SITES]
        for name in self.packages:
            spec = find_spec(name)
            places = spec.submodule_search_locations if spec is not None else None
            found += [Path(path) for path in places or ()]
        found += [resources("configs")]
        return [path for path in found if path.exists() and path != Path("/")]

    def _hidden(self) -> list[Path]:
        roots = [path for one in self._read_only() for path in (one, one.resolve())]
        return [
            path
            for one in self.hidden
            for path in dict.fromkeys((one, one.resolve()))
            if path.is_dir() and any(path.is_relative_to(root) for root in roots)
        ]

    def env(self, given: Mapping[str, str], folder: Path) -> dict[str, str]:
        """What the child needs of an environment, no key; its home is its folder."""
        import platformdirs

        kept = {name: value for name, value in given.items() if name in _VARIABLES}
        places = {"HOME": str(folder), "XDG_CACHE_HOME": platformdirs.user_cache_dir()}
        return {**kept, **places, "PYTHONDONTWRITEBYTECODE": "1"}

    def start(
        self, command: Sequence[str], folder: Path, env: Mapping[str, str], read_only: Sequence[Path]
    ) -> tuple[subprocess.Popen[str], int]:
        """Start a command.

        Returns:
            The process outside, and a descriptor that can be read once all inside have ended; -1 if
            nothing was begun inside.

        Raises:
            OSError: bubblewrap cannot be started.
        """
        told, telling = os.pipe()
        with contextlib.ExitStack() as stack:
            stack.callback(os.close, told)
            try:
                process = subprocess.Popen(
                    [
                        *(self.program, "--info-fd", str(telling)),
                        *self.argv(command, folder, read_only=read_only)[1:],
                    ],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    env=self.env(env, folder),
                    cwd=folder,
                    text=True,
                    errors="replace",
                    start_new_session=True,
                    pass_fds=[telling],
                )
            finally:
                os.close(telling)
            return process, _first(told)


@dataclass(frozen=True, kw_only=True)
class Box:
    """What a call in a sandbox is given.

    Attributes:
        modules: What is imported before the call: modules that start no thread.
        read_only: What it may read beside the system and the packages.
    """

    sandbox: Sandbox
    modules: tuple[str, ...] = ()
    read_only: tuple[Path, ...] = ()


def find(
    mode: Mode, *, hidden: Sequence[Path] = (), packages: Sequence[str] = ("converter", "targets")
) -> tuple[Sandbox | None, str]:
    """The sandbox of this machine, tried once, and a line that says which or why there is none.

    Args:
        mode: `auto` takes one where it works, `required` takes nothing less, `off` takes none.
        hidden: See `Sandbox`.
        packages: See `Sandbox`.

    Raises:
        ToolchainError: It is required, and does not work here.
    """
    if mode == "off":
        return None, "off: it was switched off"
    found, problem = _tried(tuple(hidden), tuple(packages))
    if found is not None:
        return found, found.version
    if mode == "required":
        raise ToolchainError(f"The sandbox does not work here: {problem}.", remedy=_REMEDY)
    return None, f"off: {problem}"


def _tried(hidden: tuple[Path, ...], packages: tuple[str, ...]) -> tuple[Sandbox | None, str]:
    if platform.system() != "Linux":
        return None, f"{platform.system()} has no user namespaces"
    program = shutil.which("bwrap")
    if program is None:
        return None, "bubblewrap (bwrap) is not installed"
    try:
        version = _said([program, "--version"])
        options = ("--disable-userns",) if "--disable-userns" in _said([program, "--help"]) else ()
        found = Sandbox(
            program=program, version=version, options=options, hidden=hidden, packages=packages
        )
        with tempfile.TemporaryDirectory(prefix="nnconvert-") as name:
            folder = Path(name).resolve()
            probe = "import ctypes, os; open('made', 'w').close(); os.listdir('/proc/self')"
            command = found.argv([sys.executable, "-I", "-S", "-c", probe], folder)
            done = subprocess.run(
                command,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=_PROBE_S,
                check=False,
                env=found.env(os.environ, folder),
            )
            if done.returncode == 0 and (folder / "made").exists():
                return found, ""
    except (OSError, subprocess.SubprocessError) as error:
        return None, f"bubblewrap cannot be started: {error}"
    lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
    return None, (lines or [f"bubblewrap ended with {done.returncode}"])[-1][:300]


def _said(command: Sequence[str]) -> str:
    return subprocess.run(
        command, capture_output=True, text=True, timeout=_PROBE_S, check=False
    ).stdout.strip()


def _bound(paths: Sequence[Path]) -> Iterator[str]:
    """Bind what is there, once: a link as a link, and also what it leads to."""
    bound: list[Path] = []
    for path in paths:
        if any(path.is_relative_to(one) for one in bound):
            continue
        if path.is_symlink() and path.is_dir() and path.parent == Path("/"):
            yield from ("--symlink", str(path.readlink()), str(path))
            continue
        for place in dict.fromkeys((path, path.resolve() if path.is_dir() else path)):
            if not any(place.is_relative_to(one) for one in bound):
                yield from ("--ro-bind", str(place), str(place))
                bound.append(place)


def _first(told: int) -> int:
    """A descriptor of the first process inside, of what bubblewrap tells of it."""
    data = b""
    with contextlib.suppress(OSError, ValueError, KeyError, AttributeError):
        while ready(told, _SET_UP_S):
            part = os.read(told, 4096)
            data += part
            if not part or b"}" in part:
                break
        return os.pidfd_open(int(json.loads(data)["child-pid"]))
    return -1
