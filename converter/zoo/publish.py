"""Publishes a build: its content, its folder, then the two documents that name it, by renames.

What readers know is `index.json` and `index.html`; all that these name is there before they are. A
crash at any time leaves the older build as it was; the next publishing removes what it left.
"""

from __future__ import annotations

import fcntl
import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from converter.digests import sha256_of
from converter.errors import ToolError, UsageError, disk_error
from converter.zoo import content, documents, history
from converter.zoo.contents import contents_of
from converter.zoo.documents import BUILDS, FRONT, HASHES, ON_TOP, PUBLISHED
from converter.zoo.gate import Verdict
from converter.zoo.index import FILE as INDEX
from converter.zoo.index import Cell, Index, Status, read
from converter.zoo.provenance import sbom, statement
from converter.zoo.site.write import write_site
from converter.zoo.summaries import junit, markdown

# So many builds keep their pages; archives that none of them names go with them.
KEPT_BUILDS: Final = 30
_FORGOTTEN: Final = timedelta(days=1)


def publish(folder: Path, index: Index, verdict: Verdict, *, keep: int = KEPT_BUILDS) -> Index:
    """Publish a build whose files are in the folder already (`converter.zoo.content.add`).

    `published.json` moves only for a whole build that the gate lets through.

    Args:
        folder: Made if it is not there.
        keep: How many builds keep their pages; the published one always does.

    Returns:
        The index as it was published.

    Raises:
        UsageError: The build was published before, or an archive is not what the index says.
        ArchiveError: The archive of a green cell is none.
        ToolError: The folder cannot be written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _locked(folder):
            return _publish(folder, index, verdict, keep)
    except OSError as error:
        raise disk_error(error, f"publishing to {folder}") from error


def last_build(folder: Path) -> Index | None:
    """The last build of a folder, whatever the gate said of it; None if there is none."""
    return read(folder) if (folder / INDEX).is_file() else None


def _publish(folder: Path, index: Index, verdict: Verdict, keep: int) -> Index:
    build = index.build.id
    place = folder / BUILDS / build
    is_name = content.is_build_id(build)
    if not is_name or place.exists():
        what = "was published before" if is_name else "is no name of a build"
        raise UsageError(f"Build {build!r} {what}.", remedy="Build it again; each has its own id.")
    place.parent.mkdir(exist_ok=True)
    leftovers = list(place.parent.glob(".*.part"))
    for left in leftovers:
        shutil.rmtree(left, ignore_errors=True)
    # It also says that content was added which no build may name: the next publishing looks for that.
    part = place.parent / f".{build}.part"
    part.mkdir()
    before = last_build(folder)
    known = _hashes_of(folder, before)
    index = replace(index, gate=verdict.to_json(), cells=_described(folder, index, before, known))
    older, previous = history.History(), None
    if before is not None and (last := place.parent / before.build.id).is_dir():
        older = history.read(last / history.FILE)
        previous = {"build": before.build.id, "sha256": sha256_of(last / INDEX)}
    front = write_site(part, index, verdict, older, base=f"{BUILDS}/{build}/")
    (part / documents.GATE).write_text(json.dumps(verdict.to_json(), indent=1) + "\n")
    (part / documents.JUNIT).write_bytes(junit(index, verdict))
    (part / documents.SUMMARY).write_text(markdown(index, verdict), "utf-8", "replace")
    files = {
        path.relative_to(part).as_posix(): sha256_of(path)
        for path in sorted(part.rglob("*"))
        if path.is_file()
    }
    hashes = documents.hashes_document(build, files, _content(folder, index, known))
    content.replace(part / HASHES, hashes)
    chain = sha256_of(part / HASHES), previous
    content.replace(part / INDEX, documents.index_document(index, *chain))
    for name in ON_TOP:
        shutil.copyfile(part / name, folder / f".{name}.part")
    part.rename(place)
    # From here on readers may see it: each step is a rename, the last one is the one that counts.
    for name in ON_TOP:
        (folder / f".{name}.part").rename(folder / name)
    if verdict.passed and not index.build.only:
        green = [cell for cell in index.cells if cell.status is Status.SUCCEEDED]
        only = documents.index_document(replace(index, cells=green), *chain)
        content.replace(folder / PUBLISHED, only)
    content.replace(folder / FRONT, front.encode("utf-8", "replace"))
    content.replace(folder / INDEX, place / INDEX)
    _prune(folder, keep, sweep=bool(leftovers))
    return index


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """One publishes at a time; the other waits."""
    with (folder / documents.LOCK).open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _hashes_of(folder: Path, index: Index | None) -> dict[str, str]:
    """SHA-256 by path of what an earlier build named; nothing if that cannot be read."""
    if index is None:
        return {}
    try:
        return documents.read_hashes((folder / BUILDS / index.build.id / HASHES).read_bytes())[1]
    except (OSError, ValueError):
        return {}


# ----------------------------------------------------------------- content


def _described(
    folder: Path, index: Index, before: Index | None, known: dict[str, str]
) -> Sequence[Cell]:
    """The cells with a statement and an SBOM for each archive; what is not green has no archive."""
    older = {cell.id: cell for cell in before.cells} if before else {}
    return [_with_documents(folder, index, cell, older.get(cell.id), known) for cell in index.cells]


def _with_documents(
    folder: Path, index: Index, cell: Cell, old: Cell | None, known: dict[str, str]
) -> Cell:
    if cell.status is not Status.SUCCEEDED:
        return replace(cell, archive=None, provenance=None, sbom=None)
    path = _inside(folder, cell, cell.archive)
    if known.get(str(cell.archive)) != cell.sha256 or path.stat().st_size != cell.size_bytes:
        found = sha256_of(path)
        if found != cell.sha256:
            raise UsageError(
                f"{cell.id}: {cell.archive} has SHA-256 {found}, and the build says {cell.sha256}.",
                remedy="Delete the file and build again.",
            )
    told = (old.provenance, old.sbom) if old and cell.cached and old.sha256 == cell.sha256 else (None,)
    if all(name is not None and (folder / name).is_file() for name in told):
        # How it was made is known from then; a statement is never made twice.
        return replace(cell, provenance=told[0], sbom=told[-1])
    inside = contents_of(path)
    return replace(
        cell,
        provenance=content.add(folder, statement(cell, index.build, inside), ".intoto.json"),
        sbom=content.add(folder, sbom(cell, index.build, inside), ".cdx.json"),
    )


def _inside(folder: Path, cell: Cell, name: str | None) -> Path:
    if name is None or not content.is_inside(name) or not (folder / name).is_file():
        raise UsageError(
            f"{cell.id}: {name!r} is no file of {folder}.", remedy="Build it again, or mend the index."
        )
    return folder / name


def _content(folder: Path, index: Index, known: dict[str, str]) -> dict[str, str]:
    """SHA-256 of every file that the cells name."""
    found: dict[str, str] = {}
    for cell in index.cells:
        for kind, name in documents.content_of(cell).items():
            if name not in found:
                path = _inside(folder, cell, name)
                told = cell.sha256 if kind == "archive" else known.get(name)
                found[name] = told or sha256_of(path)
    return found


# ------------------------------------------------------------------- prune


def _prune(folder: Path, keep: int, *, sweep: bool) -> None:
    """Remove the pages of old builds, and the content that no build names any more.

    Args:
        sweep: Also what an interrupted publishing left.
    """
    builds = sorted(path.name for path in (folder / BUILDS).iterdir() if content.is_build_id(path.name))
    named = {json.loads((folder / name).read_bytes())["build"]["id"] for name in _indexes(folder)}
    old = [name for name in builds[: max(len(builds) - keep, 0)] if name not in named]
    if not old and not sweep:
        return
    dropped = {path for name in old for path in _named_by(folder, name)}
    if sweep:
        since = datetime.now(UTC) - _FORGOTTEN
        dropped |= {
            path.relative_to(folder).as_posix()
            for path in folder.rglob("*")
            if content.digest_in(path.relative_to(folder).as_posix())
            and datetime.fromtimestamp(path.stat().st_mtime, UTC) < since
        }
    for name in builds:
        if name not in old:
            dropped -= _named_by(folder, name)
    for name in old:
        hidden = folder / BUILDS / f".{name}.part"
        (folder / BUILDS / name).rename(hidden)
        shutil.rmtree(hidden)
    for path in dropped:
        (folder / path).unlink(missing_ok=True)


def _indexes(folder: Path) -> list[str]:
    return [name for name in (INDEX, PUBLISHED) if (folder / name).is_file()]


def _named_by(folder: Path, build: str) -> set[str]:
    """The paths that a build names.

    Raises:
        ToolError: It cannot be read, so nothing may be removed.
    """
    try:
        data = (folder / BUILDS / build / HASHES).read_bytes()
        return {path for path in documents.read_hashes(data)[1] if content.is_inside(path)}
    except (OSError, ValueError) as error:
        raise ToolError(
            f"{folder / BUILDS / build / HASHES} is damaged, so nothing was removed.",
            remedy="Run: nnconvert zoo verify, and remove this build's folder.",
        ) from error
