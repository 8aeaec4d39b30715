"""Options: declared once in `configs/options.yaml`, layered, checked, each with its origin.

Layers, from weak to strong: defaults, a preset, a file, the command line (or the caller of the API).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from converter.errors import UsageError, from_findings
from converter.findings import Finding
from converter.options.declared import Value, parse, specs, specs_by_key
from converter.options.remedies import for_which, no_input, unknown, wrong_value

# Options that say how something is verified or run, and do not change the result.
_NOT_DECISIVE: Final = ("verify.", "container.", "online.", "cache.")
# The name for every input or output that is not named.
ANY: Final = "*"
# The name for the only input that takes frames; `Options.by_name` puts that input's in its place.
IMAGE: Final = "@image"


@dataclass(frozen=True, kw_only=True)
class Layer:
    """Values from one place: `origin` is `file conf.yaml`, `command line` and the like.

    `notes` are notes for the user; a note about `rvc2.…` concerns RVC2 alone.
    """

    origin: str
    values: Mapping[str, Any]
    notes: tuple[Finding, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Setting:
    """A value and who set it."""

    value: Value
    origin: str


@dataclass(frozen=True)
class Options:
    """The resolved options. Reading a key that is not declared is a bug: it raises KeyError.

    Attributes:
        record: The build record of the archive, when one is made again.
        notes: Notes for the user, errors among them; `notes_for` gives those of a target.
    """

    settings: Mapping[str, Setting]
    record: Mapping[str, Any] | None = None
    notes: tuple[Finding, ...] = ()

    def get(self, key: str) -> Value:
        """The value of a key such as `rvc2.superblob` or `inputs.images.layout`."""
        return self.setting(key).value

    def setting(self, key: str) -> Setting:
        """The value of a key with its origin; `inputs.*.layout` holds for inputs that are not named."""
        if key in self.settings:
            return self.settings[key]
        split = _split_name(key)
        if split is not None and (shared := f"{split[0]}.{ANY}.{split[2]}") in self.settings:
            return self.settings[shared]
        return Setting(value=specs_by_key()[_pattern(key)].default, origin="default")

    def decisive(self) -> dict[str, Any]:
        """The options that were set and may change the bytes of a result, without paths."""
        chosen = {}
        for key, setting in sorted(self.settings.items()):
            if is_decisive(key) and setting.value != specs_by_key()[_pattern(key)].default:
                value = setting.value
                if key.endswith(".frozen_value"):
                    value = _without_folder(value)
                if isinstance(value, tuple):
                    value = tuple(_without_folder(item) for item in value)
                chosen[key] = list(value) if isinstance(value, tuple) else value
        return chosen

    def names(self, group: str) -> dict[str, list[str]]:
        """The tensor names for which options are set (`group` is inputs or outputs)."""
        found: dict[str, list[str]] = {}
        for key in self.settings:
            split = _split_name(key)
            if split is not None and split[0] == group and split[1] not in (ANY, IMAGE):
                found.setdefault(split[1], []).append(key)
        return found

    def notes_for(self, target: str) -> tuple[Finding, ...]:
        """The notes without those about another platform."""
        from converter.modelconverter.keys import PLATFORMS

        others = {*PLATFORMS} - {target}
        return tuple(note for note in self.notes if note.where.partition(".")[0] not in others)

    def over(self, weaker: Options) -> Options:
        """These options on top of others."""
        return replace(
            self,
            settings=_over(weaker.settings, self.settings),
            notes=tuple(dict.fromkeys((*weaker.notes, *self.notes))),
        )

    def by_name(
        self, inputs: Sequence[str], outputs: Sequence[str], images: Sequence[str] | None = None
    ) -> Options:
        """The same with ModelConverter's form `inputs.0.layout` as `inputs.NAME.layout`.

        Args:
            images: The inputs that take frames, or may: what is said of the only one gets its name.
                None leaves it as it is.

        Raises:
            UsageError: Something is said of the only image input, and there are several, or none.
        """
        settings = {}
        of_image: dict[str, Setting] = {}
        called, findings = self._called(inputs)
        for key, setting in self.settings.items():
            group, name, tail = _split_name(key) or ("", "", "")
            names = outputs if group == "outputs" else inputs
            if (group, tail) == ("inputs", "name"):
                continue
            if name == IMAGE and images is not None:
                may = list(inputs if len(inputs) == 1 else images)
                if len(may) == 1:
                    of_image[f"{group}.{may[0]}.{tail}"] = setting
                else:
                    findings.append(for_which(tail, setting.value, may or inputs))
                continue
            if group == "inputs" and name in called:
                key = f"{group}.{called[name]}.{tail}"
            elif (group, tail) == ("outputs", "name"):
                pass  # it chooses an output (`converter.bare.chosen`), and is no field of one
            elif name.isdecimal() and name not in names and int(name) < len(names):
                key = f"{group}.{names[int(name)]}.{tail}"
            settings[key] = setting
        if findings:
            raise from_findings(UsageError, "The options", findings)
        return replace(self, settings=settings | of_image)

    def _called(self, inputs: Sequence[str]) -> tuple[dict[str, str], list[Finding]]:
        """What `inputs.0.name` says, by the number, and those that name no input."""
        called, findings = {}, []
        for key, setting in self.settings.items():
            group, number, tail = _split_name(key) or ("", "", "")
            if (group, tail) != ("inputs", "name"):
                continue
            if (inputs and setting.value not in inputs) or not number.isdecimal():
                findings.append(no_input(key, str(setting.value), inputs))
            called[number] = str(setting.value)
        return called, findings

    def of_second_stage(self, first: Iterable[str]) -> Options:
        """The options of a second stage, without those for every tensor or for a tensor of the first.

        Calibration data stays: the second stage's is made from that of the first.

        Args:
            first: The names of the first stage's inputs and outputs.
        """
        others = {ANY, *first}

        def concerns_first(key: str) -> bool:
            _, name, tail = _split_name(key) or ("", "", "")
            return name in others and not tail.startswith("calibration.")

        kept = {key: item for key, item in self.settings.items() if not concerns_first(key)}
        return replace(self, settings=kept)

    def flag(self, key: str) -> bool:
        """A `bool` option."""
        value = self.get(key)
        assert isinstance(value, bool), key
        return value

    def integer(self, key: str) -> int:
        """An `int` option that has a value."""
        value = self.get(key)
        assert isinstance(value, int), key
        return value

    def number(self, key: str) -> float:
        """A `float` option that has a value."""
        value = self.get(key)
        assert isinstance(value, int | float), key
        return float(value)

    def text(self, key: str) -> str | None:
        """A `str` option."""
        value = self.get(key)
        assert value is None or isinstance(value, str), key
        return value

    def words(self, key: str) -> tuple[str, ...]:
        """A `strs` option that has a value."""
        value = self.get(key)
        assert isinstance(value, tuple), key
        return tuple(str(item) for item in value)

    def floats(self, key: str) -> tuple[float, ...] | None:
        """A `floats` option."""
        value = self.get(key)
        assert value is None or isinstance(value, tuple), key
        return tuple(float(item) for item in value) if value is not None else None

    def ints(self, key: str) -> tuple[int, ...] | None:
        """An `ints` option."""
        value = self.get(key)
        assert value is None or isinstance(value, tuple), key
        return tuple(int(item) for item in value) if value is not None else None


def _without_folder(item: Any) -> Any:
    """A file that a tool's argument names, without its folder: its content is in the plan."""
    is_file = isinstance(item, str) and "/" in item and Path(item).is_file()
    return Path(item).name if is_file else item


def is_decisive(key: str) -> bool:
    """Whether a declared option may change the bytes of a result and is not a path."""
    spec = specs_by_key()[_pattern(key)]
    return spec.type != "path" and not key.startswith(_NOT_DECISIVE) and not key.endswith("timeout_s")


def resolve(layers: Sequence[Layer]) -> Options:
    """Put the layers on top of the defaults.

    Raises:
        UsageError: It names every unknown key (and the nearest declared one) and every wrong value.
    """
    from converter.modelconverter.keys import translated

    settings: Mapping[str, Setting] = {}
    findings: list[Finding] = []
    notes: list[Finding] = []
    for layer in layers:
        of_layer: dict[str, Setting] = {}
        notes += layer.notes
        values: dict[str, Any] = {}
        written: dict[str, str] = {}
        for key, raw in flatten(layer.values).items():
            # A key of ModelConverter that is not an option here.
            meant = None if is_declared(key) else translated(key, raw)
            values |= {key: raw} if meant is None else meant.values
            written |= dict.fromkeys(meant.values, key) if meant else {}
            notes += meant.notes if meant else ()
        for key, raw in values.items():
            spec = specs_by_key().get(_pattern(key))
            if spec is None:
                findings.append(unknown(key, layer.origin))
                continue
            try:
                value = parse(spec, raw)
            except ValueError as error:
                findings.append(wrong_value(written.get(key, key), spec, str(error), layer.origin))
                continue
            of_layer[key] = Setting(value=value, origin=layer.origin)
        settings = _over(settings, of_layer)
    if findings:
        raise from_findings(UsageError, "The options", findings)
    return Options(settings, notes=tuple(dict.fromkeys(notes)))


def is_declared(key: str) -> bool:
    """Whether there is such an option."""
    return _pattern(key) in specs_by_key()


def kind_of(key: str) -> str:
    """The type of a declared option; empty for others."""
    spec = specs_by_key().get(_pattern(key))
    return spec.type if spec else ""


def _over(weaker: Mapping[str, Setting], stronger: Mapping[str, Setting]) -> dict[str, Setting]:
    """Stronger settings on weaker ones; a stronger kind of calibration data replaces the weaker one."""
    gone = set()
    random = stronger.get("calibration.random")
    paths = {key for key in (*weaker, *stronger) if key.endswith("calibration.path")}
    if random is not None and random.value:
        gone = paths
    elif paths & {*stronger}:
        gone = {"calibration.random"}
    if "calibration.path" in stronger:
        gone |= {f"inputs.{ANY}.calibration.path"}
    return {**{key: value for key, value in weaker.items() if key not in gone}, **stronger}


def _pattern(key: str) -> str:
    """`inputs.images.0.layout` is declared as `inputs.NAME.layout`: a name may hold dots."""
    split = _split_name(key)
    return key if split is None else f"{split[0]}.NAME.{split[2]}"


def _split_name(key: str) -> tuple[str, str, str] | None:
    """Group, tensor name and field of a key such as `inputs.images.0.calibration.path`."""
    group, _, rest = key.partition(".")
    if group not in ("inputs", "outputs") or "." not in rest:
        return None
    fields = [spec.key.split(".NAME.")[1] for spec in specs() if spec.key.startswith(f"{group}.NAME.")]
    for known in sorted(fields, key=len, reverse=True):
        if rest.endswith(f".{known}"):
            return group, rest[: -len(known) - 1], known
    name, _, tail = rest.rpartition(".")
    return group, name, tail


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as dotted keys; a list of `{name: ...}` as one group for each name."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{name}.")
        elif isinstance(value, list) and value and all(_is_named(item) for item in value):
            for item in value:
                fields = {field: inner for field, inner in item.items() if field != "name"}
                flat |= flatten(fields, f"{name}.{item['name']}.")
        else:
            flat[name] = value
    return flat


def _is_named(item: Any) -> bool:
    return isinstance(item, Mapping) and "name" in item


def from_arguments(words: Iterable[str]) -> Layer:
    """`key value key value …` and `key=value` of the command line.

    Raises:
        UsageError: A key without a value.
    """
    values: dict[str, Any] = {}
    rest = list(words)
    while rest:
        word = rest.pop(0)
        key, equals, value = word.partition("=")
        if not key:
            raise UsageError(f"{word!r} has no key.", remedy="Write KEY VALUE or KEY=VALUE.")
        if not equals:
            if not rest:
                raise UsageError(f"{word}: the value is missing.", remedy="Write KEY VALUE pairs.")
            value = rest.pop(0)
        values[key] = value
    return Layer(origin="command line", values=values)
