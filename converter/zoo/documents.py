"""The documents of a published folder: which there are, and how they are written.

    index.json       the last build, whatever the gate said; written last
    index.html       its front page
    published.json   the last build that the gate let through, with its green cells only
    gate.json, junit.xml, summary.md    what the gate said of the last build
    archives/, reports/, logs/    what a build made, with digits of the SHA-256 in the names
    files/           statements and SBOMs, by SHA-256; none of these files ever changes
    builds/ID/       the pages and documents of a build; never changed

`index.json` holds the SHA-256 of `builds/ID/hashes.json`, which holds that of every file of the build's
folder and of every file elsewhere that the build names; and the SHA-256 of the `index.json` before it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, Final

from converter.zoo.index import FILE as INDEX
from converter.zoo.index import Cell, Index

PUBLISHED: Final = "published.json"
HASHES: Final = "hashes.json"
BUILDS: Final = "builds"
FRONT: Final = "index.html"
GATE: Final = "gate.json"
JUNIT: Final = "junit.xml"
SUMMARY: Final = "summary.md"
LOCK: Final = ".lock"
# Documents of the last build that are also at the top, where CI finds them.
ON_TOP: Final = (GATE, JUNIT, SUMMARY)
# All that is at the top beside the folders.
TOP: Final = (INDEX, PUBLISHED, FRONT, LOCK, *ON_TOP)


def index_document(index: Index, hashes: str, previous: Mapping[str, str] | None) -> bytes:
    """`index.json`, a line for each cell.

    Args:
        hashes: SHA-256 of the build's `hashes.json`.
        previous: `build` and `sha256` of the `index.json` before, so that no older one can be changed.
    """
    head = {key: value for key, value in index.to_json().items() if key != "cells"}
    start = json.dumps(
        {**head, "hashes": hashes, "previous": previous}, ensure_ascii=True, allow_nan=False
    )
    cells = ",\n".join(map(_line, index.cells))
    return f'{start[:-1]}, "cells": [\n{cells}\n]}}\n'.encode()


def _line(cell: Cell) -> str:
    return json.dumps(cell.to_json(), ensure_ascii=True, allow_nan=False)


def hashes_document(build: str, files: Mapping[str, str], content: Mapping[str, str]) -> bytes:
    """`hashes.json`: SHA-256 by path, in the build's folder and in the published folder."""
    document = {"version": 1, "build": build, "files": files, "content": content}
    return json.dumps(document, indent=0, sort_keys=True).encode() + b"\n"


def read_hashes(data: bytes) -> tuple[dict[str, str], dict[str, str]]:
    """`files` and `content` of `hashes.json`.

    Raises:
        ValueError: It is something else.
    """
    document: Any = json.loads(data)
    try:
        parts = [dict(document[key]) for key in ("files", "content")]
    except (KeyError, TypeError) as error:
        raise ValueError("it is no list of hashes") from error
    texts: Iterable[Any] = (text for part in parts for pair in part.items() for text in pair)
    if not all(isinstance(text, str) for text in texts):
        raise ValueError("it is no list of hashes")
    return parts[0], parts[1]


def content_of(cell: Cell) -> dict[str, str]:
    """The paths of a cell's files in the published folder, by what they are."""
    named = {
        "archive": cell.archive,
        "provenance": cell.provenance,
        "sbom": cell.sbom,
        "report": cell.report,
        "log": cell.log,
    }
    return {kind: path for kind, path in named.items() if path is not None}
