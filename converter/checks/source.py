"""A source as a conversion reads it: config, graph, files and frames against each other."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from converter.checks.rule import SOURCE, Rule
from converter.checks.subject import Subject
from converter.findings import Finding, Severity
from converter.preprocessing import DAI_TYPES, read_dai_type


def _understanding(subject: Subject) -> Iterator[Finding]:
    _, findings = subject.understood
    yield from findings


def _invented_frames(subject: Subject) -> Iterator[Finding]:
    for index, item in enumerate(subject.model["inputs"]):
        dai_type = item["preprocessing"].get("dai_type")
        if dai_type is not None and dai_type not in DAI_TYPES and read_dai_type(dai_type):
            yield Finding(
                code="input.dai-type-invented",
                severity=Severity.WARNING,
                where=f"model.inputs[{index}].preprocessing.dai_type",
                message=f"{dai_type!r} is no frame type of DepthAI; it is taken as gray.",
                remedy="Write GRAY8.",
            )


RULES: Final = (
    Rule(
        find=_understanding,
        codes=(
            "config.version",
            "config.value",
            "config.unknown-key",
            "config.missing-key",
            "config.path",
            "config.model-missing",
            "model.not-convertible",
            "model.external-data",
            "model.unused-input",
            "model.ambiguous",
            "model.foreign-operator",
            "model.quantization",
            "model.state",
            "model.input-is-output",
            "input.duplicate",
            "input.twice-in-model",
            "input.unknown",
            "input.missing",
            "output.duplicate",
            "output.twice-in-model",
            "output.unknown",
            "output.missing",
            "tensor.dynamic",
            "tensor.size",
            "tensor.shape",
            "tensor.dtype",
            "tensor.layout-length",
            "input.layout",
            "input.layout-guessed",
            "input.mean",
            "input.scale",
            "input.dai-type",
            "input.dai-type-layout",
            "input.dai-type-channels",
            "input.interleaved-layout",
            "input.batch",
            "input.uint8-normalized",
            "input.image-dtype",
            "output.layout",
            "head.output",
            "head.classes",
            "head.value",
            "head.anchors",
            "head.keypoints",
            "head.postprocessor",
        ),
        sides=SOURCE,
        needs_schema=False,
    ),
    Rule(find=_invented_frames, codes=("input.dai-type-invented",), sides=SOURCE),
)
