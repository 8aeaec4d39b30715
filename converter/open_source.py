"""What is converted: an archive, or a model that a ModelConverter file or the user describes."""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from converter.archive.opened import Archive, open_packed
from converter.archive.tar import Limits, name_problem
from converter.bare.archive_cut import cut_archive
from converter.bare.chosen import chosen_outputs
from converter.bare.config import draft, read_signature
from converter.bare.inputs import InputHints, may_take_frames
from converter.bare.open import as_archive, hints_of, is_bare, open_bare
from converter.bare.ready import Ready, Wish, make_ready
from converter.bare.settled import SettledModel, settled_model
from converter.errors import UsageError, from_findings, not_a_file
from converter.findings import Finding, Severity, listed, perhaps
from converter.graph.facts import GraphFacts, TensorFacts
from converter.options.resolve import Layer, Options, resolve
from converter.preprocessing import Color
from converter.sources.settled_archive import settled_archive

if TYPE_CHECKING:
    from converter.modelconverter.document import Document

_DOCUMENTS: Final = (".yaml", ".yml", ".json")
# With what is put behind it, a file system still takes it.
_LONGEST_NAME: Final = 200
_MODELS: Final = (".onnx", ".xml", ".bin", ".tflite", ".pt")
_URL: Final = re.compile(r"([a-z][a-z0-9+.-]+):/+[^/]", re.IGNORECASE)


def open_archive(
    source: str | os.PathLike[str],
    *,
    limits: Limits | None = None,
    work: Path | None = None,
    hints: Mapping[str, InputHints] | None = None,
) -> Archive:
    """Open an NN Archive: a tar (plain, xz, gz, bz2), a folder with the same files, or a bare model.

    Args:
        source: The archive file or folder, or a model (`.onnx`, `.xml`, `.tflite`), whose config is
            inferred.
        limits: How much may be unpacked.
        work: Below which folder to unpack; None is the system's temporary folder.
        hints: What is known of a bare model's inputs, by name.

    Raises:
        UsageError: There is no such file; a bare model lacks something that the hints must say.
        ArchiveError: It is no archive, is damaged or hostile, or its config.json is not JSON.
    """
    path = Path(source).absolute()  # children work in folders of their own
    if is_bare(path) and path.is_file():
        return open_bare(path, hints or {}, work=work)
    archive = open_packed(source, limits=limits, work=work)
    try:
        return settled_archive(archive, Options({}), work=work)
    except BaseException:
        archive.close()
        raise


def open_source(
    source: str | os.PathLike[str], options: Options, *, target: str = "", work: Path | None = None
) -> tuple[Archive, Options]:
    """Open what is to be converted, and put the options that it brings below those that were given.

    Args:
        source: An NN Archive, a ModelConverter file that names a model, or an ONNX model.
        options: What the user set; of a model they describe the inputs too.
        target: What is converted for; a file may ask for more than it has a use for.
        work: Below which folder to unpack.

    Raises:
        UsageError, ArchiveError, ModelError: See `open_archive`,
            `converter.modelconverter.document.read` and `converter.bare.config.draft`.
    """
    if found := _URL.match(os.fspath(source)):
        raise UsageError(
            f"{os.fspath(source)}: the converter fetches no URL ({found[1]}).",
            remedy="Download it and give the file.",
        )
    path = Path(source)
    suffix = path.suffix.lower()
    if path.is_dir() or suffix not in (*_DOCUMENTS, *_MODELS):
        _require_document(path, options)
        archive = open_packed(source, work=work)
        try:
            return _with_outputs(archive, options, work)
        except BaseException:
            archive.close()
            raise
    if not path.is_file():
        raise not_a_file(path, "Give an archive, a model or a YAML file.")
    from converter.modelconverter.document import Document, read

    if suffix in _DOCUMENTS:
        return _bare(read(path, options, target), options, work)
    _require_document(path, options)
    document = Document(
        path=path,
        name=None,
        model=path.absolute(),
        inputs=(),
        outputs={},
        types={},
        layer=Layer(origin="", values={}),
    )
    return _bare(document, options, work)


def _require_document(path: Path, options: Options) -> None:
    """Refuse what only a file of ModelConverter has."""
    for key in ("input_model", "main_stage"):
        if options.text(key) is not None:
            raise UsageError(
                f"{key}: {path} is no file of ModelConverter.",
                remedy="Leave it out: the source has its model.",
            )


def _bare(document: Document, given: Options, work: Path | None) -> tuple[Archive, Options]:
    """An archive of the model, without packing it: its files stay where they are."""
    whole = read_signature(document.model).called(document.inputs, list(document.outputs))
    inputs = [tensor.name for tensor in whole.inputs]
    brought = resolve([document.layer])
    images = [t.name for t in whole.inputs if may_take_frames(t) and not _is_raw(t.name, given)]
    told = [name for name in inputs if given.text(f"inputs.{name}.input_type") == "image"]
    own = [tensor.name for tensor in whole.outputs]
    chosen = chosen_outputs(given.over(brought), own, list(document.outputs))
    named = list(chosen or document.outputs) or own
    options = given.by_name(document.inputs or inputs, named, told or images).over(brought)
    _require_inputs(document, inputs)
    hints = hints_of(options, inputs)
    for tensor in whole.inputs:
        hint = hints[tensor.name]
        if hint.color is not None and _channels(hint, tensor) == 1:
            # As in ModelConverter: one channel is gray, whatever the options say.
            hints[tensor.name] = dataclasses.replace(hint, color=Color.GRAY)
    # A file that describes the outputs wants them as they are.
    wish = Wish(outputs=chosen, cut=options.flag("cut") and not document.outputs)
    model = settled_model(document.model, options, whole, work=work)
    ready = None
    try:
        ready = make_ready(model.path, model.facts, model.hints(hints), wish, work=work)
        return _described(document, options, model, ready)
    except BaseException:
        model.close()
        if ready is not None and ready.cut is not None:
            ready.cut.folder.cleanup()
        raise


def _described(
    document: Document, options: Options, model: SettledModel, ready: Ready
) -> tuple[Archive, Options]:
    """The archive of a model that is ready, with the config that describes it."""
    facts = ready.facts
    kept = {tensor.name for tensor in facts.inputs}
    drafted = draft(
        model.path,
        name=document.name,
        inputs={name: hint for name, hint in ready.inputs.items() if name in kept},
        heads=[ready.head] if ready.head else [],
        facts=facts,
    )
    told = (*ready.told, *(() if ready.head else (_no_head(),)))
    drafted = dataclasses.replace(drafted, guesses=(*told, *drafted.guesses))
    for entry in drafted.config["model"]["outputs"]:
        said = document.outputs.get(entry["name"], {})
        entry |= {key: said[key] for key in ("shape", "layout") if said.get(key)}
    archive = as_archive(model.path, drafted, model.facts, model.temporary, ready.cut)
    name = document.name or archive.name
    if name_problem(name) or "/" in name or name.startswith(".") or len(name.encode()) > _LONGEST_NAME:
        raise UsageError(
            f"{document.path}: name {name[:60]!r} cannot be a file name.",
            remedy="Write letters, digits, dots and dashes.",
        )
    notes = (*options.notes, *_types(document, facts), *_defaults_that_differ(document, options))
    return dataclasses.replace(archive, name=name), dataclasses.replace(
        options, notes=tuple(dict.fromkeys(notes))
    )


def _no_head() -> Finding:
    return Finding(
        code="init.heads",
        severity=Severity.INFO,
        where="model.heads",
        message="there is none: DetectionNetwork refuses the archive, no parser decodes the outputs.",
        remedy="Describe the head with nnconvert init, or decode the outputs in your own code.",
    )


def _is_raw(name: str, options: Options) -> bool:
    return options.text(f"inputs.{name}.input_type") == "raw"


def _channels(hint: InputHints, tensor: TensorFacts) -> int | str | None:
    """How many channels an input has, where shape and layout are known."""
    shape, layout = hint.shape or tensor.shape or (), (hint.layout or "").upper()
    return shape[layout.index("C")] if "C" in layout and len(shape) == len(layout) else None


def _names(config: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """Names of inputs and outputs, by their index; the config is not checked yet."""
    model = config.get("model")
    found = []
    for kind in ("inputs", "outputs"):
        entries = model.get(kind) if isinstance(model, Mapping) else None
        listed_entries = entries if isinstance(entries, list) else []
        names = [entry.get("name") if isinstance(entry, Mapping) else "" for entry in listed_entries]
        found.append([name if isinstance(name, str) else "" for name in names])
    return found[0], found[1]


def _image_names(config: Mapping[str, Any]) -> list[str]:
    """The inputs that take frames, by an archive's config, which is not checked yet."""
    model = config.get("model")
    entries = model.get("inputs") if isinstance(model, Mapping) else None
    return [
        entry["name"]
        for entry in (entries if isinstance(entries, list) else [])
        if isinstance(entry, Mapping)
        and entry.get("input_type") == "image"
        and isinstance(entry.get("name"), str)
    ]


def _require_inputs(document: Document, inputs: list[str]) -> None:
    """Refuse a file that leaves out an input, or names one that the model does not have.

    Raises:
        UsageError: It names each of them.
    """
    findings = [
        Finding(
            code="modelconverter.tensor",
            where=f"inputs.{name}",
            message=f"the model has no such input; it has {listed(inputs)}.",
            remedy=perhaps(name, inputs) or "A model is cut at its outputs only: cut it before.",
        )
        for name in document.inputs
        if name not in inputs
    ]
    findings += [
        Finding(
            code="modelconverter.cut",
            where="inputs",
            message=f"{name!r} of the model is left out; a model is cut at its outputs only.",
            remedy="Add it, or cut the model before.",
        )
        for name in inputs
        if document.inputs and name not in document.inputs
    ]
    if findings:
        raise from_findings(UsageError, str(document.path), findings)


def _with_outputs(archive: Archive, given: Options, work: Path | None) -> tuple[Archive, Options]:
    """An archive whose outputs are those that the user chose."""
    inputs, outputs = _names(archive.config)
    chosen = chosen_outputs(given, outputs)
    named = list(chosen or outputs)
    options = given.by_name(inputs, named, _image_names(archive.config))
    archive = settled_archive(archive, options, work=work)
    if chosen is None:
        return archive, options
    cut, notes = cut_archive(archive, chosen, work=work)
    return cut, dataclasses.replace(options, notes=(*options.notes, *notes))


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
    """Options that are not set and have another default in ModelConverter."""
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
