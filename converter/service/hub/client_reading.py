"""What the official client sends of a model's inputs when its user said nothing.

It fills every field of an export itself: from the archive's config, or by guesses from the shape. A
field that is what the client fills in is no word of its user; the archive, or the graph, is the better
source.
Source: `hubai_sdk.utils.nn_archive.process_nn_archive`, `utils.layout`, `utils.config` (0.3.4).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

_NEITHER = {"from": "NONE", "to": "NONE"}
_RGB = {"from": "RGB", "to": "BGR"}


def of_archive(config: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """By input name: what the client fills in, under the names of its export body.

    Args:
        config: The archive's config.json.
    """
    return {
        one["name"]: _of_input(one)
        for one in config.get("model", {}).get("inputs", ())
        if isinstance(one, Mapping) and isinstance(one.get("name"), str)
    }


def of_bare(shape: Sequence[int] | None) -> dict[str, Any]:
    """The same of an input of a bare model.

    Args:
        shape: The shape that the client sent; 0 is an unknown size.
    """
    layout = guessed_layout(shape) if shape else None
    gray = bool(shape and layout and "C" in layout and shape[layout.index("C")] == 1)
    return {
        "layout": layout,
        "mean_values": None,
        "scale_values": None,
        "encoding": {"from": "GRAY", "to": "GRAY"} if gray else _RGB,
    }


def guessed_layout(shape: Sequence[int]) -> str:
    """The client's layout for a shape without one: `[1, 3, 8, 8]` is NCHW, `[1, 19, 7, 8]` is NABC."""
    letters = ["N"] if shape and shape[0] == 1 else []
    rest = list(shape[len(letters) :])
    if len(rest) == 3:
        if rest[0] < rest[1] and rest[0] < rest[2]:
            return "".join([*letters, "C", "H", "W"])
        if rest[2] < rest[1] and rest[2] < rest[0]:
            return "".join([*letters, "H", "W", "C"])
    alphabet = (chr(ord("A") + (place + 2) % 26) for place in range(26))
    for letter in alphabet:
        if len(letters) == len(shape):
            break
        if letter not in letters:
            letters.append(letter)
    return "".join(letters)


def _of_input(one: Mapping[str, Any]) -> dict[str, Any]:
    block = one.get("preprocessing") or {}
    shape, layout = one.get("shape") or [], one.get("layout")
    encoding = _NEITHER
    if one.get("input_type") == "image":
        encoding, layout = _of_image(block, layout)
        if layout and "C" in layout and len(layout) == len(shape) and shape[layout.index("C")] == 1:
            encoding = {"from": "GRAY", "to": "GRAY"}
    channels = {"RGB": 3, "BGR": 3, "GRAY": 1}.get(encoding["from"])
    mean, scale = block.get("mean"), block.get("scale")
    return {
        "shape": list(shape),
        "layout": layout or (guessed_layout(shape) if shape else None),
        "mean_values": [0.0] * channels if mean is None and channels else mean,
        "scale_values": [1.0] * channels if scale is None and channels else scale,
        "encoding": encoding,
    }


def _of_image(block: Mapping[str, Any], layout: str | None) -> tuple[dict[str, str], str | None]:
    kind = block.get("dai_type")
    if kind is None:
        reverse, to_planar = block.get("reverse_channels"), block.get("interleaved_to_planar")
        if to_planar is not None:
            layout = "NHWC" if to_planar else "NCHW"
        return (_RGB if reverse in (None, True) else {"from": "BGR", "to": "BGR"}), layout
    layout = {"i": "NHWC", "p": "NCHW"}.get(kind[-1], layout)
    for color in ("BGR", "GRAY"):
        if kind.startswith(color):
            return {"from": color, "to": color}, layout
    return _RGB, layout
