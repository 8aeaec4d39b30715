"""The flags of `init`: reading hints for inputs and heads, and naming flags in remedies."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from converter.bare.inputs import InputHints, may_take_frames
from converter.errors import ConvertError, UsageError, from_findings
from converter.findings import Finding, listed, perhaps
from converter.graph.facts import GraphFacts
from converter.options.declared import array
from converter.preprocessing import Color, read_dai_type

_FLAGS: Final = {
    "shape": "--shape",
    "frozen_value": "--frozen",
    "layout": "--layout",
    "mean_values": "--mean",
    "scale_values": "--scale",
    "dai_type": "--color",
}
# An option in a draft's remedies, with the value after it if there is one.
_VALUES: Final = r"( (?:[A-Z]{2,}\b|(?:RGB|BGR|GRAY)\w+|image\b|raw\b))?"
_RESIZE_MODES: Final = ("CROP", "STRETCH", "LETTERBOX")


def floats(text: str) -> tuple[float, ...]:
    """`1,2,3`; nothing for `none`."""
    if text.strip().lower() in ("", "none"):
        return ()
    return tuple(float(part) for part in text.strip("[]() ").split(","))


def ints(text: str) -> tuple[int, ...]:
    """`1,3,224,224` or `1x3x224x224`."""
    return tuple(int(part) for part in re.split("[,x]", text.strip("[]() ")))


def _resize_mode(text: str) -> str:
    if text.upper() not in _RESIZE_MODES:
        raise ValueError
    return text.upper()


# By field of `InputHints`: how a value is read, and what it should be.
_READ: Final[Mapping[str, tuple[Callable[[str], Any], str]]] = {
    "shape": (ints, "sizes such as 1,3,224,224"),
    "frozen": (array, "a number, an array such as [1,2], or a .npy file"),
    "layout": (str.upper, "letters such as NCHW"),
    "mean": (floats, "numbers such as 123.7,116.3,103.5, or none"),
    "scale": (floats, "numbers such as 58.4,57.1,57.4, or none"),
    "color": (lambda text: Color(text.upper()), "RGB, BGR or GRAY"),
    "resize_mode": (_resize_mode, ", ".join(_RESIZE_MODES)),
}


def input_hints(
    facts: GraphFacts, images: Sequence[str], raw: Sequence[str], given: Mapping[str, Sequence[str]]
) -> dict[str, InputHints]:
    """The hints for the inputs in the flags.

    Args:
        facts: The model's signature.
        images: The inputs that take frames; raw: those that take plain numbers.
        given: By field of `InputHints`, words `VALUE` for the only image input or `NAME=VALUE`.

    Raises:
        UsageError: It names all names that do not exist and all values that cannot be read.
    """
    names = [tensor.name for tensor in facts.inputs]
    hints: dict[str, InputHints] = {}
    findings: list[Finding] = []
    for flag, group, is_image in (("--image", images, True), ("--raw", raw, False)):
        for name in group:
            if name not in names:
                findings.append(_unknown(flag, name, names))
            elif name in images and name in raw:
                message = f"{name!r} is given to --image and --raw."
                findings.append(Finding(code="init.flag", where=flag, message=message))
            else:
                hints[name] = InputHints(is_image=is_image)
    for field, words in given.items():
        flag = f"--{field.replace('_', '-')}"
        read, expected = _READ[field]
        for word in words:
            name, _, value = word.rpartition("=")
            if not name:
                only = _only_image(facts, images, raw)
                if only is None:
                    message = f"{word!r} is for one of the inputs {listed(names)}."
                    remedy = f"Say for which: {flag} {names[0]}={word}."
                    findings.append(
                        Finding(code="init.flag", where=flag, message=message, remedy=remedy)
                    )
                    continue
                name = only
            if name not in names:
                findings.append(_unknown(flag, name, names))
                continue
            try:
                hints[name] = replace(hints.get(name, InputHints()), **{field: read(value)})
            except ValueError:
                message = f"{value!r} is not {expected}."
                findings.append(Finding(code="init.flag", where=flag, message=message))
    if findings:
        raise from_findings(UsageError, "The options", findings)
    return hints


def _unknown(flag: str, name: str, names: Sequence[str]) -> Finding:
    return Finding(
        code="init.flag",
        where=flag,
        message=f"the model has no input {name!r}; it has {listed(names)}.",
        remedy=perhaps(name, names),
    )


def _only_image(facts: GraphFacts, images: Sequence[str], raw: Sequence[str]) -> str | None:
    """The input that a value without a name is for."""
    names = [tensor.name for tensor in facts.inputs]
    if len(names) == 1:
        return names[0]
    may = list(images) or [t.name for t in facts.inputs if t.name not in raw and may_take_frames(t)]
    return may[0] if len(may) == 1 else None


def read_json(flag: str, path: Path | None, kind: type[Any]) -> Any:
    """The JSON object or list in a file; an empty one for no file.

    Raises:
        UsageError: It cannot be read, or is something else.
    """
    if path is None:
        return kind()
    try:
        data = json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise UsageError(f"{flag}: {path} cannot be read: {error.strerror}.") from error
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{flag}: {path} is not JSON: {error}.") from error
    if not isinstance(data, kind):
        what = "object" if kind is dict else "list"
        raise UsageError(f"{flag}: {path} holds no JSON {what}.")
    return data


def read_anchors(given: str) -> tuple[tuple[tuple[float, ...], ...], ...]:
    """Anchors by output: `[[[10,13],[16,30]],[[30,61]]]`, as JSON or in a file; pairs may be flat.

    Raises:
        UsageError: They cannot be read.
    """
    try:
        path = Path(given)
        text = path.read_text(encoding="utf-8") if path.suffix and path.is_file() else given
        layers = json.loads(text)
        return tuple(
            tuple(tuple(float(size) for size in pair) for pair in _pairs(layer)) for layer in layers
        )
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise UsageError(
            f"--anchors: {given[:60]!r} cannot be read as anchors.",
            remedy="Give a list for each output, [[[10,13],[16,30]], …], or a JSON file with it.",
        ) from error


def _pairs(layer: Sequence[Any]) -> Sequence[Any]:
    if layer and not isinstance(layer[0], list):
        return [layer[index : index + 2] for index in range(0, len(layer), 2)]
    return layer


def in_flags(finding: Finding, names: Sequence[str]) -> Finding:
    """A finding whose remedy names options `inputs.NAME.…`, with `init`'s flags instead."""
    if not names:
        return finding
    either = "|".join(re.escape(name) for name in sorted(names, key=len, reverse=True))
    pattern = rf"inputs\.({either})\.({'|'.join(_FLAGS)}|input_type)\b{_VALUES}"

    def flag(match: re.Match[str]) -> str:
        name, field, value = match[1], match[2], (match[3] or "").strip()
        if field == "input_type":
            return f"--{value} {name}" if value else f"--image {name} or --raw {name}"
        if field == "dai_type" and (frames := read_dai_type(value)):
            value = frames[0].value
        value = value if len(names) == 1 else f"{name}={value or '…'}"
        return f"{_FLAGS[field]} {value}".strip()

    return replace(
        finding,
        message=re.sub(pattern, flag, finding.message),
        remedy=re.sub(pattern, flag, finding.remedy),
    )


def error_in_flags(error: ConvertError, subject: str, names: Sequence[str]) -> ConvertError:
    """An error whose findings name flags instead of options."""
    if not error.findings:
        return error
    return from_findings(type(error), subject, [in_flags(finding, names) for finding in error.findings])
