"""The words behind a command's name: sources, and options as KEY VALUE or KEY=VALUE between them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

# How the name of something that is converted ends.
_ENDS: Final = (".tar.xz", ".tar.gz", ".tar.bz2", ".tar", ".onnx", ".xml", ".tflite", ".yaml", ".yml")


def split(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """The sources, and the words of the options.

    The first word is a source. So is another one that is no option's name, and is a file or a folder or
    named like one.
    """
    sources, options = list(words[:1]), []
    rest = list(words[1:])
    while rest:
        word = rest.pop(0)
        key, equals, _ = word.partition("=")
        if _is_option(key) or not _is_source(word):
            options += [word] if equals else [word, *rest[:1]]
            rest = rest if equals else rest[1:]
        else:
            sources.append(word)
    return sources, options


def _is_option(key: str) -> bool:
    from converter.modelconverter.keys import KEYS, pattern
    from converter.options.resolve import is_declared

    return is_declared(key) or pattern(key)[0] in KEYS


def _is_source(word: str) -> bool:
    return word.lower().endswith(_ENDS) or Path(word).exists()
