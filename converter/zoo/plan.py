"""What a build will do: the cells, which of them the cache has, and what the rest will cost."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from statistics import fmean
from typing import Any, Final

from converter.backend import Backend
from converter.cache.key import files_of_tools, made_by, question_of
from converter.cache.store import Record, Store
from converter.errors import ConvertError, ToolchainError, UsageError, disk_error
from converter.options.resolve import Layer, Options, resolve
from converter.system import System
from converter.target import backend_of, toolchains_on
from converter.zoo.expected import covers, latest
from converter.zoo.index import Index
from converter.zoo.manifest import Manifest, read
from converter.zoo.matrix import Wanted, chosen, expand
from converter.zoo.places import Places

# How a cell's archive is packed.
SUFFIX: Final = ".tar.xz"


@dataclass(frozen=True, kw_only=True)
class PlannedCell:
    """A cell, and what is known of it before anything runs.

    Attributes:
        source: `{name, sha256}` of its model; without a digest if it cannot be read.
        backend: The toolchain that is taken; None if the target does not tell.
        key: Its key in the cache; None if it is not taken from there.
        found: What the cache has.
        by_tools: SHA-256 of what the tools' own arguments name (`files_of_tools`).
        error: Why it cannot be converted.
        cost_s: How long it took in an earlier build, or cells like it; None if nothing is known.
    """

    wanted: Wanted
    source: Mapping[str, Any] = field(default_factory=dict)
    backend: Backend | None = None
    key: str | None = None
    found: Record | None = None
    by_tools: Mapping[str, str] = field(default_factory=dict)
    error: ConvertError | None = None
    cost_s: float | None = None

    @property
    def id(self) -> str:
        """`digits/rvc4/INT8_STANDARD`."""
        return self.wanted.id

    @property
    def will_run(self) -> bool:
        """Whether it is to be converted."""
        return self.found is None and self.error is None

    @property
    def toolchain(self) -> str:
        """The one that is taken; else the one that is asked for."""
        return self.backend.toolchain if self.backend else self.wanted.toolchain

    def to_json(self) -> dict[str, Any]:
        """Plain JSON data."""
        expected = latest(self.wanted.expected)
        return {
            "model": self.wanted.model,
            "target": self.wanted.target,
            "mode": self.wanted.mode,
            "toolchain": self.toolchain,
            "cached": self.found is not None,
            "will_run": self.will_run,
            "error": self.error and str(self.error),
            "expected": expected and {"reason": expected.reason, "until": expected.until.isoformat()},
            "estimated_s": self.cost_s,
        }


@dataclass(frozen=True, kw_only=True)
class ZooPlan:
    """A manifest with its cells.

    Attributes:
        places: Where its files are; what was read is not read again.
        left_out: Targets that the manifest calls optional, and why this machine cannot do them.
        options: Those of the manifest itself.
        store: The cache; None where it is switched off.
    """

    path: Path
    manifest: Manifest
    places: Places
    cells: Sequence[PlannedCell]
    options: Options
    store: Store | None
    left_out: Mapping[str, str] = field(default_factory=dict)
    only: Sequence[str] = ()

    def exit_code(self, today: date) -> int:
        """That of the first cell that cannot be tried and is not expected to fail; else 0."""
        for cell in self.cells:
            if cell.error is not None:
                code = cell.error.exit_code
                if not covers(cell.wanted.expected, code, today):
                    return code
        return 0


def make_plan(
    path: Path, *, only: Sequence[str] = (), before: Index | None = None, is_remote: bool = False
) -> ZooPlan:
    """Plan a build: nothing is converted; what is behind URLs is fetched.

    Args:
        path: The manifest.
        only: Selectors, see `matrix.chosen`.
        before: An earlier build, for how long cells take.
        is_remote: Whether other machines convert, which may have toolchains that this one lacks.

    Raises:
        UsageError: The manifest cannot be used, or a selector chooses nothing.
    """
    manifest = read(path)
    options = resolve([Layer(origin="options", values=manifest.options)])
    # `cache.enabled` is off for `convert`; a zoo without a word takes what it has.
    is_on = "cache.enabled" not in options.settings or options.flag("cache.enabled")
    places = Places(folder=path.absolute().parent, fetched=_fetched_folder())
    wanted = chosen(expand(manifest, places), only, manifest.selectors)
    store = Store(options.text("cache.url")) if is_on else None
    planner = _Planner(places, store, is_remote=is_remote)
    cells = [planner.cell(one) for one in wanted]
    return ZooPlan(
        path=path,
        manifest=manifest,
        places=places,
        cells=_with_costs([cell for cell in cells if cell is not None], before),
        options=options,
        store=store,
        left_out=planner.left_out,
        only=tuple(only),
    )


def _fetched_folder() -> Path:
    from converter.pinned_wheel import cache_root

    return cache_root() / "sources"


class _Planner:
    """Plans cells one by one; what cells share is found out once."""

    def __init__(self, places: Places, store: Store | None, *, is_remote: bool) -> None:
        self._places, self._store, self._is_remote = places, store, is_remote
        self._backends: dict[str, Backend | ConvertError | None] = {}
        self._made_by: dict[str, dict[str, Any]] = {}
        self.left_out: dict[str, str] = {}

    def cell(self, wanted: Wanted) -> PlannedCell | None:
        """A cell with its key; None if it is left out on this machine."""
        planned = PlannedCell(wanted=wanted, source={"name": wanted.source.path.name})
        backend = self._backend(wanted)
        if isinstance(backend, ConvertError):
            if wanted.optional and isinstance(backend, ToolchainError):
                self.left_out.setdefault(wanted.target, backend.message)
                return None
            return replace(planned, error=backend)
        planned = replace(planned, backend=backend)
        try:
            files = self._places.model_files(wanted.source)
            planned = replace(planned, source={**planned.source, "sha256": files[""]})
            named = {key: self._places.digest(place) for key, place in sorted(wanted.files.items())}
            by_tools = files_of_tools(wanted.options)
        except ConvertError as error:
            return replace(planned, error=error)
        except OSError as error:
            return replace(planned, error=disk_error(error, f"reading {wanted.id}'s files"))
        if backend is None or self._store is None or by_tools is None:
            return planned
        planned = replace(planned, by_tools=by_tools)
        key = question_of(
            source=files,
            name=wanted.source.path.name,
            target=wanted.target,
            toolchain=wanted.toolchain,
            backend=backend,
            options=wanted.values(),
            files=named | by_tools,
            suffix=SUFFIX,
            made_by=self._maker(wanted.target),
        )
        return replace(planned, key=key, found=self._store.look(key) if key else None)

    def _maker(self, target: str) -> dict[str, Any]:
        if target not in self._made_by:
            self._made_by[target] = made_by(target)
        return self._made_by[target]

    def _backend(self, wanted: Wanted) -> Backend | ConvertError | None:
        """The toolchain, asked once for the same options; or why there is none that fits."""
        asked = [wanted.target, wanted.toolchain, wanted.version, wanted.image, wanted.optional]
        state = json.dumps([*asked, wanted.values()])
        if state not in self._backends:
            try:
                self._backends[state] = self._chosen(wanted)
            except (ToolchainError, UsageError) as error:
                # Another machine may have it.
                is_theirs = self._is_remote and isinstance(error, ToolchainError)
                self._backends[state] = None if is_theirs else error
        return self._backends[state]

    def _chosen(self, wanted: Wanted) -> Backend | None:
        backend = backend_of(wanted.target, wanted.options, wanted.toolchain)
        if backend is None:
            return None
        here = toolchains_on(wanted.target, System.current())
        if backend.toolchain not in here and not self._is_remote:
            raise ToolchainError(
                f"{wanted.target}'s {backend.toolchain} toolchain does not run on this machine.",
                remedy=backend.caveat or "See: nnconvert doctor.",
            )
        pins = (("version", wanted.version, backend.version), ("image", wanted.image, backend.image))
        for name, pinned, found in pins:
            # `2.41` is in `SNPE 2.41.0`, and `1.0` is not in `2.51.0`.
            if pinned and not re.search(rf"(?<![\w.]){re.escape(pinned)}(?!\w)", str(found)):
                raise ToolchainError(
                    f"{wanted.target}: the manifest pins the {name} {pinned!r}, and this is {found!r}.",
                    remedy="Install that one, or write the new one into the manifest.",
                )
        return backend


def _with_costs(cells: Sequence[PlannedCell], before: Index | None) -> list[PlannedCell]:
    """The cells with what they cost in an earlier build, or what cells of their target and mode did."""
    known: dict[str, float] = {}
    alike: dict[str, list[float]] = {}
    for cell in before.cells if before else ():
        if cell.seconds is not None:
            known[cell.id] = cell.seconds
            alike.setdefault(f"{cell.target}/{cell.mode}", []).append(cell.seconds)
    means = {name: fmean(seconds) for name, seconds in alike.items()}
    return [
        replace(
            cell,
            cost_s=known.get(cell.id, means.get(f"{cell.wanted.target}/{cell.wanted.mode}")),
        )
        for cell in cells
    ]
