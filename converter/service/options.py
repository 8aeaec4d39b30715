"""Which options a client may set, and their schema: those that name no place on the server.

A path in an option would be read on the server; so the value of an option of type path is an upload.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from converter.errors import UsageError
from converter.findings import Finding, few, perhaps
from converter.options.declared import Spec, specs, specs_by_key
from converter.options.resolve import Layer, flatten, kind_of, resolve
from converter.target import names

# What is the operator's to set: containers, other servers, the cache.
_OPERATOR: Final = ("container.", "online.", "cache.")


def client_specs(target: str | None = None) -> tuple[Spec, ...]:
    """The declared options that a client may set, for one target or for all."""
    return tuple(
        spec
        for spec in specs()
        if not _is_operators(spec.key)
        and (target is None or not spec.targets or target in spec.targets)
        and (target is None or not _is_of_another(spec.key, target))
    )


def check(options: Mapping[str, Any], uploads: Iterable[str] = ()) -> list[Finding]:
    """What is wrong with a client's options, all at once.

    Args:
        options: Values by key, dotted or nested.
        uploads: The options of type path that uploads are given for.
    """
    flat = flatten(options)
    findings = [_refusal(key, value) for key, value in flat.items()]
    for key, value in flat.items():
        if kind_of(key) == "args":
            findings += _refused_words(key, value)
    findings += [
        _wrong(key, "takes no upload.", "Options of type path do.")
        for key in uploads
        if kind_of(key) != "path" or _is_operators(key)
    ]
    try:
        resolve([Layer(origin="request", values=options)])
    except UsageError as error:
        findings += error.findings
    return [finding for finding in findings if finding is not None]


def schema_of(spec: Spec) -> dict[str, Any]:
    """The JSON schema of an option's value."""
    number = {"int": "integer", "float": "number"}
    schema: dict[str, Any] = {"description": spec.help}
    if spec.choices:
        schema["enum"] = [_typed(spec, choice) for choice in spec.choices]
    elif spec.type in number:
        schema["type"] = number[spec.type]
    elif spec.type == "bool":
        schema["type"] = "boolean"
    elif spec.type in ("floats", "ints"):
        schema |= {"type": "array", "items": {"type": number[spec.type[:-1]]}}
    elif spec.type in ("strs", "args"):
        schema |= {"type": "array", "items": {"type": "string"}}
    elif spec.type == "path":
        schema |= {"type": "string", "format": "upload"}
    elif spec.type == "str":
        schema["type"] = "string"
    if spec.min is not None:
        schema["minimum"] = spec.min
    if spec.max is not None:
        schema["maximum"] = spec.max
    if spec.default is not None:
        schema["default"] = spec.default
    if spec.unit:
        schema["x-unit"] = spec.unit
    return schema


def schema(target: str) -> dict[str, Any]:
    """The JSON schema of a target's options; NAME in a key is any input's or output's name."""
    plain, patterns = {}, {}
    for spec in client_specs(target):
        if ".NAME" in spec.key:
            head, tail = spec.key.split("NAME")
            patterns[f"^{_escaped(head)}.+{_escaped(tail)}$"] = schema_of(spec)
        else:
            plain[spec.key] = schema_of(spec)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "properties": plain,
        "patternProperties": patterns,
        "additionalProperties": False,
    }


def _is_of_another(key: str, target: str) -> bool:
    group = key.partition(".")[0]
    return group.startswith("rvc") and group != target


def _typed(spec: Spec, choice: str) -> Any:
    return int(choice) if spec.type == "int" else choice


def _escaped(text: str) -> str:
    return text.replace(".", r"\.")


def _is_inline(value: Any) -> bool:
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            return False
    if isinstance(value, list):
        return all(map(_is_inline, value))
    return isinstance(value, int | float) and not isinstance(value, str)


def _refused_words(key: str, value: Any) -> Iterator[Finding]:
    """The arguments of a tool that are not declared for clients, and the values that are paths.

    A file's name needs no slash: what a tool reads or writes is told by its option. A list of the
    options that are allowed also holds for a tool's version with other ones.
    """
    allowed = specs_by_key()[key].clients
    try:
        words = shlex.split(value) if isinstance(value, str) else list(map(str, value or ()))
    except ValueError:  # its quotes; told where the value is read
        return
    for word in words:
        name = word.partition("=")[0]
        if word.startswith("-") and not _is_number(word) and name not in allowed:
            near = perhaps(name, allowed)
            yield _wrong(
                key, f"{name} is no argument for clients.", near or f"There are: {few(allowed)}."
            )
        elif "/" in word or "\\" in word:
            yield _wrong(
                key, f"{word!r} is a path.", "The arguments of tools must not name files here."
            )


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def _refusal(key: str, value: Any) -> Finding | None:
    """Why a declared option is not for clients; its type and bounds are looked at elsewhere."""
    kind = kind_of(key)
    if kind and _is_operators(key):
        return _wrong(key, "is for the server's operator to set.", "Leave it out.")
    if kind == "path" and value is not None:
        return _wrong(key, "would name a file of the server.", "Upload the file; name the upload.")
    if kind == "array" and not _is_inline(value):
        return _wrong(key, "is no number and no array of numbers.", "Write [1, 2, 3].")
    return None


def _is_operators(key: str) -> bool:
    return key.startswith(_OPERATOR) or key == "input_model"


def _wrong(key: str, message: str, remedy: str) -> Finding:
    return Finding(code="option.value", where=key, message=message, remedy=remedy)


def check_target(target: str) -> list[Finding]:
    """A finding if there is no such target, with the nearest one."""
    if target in names():
        return []
    remedy = perhaps(target, names()) or f"There are: {', '.join(names())}."
    return [
        Finding(
            code="option.value",
            where="target",
            message=f"There is no target {target!r}.",
            remedy=remedy,
        )
    ]
