"""The published build that a new one is held against: of a folder, a file or a URL."""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from converter.errors import ToolError, UsageError
from converter.zoo.content import is_build_id
from converter.zoo.documents import BUILDS, PUBLISHED
from converter.zoo.index import FILE as INDEX
from converter.zoo.index import Index, read

_TIMEOUT_S: Final = 60
_MOST_BYTES: Final = 2 << 30


def published(folder: Path) -> Index | None:
    """The last build of a folder that the gate let through, with all of its cells; None without one.

    Raises:
        UsageError: It is damaged.
    """
    if not (folder / PUBLISHED).is_file():
        return None
    found = read(folder / PUBLISHED)
    # The whole of it says also what failed then.
    whole = folder / BUILDS / found.build.id / INDEX
    return read(whole) if is_build_id(found.build.id) and whole.is_file() else found


def baseline(where: str) -> Index:
    """The published build of a folder or URL, or the build of an `index.json`.

    Args:
        where: A published folder, an index file, or either as a URL.

    Raises:
        UsageError: There is no build.
        ToolError: It cannot be fetched.
    """
    if "://" in where:
        return _fetched(where)
    path = Path(where)
    found = published(path) if path.is_dir() else None
    return found or read(path)


def _fetched(url: str) -> Index:
    names = (
        [url]
        if url.endswith(".json")
        else [f"{url.rstrip('/')}/{PUBLISHED}", f"{url.rstrip('/')}/{INDEX}"]
    )
    for name in names:
        data = _get(name)
        if data is None:
            continue
        try:
            return Index.from_json(json.loads(data))
        except (KeyError, TypeError, ValueError) as error:
            raise UsageError(
                f"{name} is no index of a zoo build ({error}).", remedy="Give a published folder."
            ) from error
    raise UsageError(f"{url}: no build is published there.", remedy="Give a published folder's URL.")


def _get(url: str) -> bytes | None:
    """The content behind a URL; None if there is nothing.

    Raises:
        ToolError: It cannot be fetched, or is not to be believed so large.
    """
    if not url.startswith(("http://", "https://")):
        return _open(url)
    import requests

    try:
        with requests.get(url, timeout=_TIMEOUT_S, stream=True) as answer:
            if answer.status_code in (404, 410):
                return None
            answer.raise_for_status()
            data = bytearray()
            for piece in answer.iter_content(1 << 20):
                data += piece
                if len(data) > _MOST_BYTES:
                    raise ToolError(f"{url} is larger than {_MOST_BYTES >> 30} GB.")
            return bytes(data)
    except requests.RequestException as error:
        raise ToolError(
            f"{url} cannot be fetched: {error}.", remedy="Check the address, or leave out --against."
        ) from error


def _open(url: str) -> bytes | None:
    try:
        opened: Any = import_module("fsspec").open(url, "rb")
        with opened as file:
            return bytes(file.read())
    except FileNotFoundError:
        return None
    except (OSError, ImportError, ValueError) as error:
        raise ToolError(f"{url} cannot be read: {error}.") from error
