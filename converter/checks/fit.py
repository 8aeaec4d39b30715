"""Whether a head fits the outputs that it names, and its thresholds the numbers that it decodes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from converter.checks.rule import Rule
from converter.checks.subject import Subject
from converter.findings import Finding, Severity
from converter.parsers import WITH_ANCHORS

_SCORES: Final = ("ClassificationParser", "SegmentationParser")
# A box: x, y, width, height and whether there is anything at all.
_BOX: Final = 5


def _shapes(subject: Subject, head: Mapping[str, Any]) -> dict[str, Sequence[int]]:
    """The shapes of the head's outputs, as far as the config has them."""
    named = _list(head.get("outputs")) or [item["name"] for item in subject.model["outputs"]]
    return {
        item["name"]: item["shape"]
        for item in subject.model["outputs"]
        if item["name"] in named and item.get("shape")
    }


def _warning(*, code: str, where: str, message: str, remedy: str) -> Finding:
    return Finding(code=code, severity=Severity.WARNING, where=where, message=message, remedy=remedy)


def _anchors(subject: Subject) -> Iterator[Finding]:
    for index, head in enumerate(subject.heads):
        metadata = head["metadata"]
        subtype, anchors = str(metadata.get("subtype") or "").lower(), _list(metadata.get("anchors"))
        if head["parser"] != "YOLO" or subtype not in WITH_ANCHORS:
            continue
        grids = _grids(head)
        if len(anchors) != len(grids):
            yield _warning(
                code="head.anchors-count",
                where=f"model.heads[{index}].metadata.anchors",
                message=f"are for {len(anchors)} outputs, the head has {len(grids)}; DepthAI throws.",
                remedy=f"Write a list for each output: {subtype} decodes boxes against them.",
            )


def _classes(subject: Subject) -> Iterator[Finding]:
    for index, head in enumerate(subject.heads):
        metadata, parser = head["metadata"], head["parser"]
        names = metadata.get("classes")
        count = len(names) if isinstance(names, list) and names else metadata.get("n_classes")
        if not isinstance(count, int) or isinstance(count, bool) or count < 1:
            continue
        for name, shape in _shapes(subject, head).items():
            has = ""
            if parser == "YOLO" and len(shape) == 4 and name in _grids(head):
                has = _of_grid(shape, count, metadata)
            elif parser in _SCORES and not metadata.get("classes_in_one_layer"):
                has = _of_scores(parser, shape, count)
            if has:
                yield _warning(
                    code="head.classes-count",
                    where=f"model.heads[{index}].metadata.classes",
                    message=f"{name!r} is {list(shape)}, {has} with {count} classes.",
                    remedy="Write the classes that the model was trained on.",
                )


def _grids(head: Mapping[str, Any]) -> list[Any]:
    return _list(head["metadata"].get("yolo_outputs")) or _list(head.get("outputs"))


def _list(value: Any) -> list[Any]:
    """A list as it stands; of what is none, other rules tell."""
    return value if isinstance(value, list) else []


def _of_grid(shape: Sequence[int], count: int, metadata: Mapping[str, Any]) -> str:
    """(N, anchors × (5 + classes), H, W) are read, or the same with the channels at the end."""
    layers = {len(layer) for layer in map(_list, _list(metadata.get("anchors"))) if layer} or {1}
    wanted = {layer * (_BOX + count) for layer in layers}
    if wanted & {shape[1], shape[-1]}:
        return ""
    return f"DepthAI reads {' or '.join(map(str, sorted(wanted)))} channels"


def _of_scores(parser: str, shape: Sequence[int], count: int) -> str:
    if parser == "ClassificationParser":
        scores = {math.prod(shape[1:] if len(shape) > 1 else shape)}
    elif len(shape) in (3, 4):
        scores = {shape[-3], shape[-1]}
    else:
        return ""
    return "" if count in scores else "which is not a score for each"


def _thresholds(subject: Subject) -> Iterator[Finding]:
    for index, head in enumerate(subject.heads):
        for key in ("conf_threshold", "iou_threshold", "max_det"):
            value = head["metadata"].get(key)
            if not isinstance(value, int | float) or isinstance(value, bool):
                continue
            is_count = key == "max_det"
            if not (value >= 1 and value == int(value) if is_count else 0 <= value <= 1):
                bounds = "a whole number of 1 or more" if is_count else "from 0 to 1"
                yield _warning(
                    code="head.threshold",
                    where=f"model.heads[{index}].metadata.{key}",
                    message=f"{value} is not {bounds}: the parser finds nothing, or all there is.",
                    remedy="Write what the model was tuned with.",
                )


RULES: Final = (
    Rule(find=_anchors, codes=("head.anchors-count",)),
    Rule(find=_classes, codes=("head.classes-count",)),
    Rule(find=_thresholds, codes=("head.threshold",)),
)
