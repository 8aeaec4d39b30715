"""A native toolchain out of one pinned wheel: fetched once through pip, checked, kept in the cache.

Nothing of a toolchain is in this package. Its wheel is fetched through the user's own pip
configuration, so mirrors, proxies and certificates that work for pip work here. The wheel's SHA-256 is
declared with the target: two machines with the same converter have the same toolchain.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import sys
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from converter.backend import Kind
from converter.digests import sha256_of
from converter.errors import ToolchainError, disk_error
from converter.events import Notice, OnEvent
from converter.processes.run import Processes
from converter.system import Native, System
from converter.target import Check

_MANIFEST: Final = "manifest.json"
_FETCH_TIMEOUT_S: Final = 1200.0
_CHUNK_BYTES: Final = 1 << 20


def cache_root() -> Path:
    """`$XDG_CACHE_HOME/nnconvert`: everything that outlives a run and is no output."""
    import platformdirs

    return Path(platformdirs.user_cache_dir("nnconvert", appauthor=False))


@dataclass(frozen=True, kw_only=True)
class PinnedWheel:
    """A wheel, and the files of it that are a toolchain.

    Attributes:
        target: The target that it compiles for, `rvc2`.
        tool: What is in it, for the line of notice: `the RVC2 compiler, OpenVINO 2022.2`.
        package: The wheel's name in an index; version, sha256: those of the only one that is taken.
        python: The Python of its tag, `311`; platform: the platform of its tag. The files are loaded as
            plain libraries, so this need not be the Python that runs us.
        size_mb: How much is fetched, in megabytes.
        folder: Under which name it is kept, without the hash.
        files: What the toolchain cannot do without: its name in the cache, and in the wheel.
        notices: The licences, which stay with the files, in the same form.
        native: What the files need of a system.
        otherwise: The target's other toolchains, for systems that have not got that.
    """

    target: str
    tool: str
    package: str
    version: str
    sha256: str
    python: str
    platform: str
    size_mb: int
    folder: str
    files: Mapping[str, str]
    notices: Mapping[str, str]
    native: Native
    otherwise: Sequence[Kind] = ()

    @property
    def _name(self) -> str:
        return f"the {self.target.upper()} toolchain"

    def location(self) -> Path:
        """Where it is kept; the name changes with the wheel, so versions live side by side."""
        return cache_root() / "toolchains" / f"{self.folder}-{self.sha256[:12]}"

    def damage(self, *, thorough: bool = True) -> str | None:
        """What is wrong with the one in the cache; None if nothing is. `thorough` reads every byte."""
        return self._damage(self.location(), thorough=thorough)

    def problem_with_system(self) -> str | None:
        """Why the toolchain cannot run on this machine; None if it can."""
        system = System.current()
        if self.native.runs_on(system):
            return None
        return f"The native {self.target.upper()} toolchain runs on {self.native}; this is {system}."

    def caveat(self) -> str:
        """For a plan: why this machine cannot carry it out, and what it can; empty if it can."""
        problem = self.problem_with_system()
        return f"This machine cannot carry it out. {problem} {self._elsewhere()}" if problem else ""

    def check(self, detail: str) -> Check:
        """What `doctor` says of it.

        Args:
            detail: What it is and whose licence it has.
        """
        name = f"{self.target} native"
        if problem := self.problem_with_system():
            return Check(
                name=name, detail="", problem=problem, remedy=self._elsewhere(), is_needed=False
            )
        if not self.location().exists():
            fetched = f"not in the cache yet; the first conversion fetches it ({self.size_mb} MB)"
            return Check(name=name, detail=f"{detail}: {fetched}")
        return Check(
            name=name,
            detail=f"{detail} in {self.location()}",
            problem=self.damage(),
            remedy=f"Run: nnconvert toolchain install {self.target}",
        )

    def ensure(self, on_event: OnEvent) -> Path:
        """The folder in the cache, on a machine that can run what is in it.

        Raises:
            ToolchainError: This machine cannot, or the wheel cannot be fetched.
        """
        if problem := self.problem_with_system():
            raise ToolchainError(problem, remedy=self._elsewhere())
        return self.present(on_event)

    def _elsewhere(self) -> str:
        """What this machine can do instead."""
        system = System.current()
        others = [f"--toolchain {kind}" for kind in self.otherwise if system.has(kind)]
        where = f"convert on {self.native}"
        if not others:
            return f"{where[0].upper()}{where[1:]}."
        return f"Use {' or '.join(others)}, or {where}."

    def present(self, on_event: OnEvent) -> Path:
        """The folder in the cache, filled with one line of notice if it is not there.

        Whether this machine can run what is in it is not asked.

        Raises:
            ToolchainError: The wheel cannot be fetched.
        """
        folder = self.location()
        damage = self._damage(folder, thorough=False)
        if damage is not None:
            why = f" ({damage})" if folder.exists() else ""
            on_event(Notice(text=f"Fetching {self.tool}, once: {self.size_mb} MB{why} …"))
            self.install()
        return folder

    def install_once(self, on_event: OnEvent, wheel: Path | None) -> str:
        """What `toolchain install` does: nothing where a good one is there, unless a wheel is given.

        Raises:
            ToolchainError: As for `install`.
        """
        if wheel is None and self.damage() is None:
            on_event(Notice(text=f"{_capital(self._name)} is installed already."))
        else:
            self.install(wheel)
        return str(self.location())

    def install(self, wheel: Path | None = None) -> Path:
        """Fetch the wheel (or take a given one), check it and put its files into the cache.

        The folder appears whole or not at all; of two installs at once one wins and both are served.

        Raises:
            ToolchainError: It cannot be fetched, or is not the pinned wheel.
        """
        folder = self.location()
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix=".install-", dir=folder.parent) as temporary:
                work = Path(temporary)
                if wheel is None:
                    wheel = self.fetch(work)
                self._check(wheel)
                fresh = work / "toolchain"
                self._unpack(wheel, fresh)
                self._put(fresh, folder, work)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise disk_error(error, f"installing {self._name}") from error
            raise ToolchainError(
                f"{_capital(self._name)} cannot be put into {folder.parent}: {error.strerror}.",
                remedy="Make that folder writable, or point XDG_CACHE_HOME elsewhere.",
            ) from error
        return folder

    def remove(self) -> bool:
        """Delete it from the cache; False if it was not there."""
        if not self.location().exists():
            return False
        shutil.rmtree(self.location())
        return True

    def fetch(self, folder: Path) -> Path:
        """Download the wheel with the user's pip.

        Raises:
            ToolchainError: pip does not get it.
        """
        argv = [
            *(sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:"),
            *("--python-version", self.python, "--implementation", "cp"),
            *("--platform", self.platform, "--dest", str(folder)),
            *("--disable-pip-version-check", "--progress-bar", "off"),
            f"{self.package}=={self.version}",
        ]
        done = Processes().run(argv, timeout_s=_FETCH_TIMEOUT_S)
        wheels = sorted(folder.glob("*.whl"))
        if done.returncode != 0 or not wheels:
            said = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
            reason = "no answer in 20 minutes" if done.timed_out else (said or ["pip failed"])[-1]
            what = f"{_capital(self.tool)} ({self.package} {self.version})"
            raise ToolchainError(
                f"{what} could not be fetched: {reason}.",
                remedy="Check pip's network and index settings, or fetch the wheel elsewhere and run: "
                f"nnconvert toolchain install {self.target} --wheel FILE",
                tool_text=done.stdout + done.stderr,
            )
        return wheels[0]

    def _check(self, wheel: Path) -> None:
        try:
            digest = sha256_of(wheel)
        except OSError as error:
            raise ToolchainError(f"{wheel} cannot be read: {error.strerror}.") from error
        if digest != self.sha256:
            raise ToolchainError(
                f"{wheel.name} is not the pinned wheel: its SHA-256 is {digest}, expected "
                f"{self.sha256}.",
                remedy=f"Take {self.package} {self.version} for cp{self.python}, {self.platform}.",
            )

    def _unpack(self, wheel: Path, folder: Path) -> None:
        """Take what is needed out of the wheel, with a manifest of sizes and hashes."""
        folder.mkdir()
        manifest = {}
        with zipfile.ZipFile(wheel) as archive:
            for name, member in {**self.files, **self.notices}.items():
                path = folder / name
                path.parent.mkdir(parents=True, exist_ok=True)
                digest = hashlib.sha256()
                # Piece by piece: a library may have more than a hundred megabytes.
                with archive.open(member) as packed, path.open("wb") as file:
                    while data := packed.read(_CHUNK_BYTES):
                        digest.update(data)
                        file.write(data)
                manifest[name] = {"size": path.stat().st_size, "sha256": digest.hexdigest()}
        (folder / _MANIFEST).write_text(json.dumps(manifest, indent=1))

    def _put(self, fresh: Path, folder: Path, work: Path) -> None:
        """Rename into place; a good one that is there already stays, a damaged one makes way."""
        for _ in range(3):
            try:
                fresh.rename(folder)
            except OSError:  # it is there already
                if self._damage(folder, thorough=True) is None:
                    return
                try:
                    folder.rename(work / f"damaged-{os.urandom(4).hex()}")
                except FileNotFoundError:
                    continue  # another install was faster
            else:
                return
        raise ToolchainError(f"{folder} cannot be replaced.", remedy="Delete it and try again.")

    def _damage(self, folder: Path, *, thorough: bool) -> str | None:
        damaged = f"{self._name} in the cache is damaged"
        try:
            manifest = json.loads((folder / _MANIFEST).read_text())
            for name in self.files:
                entry, path = manifest[name], folder / name
                if path.stat().st_size != entry["size"]:
                    return f"{damaged}: {name} has another size"
                if thorough and sha256_of(path) != entry["sha256"]:
                    return f"{damaged}: {name} has changed"
        except FileNotFoundError as error:
            if not folder.exists():
                return f"{self._name} is not installed"
            return f"{damaged}: {Path(str(error.filename)).name} is missing"
        except (ValueError, KeyError, TypeError, OSError):
            return damaged
        return None


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
