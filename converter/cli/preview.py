"""`preview`: photos through source and result, drawn side by side."""

# ruff: noqa: T201 - printing is what this module is for

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from converter.cli import print_json
from converter.cli.progress import Reporter
from converter.options.resolve import from_arguments, resolve


def preview(
    archive: Path, words: Sequence[str], against: Path, output: Path, *, as_json: bool, quiet: bool
) -> int:
    """Exit code 0 when the picture was written and the network computes what its source does."""
    from converter.photo_preview import preview as draw

    photos, overrides = _split(words)
    with Reporter(quiet=as_json or quiet, notices=not quiet) as reporter:
        done = draw(
            archive,
            photos,
            against,
            output=output,
            options=resolve([from_arguments(overrides)]),
            on_event=reporter,
        )
    if as_json:
        print_json(done.to_json())
        return 0
    if not quiet:
        for line in done.said:
            print(line)
    print(done.output)
    return 0


def _split(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """The photos, and the words of the options: KEY=VALUE or KEY VALUE."""
    from converter.options.resolve import is_declared

    photos: list[str] = []
    options: list[str] = []
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if is_declared(word.partition("=")[0]):
            options += [word] if "=" in word else [word, *rest[:1]]
            rest = rest if "=" in word else rest[1:]
        else:
            photos.append(word)
    return photos, options
