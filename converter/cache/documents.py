"""Small JSON documents under names, in a folder or an object store."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import time
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any, Final

from converter.storage import Storage, modified

# How long a use is not written down again: on an object store that is an upload.
_USED_S: Final = 3600.0


class Documents:
    """The documents beside the files of a `Storage`, below `entries`; names are hexadecimal digits."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._root = f"{storage.root}/entries"

    def _place(self, name: str) -> str:
        return f"{self._root}/{name[:2]}/{name}.json"

    def read(self, name: str) -> bytes | None:
        """A document's text; None if there is none.

        Raises:
            OSError: The store does not answer.
        """
        try:
            if self._storage.fs is None:
                return Path(self._place(name)).read_bytes()
            return bytes(self._storage.fs.cat_file(self._place(name)))
        except (FileNotFoundError, NotADirectoryError):
            return None

    def write(self, name: str, document: Any) -> None:
        """Write a document; of several writers at once one wins.

        Raises:
            OSError: It cannot be written.
        """
        text = json.dumps(document, sort_keys=True).encode()
        place, fs = self._place(name), self._storage.fs
        if fs is not None:
            fs.makedirs(str(PurePosixPath(place).parent), exist_ok=True)
            fs.pipe_file(place, text)  # what is half written is no JSON, and is dropped
            return
        path = Path(place)
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f".{secrets.token_hex(6)}.part")
        try:
            part.write_bytes(text)
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)

    def delete(self, name: str) -> None:
        """Remove a document; one that is not there is no error."""
        with contextlib.suppress(OSError):
            if self._storage.fs is None:
                Path(self._place(name)).unlink()
            else:
                self._storage.fs.rm(self._place(name))

    def touch(self, name: str, document: Any, used: float | None = None) -> None:
        """Write down that it was used now; it is no error if that cannot be.

        Args:
            used: When it was used last, where that is known.
        """
        with contextlib.suppress(OSError):
            if self._storage.fs is None:
                os.utime(self._place(name))
            elif used is None or used < time.time() - _USED_S:
                self.write(name, {**document, "used": time.time()})

    def all(self) -> Iterator[tuple[str, float]]:
        """The name of every document, and when it was used last, in seconds since 1970."""
        if self._storage.fs is None:
            for path in Path(self._root).glob("??/*.json"):
                with contextlib.suppress(OSError):
                    yield path.stem, path.stat().st_mtime
            return
        with contextlib.suppress(FileNotFoundError):
            for place, told in self._storage.fs.find(self._root, detail=True).items():
                name = PurePosixPath(place)
                if name.suffix == ".json":
                    yield name.stem, modified(told)
