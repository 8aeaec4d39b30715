"""Where the manifest's files are: on this machine, or behind a URL and fetched once."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TypeVar

from converter.cache.contents import digest_of, files_of_model, state_of
from converter.errors import ArchiveError, ToolError
from converter.zoo.manifest import Files

Read = TypeVar("Read", str, Mapping[str, str])


@dataclass(frozen=True, kw_only=True)
class Place:
    """A file or folder of the manifest.

    Attributes:
        given: As the manifest has it.
        path: Where it is, or where it will be once it is fetched.
        sha256: What its content must be; None if the manifest does not say.
        url: Where it is fetched from; None for what is on this machine.
    """

    given: str
    path: Path
    sha256: str | None = None
    url: str | None = None


@dataclass
class Places:
    """Finds the manifest's files; each is read once in a build.

    Attributes:
        folder: The manifest's.
        fetched: The folder for what is behind URLs; names in it are digests.
    """

    folder: Path
    fetched: Path
    _digests: dict[Path, str] = field(default_factory=dict)
    _models: dict[Path, Mapping[str, str]] = field(default_factory=dict)
    _states: dict[Path, object] = field(default_factory=dict)

    def find(self, files: Files) -> Place:
        """The place; nothing is read or fetched.

        Raises:
            FileNotFoundError: It is neither below the manifest's folder nor below the current one.
        """
        if files.is_url:
            name = PurePosixPath(files.path.partition("?")[0]).name or "source"
            path = self.fetched / str(files.sha256) / name
            return Place(given=files.path, path=path, sha256=files.sha256, url=files.path)
        return Place(given=files.path, path=self.path_of(files.path), sha256=files.sha256)

    def path_of(self, given: str) -> Path:
        """A path of the manifest, against its folder, else against the current one.

        Raises:
            FileNotFoundError: There is no such file.
        """
        written = Path(given).expanduser()
        for path in (self.folder / written, Path.cwd() / written):
            if path.exists():
                return path
        raise FileNotFoundError(given)

    def digest(self, place: Place) -> str:
        """SHA-256 of the content (`converter.cache.contents`); what is behind a URL is fetched.

        Raises:
            ArchiveError: It is not what the manifest says.
            ToolError: It cannot be fetched.
            OSError: It cannot be read.
        """
        if place.url is not None and not place.path.exists():
            _fetch(place)
        found = self._once(self._digests, place.path, digest_of)
        if place.sha256 is not None and found != place.sha256:
            if place.url is not None:  # it is fetched anew the next time
                place.path.unlink(missing_ok=True)
            raise ArchiveError(
                f"{place.given} is not what the manifest names: its SHA-256 is {found}, expected "
                f"{place.sha256}.",
                remedy="Check the file; if the change is meant, write the new sha256.",
            )
        return found

    def model_files(self, place: Place) -> Mapping[str, str]:
        """SHA-256 of a model's files (`converter.cache.contents.files_of_model`); errors as above."""
        self.digest(place)
        return self._once(self._models, place.path, files_of_model)

    def _once(self, known: dict[Path, Read], path: Path, read: Callable[[Path], Read]) -> Read:
        if path not in known:
            self._states.setdefault(path, state_of(path))
            known[path] = read(path)
        return known[path]

    def is_unchanged(self, place: Place) -> bool:
        """Whether a file or folder has the times and sizes that it had before it was read."""
        return self._states.get(place.path) == state_of(place.path)


def _fetch(place: Place) -> None:
    """Copy what is behind a URL, under a temporary name first."""
    place.path.parent.mkdir(parents=True, exist_ok=True)
    part = place.path.with_name(f".{secrets.token_hex(6)}.part")
    try:
        _copy(str(place.url), part)
        part.replace(place.path)
    except Exception as error:
        # Every file system of fsspec has errors of its own.
        said = " ".join(str(error).split()) or type(error).__name__
        remedy = "Check the URL, the network and the credentials of this file system."
        raise ToolError(f"{place.given} could not be fetched: {said}.", remedy=remedy) from error
    finally:
        part.unlink(missing_ok=True)


def _copy(url: str, path: Path) -> None:
    import fsspec

    stored = fsspec.open(url, "rb")  # type: ignore[no-untyped-call]
    with stored as source, path.open("xb") as file:
        while data := source.read(1 << 20):
            file.write(data)
        file.flush()
        os.fsync(file.fileno())
