"""Puts a manifest's files into the jobs' storage, each once in a build."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from converter.archive.opened import CONFIG
from converter.archive.write import write_archive
from converter.archive.zipped import write_zip
from converter.cache.contents import files_of_model
from converter.storage import Storage


@dataclass(frozen=True, kw_only=True)
class Uploaded:
    """A model in the storage.

    Attributes:
        name: Its file name.
        beside: The digests of the files beside it, by their names: its weights.
    """

    digest: str
    name: str
    size_bytes: int
    beside: Mapping[str, str] = field(default_factory=dict)


class Uploads:
    """The files of a build that are in the storage."""

    def __init__(self, storage: Storage, work: Path, *, is_shared: bool) -> None:
        """Nothing is put yet.

        Args:
            work: A folder for what is packed on the way.
            is_shared: Whether other machines read them: calibration data then go through the storage.
        """
        self._storage, self._work = storage, work
        self.is_shared = is_shared
        self._models: dict[Path, Uploaded] = {}
        self._files: dict[Path, tuple[str, str]] = {}

    def model(self, path: Path) -> Uploaded:
        """Put a model; a folder goes as the archive that it would be.

        Raises:
            ToolError: It cannot be stored.
            OSError: It cannot be read.
        """
        if path not in self._models:
            self._models[path] = self._folder(path) if path.is_dir() else self._file(path)
        return self._models[path]

    def _folder(self, path: Path) -> Uploaded:
        packed = self._work / f"{path.resolve().name}.tar"
        names = sorted(file.relative_to(path).as_posix() for file in path.rglob("*") if file.is_file())
        names.sort(key=lambda name: name != CONFIG)
        write_archive(packed, [(name, path / name) for name in names], force=True)
        return self._file(packed)

    def _file(self, path: Path) -> Uploaded:
        sizes = [path.stat().st_size]
        beside = {}
        for name in files_of_model(path):
            if not name:
                continue
            file = path.with_suffix(name) if name == ".bin" else path.parent / name
            if file.is_file():
                beside[file.relative_to(path.parent).as_posix()] = self._storage.put(file)
                sizes.append(file.stat().st_size)
        return Uploaded(
            digest=self._storage.put(path), name=path.name, size_bytes=sum(sizes), beside=beside
        )

    def archive(self, path: Path) -> str:
        """Put calibration data: a folder or a file as a zip, a zip as it is."""
        return self.file(path, always_zip=True)[0]

    def file(self, path: Path, *, always_zip: bool = False) -> tuple[str, str]:
        """Put what an option names: a folder as a zip, a file as it is; the digest, and a name."""
        if path not in self._files:
            if path.is_dir() or (always_zip and path.suffix.lower() != ".zip"):
                packed = self._work / f"{path.resolve().name}.zip"
                write_zip(path, packed)
                self._files[path] = self._storage.put(packed), packed.name
            else:
                self._files[path] = self._storage.put(path), path.name
        return self._files[path]
