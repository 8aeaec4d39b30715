"""A bare model opened as an archive: its config is inferred, its files stay where they are."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

from converter.archive.tar import Member, name_problem
from converter.errors import ArchiveError, from_findings
from converter.findings import Finding
from converter.preprocessing import Color, read_dai_type
from converter.sources.facts import KINDS

if TYPE_CHECKING:
    from tempfile import TemporaryDirectory

    from converter.archive.opened import Archive
    from converter.bare.config import Draft
    from converter.bare.inputs import InputHints
    from converter.graph.facts import GraphFacts
    from converter.options.resolve import Options
    from converter.sources.cut import Cut

SUFFIXES: Final = tuple(KINDS)
# The options of an input that settle each guess of a draft.
_SETTLED_BY: Final[Mapping[str, tuple[str, ...]]] = {
    "init.batch": ("shape",),
    "init.layout": ("layout",),
    "init.input-type": ("input_type", "encoding.from"),
    "init.color": ("dai_type", "encoding.from"),
    "init.normalization": ("mean_values", "scale_values"),
    "init.pixels": ("mean_values", "scale_values"),
}


def is_bare(path: Path) -> bool:
    """Whether a file is a model by its name."""
    return path.suffix.lower() in SUFFIXES


def open_bare(model: Path, hints: Mapping[str, InputHints], *, work: Path | None = None) -> Archive:
    """A model and its files as an archive; nothing is copied that need not be changed.

    Args:
        model: The model's file, absolute.
        hints: What is known of its inputs, by name.
        work: Below which folder to write what is changed.

    Raises:
        UsageError, ArchiveError, ModelError: As `converter.bare.config.draft`, or a file of weights
            is missing.
    """
    from converter.bare.config import draft, read_signature
    from converter.bare.settled import settled_model
    from converter.options.resolve import Options

    settled = settled_model(model, Options({}), read_signature(model), work=work)
    drafted = draft(settled.path, inputs=settled.hints(hints), facts=settled.facts)
    return as_archive(settled.path, drafted, settled.facts, settled.temporary)


def as_archive(
    model: Path,
    drafted: Draft,
    facts: GraphFacts | None = None,
    temporary: TemporaryDirectory[str] | None = None,
    cut: Cut | None = None,
) -> Archive:
    """A model and its draft as an archive whose files stay where they are.

    Args:
        model: The model's file, absolute; the draft's `path` is its name.
        drafted: Its config.
        facts: The model's signature, if it was read already.
        temporary: What closing the archive removes.
        cut: The cut model that takes its place.

    Raises:
        ArchiveError: A file of weights is missing.
    """
    from converter.archive.opened import Archive
    from converter.bare.config import read_signature

    members = []
    for name, path in model_files(model, facts or read_signature(model)).items():
        try:
            members.append(Member.of(name, path))
        except OSError as error:
            raise ArchiveError(f"{path} cannot be read: {error.strerror}.") from error
    archive = Archive(
        name=model.stem,
        root=model.parent,
        members=tuple(members),
        config=drafted.config,
        guesses=drafted.guesses,
        _temporary=temporary,
    )
    if cut is None:
        return archive
    return archive.with_cut(model.name, cut.model, cut.described, cut.folder)


def model_files(model: Path, facts: GraphFacts) -> dict[str, Path]:
    """The files of a model by member name, the model itself first.

    Raises:
        ArchiveError: Weights are not where the model says, or outside its folder; it names all of them.
    """
    from converter.graph.facts import external_member

    files = {model.name: model}
    findings = []
    for location in facts.external:
        name = external_member(model.name, location)
        problem = name_problem(location) or ("is the config." if name == "config.json" else "")
        file = model.parent / name
        if not problem and not file.is_file():
            problem = f"is not beside the model, in {model.parent}."
        elif not problem and not file.resolve().is_relative_to(model.parent.resolve()):
            problem = "is a link that leads out of the model's folder."
        if problem:
            findings.append(
                Finding(
                    code="model.external-data",
                    where=model.name,
                    message=f"its weights are in {location!r}, which {problem}",
                    remedy="Put that file beside the model, or export the model again.",
                )
            )
        files[name] = model.parent / name
    if findings:
        raise from_findings(ArchiveError, model.name, findings)
    return files


def hints_of(options: Options, names: Iterable[str] = ()) -> dict[str, InputHints]:
    """The hints in the options `inputs.NAME.…`, for a model without a config.

    Args:
        names: The model's inputs, for options that hold for all of them.
    """
    from converter.bare.inputs import InputHints

    hints = {}
    for name in dict.fromkeys((*options.names("inputs"), *names)):
        key = f"inputs.{name}"
        kind, encoding = options.text(f"{key}.input_type"), options.text(f"{key}.encoding.from")
        frames = read_dai_type(options.text(f"{key}.dai_type") or "")
        color = Color(encoding) if encoding and encoding != "NONE" else frames[0] if frames else None
        if kind is None and encoding is not None:
            kind = "raw" if encoding == "NONE" else "image"
        hints[name] = InputHints(
            shape=options.ints(f"{key}.shape"),
            layout=options.text(f"{key}.layout"),
            is_image=None if kind is None else kind == "image",
            color=color,
            mean=options.floats(f"{key}.mean_values"),
            scale=options.floats(f"{key}.scale_values"),
        )
    return hints


def unsettled(archive: Archive, options: Options) -> tuple[Finding, ...]:
    """The guesses of a bare model that no option settles; an archive has none."""
    return tuple(guess for guess in archive.guesses if not _is_settled(guess, archive, options))


def _is_settled(guess: Finding, archive: Archive, options: Options) -> bool:
    place = re.match(r"model\.inputs\[(\d+)\]", guess.where)
    if place is None:
        return False
    name = archive.config["model"]["inputs"][int(place[1])]["name"]
    return any(
        options.get(f"inputs.{name}.{field}") is not None for field in _SETTLED_BY.get(guess.code, ())
    )
