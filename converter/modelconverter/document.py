"""A configuration file of ModelConverter: the model it names, and its keys as options."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from converter.errors import UsageError, from_findings
from converter.findings import Finding, Severity, errors, listed, perhaps
from converter.modelconverter.keys import KEYS, PLATFORMS, Translation, translated
from converter.modelconverter.needed import needed
from converter.modelconverter.paths import located, with_places
from converter.options.declared import specs
from converter.options.resolve import Layer, Options, flatten, is_declared
from converter.options.yaml import load

_OF_FILE: Final = ("name", "stages", "rich_logging")
_OVERRIDES: Final = "--quantization_overrides"


@dataclass(frozen=True, kw_only=True)
class Document:
    """A file with one stage.

    Attributes:
        name: The model's name in the file; None if it has none.
        model: The model's file.
        inputs: The names of the inputs that it describes, in its order; empty if it describes none.
        outputs: Its entry for each output, by name.
        types: The element types that it gives, by key; the conversion uses the model's.
        layer: Its keys as options.
    """

    path: Path
    name: str | None
    model: Path
    inputs: tuple[str, ...]
    outputs: Mapping[str, Mapping[str, Any]]
    types: Mapping[str, str]
    layer: Layer


def is_document(values: Mapping[str, Any]) -> bool:
    """Whether a file is one of ModelConverter's, and not a file of options."""
    return "stages" in values or "input_model" in values


def read(path: Path, given: Options | None = None, target: str = "") -> Document:
    """Read a file that names a model.

    Args:
        given: Stronger options: what they set is not read in the file, so it cannot be wrong there.
        target: What is converted for; calibration data that it has no use for need not be there.

    Raises:
        UsageError: It names every key and value that is unknown or not possible.
    """
    values = load(path)
    given = given or Options({})
    other = given.text("input_model")
    if not is_document(values) and other is None:
        raise UsageError(
            f"{path} names no model: it has neither input_model nor stages.",
            remedy="Give the archive as the source, and this file with --config.",
        )
    name, stage, left = _stage(values, path, given.text("main_stage"))
    layer, inputs, outputs = _read(stage, path, f"file {path.name}", given, target)
    named = stage.get("input_model")
    if other is not None:
        model = Path(located(other, Path.cwd(), "input_model"))
    elif not isinstance(named, str) or not named:
        raise UsageError(
            f"{path}: input_model is missing, or not a path.", remedy="Write the model's path."
        )
    else:
        model = Path(located(named, path.parent, "input_model"))
        _check_weights(stage.get("input_bin"), model, path)
    notes = (
        *(note for note in layer.notes if not note.where.endswith("data_type")),
        *([_left_out(left)] if left else []),
    )
    return Document(
        path=path,
        name=name,
        model=model,
        inputs=tuple(inputs),
        outputs=outputs,
        types=_types(stage, path),
        layer=replace(layer, notes=notes),
    )


def _check_weights(given: Any, model: Path, path: Path) -> None:
    """Refuse weights that are not in the `.bin` beside the IR: they would not be read."""
    if given is None:
        return
    beside = model.with_suffix(".bin")
    if Path(located(str(given), path.parent, "input_bin")).resolve() != beside.resolve():
        raise UsageError(
            f"{path}: input_bin is {given!r}; an IR's weights must be in {beside.name!r} beside it.",
            remedy="Move them there.",
        )


def _types(stage: Mapping[str, Any], path: Path) -> dict[str, str]:
    """Every element type in the file, by key."""
    written = {"data_type": stage.get("data_type")}
    for kind in ("inputs", "outputs"):
        for entry in _entries(stage, kind, path):
            written[f"{kind}.{entry['name']}.data_type"] = entry.get("data_type")
    return {key: str(value) for key, value in written.items() if value is not None}


def layer(values: Mapping[str, Any], path: Path, origin: str, given: Options | None = None) -> Layer:
    """The options in a file that is given beside an archive, which has the model.

    Args:
        given: As for `read`.

    Raises:
        UsageError: It names every key and value that is unknown or not possible.
    """
    given = given or Options({})
    stage = _stage(values, path, given.text("main_stage"))[1]
    found, _, outputs = _read(stage, path, origin, given, "")
    told = ", ".join(key for key, there in (("input_model", True), ("outputs", outputs)) if there)
    note = Finding(
        code="modelconverter.ignored",
        severity=Severity.WARNING,
        where=path.name,
        message=f"{told}: model and outputs are those of the source that was given.",
    )
    return Layer(origin=origin, values=found.values, notes=(*found.notes, note))


def _stage(
    values: Mapping[str, Any], path: Path, main: str | None = None
) -> tuple[str | None, dict[str, Any], list[str]]:
    """The name, the stage to convert, the names of the others; keys beside `stages` are defaults."""
    name = values.get("name")
    if name is not None and not isinstance(name, str):
        raise UsageError(f"{path}: name is {name!r}, not a text.", remedy="Put it into quotes.")
    stages = values.get("stages")
    if stages is None:
        stages = {}
    if not isinstance(stages, dict) or not all(isinstance(stage, dict) for stage in stages.values()):
        raise UsageError(f"{path}: stages is not a mapping of names to stages.")
    names = [str(stage) for stage in stages]
    if main is not None and main not in names:
        raise UsageError(
            f"main_stage: {path} has no stage {main!r}; it has {listed(names)}.",
            remedy=perhaps(main, names),
        )
    shared = {key: value for key, value in values.items() if key not in _OF_FILE}
    if not stages:
        return name, shared, []
    if main is None and len(stages) > 1:
        raise UsageError(
            f"{path} has {len(stages)} stages ({listed(names)}); one model is converted at a time.",
            remedy=f"Choose one: --main-stage {names[0]}, then the others.",
        )
    chosen = main or names[0]
    stage = next(stage for stage_name, stage in stages.items() if str(stage_name) == chosen)
    left = [other for other in names if other != chosen]
    called = f"{name}-{chosen}" if name and left else name or chosen
    return called, shared | stage, left


def _left_out(stages: list[str]) -> Finding:
    return Finding(
        code="modelconverter.stages",
        severity=Severity.WARNING,
        where="stages",
        message=f"{listed(stages)} are not converted: one model is converted at a time.",
        remedy=f"Convert each by itself: --main-stage {stages[0]}.",
    )


def _read(
    stage: Mapping[str, Any], path: Path, origin: str, given: Options, target: str
) -> tuple[Layer, list[str], dict[str, Mapping[str, Any]]]:
    """The stage's keys as options, and the names of its inputs and outputs.

    Args:
        given, target: As for `read`.
    """
    rest = {key: value for key, value in stage.items() if key not in ("input_model", "outputs")}
    inputs = [str(entry["name"]) for entry in _entries(stage, "inputs", path)]
    outputs: dict[str, Mapping[str, Any]] = {
        entry["name"]: {key: value for key, value in entry.items() if key != "name"}
        for entry in _entries(stage, "outputs", path)
    }
    rest["inputs"] = {
        entry["name"]: {key: value for key, value in entry.items() if key != "name"}
        for entry in _entries(stage, "inputs", path)
    }
    findings: list[Finding] = []
    if "rvc4.encodings" not in given.settings:
        _require_encodings_file(rest, findings)
    if rest.get("encoding") and not isinstance(rest["encoding"], str | Mapping):
        findings.append(_problem("encoding", "is neither a word nor from and to."))
    findings += [
        _unknown(f"outputs.{name}.{key}")
        for name, said in outputs.items()
        for key in said
        if f"outputs.NAME.{key}" not in KEYS
    ]
    flat, notes = needed(flatten(rest), given.by_name(inputs, list(outputs)), target, path.parent)
    values: dict[str, Any] = {}
    # The mode depends on whether there is calibration, so calibration comes last.
    for key in sorted(flat, key=lambda key: key.endswith("disable_calibration")):
        tail = key.rpartition(".")[2]
        meant = translated(key, flat[key])
        if meant is None and is_declared(key):
            meant = Translation(values={key: flat[key]})
        if meant is None:
            findings.append(_unknown(key))
            continue
        notes += meant.notes
        for option, raw in meant.values.items():
            raw = with_places(option, raw, path.parent)
            if tail == "shape" and isinstance(raw, list) and raw and raw[0] == 0:
                raw = [1, *raw[1:]]  # an open batch, in ModelConverter's words
            if option in values and values[option] != raw and tail != "disable_calibration":
                findings.append(
                    _problem(
                        key, f"{raw!r}, but another input has {values[option]!r}: one holds for all."
                    )
                )
            values[option] = raw
    _move_overrides(values, path.parent, findings)
    _settle_calibration(flat, values, notes, findings)
    findings += [note for note in errors(notes) if not _of_a_platform(note)]
    if findings:
        raise from_findings(UsageError, str(path), findings)
    return Layer(origin=origin, values=values, notes=tuple(notes)), inputs, outputs


def _of_a_platform(note: Finding) -> bool:
    """Whether a note is about one platform: it is no error when converting for another."""
    return note.where.partition(".")[0] in PLATFORMS


def _entries(stage: Mapping[str, Any], kind: str, path: Path) -> list[dict[str, Any]]:
    entries = stage.get(kind)
    if entries is None:
        return []
    if not isinstance(entries, list) or not all(
        isinstance(entry, dict) and isinstance(entry.get("name"), str) and entry["name"]
        for entry in entries
    ):
        raise UsageError(
            f"{path}: {kind} is not a list of entries with names.",
            remedy=f"Write {kind}: [{{name: NAME, …}}].",
        )
    names = [entry["name"] for entry in entries]
    if twice := [name for index, name in enumerate(names) if name in names[:index]]:
        raise UsageError(f"{path}: {kind} has {listed(twice)} twice.", remedy="Keep one.")
    return entries


def _require_encodings_file(stage: dict[str, Any], findings: list[Finding]) -> None:
    section = stage.get("rvc4")
    given = section.get("encodings") if isinstance(section, dict) else None
    if isinstance(given, dict) or (isinstance(given, str) and given.lstrip().startswith("{")):
        findings.append(
            _problem(
                "rvc4.encodings",
                "the encodings are in the file itself, not in a JSON file.",
                "Write them into a JSON file and give its path.",
            )
        )
        assert isinstance(section, dict)
        stage["rvc4"] = {key: value for key, value in section.items() if key != "encodings"}


def _settle_calibration(
    flat: Mapping[str, Any], values: dict[str, Any], notes: list[Finding], findings: list[Finding]
) -> None:
    """Without a path the calibration data are random, as in ModelConverter."""
    said = [key for key in flat if "calibration" in key.split(".")]
    paths = [key for key in values if key.endswith("calibration.path")]
    random = values.get("calibration.random")
    if random is not None and random is not True:
        findings.append(
            _problem(
                next(key for key in said if key.endswith("calibration")),
                f"{random!r} is neither random nor a mapping.",
                "Write calibration: {path: FOLDER}.",
            )
        )
    elif random and paths:
        findings.append(
            _problem("calibration", "is random for one input and files for another; use one for all.")
        )
    elif said and not random and not paths and not errors(notes):
        values["calibration.random"] = True
        notes.append(
            Finding(
                code="modelconverter.random",
                severity=Severity.WARNING,
                where="calibration",
                message="names no path: ModelConverter takes it as random, and so it is here.",
            )
        )


def _move_overrides(values: dict[str, Any], folder: Path, findings: list[Finding]) -> None:
    """Make encodings among SNPE's arguments an option: they need more than that argument."""
    words = values.get("rvc4.snpe_onnx_to_dlc_args")
    if not isinstance(words, list):
        return
    kept: list[Any] = []
    given: list[str] = []
    rest = [str(word) for word in words]
    while rest:
        word = rest.pop(0)
        if word == _OVERRIDES and rest:
            given.append(rest.pop(0))
        elif word.startswith(f"{_OVERRIDES}="):
            given.append(word.partition("=")[2])
        else:
            kept.append(word)
    if not given:
        return
    if len(given) > 1 or "rvc4.encodings" in values:
        findings.append(
            _problem(
                "rvc4.snpe_onnx_to_dlc_args",
                f"{_OVERRIDES} and rvc4.encodings name more than one file of encodings.",
                "Keep one.",
            )
        )
    values["rvc4.snpe_onnx_to_dlc_args"] = kept
    values["rvc4.encodings"] = located(given[0], folder, "rvc4.encodings")


# --------------------------------------------------------------- findings


def _problem(key: str, message: str, remedy: str = "") -> Finding:
    return Finding(code="modelconverter.value", where=key, message=message, remedy=remedy)


def _unknown(key: str) -> Finding:
    known = [*KEYS, *(spec.key for spec in specs())]
    by_tail = [name for name in known if name.rpartition(".")[2] == key.rpartition(".")[2]]
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.5) or by_tail[:1]
    return Finding(
        code="option.unknown",
        where=key,
        message="neither ModelConverter nor this converter has such a key.",
        remedy=f"Perhaps you meant {near[0]}." if near else "",
    )
