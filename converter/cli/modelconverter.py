"""ModelConverter's command line: `convert rvc4 --path FILE --archive-preprocess KEY VALUE …`.

Flags with a counterpart are translated; for others the error says what to use instead. A first word
that is a target counts as one only if `--target`, which is required here, is missing: nothing is
ambiguous.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from converter.errors import UsageError

_COMMANDS: Final = ("convert", "plan")
_TARGET: Final = ("--target", "-t")
# Flags with a value, and the flag here that means the same.
_OPTIONS: Final = {
    "--main-stage": "main_stage",
    "-m": "main_stage",
    "--image": "container.image",
    "--docker-image": "container.image",
    "--memory": "container.memory",
    "--cpus": "container.cpus",
}
_TAKEN: Final = ("--path", "--to", "--tool-version", "--output-dir", *_OPTIONS)
# They choose how ModelConverter's container runs on a host with an Nvidia card, for Hailo alone.
_WITHOUT_EFFECT: Final = ("--gpu", "--no-gpu", "--no-dev", "--no-archive-preprocess")
_REFUSED: Final = {
    "--dev": "Build an image with: nnconvert toolchain build TARGET.",
    "--model-name": "The name is the archive's; of a model file, `name` in its YAML file.",
    "--output-remote-url": "Nothing is uploaded: the archive is written here, -o OUT says where.",
    "--put-file-plugin": "Nothing is uploaded: the archive is written here, -o OUT says where.",
}


def translated(arguments: Sequence[str]) -> list[str]:
    """The arguments of this command line that mean the same.

    Raises:
        UsageError: A flag of ModelConverter's that has no counterpart; it names what to use instead.
    """
    if not arguments or arguments[0] not in _COMMANDS:
        return list(arguments)
    command, *rest = arguments
    last: list[str] = []
    target = _given_target(rest)
    if target is None and rest and (target := _platform(rest[0])) is not None:
        rest.pop(0)
        last += [_TARGET[0], target]
    words: list[str] = []
    sources: list[str] = []
    while rest:
        word = rest.pop(0)
        flag, equals, value = word.partition("=")
        if flag == "input_model" and not sources and not words:
            # Its older form: the model is a key, and there is no --path.
            if not equals and not rest:
                raise UsageError("input_model: the value is missing.")
            sources.append(value if equals else rest.pop(0))
            continue
        if flag in _REFUSED:
            raise UsageError(f"{flag} is not known here.", remedy=_REFUSED[flag])
        if word in _WITHOUT_EFFECT:
            continue
        if word == "--archive-preprocess":
            words += ["--preprocess", "archive"]
        elif flag in _TAKEN:
            if not equals:
                if not rest:
                    raise UsageError(f"{flag}: the value is missing.")
                value = rest.pop(0)
            if flag == "--path":
                sources.append(value)
            elif flag == "--to":
                _require_archive(value)
            elif flag == "--output-dir":
                words += ["--output", f"{value.rstrip('/')}/"]
            elif flag in _OPTIONS or target:  # without one the target is asked for
                last.append(f"{_OPTIONS.get(flag) or f'{_one(target)}.tool_version'}={value}")
        else:
            words.append(_of_stage(word))
    if len(sources) > 1:
        raise UsageError("--path is there twice.", remedy="Keep one.")
    return [command, *sources, *words, *last]


def _platform(word: str) -> str | None:
    """The target that a first word names; None if it is something else.

    Raises:
        UsageError: It is a platform of ModelConverter's that is no target here.
    """
    if word.startswith("-"):
        return None
    from converter.modelconverter.keys import PLATFORMS

    if word.lower() not in PLATFORMS:
        return _camera(word)
    from converter.target import names

    if word.lower() not in (there := names()):
        raise UsageError(
            f"There is no target {word.lower()!r}.", remedy=f"There are: {', '.join(there)}."
        )
    return word.lower()


def _camera(word: str) -> str | None:
    from converter.cameras import target_of

    if Path(word).exists():
        return None
    try:
        return word if target_of(word).camera else None
    except UsageError:
        return None


def _one(target: str | None) -> str:
    """The only target that is named.

    Raises:
        UsageError: There are several, each with tools of its own.
    """
    from converter.cameras import named_targets

    found = named_targets(target or "")
    if len(found) > 1:
        keys = " and ".join(f"{named.target}.tool_version" for named in found)
        raise UsageError("--tool-version is for one target.", remedy=f"Set {keys}.")
    return found[0].target


def _of_stage(word: str) -> str:
    """`stages.NAME.KEY` as KEY: one stage is converted, and its keys are meant."""
    parts = word.split(".", 2)
    return parts[2] if len(parts) == 3 and parts[0] == "stages" else word


def _given_target(words: Sequence[str]) -> str | None:
    for index, word in enumerate(words):
        flag, equals, value = word.partition("=")
        if flag in _TARGET:
            return value if equals else next(iter(words[index + 1 :]), "")
    return None


def _require_archive(value: str) -> None:
    if value != "nn_archive":
        raise UsageError(
            f"--to {value}: the converter only writes archives.",
            remedy="Take the compiled file out of the archive: tar -xf NAME.TARGET.tar.xz.",
        )
