"""Checks a published folder: that everything is there, unchanged, and nothing else is."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from converter.digests import sha256_of
from converter.errors import UsageError
from converter.findings import Finding, Severity
from converter.zoo.content import digest_in, is_build_id, is_inside
from converter.zoo.documents import (
    BUILDS,
    FRONT,
    HASHES,
    LOCK,
    ON_TOP,
    PUBLISHED,
    content_of,
    read_hashes,
)
from converter.zoo.index import FILE as INDEX
from converter.zoo.index import Cell, Index, Status
from converter.zoo.provenance import read_sbom, read_statement


@dataclass
class Checked:
    """What a check found.

    Attributes:
        faults: `ERROR` for damage; `INFO` for what an interrupted publishing left.
        files: How many were read.
        cells: Green ones of the last build.
    """

    faults: list[Finding] = field(default_factory=list)
    builds: int = 0
    cells: int = 0
    files: int = 0

    def to_json(self) -> dict[str, Any]:
        """The document that `zoo verify --json` prints."""
        return {
            "ok": not self.errors,
            "builds": self.builds,
            "cells": self.cells,
            "files": self.files,
            "findings": [one.to_json() for one in self.faults],
        }

    @property
    def errors(self) -> list[Finding]:
        """The damage."""
        return [one for one in self.faults if one.severity is Severity.ERROR]


def check(folder: Path) -> Checked:
    """Check a published folder; every fault is found, none ends the check.

    Raises:
        UsageError: It is no published folder.
    """
    if not (folder / INDEX).is_file():
        raise UsageError(f"{folder} has no {INDEX}.", remedy="Give the folder of nnconvert zoo build.")
    return _Check(folder).run()


class _Check:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.checked = Checked()
        # SHA-256 of what was read, by path; None for what cannot be.
        self.digests: dict[str, str | None] = {}
        self.expected = {INDEX, FRONT, LOCK, *ON_TOP}
        self.wrong: set[str] = set()
        self.statements: set[tuple[str, str]] = set()

    def run(self) -> Checked:
        last = self._index(INDEX)
        published = self._index(PUBLISHED) if (self.folder / PUBLISHED).exists() else None
        self.expected.add(PUBLISHED)
        ids = {path.name for path in (self.folder / BUILDS).glob("*") if is_build_id(path.name)}
        for found, name in ((last, INDEX), (published, PUBLISHED)):
            if found is not None and found.build.id not in ids:
                said = f"Its build {found.build.id!r} is not in {BUILDS}/."
                self._fault(code="zoo.missing", where=name, message=said)
        for build in sorted(ids):
            self._build(build)
        if last is not None:
            self.checked.cells = sum(cell.status is Status.SUCCEEDED for cell in last.cells)
            self._on_top(last)
        if published is not None:
            self._published(published)
        self._extra()
        self.checked.builds = len(ids)
        self.checked.files = len(self.digests)
        return self.checked

    # ---------------------------------------------------------------- builds

    def _build(self, build: str) -> None:
        at = f"{BUILDS}/{build}"
        index = self._index(f"{at}/{INDEX}")
        listed = self._hashes(f"{at}/{HASHES}", build)
        told = self._document(f"{at}/{INDEX}").get("hashes")
        if index is not None and listed is not None and told != self._digest(f"{at}/{HASHES}"):
            said = f"{HASHES} is not the one that {INDEX} names."
            self._fault(code="zoo.changed", where=f"{at}/{HASHES}", message=said)
        previous = self._document(f"{at}/{INDEX}").get("previous") or {}
        if is_build_id(previous.get("build")):
            before = f"{BUILDS}/{previous['build']}/{INDEX}"
            if (self.folder / before).is_file() and self._digest(before) != previous.get("sha256"):
                said = f"It is not the one that build {build} came after."
                self._fault(code="zoo.changed", where=before, message=said)
        files, content = listed or ({}, {})
        for name, digest in files.items():
            self._hash(f"{at}/{name}", digest)
        for name, digest in content.items():
            self._hash(name, digest)
        for cell in index.cells if index else ():
            self._cell(cell, content, at)
        if index is not None and index.build.id != build:
            said = f"It says that it is build {index.build.id!r}."
            self._fault(code="zoo.changed", where=f"{at}/{INDEX}", message=said)

    def _cell(self, cell: Cell, content: Mapping[str, str], at: str) -> None:
        where = f"{at}: {cell.id}"
        named = content_of(cell)
        for kind, path in named.items():
            if path not in content:
                self._fault(
                    code="zoo.missing",
                    where=where,
                    message=f"Its {kind} {path!r} has no hash in {HASHES}.",
                )
        if cell.status is not Status.SUCCEEDED:
            if named.keys() & {"archive", "provenance", "sbom"}:
                self._fault(
                    code="zoo.changed", where=where, message="It is not green and has an archive."
                )
            return
        for kind in ("archive", "provenance", "sbom"):
            if kind not in named:
                self._fault(code="zoo.missing", where=where, message=f"It has no {kind}.")
        if content.get(str(cell.archive), cell.sha256) != cell.sha256:
            self._fault(
                code="zoo.changed", where=where, message=f"SHA-256 is not that of {cell.archive}."
            )
        for kind, reader in (("provenance", self._statement), ("sbom", self._sbom)):
            told = named.get(kind, "")
            if (told, str(cell.sha256)) in self.statements or not is_inside(told):
                continue
            self.statements.add((told, str(cell.sha256)))
            if (self.folder / told).is_file():
                reader(told, cell)

    def _statement(self, path: str, cell: Cell) -> None:
        try:
            subjects, predicate = read_statement((self.folder / path).read_bytes())
        except (OSError, ValueError) as error:
            self._fault(
                code="zoo.statement", where=path, message=f"It is no provenance statement: {error}."
            )
            return
        if subjects != {cell.sha256}:
            self._fault(
                code="zoo.statement", where=path, message=f"It is not about the archive of {cell.id}."
            )
        told = predicate.get("buildDefinition", {}).get("externalParameters", {})
        if [told.get(key) for key in ("model", "target", "mode")] != [
            cell.model,
            cell.target,
            cell.mode,
        ]:
            self._fault(
                code="zoo.statement", where=path, message=f"It is not about the cell {cell.id}."
            )

    def _sbom(self, path: str, cell: Cell) -> None:
        try:
            hashes = read_sbom((self.folder / path).read_bytes())
        except (OSError, ValueError) as error:
            self._fault(code="zoo.sbom", where=path, message=f"It cannot be read: {error}.")
            return
        if hashes.get("") != cell.sha256:
            self._fault(
                code="zoo.sbom", where=path, message=f"It is not about the archive of {cell.id}."
            )

    # ------------------------------------------------------------------- top

    def _on_top(self, last: Index) -> None:
        """What is at the top is that of the last build, to the byte."""
        at = f"{BUILDS}/{last.build.id}"
        for name in (INDEX, *ON_TOP):
            if (self.folder / at / name).is_file() and self._digest(name) != self._digest(
                f"{at}/{name}"
            ):
                self._fault(
                    code="zoo.changed",
                    where=name,
                    message=f"It is not the one of build {last.build.id}.",
                )
        front = self.folder / FRONT
        own = self.folder / at / FRONT
        base = f'<base href="{BUILDS}/{last.build.id}/">'
        if not front.is_file():
            self._fault(code="zoo.missing", where=FRONT, message="It is not there.")
        elif own.is_file() and front.read_bytes().replace(base.encode(), b"") != own.read_bytes():
            self._fault(
                code="zoo.changed", where=FRONT, message=f"It is not the one of build {last.build.id}."
            )

    def _published(self, published: Index) -> None:
        whole = self._index(f"{BUILDS}/{published.build.id}/{INDEX}", again=True)
        if whole is None:
            return
        if self._document(PUBLISHED).get("hashes") != self._digest(
            f"{BUILDS}/{whole.build.id}/{HASHES}"
        ):
            said = f"It does not name {HASHES} of build {whole.build.id}."
            self._fault(code="zoo.changed", where=PUBLISHED, message=said)
        green = tuple(cell for cell in whole.cells if cell.status is Status.SUCCEEDED)
        if tuple(published.cells) != green or published.gate.get("verdict") != "passed":
            said = f"It does not have the green cells of build {published.build.id}."
            self._fault(code="zoo.changed", where=PUBLISHED, message=said)

    def _extra(self) -> None:
        """What no build names: an interrupted publishing left it, or somebody put it there."""
        for path in sorted(self.folder.rglob("*")):
            name = path.relative_to(self.folder).as_posix()
            if path.is_symlink():
                self._fault(
                    code="zoo.extra", where=name, message="It is a link; a published folder has none."
                )
            elif path.is_dir() or name in self.expected:
                continue
            elif self._is_left(name):
                said = "An interrupted publishing left it; no reader is led to it."
                self._fault(code="zoo.left", where=name, message=said, severity=Severity.INFO)
            else:
                self._fault(code="zoo.extra", where=name, message="No build names it.")

    def _is_left(self, name: str) -> bool:
        hidden = any(part.startswith(".") and part.endswith(".part") for part in name.split("/"))
        told = digest_in(name)
        return hidden or (told is not None and str(self._digest(name)).startswith(told))

    # ----------------------------------------------------------------- files

    def _index(self, name: str, *, again: bool = False) -> Index | None:
        try:
            return Index.from_json(json.loads((self.folder / name).read_bytes()))
        except OSError as error:
            code, said = "zoo.missing", f"It cannot be read: {error.strerror}."
        except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
            code, said = "zoo.changed", f"It is no index of a build ({type(error).__name__}: {error})."
        finally:
            self.expected.add(name)
        if not again:
            self._fault(code=code, where=name, message=said)
        return None

    def _document(self, name: str) -> Mapping[str, Any]:
        try:
            document = json.loads((self.folder / name).read_bytes())
        except (OSError, ValueError, RecursionError):
            return {}
        return document if isinstance(document, dict) else {}

    def _hashes(self, name: str, build: str) -> tuple[dict[str, str], dict[str, str]] | None:
        self.expected.add(name)
        try:
            return read_hashes((self.folder / name).read_bytes())
        except OSError as error:
            self._fault(code="zoo.missing", where=name, message=f"It cannot be read: {error.strerror}.")
        except (ValueError, RecursionError) as error:
            self._fault(
                code="zoo.changed",
                where=name,
                message=f"It is no list of hashes of build {build} ({error}).",
            )
        return None

    def _hash(self, name: str, digest: str) -> None:
        self.expected.add(name)
        if not is_inside(name):
            self._fault(code="zoo.changed", where=name, message="A path that leads out of the folder.")
            return
        found = self._digest(name)
        if found == digest or name in self.wrong:
            return
        self.wrong.add(name)
        if found is None:
            self._fault(code="zoo.missing", where=name, message="It is not there, or cannot be read.")
        else:
            self._fault(
                code="zoo.changed", where=name, message=f"SHA-256 is {found}, expected {digest}."
            )

    def _digest(self, name: str) -> str | None:
        if name not in self.digests:
            path = self.folder / name
            try:
                self.digests[name] = None if path.is_symlink() else sha256_of(path)
            except OSError:
                self.digests[name] = None
        return self.digests[name]

    def _fault(
        self, *, code: str, where: str, message: str, severity: Severity = Severity.ERROR
    ) -> None:
        self.checked.faults.append(Finding(code=code, where=where, message=message, severity=severity))
