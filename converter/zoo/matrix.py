"""The matrix of a manifest: a cell for each model, target and mode, and selectors that choose cells."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Final

from converter.cameras import target_of
from converter.errors import UsageError, from_findings
from converter.findings import Finding, perhaps
from converter.options.declared import specs_by_key
from converter.options.resolve import Layer, Options, Setting, flatten, kind_of, resolve
from converter.target import load
from converter.zoo.index import DEFAULT_MODE
from converter.zoo.manifest import ExpectedFailure, Manifest, Mode, Model, Target
from converter.zoo.places import Place, Places

_PARTS: Final = 3
# What describes a model elsewhere, and what is no model: neither can be told by its own bytes.
_NO_SOURCE: Final = (".yaml", ".yml", ".json", ".pt")


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """A cell that somebody wants.

    Attributes:
        source: The model.
        options: Everything that is set, resolved; files are in `files`.
        files: The files and folders that options name, by the options' keys.
        version, image: What the toolchain must be, see `converter.zoo.manifest.Target`.
        optional: Whether a machine without the toolchain leaves it out.
    """

    model: str
    target: str
    mode: str
    toolchain: str
    source: Place
    options: Options
    files: Mapping[str, Place] = field(default_factory=dict)
    version: str | None = None
    image: str | None = None
    optional: bool = False
    expected: Sequence[ExpectedFailure] = ()
    tags: Sequence[str] = ()

    @property
    def id(self) -> str:
        """`digits/rvc4/INT8_STANDARD`: what selectors match."""
        return f"{self.model}/{self.target}/{self.mode}"

    def values(self) -> dict[str, Any]:
        """The options that are set, as plain JSON data, without those that name files."""
        set_ = {key: setting.value for key, setting in self.options.settings.items()}
        return {
            key: list(value) if isinstance(value, tuple) else value
            for key, value in sorted(set_.items())
            if key not in self.files
        }


def expand(manifest: Manifest, places: Places) -> list[Wanted]:
    """All cells, in the manifest's order: models, then targets, then modes.

    Raises:
        UsageError: It names every file that is not there, every target, option and mode that does not
            exist, and every two cells of the same name.
    """
    return _Expansion(manifest, places).cells()


class _Expansion:
    """What is shared by the cells: layers are resolved once, and files are found once."""

    def __init__(self, manifest: Manifest, places: Places) -> None:
        self._manifest, self._places = manifest, places
        self._findings: list[Finding] = []
        self._resolved: dict[str, tuple[Options, dict[str, Place]]] = {}

    def cells(self) -> list[Wanted]:
        found: dict[str, Wanted] = {}
        targets = list(self._targets())
        for index, model in enumerate(self._manifest.models):
            where = f"models[{index}]"
            source = self._source(model, f"{where}.source")
            data = self._data(model, where)
            for at, target, modes in targets:
                if not any(fnmatchcase(target.target, glob) for glob in model.targets):
                    continue
                for mode in modes:
                    cell = self._cell(model, target, mode, source, data, (where, at))
                    if cell is None:
                        continue
                    if cell.id in found:
                        remedy = "Give one of the modes another name: {name: …, quantization: …}."
                        self._say(at, f"the cell {cell.id} is in the matrix twice.", remedy)
                    found[cell.id] = cell
        if self._findings:
            unique = list(dict.fromkeys(self._findings))
            raise from_findings(UsageError, "The manifest", unique)
        return list(found.values())

    def _say(self, where: str, message: str, remedy: str = "") -> None:
        self._findings.append(Finding(code="zoo.manifest", where=where, message=message, remedy=remedy))

    def _targets(self) -> Iterator[tuple[str, Target, Sequence[Mode]]]:
        """The targets by their own names, with their modes."""
        for index, given in enumerate(self._manifest.targets):
            where = f"targets[{index}]"
            try:
                name = target_of(given.target).target
            except UsageError as error:
                self._say(f"{where}.target", error.message, error.remedy)
                continue
            has = ("auto", *load(name).TOOLCHAINS)
            if given.toolchain not in has:
                self._say(
                    f"{where}.toolchain",
                    f"{name} has no toolchain {given.toolchain!r}.",
                    f"There are: {', '.join(has)}.",
                )
                continue
            yield where, given.model_copy(update={"target": name}), self._modes(given, name, where)

    def _modes(self, target: Target, name: str, where: str) -> Sequence[Mode]:
        """The modes of a target, or the one that its options have; their quantization is checked."""
        spec = specs_by_key().get(f"{name}.quantization_mode")
        if target.modes is None:
            return [Mode(name=DEFAULT_MODE)] if spec is None else [self._own_mode(target, spec.key)]
        for index, mode in enumerate(target.modes):
            if mode.quantization is None:
                continue
            if spec is None:
                remedy = "Write {name: …, options: {…}}, or leave modes out."
                self._say(
                    f"{where}.modes[{index}]",
                    f"{name} has no quantization modes, so {mode.quantization!r} says nothing.",
                    remedy,
                )
            elif mode.quantization.upper() not in spec.choices:
                near = perhaps(mode.quantization, spec.choices)
                remedy = near or f"There are: {', '.join(spec.choices)}."
                message = f"{mode.quantization!r} is no quantization mode of {name}."
                self._say(f"{where}.modes[{index}]", message, remedy)
        return target.modes

    def _own_mode(self, target: Target, key: str) -> Mode:
        """The mode of a target without `modes`, called by its quantization."""
        given = {**flatten(self._manifest.options), **flatten(target.options)}
        value = str(given.get(key, specs_by_key()[key].default))
        return Mode(name=value)

    def _source(self, model: Model, where: str) -> Place | None:
        if model.source.path.lower().endswith(_NO_SOURCE):
            self._say(
                where,
                f"{model.source.path} is no model.",
                "Name an archive or a model (.onnx, .xml, .tflite), and give options beside it.",
            )
            return None
        return self._found(model.source, where)

    def _found(self, files: Any, where: str) -> Place | None:
        try:
            return self._places.find(files)
        except FileNotFoundError:
            remedy = f"Paths are taken against {self._places.folder}, then against {Path.cwd()}."
            self._say(where, f"{files.path}: no such file or folder.", remedy)
            return None

    def _data(self, model: Model, where: str) -> dict[str, Place]:
        """The files of a model's own fields, by the option that takes them."""
        labels = model.labels
        named = {
            "calibration.path": (model.calibration, "calibration"),
            "verify.labels": (labels and labels.labels, "labels.labels"),
            "verify.data": (labels and labels.data, "labels.data"),
        }
        found = {}
        for key, (files, field_) in named.items():
            place = files and self._found(files, f"{where}.{field_}")
            if place:
                found[key] = place
        return found

    def _cell(
        self,
        model: Model,
        target: Target,
        mode: Mode,
        source: Place | None,
        data: Mapping[str, Place],
        where: tuple[str, str],
    ) -> Wanted | None:
        resolved = self._options(model, target, mode, where)
        if source is None or resolved is None:
            return None
        options, files = resolved
        return Wanted(
            model=model.name,
            target=target.target,
            mode=mode.name,
            toolchain=target.toolchain,
            source=source,
            options=options,
            files={**data, **files},
            version=target.version,
            image=target.image,
            optional=target.optional,
            expected=tuple(
                one
                for one in model.expected_failures
                if fnmatchcase(target.target, one.target) and fnmatchcase(mode.name, one.mode)
            ),
            tags=tuple(model.tags),
        )

    def _options(
        self, model: Model, target: Target, mode: Mode, where: tuple[str, str]
    ) -> tuple[Options, dict[str, Place]] | None:
        """The options of a cell, and the files that they name; the same layers are resolved once."""
        quantization = {}
        if mode.quantization is not None:
            quantization = {f"{target.target}.quantization_mode": mode.quantization}
        layers = [
            ("options", self._manifest.options),
            (f"{where[0]}.options", model.options),
            (f"{where[1]}.options", target.options),
            (f"{where[1]}.modes", {**quantization, **mode.options}),
        ]
        state = json.dumps([values for _, values in layers], sort_keys=True, default=str)
        if state not in self._resolved:
            try:
                made = resolve([Layer(origin=name, values=values) for name, values in layers if values])
            except UsageError as error:
                self._findings += error.findings
                return None
            self._resolved[state] = self._with_files(made)
        return self._resolved[state]

    def _with_files(self, options: Options) -> tuple[Options, dict[str, Place]]:
        """The options without those that name files, and the files."""
        settings: dict[str, Setting] = {}
        files = {}
        for key, setting in options.settings.items():
            value = setting.value
            is_file = kind_of(key) == "path" or (
                key.endswith(".frozen_value") and str(value).lower().endswith(".npy")
            )
            if not is_file or value is None:
                settings[key] = setting
                continue
            try:
                files[key] = Place(given=str(value), path=self._places.path_of(str(value)))
            except FileNotFoundError:
                self._say(key, f"{value}: no such file or folder ({setting.origin}).")
        return Options(settings, notes=options.notes), files


def chosen(
    cells: Sequence[Wanted], only: Sequence[str], named: Mapping[str, Sequence[str]]
) -> list[Wanted]:
    """The cells that any of the selectors chooses; all of them without a selector.

    Args:
        only: `MODEL`, `MODEL/TARGET` or `MODEL/TARGET/MODE`, each part a glob; or a name of the
            manifest for several of them.

    Raises:
        UsageError: A selector chooses nothing.
    """
    if not only:
        return list(cells)
    ids = set()
    for word in only:
        patterns = named.get(word, [word])
        found = {cell.id for cell in cells if any(matches(cell.id, one) for one in patterns)}
        if not found:
            models = list(dict.fromkeys(cell.model for cell in cells))
            near = perhaps(word.partition("/")[0], [*models, *named])
            remedy = near or "Selectors are globs on MODEL/TARGET/MODE; see: nnconvert zoo plan."
            raise UsageError(f"--only {word} chooses no cell.", remedy=remedy)
        ids |= found
    return [cell for cell in cells if cell.id in ids]


def matches(cell: str, selector: str) -> bool:
    """Whether a selector chooses a cell, by its id, in any case; `digits` is `digits/*/*`."""
    globs = selector.lower().split("/")
    parts = cell.lower().split("/")
    if len(globs) > _PARTS:
        return False
    return all(fnmatchcase(part, glob) for part, glob in zip(parts, globs, strict=False))
