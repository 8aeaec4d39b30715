"""An archive whose model is settled, with a config that describes it."""

from __future__ import annotations

import copy
import dataclasses
import tempfile
from pathlib import Path
from typing import Any

from converter.archive.opened import Archive
from converter.archive.tar import Member
from converter.errors import ConvertError
from converter.findings import Finding
from converter.graph.facts import GraphFacts
from converter.options.resolve import Options
from converter.sources.facts import facts_of, kind_of
from converter.sources.settle import Settled, boolean_note, link, pixels_guess, settle


def settled_archive(
    archive: Archive, options: Options, *, work: Path | None = None, owned: bool = True
) -> Archive:
    """An archive with its model settled and its config to match, or the archive itself.

    Args:
        archive: A source; of a compiled one nothing is changed.
        work: Below which folder to write.
        owned: Whether closing the new archive closes the given one.

    Raises:
        UsageError, ModelError: As for `settle`.
    """
    model = archive.config.get("model")
    metadata = model.get("metadata") if isinstance(model, dict) else None
    path = metadata.get("path") if isinstance(metadata, dict) else None
    if not isinstance(path, str) or not kind_of(path) or archive.member(path) is None:
        return archive
    names = []
    for kind in ("inputs", "outputs"):
        entries = model.get(kind) if isinstance(model, dict) else None
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            return archive  # the schema says so
        names.append([str(entry.get("name")) for entry in entries])
    try:
        facts = facts_of(archive.path(path), path).called(*names)
    except ConvertError:
        return archive  # whoever reads the model says so
    temporary = tempfile.TemporaryDirectory(prefix="nnconvert-settled-", dir=work)
    try:
        root = Path(temporary.name)
        settled = settle(archive.path(path), path, options, root, facts)
        if settled is None:
            temporary.cleanup()
            return archive
        members = []
        for member in archive.members:
            place = root / member.name
            if place.exists() and not place.samefile(archive.path(member.name)):
                members.append(Member.of(member.name, place))
                continue
            link(archive.path(member.name), place)
            members.append(member)
        new = facts_of(root / path, path).called(*names)
    except BaseException:
        temporary.cleanup()
        raise
    config = copy.deepcopy(archive.config)
    guesses = _describe(config["model"], settled, new, options)
    return dataclasses.replace(
        archive,
        root=root,
        members=tuple(members),
        config=config,
        guesses=(*archive.guesses, *guesses),
        _temporary=temporary,
        _below=archive if owned else None,
    )


def _describe(
    model: dict[str, Any], settled: Settled, facts: GraphFacts, options: Options
) -> list[Finding]:
    """Let a config describe the settled model; what was taken for granted on the way."""
    model["inputs"] = [item for item in model["inputs"] if item.get("name") not in settled.frozen]
    guesses = []
    for index, item in enumerate(model["inputs"]):
        name = item.get("name")
        if name in settled.reshaped:
            item["shape"] = list(options.ints(f"inputs.{name}.shape") or ())
        if name in settled.booleans:
            item["dtype"] = "float32"
            guesses.append(boolean_note(f"model.inputs[{index}].dtype", str(name)))
        if name in settled.pixels:
            item["dtype"] = "float32"
            blocks = item.get("preprocessing")
            plain = isinstance(blocks, dict) and not blocks.get("mean") and not blocks.get("scale")
            if plain and item.get("input_type") == "image":
                mean, scale = settled.pixels[name]
                blocks["mean"], blocks["scale"] = [mean], [scale]
                guesses.append(pixels_guess(f"model.inputs[{index}].preprocessing", name, mean, scale))
    outputs = {tensor.name: tensor for tensor in facts.outputs}
    for item in model["outputs"]:
        tensor = outputs.get(item.get("name"))
        if tensor is None:
            continue
        item["dtype"] = tensor.dtype
        if settled.reshaped and "shape" in item:
            del item["shape"]
            item.pop("layout", None)
    return guesses
