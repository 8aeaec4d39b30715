"""Whether a head fits the outputs that it names, and whether its thresholds are possible."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from converter.bare.heads import (
    SCORED,
    THRESHOLDS,
    WITH_ANCHORS,
    class_sizes,
    grid_channels,
    is_threshold,
)
from converter.checks.heads import heads_of
from converter.checks.rule import Rule
from converter.checks.subject import Subject
from converter.config.heads import YOLO_PARSERS
from converter.findings import Finding, Severity

_KINDS: Final = {parser: kind for kind, parser in SCORED.items()}


def _warning(*, code: str, where: str, message: str, remedy: str) -> Finding:
    return Finding(code=code, severity=Severity.WARNING, where=where, message=message, remedy=remedy)


def _list(value: Any) -> list[Any]:
    """A list as it is; other rules report a value that is not a list."""
    return value if isinstance(value, list) else []


def _grids(head: Mapping[str, Any]) -> list[Any]:
    return _list(head["metadata"].get("yolo_outputs")) or _list(head.get("outputs"))


def _anchors(subject: Subject) -> Iterator[Finding]:
    for where, head, metadata in heads_of(subject):
        subtype, anchors = str(metadata.get("subtype") or "").lower(), _list(metadata.get("anchors"))
        grids = _grids(head)
        if head["parser"] == "YOLO" and subtype in WITH_ANCHORS and len(anchors) != len(grids):
            yield _warning(
                code="head.anchors-count",
                where=f"{where}.metadata.anchors",
                message=f"are for {len(anchors)} outputs, but there are {len(grids)}; DepthAI throws.",
                remedy=f"Write a list for each output: {subtype} decodes boxes against them.",
            )


def _classes(subject: Subject) -> Iterator[Finding]:
    for where, head, metadata in heads_of(subject):
        count = len(_list(metadata.get("classes"))) or metadata.get("n_classes")
        if not isinstance(count, int) or isinstance(count, bool) or count < 1:
            continue
        for name, shape in _shapes(subject, head).items():
            if said := _misfit(head, name, shape, count):
                yield _warning(
                    code="head.classes-count",
                    where=f"{where}.metadata.classes",
                    message=f"{name!r} is {list(shape)}, {said} with {count} classes.",
                    remedy="Write the classes that the model was trained on.",
                )


def _shapes(subject: Subject, head: Mapping[str, Any]) -> dict[str, Sequence[int]]:
    """The shapes of the head's outputs, as far as the config has them."""
    outputs = {item["name"]: item["shape"] for item in subject.model["outputs"] if item.get("shape")}
    named = _list(head.get("outputs")) or list(outputs)
    return {name: shape for name, shape in outputs.items() if name in named}


def _misfit(head: Mapping[str, Any], name: str, shape: Sequence[int], count: int) -> str:
    """Why an output does not fit the number of classes; empty if it does, or if that is not known."""
    metadata, parser = head["metadata"], head["parser"]
    if parser in YOLO_PARSERS and len(shape) == 4 and name in _grids(head):
        anchors = {len(layer) for layer in map(_list, _list(metadata.get("anchors"))) if layer} or {0}
        wanted = {grid_channels(layer, count) for layer in anchors}
        # The channels follow the batch, or are at the end.
        if not wanted & {shape[1], shape[-1]}:
            return f"DepthAI reads {' or '.join(map(str, sorted(wanted)))} channels"
    if parser in _KINDS and not metadata.get("classes_in_one_layer"):
        sizes = class_sizes(_KINDS[parser], shape)
        if sizes and count not in sizes:
            return "which is not a score for each"
    return ""


def _thresholds(subject: Subject) -> Iterator[Finding]:
    for where, _, metadata in heads_of(subject):
        for key in THRESHOLDS:
            value: Any = metadata.get(key)
            is_number = isinstance(value, int | float) and not isinstance(value, bool)
            if is_number and not is_threshold(key, value):
                bounds = "a whole number of 1 or more" if key == "max_det" else "from 0 to 1"
                yield _warning(
                    code="head.threshold",
                    where=f"{where}.metadata.{key}",
                    message=f"{value} is not {bounds}: the parser finds nothing, or everything.",
                    remedy="Write what the model was tuned with.",
                )


RULES: Final = (
    Rule(find=_anchors, codes=("head.anchors-count",)),
    Rule(find=_classes, codes=("head.classes-count",)),
    Rule(find=_thresholds, codes=("head.threshold",)),
)
