"""Reads an archive's model: checks its config against the schema, the graph and itself."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any, Final

from converter.archive.opened import Archive
from converter.archive.tar import name_problem
from converter.config.heads import check_heads
from converter.config.schema import check_schema
from converter.config.second_stage import postprocessor_path, second_stage
from converter.config.tensors import read_tensors
from converter.errors import ArchiveError, ModelError, UsageError, from_findings
from converter.findings import Finding, errors, listed, perhaps
from converter.graph.facts import GraphFacts, external_member
from converter.model import SourceModel
from converter.options.resolve import Options
from converter.sources.facts import KINDS, facts_of, given_shapes, kind_of

_COMPILED: Final = (".blob", ".superblob", ".dlc")


def understand(archive: Archive, options: Options) -> tuple[SourceModel, tuple[Finding, ...]]:
    """The archive's model with its inputs and outputs, and warnings about it.

    Raises:
        ArchiveError: It names every contradiction between config, graph, schema and files.
        ModelError: The model is of a kind that is not converted.
        UsageError: Options name tensors that the model does not have.
    """
    config = normalized(archive.config)
    findings = check_schema(config)
    findings += _check_files(archive, config)
    # A config that does not fit the schema can be compared with the files, but not with the graph.
    _require_none(findings)
    model = config["model"]
    path = model["metadata"]["path"]
    facts = facts_of(archive.path(path), path).called(
        [entry["name"] for entry in model["inputs"]], [entry["name"] for entry in model["outputs"]]
    )
    facts = given_shapes(facts, options)
    _refuse_odd_signature(facts)
    files, missing = _model_files(archive, path, facts)
    findings += missing
    second = _second_facts(archive, model)
    stages = (facts, second) if second else (facts,)
    _check_option_names(options, stages)
    inputs, outputs, problems = read_tensors(model, facts, options)
    findings += problems
    findings += check_heads(
        archive, model, [tensor.name for stage in stages for tensor in stage.outputs]
    )
    _require_none(findings)
    source = SourceModel(
        archive_name=archive.name,
        name=model["metadata"]["name"],
        path=path,
        files=files,
        inputs=tuple(inputs),
        outputs=tuple(outputs),
        opset=facts.opset,
        format=facts.format,
        config=config,
        cut=archive.cut,
    )
    if second is not None:
        source, problems = _with_second(archive, source, second, options)
        findings += problems
        _require_none(findings)
    return source, tuple(findings)


def _second_facts(archive: Archive, model: Mapping[str, Any]) -> GraphFacts | None:
    """The signature of the second stage's model, where the archive has one."""
    path = postprocessor_path(model)
    if path is None or archive.member(path) is None:
        return None  # `check_heads` reports that the file is missing
    if not kind_of(path):
        raise ModelError(
            f"postprocessor_path: {path!r} is no model; {', '.join(KINDS.values())} are converted.",
            remedy="Export the second stage to ONNX.",
        )
    facts = facts_of(archive.path(path), path)
    _refuse_odd_signature(facts)
    return facts


def _with_second(
    archive: Archive, first: SourceModel, facts: GraphFacts, options: Options
) -> tuple[SourceModel, list[Finding]]:
    path = postprocessor_path(first.config["model"])
    assert path is not None
    files, findings = _model_files(archive, path, facts)
    second, problems = second_stage(first, path, files, facts, options.of_second_stage(first.names))
    return dataclasses.replace(first, second=second), [*findings, *problems]


def _require_none(findings: list[Finding]) -> None:
    if fatal := errors(findings):
        raise from_findings(ArchiveError, "config.json", fatal)


def normalized(config: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of the config with the readers' default: a null or missing `config_version` is 1.0."""
    result = copy.deepcopy(dict(config))
    if result.get("config_version") is None:
        result = {"config_version": "1.0"} | {k: v for k, v in result.items() if v is not None}
    return result


# ------------------------------------------------------------------ files


def _check_files(archive: Archive, config: Mapping[str, Any]) -> list[Finding]:
    metadata = _dig(config, "model", "metadata")
    path = metadata.get("path") if isinstance(metadata, Mapping) else None
    if not isinstance(path, str):
        return []
    where = "model.metadata.path"
    suffix = PurePosixPath(path).suffix.lower()
    if suffix in _COMPILED:
        raise ModelError(
            f"{where}: {path!r} is compiled already.",
            remedy="Give the source archive, the one it was made from.",
        )
    if problem := name_problem(path):
        return [Finding(code="config.path", where=where, message=f"{path!r} {problem}")]
    if suffix == ".bin":
        raise ModelError(
            f"{where}: {path!r} has an IR's weights; its .xml is the model.",
            remedy=f"Write {PurePosixPath(path).with_suffix('.xml').name!r}.",
        )
    if not kind_of(path):
        kind = f"a {suffix} file" if suffix else "a file without a suffix"
        raise ModelError(
            f"{where}: {path!r} is {kind}; {', '.join(KINDS.values())} are converted.",
            remedy="Export the model to ONNX.",
        )
    names = [member.name for member in archive.members]
    if path not in names:
        return [
            Finding(
                code="config.model-missing",
                where=where,
                message=f"{path!r} is not in the archive, which holds {', '.join(names)}.",
                remedy=perhaps(path, names),
            )
        ]
    return []


def _model_files(
    archive: Archive, path: str, facts: GraphFacts
) -> tuple[dict[str, str], list[Finding]]:
    """SHA-256 of every file of the model, and what is wrong with its external data."""
    files, findings = {}, []
    for name in (path, *(external_member(path, location) for location in facts.external)):
        member = archive.member(name)
        if member is None:
            findings.append(
                Finding(
                    code="model.external-data",
                    where=path,
                    message=f"its weights are in {name!r}, which is not in the archive.",
                    remedy="Pack that file beside the model, under this name.",
                )
            )
        else:
            files[name] = member.sha256
    return files, findings


# ---------------------------------------------------------------- tensors


def _unreadable(facts: GraphFacts, wanted: str, *, code: str, remedy: str) -> list[Finding]:
    """What no target reads of one kind (`converter.graph.foreign`)."""
    return [
        Finding(code=code, where=where, message=problem, remedy=remedy)
        for kind, where, problem in facts.unreadable
        if kind == wanted
    ]


def _own_operators(facts: GraphFacts) -> str:
    if facts.format == "TFLite":
        return "TFLite's own operators (TFLITE_BUILTINS alone)"
    return "ONNX's own operators"


def _refuse_odd_signature(facts: GraphFacts) -> None:
    """Refuse inputs and outputs that are valid in ONNX but that no compiler takes."""
    outputs = {tensor.name for tensor in facts.outputs}
    findings = [
        Finding(
            code="model.unused-input",
            where=name,
            message="no node of the model reads this input.",
            remedy="Cut it from the model.",
        )
        for name in facts.unused
    ]
    findings += _unreadable(
        facts,
        "operator",
        code="model.foreign-operator",
        remedy=f"Export the model with {_own_operators(facts)}, or end it before this one.",
    )
    findings += _unreadable(
        facts,
        "state",
        code="model.state",
        remedy="Export the model with its state as inputs and outputs, or to ONNX.",
    )
    findings += _unreadable(
        facts,
        "quantization",
        code="model.quantization",
        remedy="Convert the float model instead.",
    )
    findings += _unreadable(
        facts,
        "ambiguous",
        code="model.ambiguous",
        remedy="Export it with pads instead of auto_pad, and with axes that are not negative.",
    )
    findings += [
        Finding(
            code="model.quantized-edge",
            where=name,
            message="has quantized integers, whose scale a config cannot describe.",
            remedy="Export the model with float inputs and outputs (inference_input_type and "
            "inference_output_type float32); it may be quantized inside.",
        )
        for name in facts.quantized
    ]
    findings += [
        Finding(
            code="model.input-is-output",
            where=tensor.name,
            message="is an input and an output of the model at once.",
            remedy="Cut it from the outputs.",
        )
        for tensor in facts.inputs
        if tensor.name in outputs
    ]
    if findings:
        raise from_findings(ModelError, "The model", findings)


def _check_option_names(options: Options, stages: Sequence[GraphFacts]) -> None:
    findings = []
    known = {
        "inputs": [tensor.name for facts in stages for tensor in facts.inputs],
        "outputs": [tensor.name for facts in stages for tensor in facts.outputs],
    }
    for group, names in known.items():
        for name, given in options.names(group).items():
            # A choice of outputs was made when the source was opened, and a frozen input has left the
            # model, see `converter.sources.settle`.
            keys = [
                key
                for key in given
                if not key.endswith(".frozen_value" if group == "inputs" else ".name")
            ]
            if keys and name not in names:
                findings += [
                    Finding(
                        code="option.tensor",
                        where=key,
                        message=f"the model has no {group[:-1]} {name!r}; it has {listed(names)}.",
                        remedy=perhaps(name, names),
                    )
                    for key in keys
                ]
    if findings:
        raise from_findings(UsageError, "The options", findings)


def _dig(value: Any, *keys: str) -> Any:
    for key in keys:
        if not isinstance(value, Mapping):
            return None
        value = value.get(key)
    return value
