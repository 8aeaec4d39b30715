"""A config for a bare model, from its graph, the user's hints and guesses."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from converter.archive.tar import name_problem
from converter.bare.inputs import InputHints, read_input
from converter.config.heads import grid_layouts
from converter.config.schema import check_schema
from converter.config.tensors import read_tensors
from converter.errors import ArchiveError, ModelError, UsageError, from_findings, not_a_file
from converter.findings import Finding, errors, listed, perhaps
from converter.graph.facts import DTYPES, GraphFacts, TensorFacts
from converter.options.resolve import Options
from converter.sources.facts import KINDS, facts_of, kind_of

__all__ = ["Draft", "InputHints", "draft", "read_signature"]


@dataclass(frozen=True, kw_only=True)
class Draft:
    """A config for a bare model.

    Attributes:
        config: A complete and valid `config.json`.
        guesses: What was inferred and may be wrong, none of them an error. `where` is the JSON path,
            the remedy names the option that settles it: one of `inputs.NAME.…`.
    """

    config: dict[str, Any]
    guesses: tuple[Finding, ...]


def draft(
    model: Path,
    *,
    name: str | None = None,
    path: str | None = None,
    inputs: Mapping[str, InputHints] | None = None,
    heads: Sequence[Mapping[str, Any]] = (),
    facts: GraphFacts | None = None,
) -> Draft:
    """The config that describes a bare model. Only the model's signature is read, nothing is written.

    Args:
        model: The model's file.
        name: The model's name; None is the file's name without its suffix.
        path: The member name that the model gets in the archive; None is the file's name.
        inputs: What the user knows, by input name.
        heads: The config's heads as raw JSON; one without outputs gets all of them.
        facts: The model's signature, if it was read already.

    Raises:
        UsageError: Something is missing that cannot be inferred, or the hints contradict the model; it
            names all such problems.
        ArchiveError: The file is no model.
        ModelError: It is of a kind that is not converted.
    """
    facts = facts or read_signature(model)
    path = model.name if path is None else path
    hints = inputs or {}
    _refuse(facts, path, name, hints)
    config_inputs: list[dict[str, Any]] = []
    findings: list[Finding] = []
    for index, tensor in enumerate(facts.inputs):
        hint = hints.get(tensor.name, InputHints())
        entry, found = read_input(f"model.inputs[{index}]", tensor, hint)
        config_inputs += [entry] if entry else []
        findings += found
    # An input of an open shape is an error already; the others are compared for the same answer.
    described = [entry["name"] for entry in config_inputs]
    places = [index for index, tensor in enumerate(facts.inputs) if tensor.name in described]
    known = [facts.inputs[index] for index in places]
    outputs = _outputs(facts.outputs, _sizes(known, config_inputs))
    shapes = {entry["name"]: entry["shape"] for entry in outputs if "shape" in entry}
    layouts = grid_layouts(heads, shapes)
    outputs = [
        {**entry, "layout": layouts[entry["name"]]} if entry["name"] in layouts else entry
        for entry in outputs
    ]
    names = [tensor.name for tensor in facts.outputs]
    half = any(tensor.dtype == "float16" for tensor in (*facts.inputs, *facts.outputs))
    config: dict[str, Any] = {
        "config_version": "1.0",
        "model": {
            "metadata": {
                "name": PurePosixPath(path).stem if name is None else name,
                "path": path,
                "precision": "float16" if half else "float32",
            },
            "inputs": config_inputs,
            "outputs": outputs,
            "heads": [_head(head, names) for head in heads],
        },
    }
    # The same checks as when the archive is read.
    problems = check_schema(config)
    if not problems:
        problems = read_tensors(config["model"], replace(facts, inputs=tuple(known)), Options({}))[2]
    # Its warnings are those of whoever reads the config.
    findings += [_placed(problem, places) for problem in errors(problems)]
    if fatal := errors(findings):
        raise from_findings(UsageError, model.name, fatal)
    return Draft(config=config, guesses=tuple(findings))


def _placed(problem: Finding, places: Sequence[int]) -> Finding:
    """A problem with its input's index in the model, where inputs before it were left out."""

    def place(match: re.Match[str]) -> str:
        return f"model.inputs[{places[int(match[1])]}]"

    return replace(problem, where=re.sub(r"^model\.inputs\[(\d+)\]", place, problem.where))


def read_signature(model: Path) -> GraphFacts:
    """The signature of a model's file, by its suffix.

    Raises:
        UsageError: There is no such file, or it cannot be read.
        ArchiveError: It is not what its suffix says.
        ModelError: It is of a kind that is not converted.
    """
    if not model.is_file():
        raise not_a_file(model, "Give a model: .onnx, .xml or .tflite.")
    suffix = model.suffix.lower()
    if not kind_of(model.name):
        raise ModelError(
            f"{model.name} is {f'a {suffix} file' if suffix else 'a file without a suffix'}; "
            f"{', '.join(KINDS.values())} are converted.",
            remedy="Export the model to ONNX, NAME.onnx.",
        )
    if not model.stat().st_size:
        raise ArchiveError(f"{model.name} is an empty file.", remedy="Export the model again.")
    try:
        return facts_of(model, model.name)
    except OSError as error:
        raise UsageError(f"{model} cannot be read: {error.strerror or error}.") from error


def _refuse(facts: GraphFacts, path: str, name: str | None, hints: Mapping[str, InputHints]) -> None:
    """Refuse models that no config can describe, impossible names, and hints for missing inputs."""
    tensors = (*facts.inputs, *facts.outputs)
    findings = [
        Finding(
            code="init.dtype",
            where=tensor.name,
            message=f"is of the type {tensor.dtype}, which the format cannot describe.",
            remedy="Export the model with float32 here.",
        )
        for tensor in tensors
        if tensor.dtype not in DTYPES.values()
    ]
    findings += [
        Finding(
            code="init.twice",
            where=tensor.name,
            message="is the name of two inputs or outputs.",
            remedy="Export it with each name once.",
        )
        for index, tensor in enumerate(tensors)
        if tensor.name in [other.name for other in tensors[:index]]
    ]
    if not facts.inputs:
        findings.append(Finding(code="init.inputs", where="", message="the model has no inputs."))
    if findings:
        raise from_findings(ModelError, "The model", findings)
    actual = [tensor.name for tensor in facts.inputs]
    findings = [
        Finding(
            code="option.tensor",
            where=f"inputs.{given}",
            message=f"the model has no input {given!r}; it has {listed(actual)}.",
            remedy=perhaps(given, actual),
        )
        for given in hints
        if given not in actual
    ]
    if problem := name_problem(path):
        findings.append(Finding(code="init.path", where=repr(path), message=problem))
    if name is not None and not name.strip():
        findings.append(Finding(code="init.name", where="name", message="is empty."))
    if findings:
        raise from_findings(UsageError, "The options", findings)


# ------------------------------------------------------- outputs and heads


def _sizes(
    tensors: Sequence[TensorFacts], entries: Sequence[Mapping[str, Any]]
) -> dict[str, int | None]:
    """The size of each symbol of the inputs' shapes; None if two inputs differ in it."""
    sizes: dict[str, int | None] = {}
    for tensor, entry in zip(tensors, entries, strict=True):
        for symbol, size in zip(tensor.shape or (), entry["shape"], strict=False):
            if isinstance(symbol, str):
                sizes[symbol] = size if sizes.get(symbol, size) == size else None
    return sizes


def _outputs(tensors: Sequence[TensorFacts], sizes: Mapping[str, int | None]) -> list[dict[str, Any]]:
    """The config's outputs; one whose shape is known only after compiling has no shape."""
    entries = []
    for tensor in tensors:
        entry: dict[str, Any] = {"name": tensor.name, "dtype": tensor.dtype}
        shape = [sizes.get(size) if isinstance(size, str) else size for size in tensor.shape or (None,)]
        if tensor.shape is not None and all(size and size > 0 for size in shape):
            entry["shape"] = shape
        entries.append(entry)
    return entries


def _head(head: Mapping[str, Any], outputs: Sequence[str]) -> dict[str, Any]:
    described = copy.deepcopy(dict(head))
    if described.get("outputs") is None:  # it means "all", but DepthAI reads it as undefined
        described["outputs"] = list(outputs)
    return described
