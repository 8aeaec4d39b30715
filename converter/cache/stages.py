"""Stages of earlier conversions: the graph that was prepared, the ranges that were measured.

A conversion whose archive is not in the cache may share stages with one that is: another mode of the
same model, another camera, other limits of the comparison. What is kept is the result of a call
(`converter.processes.pure`) and the files that it wrote. Its key covers the function, all arguments,
the content of every file that they name, and whatever else decides a result (`made_by`).
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Final

from converter.cache.contents import files_of_model
from converter.cache.key import made_by
from converter.cache.store import STAGE, Record, Store
from converter.errors import ConvertError
from converter.processes.pure import Pure

# Another form of entries or keys is another key.
_FORM: Final = 1
_RESULT: Final = "result"
_BESIDE_IR: Final = ".bin"


class Stages:
    """The stages that a store has for one target; a context manager, from any number of threads.

    A store that cannot be read or written to is no error: the stage is made.
    """

    def __init__(
        self, store: Store, target: str, *, max_bytes: int, tell: Callable[[str], None]
    ) -> None:
        """The stages of conversions for a target.

        Args:
            max_bytes: How large the store may be.
            tell: Called with a line for each stage that is taken from the store.
        """
        self._store, self._target = store, target
        self._max_bytes, self._tell = max_bytes, tell
        self._has_kept = False

    def __enter__(self) -> Stages:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Bound the store after a conversion that failed; one that ends well does that itself."""
        if kind is not None and self._has_kept:
            with contextlib.suppress(OSError, ConvertError):
                self._store.prune(self._max_bytes)

    def recall(
        self, pure: Pure, function: str, arguments: Mapping[str, Any], make: Callable[[], Any]
    ) -> Any:
        """The result of an earlier call, with the files that it wrote; else that of `make`."""
        key = self._key(pure, function, arguments)
        if key is None:
            return make()
        target = None if pure.writes is None else Path(arguments[pure.writes])
        record = self._store.look(key)
        found = None if record is None else self._taken(record, target)
        if found is not None:
            self._tell(f"Taken from the cache: {pure.stage}.")
            return found[_RESULT]
        result = make()
        # A file may have been changed after its digest was taken.
        if self._key(pure, function, arguments) == key:
            with contextlib.suppress(OSError, ConvertError):
                self._keep(key, pure.stage, result, target)
        return result

    # ------------------------------------------------------------ keys

    def _key(self, pure: Pure, function: str, arguments: Mapping[str, Any]) -> str | None:
        """The key of a call; None where what it depends on cannot be read."""
        try:
            decisive = {
                "form": _FORM,
                "function": function,
                "arguments": _meant(pure, arguments),
                # The converter's own modules are part of it, and the versions of all libraries.
                "made by": made_by(self._target),
            }
            text = json.dumps(decisive, sort_keys=True)
        except (OSError, ConvertError, TypeError, ValueError):
            return None
        return hashlib.sha256(text.encode()).hexdigest()

    # ------------------------------------------------------------ out

    def _taken(self, record: Record, target: Path | None) -> dict[str, Any] | None:
        """What was kept, with its files in place; None, and it is dropped, if it is not whole."""
        told = self._told(record)
        if told is None:
            return None
        written: list[Path] = []
        for what, name in told["names"].items():
            place = None if target is None else target.with_name(name)
            if place is None or not self._store.fetch(record, what, place):
                for path in written:
                    path.unlink(missing_ok=True)
                return None
            written.append(place)
        return told

    def _told(self, record: Record) -> dict[str, Any] | None:
        """The document of a stage: a file of the store, so that it is checked as it is read."""
        if _RESULT not in record.files:
            self._store.drop(record)
            return None
        file = self._store.open(record, _RESULT)
        if file is None:
            return None
        with file:
            told: dict[str, Any] = json.load(file)
        # The record itself is not checked: its files must be those that were written together.
        if told["files"] != {what: digest for what, digest in record.files.items() if what != _RESULT}:
            self._store.drop(record)
            return None
        return told

    # ------------------------------------------------------------ in

    def _keep(self, key: str, stage: str, result: Any, target: Path | None) -> None:
        """Keep what a call gave and wrote.

        Raises:
            OSError, ConvertError: It cannot be written.
        """
        names = {} if target is None else _written(target)
        text = json.dumps(result)
        if names is None or (target is not None and str(target.parent) in text):
            return  # a path of this conversion means nothing in another one
        assert target is not None or not names
        paths = {what: target.with_name(name) for what, name in names.items()} if target else {}
        files = {what: self._store.storage.put(path) for what, path in paths.items()}
        told = {_RESULT: result, "names": names, "files": files}
        with tempfile.TemporaryDirectory(prefix="nnconvert-") as work:
            document = Path(work) / "result.json"
            document.write_text(json.dumps(told))
            self._store.keep([key], {**files, _RESULT: document}, {STAGE: stage})
        self._has_kept = True


def _meant(pure: Pure, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments with the content of files in place of their paths.

    Raises:
        ValueError: A path is left, whose content would not be part of the key.
        OSError, ConvertError: A file cannot be read.
    """
    found: dict[str, Any] = {}
    for name, value in arguments.items():
        if name == pure.writes:
            found[name] = Path(value).name  # files beside it are named after it
        elif name in pure.meant:
            found[name] = pure.meant[name]()
        elif name in pure.reads:
            # Messages and files beside it have its name in them.
            found[name] = {"name": Path(value).name, "files": dict(files_of_model(Path(value)))}
        else:
            found[name] = value
    for text in _texts(found):
        if text.startswith(os.sep) and _is_there(text):
            raise ValueError(f"{text} is a path of no content")
    return found


def _is_there(text: str) -> bool:
    try:
        return Path(text).exists()
    except (OSError, ValueError):  # too long, or with a null: no path of anything
        return False


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield str(key)
            yield from _texts(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _texts(inner)


def _written(target: Path) -> dict[str, str] | None:
    """The names of a model's files by what they are called in the store; None if one is missing."""
    names = {}
    for index, (name, digest) in enumerate(sorted(files_of_model(target).items())):
        own = target.with_suffix(name).name if name == _BESIDE_IR else name or target.name
        if digest == "missing" or Path(own).name != own:
            return None
        names[f"file{index}"] = own
    return names
