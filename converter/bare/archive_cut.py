"""An archive whose outputs are other tensors of its model."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from converter.archive.opened import Archive
from converter.config.schema import check_schema
from converter.errors import ArchiveError, from_findings
from converter.findings import Finding, Severity, listed
from converter.sources.cut import cut_at
from converter.sources.facts import facts_of, kind_of


def cut_archive(
    archive: Archive, outputs: Mapping[str, str], *, work: Path | None
) -> tuple[Archive, tuple[Finding, ...]]:
    """Choose and rename the outputs of an archive; heads that lose an output go, which is told.

    Args:
        outputs: By the name that each output gets, its tensor.
        work: Below which folder to write the cut model.

    Raises:
        ArchiveError: The config does not fit the schema, or the model is not in the archive.
        UsageError, ModelError: As `converter.sources.cut.cut_at`.
    """
    if problems := check_schema(archive.config):
        raise from_findings(ArchiveError, "config.json", problems)
    config = copy.deepcopy(archive.config)
    model = config["model"]
    path = model["metadata"]["path"]
    if archive.member(path) is None or not kind_of(path):
        return archive, ()  # `understand` says what is wrong with it
    file = archive.path(path)
    cut = cut_at(file, outputs, facts_of(file, path).external, work=work)
    facts = facts_of(cut.model, path)
    kept = [tensor.name for tensor in facts.inputs]
    model["inputs"] = [entry for entry in model["inputs"] if entry["name"] in kept]
    before = {entry["name"]: entry for entry in model["outputs"]}
    model["outputs"] = [
        {**before.get(outputs[tensor.name], {"dtype": tensor.dtype}), "name": tensor.name}
        for tensor in facts.outputs
    ]
    renamed = {tensor: name for name, tensor in outputs.items()}
    heads, notes = [], []
    for index, head in enumerate(model.get("heads") or ()):
        lost = [name for name in head.get("outputs") or () if name not in renamed]
        if lost:
            notes.append(_lost(index, head, lost))
        else:
            heads.append(_renamed(head, renamed))
    model["heads"] = heads
    made = archive.with_cut(path, cut.model, cut.described, cut.folder)
    return made.with_config(config), tuple(notes)


def _lost(index: int, head: Mapping[str, Any], lost: list[str]) -> Finding:
    return Finding(
        code="head.cut",
        severity=Severity.WARNING,
        where=f"model.heads[{index}]",
        message=f"the head of {head.get('parser')} is left out: it reads {listed(lost)}, which the "
        "chosen outputs do not have.",
        remedy="Choose these outputs as well, or decode the new ones in your own code.",
    )


def _renamed(value: Any, names: Mapping[str, str]) -> Any:
    """A head with the new names of its outputs, in its metadata too."""
    if isinstance(value, dict):
        return {
            key: _named(inner, names) if key.endswith("outputs") else _renamed(inner, names)
            for key, inner in value.items()
        }
    return value


def _named(value: Any, names: Mapping[str, str]) -> Any:
    if isinstance(value, list):
        return [names.get(name, name) if isinstance(name, str) else name for name in value]
    return names.get(value, value) if isinstance(value, str) else value
