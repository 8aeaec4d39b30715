"""Layers of options from files: the user's, ModelConverter's, and the presets."""

from __future__ import annotations

import os
from pathlib import Path

from converter.errors import UsageError
from converter.modelconverter import document
from converter.options.declared import configs
from converter.options.resolve import Layer, Options
from converter.options.yaml import load


def from_file(
    path: str | os.PathLike[str], origin: str | None = None, *, given: Options | None = None
) -> Layer:
    """A YAML or JSON file of options, this converter's or ModelConverter's.

    Args:
        given: Stronger options: what they set cannot be wrong in a file of ModelConverter's.

    Raises:
        UsageError: It cannot be read, is no mapping, or asks for something impossible.
    """
    path = Path(path)
    values = load(path)
    origin = origin or f"file {path.name}"
    if document.is_document(values):
        return document.layer(values, path, origin, given)
    return Layer(origin=origin, values=values)


def preset_layer(name: str) -> Layer:
    """One of the presets in `configs/presets`.

    Raises:
        UsageError: There is none of that name; the message lists them.
    """
    known = {path.stem: path for path in sorted((configs() / "presets").glob("*.yaml"))}
    if name not in known:
        raise UsageError(f"There is no preset {name!r}.", remedy=f"There are: {', '.join(known)}.")
    return from_file(known[name], origin=f"preset {name}")
