"""Which target a camera needs: people know their camera's name, not its chip."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from converter.errors import UsageError
from converter.findings import perhaps
from converter.target import load, names


@dataclass(frozen=True, kw_only=True)
class Named:
    """A target that somebody named.

    Attributes:
        camera: The camera that was named; empty where it was the target itself.
    """

    target: str
    camera: str = ""

    def __str__(self) -> str:
        """What was taken, for people; a target's own name needs no word."""
        return f"{self.camera}: the target is {self.target}." if self.camera else ""


def target_of(word: str) -> Named:
    """The target that a word names: a target or a camera, in any case, with any hyphens or spaces.

    Raises:
        UsageError: There is none; the message names the nearest, or those there are.
    """
    for name in names():
        if _plain(word) == _plain(name):
            return Named(target=name)
    for name in names():
        for camera in cameras(name):
            # The focus makes no difference to the chip: OAK-D-PRO-AF.
            if _plain(word) in (_plain(camera), f"{_plain(camera)}af", f"{_plain(camera)}ff"):
                return Named(target=name, camera=camera)
    known = {slug(camera): name for name in names() for camera in cameras(name)}
    begun = {name for camera, name in known.items() if _plain(camera).startswith(_plain(word))}
    near = perhaps(slug(word), list(known)) if len(begun) < 2 else ""  # `oak` may be any of them
    there = f"There are: {', '.join(names())}, or a camera's name such as oak-d or oak4-d."
    raise UsageError(f"There is no target {word!r}.", remedy=f"{near} {there}".strip())


def named_targets(words: str) -> list[Named]:
    """The targets in `rvc2,oak4-d`, each once.

    Raises:
        UsageError: One of them does not exist, or there is none.
    """
    found = {(named := target_of(word)).target: named for word in words.split(",") if word.strip()}
    if not found:
        raise UsageError("--target names nothing.", remedy=f"There are: {', '.join(names())}.")
    return list(found.values())


def cameras(target: str) -> Sequence[str]:
    """The cameras that a target is for, as Luxonis writes them."""
    found: Sequence[str] = getattr(load(target), "CAMERAS", ())
    return found


def slug(camera: str) -> str:
    """A camera's name as one writes it in a shell: `oak-d-pro-w`."""
    return "-".join(camera.lower().replace("_", " ").split())


def markdown(targets: Sequence[str]) -> str:
    """The table of cameras that the README and the documentation open with."""
    lines = ["| your camera | target | command |", "| --- | --- | --- |", *_rows(targets)]
    return "".join(f"{line}\n" for line in lines)


def _rows(targets: Sequence[str]) -> Iterator[str]:
    for target in targets:
        listed = cameras(target)
        example = slug(listed[0])
        command = f"`convert --target {example} model.onnx`"
        yield f"| {', '.join(listed)} | `{target}` | {command} |"


def _plain(word: str) -> str:
    return "".join(letter for letter in word.lower() if letter.isalnum())
