"""The options, declared in `configs/options.yaml` and by third-party targets; reading a value."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Final, Literal

from converter import resources

Value = bool | int | float | str | tuple[int, ...] | tuple[float, ...] | tuple[str, ...] | None
ENTRY_POINTS: Final = "converter.options"
_TYPES = Literal["bool", "int", "float", "str", "path", "floats", "ints", "strs", "args", "array"]
_WORDS: Final = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}


@dataclass(frozen=True, kw_only=True)
class Spec:
    """One declared option. `key` may hold NAME for the name of an input or output.

    `names` are words that may be given instead of values. `clients` are the arguments, of type args,
    that a client of a server may give: those that name no files.
    """

    key: str
    type: _TYPES
    default: Value
    help: str
    choices: tuple[str, ...] = ()
    min: float | None = None
    max: float | None = None
    unit: str = ""
    targets: tuple[str, ...] = ()
    clients: tuple[str, ...] = ()
    names: Mapping[str, tuple[float, ...]] = field(default_factory=dict)

    @property
    def kind(self) -> str:
        """The type and its bounds in words, for help and errors."""
        if self.choices:
            return " or ".join(self.choices)
        if self.names:
            return f"numbers, separated by commas, or {' or '.join(self.names)}"
        words = {
            "bool": "true or false",
            "int": "a whole number",
            "float": "a number",
            "str": "text",
            "path": "a path",
            "floats": "numbers, separated by commas",
            "ints": "whole numbers, separated by commas",
            "strs": "words, separated by commas",
            "array": "a number, an array such as [1,2], or a .npy file",
            "args": "a list, or words as a shell splits them",
        }[self.type]
        if self.min is not None and self.max is not None:
            words += f" from {self.min:g} to {self.max:g}"
        elif self.min is not None:
            words += f", {self.min:g} or more"
        return words


def configs() -> Path:
    """The folder with the declared options, presets and examples."""
    return resources.folder("configs")


@cache
def specs() -> tuple[Spec, ...]:
    """Every declared option, in the order of the file; then those of third-party targets.

    A target declares its options in a file of the same form; the entry point `converter.options` with
    the target's name gives the file. The keys begin with that name.
    """
    import yaml

    # Every command reads it: libyaml takes an eighth of the time.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    text = (configs() / "options.yaml").read_text(encoding="utf-8")
    declared = yaml.load(text, Loader=loader)  # noqa: S506 - either is a safe loader
    for entry in sorted(entry_points(group=ENTRY_POINTS), key=lambda entry: entry.name):
        own = yaml.safe_load(Path(entry.load()).read_text(encoding="utf-8"))
        declared |= {key: fields for key, fields in own.items() if key.startswith(f"{entry.name}.")}
    return tuple(
        Spec(
            key=key,
            **fields
            | {
                name: tuple(map(str, fields.get(name, ())))
                for name in ("choices", "targets", "clients")
            }
            | ({"default": tuple(fields["default"])} if isinstance(fields["default"], list) else {})
            | {"names": {name: tuple(values) for name, values in fields.get("names", {}).items()}},
        )
        for key, fields in declared.items()
    )


@cache
def specs_by_key() -> dict[str, Spec]:
    """The same by key."""
    return {spec.key: spec for spec in specs()}


def parse(spec: Spec, raw: Any) -> Value:
    """Read a value of the command line, a file or a caller.

    Raises:
        ValueError: It is not of the option's type, or out of its bounds.
    """
    word = raw.lower() if isinstance(raw, str) else ""
    # Some options have NONE among their choices, with a meaning.
    if raw is None or (word in ("null", "none") and word not in map(str.lower, spec.choices)):
        return spec.default
    if isinstance(raw, str) and raw.lower() in spec.names:
        return spec.names[raw.lower()]
    value = _parse_type(spec, raw)
    if spec.choices:
        by_lower = {choice.lower(): choice for choice in spec.choices}
        if str(value).lower() not in by_lower:
            raise ValueError(f"{raw!r} is not one of the choices")
        return by_lower[str(value).lower()] if isinstance(value, str) else value
    if isinstance(value, int | float) and not isinstance(value, bool):
        low = spec.min is not None and value < spec.min
        high = spec.max is not None and value > spec.max
        if low or high:
            raise ValueError(f"{raw!r} is out of bounds")
    return value


def _parse_type(spec: Spec, raw: Any) -> Value:
    wrong = ValueError(f"{raw!r} is not {spec.kind}")
    if spec.type == "bool":
        word = raw if isinstance(raw, bool) else _WORDS.get(str(raw).lower())
        if word is None:
            raise wrong
        return word
    if spec.type in ("int", "float"):
        if isinstance(raw, bool):
            raise wrong
        try:
            return int(str(raw)) if spec.type == "int" else _finite(raw)
        except (TypeError, ValueError, OverflowError):
            raise wrong from None
    if spec.type == "strs":
        items = raw if isinstance(raw, list | tuple) else _split(str(raw))
        if not all(isinstance(item, str) for item in items):
            raise wrong
        return tuple(items)
    if spec.type == "array":
        return array(raw)
    if spec.type == "args":
        return _arguments(raw, wrong)
    if spec.type in ("ints", "floats"):
        items = raw if isinstance(raw, list | tuple) else _split(str(raw))
        if isinstance(raw, int | float) and not isinstance(raw, bool):
            items = [raw]
        try:
            if spec.type == "ints":
                return tuple(int(str(item)) for item in items)
            return tuple(_finite(item) for item in items)
        except (TypeError, ValueError, OverflowError):
            raise wrong from None
    if isinstance(raw, dict | list | tuple):
        raise wrong
    return str(raw)


def _arguments(raw: Any, wrong: ValueError) -> tuple[str, ...]:
    """A tool's arguments: a list of a file, the same as JSON text, or words as a shell splits them."""
    if isinstance(raw, str):
        try:
            raw = json.loads(raw) if raw.lstrip().startswith("[") else shlex.split(raw)
        except ValueError:
            raise wrong from None
    if not isinstance(raw, list | tuple) or not all(
        isinstance(item, str | int | float) for item in raw
    ):
        raise wrong
    return tuple(str(item) for item in raw)


def array(raw: Any) -> str:
    """An array as JSON text, or the path of a .npy file.

    Raises:
        ValueError: It is neither.
    """
    wrong = ValueError(f"{raw!r} is no array of numbers")
    if isinstance(raw, str) and raw.lower().endswith(".npy"):
        return raw
    try:
        value = _read(raw) if isinstance(raw, str) else json.loads(json.dumps(raw))
    except (TypeError, ValueError, RecursionError):
        raise wrong from None
    rows = [value]
    while rows:
        row = rows.pop()
        if isinstance(row, list):
            rows += row
        elif not isinstance(row, int | float) or row != row or abs(row) == float("inf"):
            raise wrong
    return json.dumps(value)


def _read(text: str) -> Any:
    """JSON, or a number or truth value as people write it: `.5`, `1.`, `True`."""
    try:
        return json.loads(text.lower())
    except ValueError:
        return _finite(text)


def _finite(raw: Any) -> float:
    value = float(raw)
    if value != value or value in (float("inf"), float("-inf")):
        raise ValueError
    return value


def _split(text: str) -> list[str]:
    return [part.strip() for part in text.strip("[]() ").split(",")]
