"""What is converted: an archive, or a model that a ModelConverter file or the user describes."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from converter.archive import Archive, open_archive
from converter.errors import UsageError, from_findings
from converter.findings import Finding, Severity, listed, perhaps
from converter.graph.facts import GraphFacts, external_member
from converter.modelconverter.document import Document, read
from converter.options import Layer, Options
from converter.preprocessing import Color, read_dai_type
from converter.tar import Member

_DOCUMENTS: Final = (".yaml", ".yml", ".json")
_MODELS: Final = (".onnx", ".xml", ".bin", ".tflite", ".pt")
_URL: Final = re.compile(r"([a-z][a-z0-9+.-]+):/+[^/]", re.IGNORECASE)


def open_source(
    source: str | os.PathLike[str], options: Options, *, work: Path | None = None
) -> tuple[Archive, Options]:
    """Open what is to be converted, and put the options that it brings below those that were given.

    Args:
        source: An NN Archive, a ModelConverter file that names a model, or an ONNX model.
        options: What the user set; of a model they describe the inputs too.
        work: Below which folder to unpack.

    Raises:
        UsageError, ArchiveError, ModelError: See `open_archive`, `document.read` and `draft`.
    """
    if found := _URL.match(os.fspath(source)):
        raise UsageError(
            f"{os.fspath(source)}: nothing is fetched ({found[1]}).",
            remedy="Download it and give the file.",
        )
    path = Path(source)
    suffix = path.suffix.lower()
    if path.is_dir() or suffix not in (*_DOCUMENTS, *_MODELS):
        archive = open_archive(source, work=work)
        return archive, options.by_name(*_names(archive.config))
    if not path.is_file():
        raise UsageError(f"{path}: no such file.", remedy="Give an archive, a model or a YAML file.")
    document = (
        read(path)
        if suffix in _DOCUMENTS
        else Document(
            path=path,
            name=None,
            model=path.absolute(),
            inputs=(),
            outputs={},
            types={},
            layer=Layer(origin="", values={}),
        )
    )
    return _archive(document, options)


def _archive(document: Document, given: Options) -> tuple[Archive, Options]:
    """The archive that the model would be in, had somebody packed it; its files stay where they are."""
    from converter import options as option_module
    from converter.draft import draft, faces

    model = document.model
    facts = faces(model)
    inputs = [tensor.name for tensor in facts.inputs]
    outputs = [tensor.name for tensor in facts.outputs]
    brought = option_module.resolve([document.layer])
    options = given.by_name(document.inputs or inputs, list(document.outputs) or outputs).over(brought)
    _require_all(document, inputs, outputs)
    drafted = draft(model, name=document.name, inputs={name: hints(options, name) for name in inputs})
    described = drafted.config["model"]["outputs"]
    for entry in described:
        said = document.outputs.get(entry["name"], {})
        entry |= {key: said[key] for key in ("shape", "layout") if said.get(key)}
    notes = [
        *options.notes,
        *_types(document, facts),
        *drafted.guesses,
        *_defaults_that_differ(document, options),
    ]
    name = document.name or model.stem
    if any(part in name for part in ("/", "\\", "\0")) or name.startswith("."):
        raise UsageError(f"{document.path}: name {name!r} is none that a file can have.")
    files = [model.name, *(external_member(model.name, location) for location in facts.external)]
    return (
        Archive(
            name=name,
            root=model.parent,
            members=tuple(_member(model.parent, file) for file in files),
            config=drafted.config,
        ),
        dataclasses.replace(options, notes=tuple(dict.fromkeys(notes))),
    )


def hints(options: Options, name: str) -> Any:
    """What options say of an input of a bare model."""
    from converter.draft import InputHints

    def text(field: str) -> str | None:
        return options.text(f"inputs.{name}.{field}")

    kind, encoding, dai_type = text("input_type"), text("encoding.from"), text("dai_type")
    color = Color(encoding) if encoding and encoding != "NONE" else None
    if color is None and dai_type and (frames := read_dai_type(dai_type)):
        color = frames[0]
    is_image = kind == "image" if kind else encoding != "NONE" if encoding else None
    shape = options.ints(f"inputs.{name}.shape")
    layout = text("layout")
    if color is not Color.GRAY and color is not None and _channels(shape, layout) == 1:
        color = Color.GRAY  # as ModelConverter has it: one channel is gray, whatever is said
    return InputHints(
        shape=shape,
        layout=layout,
        is_image=is_image,
        color=color,
        mean=options.floats(f"inputs.{name}.mean_values"),
        scale=options.floats(f"inputs.{name}.scale_values"),
    )


def _channels(shape: tuple[int, ...] | None, layout: str | None) -> int | None:
    if shape is None or layout is None or len(shape) != len(layout) or "C" not in layout.upper():
        return None
    return shape[layout.upper().index("C")]


def _member(root: Path, name: str) -> Member:
    path = root / name
    if not path.is_file():
        raise UsageError(
            f"{path}: no such file; the model's weights are in it.",
            remedy="Put it beside the model, under this name.",
        )
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return Member(name=name, size_bytes=path.stat().st_size, sha256=digest)


def _names(config: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """Names of inputs and outputs, by their places; of a config that nobody has checked yet."""
    model = config.get("model")
    found = []
    for kind in ("inputs", "outputs"):
        entries = model.get(kind) if isinstance(model, Mapping) else None
        listed_entries = entries if isinstance(entries, list) else []
        names = [entry.get("name") if isinstance(entry, Mapping) else "" for entry in listed_entries]
        found.append([name if isinstance(name, str) else "" for name in names])
    return found[0], found[1]


def _require_all(document: Document, inputs: list[str], outputs: list[str]) -> None:
    """The file describes the model's inputs and outputs: to leave one out there is to cut the model.

    Raises:
        UsageError: With each that the model does not have, and each that would be cut.
    """
    findings = []
    for kind, named, actual in (
        ("inputs", list(document.inputs), inputs),
        ("outputs", list(document.outputs), outputs),
    ):
        findings += [
            Finding(
                code="modelconverter.tensor",
                where=f"{kind}.{name}",
                message=f"the model has no such {kind[:-1]}; it has {listed(actual)}.",
                remedy=perhaps(name, actual) or "A model is not cut here: cut it before.",
            )
            for name in named
            if name not in actual
        ]
        findings += [
            Finding(
                code="modelconverter.cut",
                where=kind,
                message=f"{name!r} of the model is left out; a model is not cut here.",
                remedy="Add it, or cut the model before.",
            )
            for name in actual
            if named and name not in named
        ]
    if findings:
        raise from_findings(UsageError, str(document.path), findings)


def _types(document: Document, facts: GraphFacts) -> list[Finding]:
    """Where the file gives a tensor another element type than the model has."""
    notes = []
    for kind, tensors in (("inputs", facts.inputs), ("outputs", facts.outputs)):
        for tensor in tensors:
            key = f"{kind}.{tensor.name}.data_type"
            if key not in document.types and kind == "inputs":
                key = "data_type"
            if document.types.get(key, tensor.dtype) != tensor.dtype:
                notes.append(
                    Finding(
                        code="modelconverter.type",
                        severity=Severity.WARNING,
                        where=key,
                        message=f"{document.types[key]} is written, {tensor.name!r} of the model is "
                        f"{tensor.dtype}: that is what counts.",
                    )
                )
    return notes


def _defaults_that_differ(document: Document, options: Options) -> list[Finding]:
    """Where nothing is said, ModelConverter does something else than we."""
    if not document.layer.origin:
        return []
    notes = []
    if "rvc2.superblob" not in options.settings:
        notes.append(
            ("rvc2.superblob", "is not set: ModelConverter writes a superblob then, here it is a blob.")
        )
    kinds = ("calibration.path", "calibration.random", "disable_calibration")
    if not any(key.endswith(kinds) for key in options.settings):
        notes.append(
            (
                "rvc3.calibration",
                "there is none: ModelConverter calibrates on random numbers then, "
                "here the network stays in float16.",
            )
        )
    return [
        Finding(code="modelconverter.default", severity=Severity.WARNING, where=where, message=message)
        for where, message in notes
    ]
