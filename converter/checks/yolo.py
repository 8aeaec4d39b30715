"""Heads of detectors: names, strides, forms and layouts that DepthAI's DetectionParser wants.

Measured on DepthAI 3.12 with the parser on the host (`setRunOnHost`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from converter.checks.heads import heads_of
from converter.checks.rule import Rule
from converter.checks.subject import Subject
from converter.config.heads import YOLO_PARSERS
from converter.findings import Finding, Severity, listed

# How many grids a head has if its metadata names no strides: those of 8, 16 and 32 pixels.
_USUAL_GRIDS: Final = 3
_STRIDES: Final = (4, 8, 16, 32, 64)
_RECUT: Final = (
    "Convert the model's own file, NAME.onnx, or run nnconvert init on it: both cut it there."
)


def _warning(message: str, remedy: str, *, code: str, where: str) -> Finding:
    return Finding(code=code, severity=Severity.WARNING, where=where, message=message, remedy=remedy)


def _grids(head: Mapping[str, Any]) -> list[str]:
    """The outputs with boxes."""
    metadata = head["metadata"]
    named = metadata.get("yolo_outputs")
    given = named if isinstance(named, list) and named else head.get("outputs")
    return [name for name in given or () if isinstance(name, str)]


def _is_26(metadata: Mapping[str, Any]) -> bool:
    return str(metadata.get("subtype") or "").lower() == "yolo26"


def _names(subject: Subject) -> Iterator[Finding]:
    for where, head, _ in heads_of(subject):
        grids = _grids(head)
        if head["parser"] not in YOLO_PARSERS or not grids:
            continue
        wrong = [name for name in grids if "_yolo" not in name]
        if wrong:
            yield _warning(
                f"DepthAI and depthai-nodes find boxes in outputs named …_yolo…; {listed(wrong)} "
                f"{'is' if len(wrong) == 1 else 'are'} not read.",
                "Rename them by their stride, the smallest first: "
                f"outputs.{wrong[0]}.name output1_yolov8.",
                code="head.yolo-names",
                where=f"{where}.outputs",
            )
        elif grids != sorted(grids):
            yield _warning(
                f"readers sort {listed(grids)} as text and pair them with the strides so.",
                "Number them by their stride, from output1_yolov8 on.",
                code="head.yolo-names",
                where=f"{where}.outputs",
            )


def _strides(subject: Subject) -> Iterator[Finding]:
    for where, head, metadata in heads_of(subject):
        if head["parser"] not in YOLO_PARSERS or _is_26(metadata):
            continue
        grids, strides = _grids(head), metadata.get("strides")
        missing = strides is None and len(grids) not in (0, _USUAL_GRIDS)
        differs = isinstance(strides, list) and grids and len(strides) != len(grids)
        if missing or differs:
            has = "there are none" if missing else f"there are {len(strides or ())}"
            yield _warning(
                f"{has} for {len(grids)} outputs; DepthAI stops: it takes 8, 16, 32 without.",
                "Write the stride of each output in pixels, the smallest first.",
                code="head.strides",
                where=f"{where}.metadata.strides",
            )


def _uncut(subject: Subject) -> Iterator[Finding]:
    shapes = _shapes(subject)
    for where, head, metadata in heads_of(subject):
        if head["parser"] not in YOLO_PARSERS:
            continue
        rank = 3 if _is_26(metadata) else 4
        for name in _grids(head):
            if name in shapes and len(shapes[name]) != rank:
                wanted = "[N, boxes, 5 + classes]" if rank == 3 else "[N, 5 + classes, H, W]"
                yield _warning(
                    f"{name!r} is {list(shapes[name])}: the parser reads {wanted} of each stride, and "
                    "finds nothing.",
                    _RECUT,
                    code="head.uncut",
                    where=f"{where}.outputs",
                )
    if subject.heads:
        return
    for name, shape in shapes.items():
        if classes := looks_uncut(shape, _frame(subject)):
            yield _warning(
                f"{name!r} is {list(shape)}, as an uncut YOLO export of {classes} classes has it; no "
                "parser decodes that.",
                _RECUT,
                code="head.uncut",
                where="model.outputs",
            )


def _shapes(subject: Subject) -> dict[str, Sequence[int]]:
    return {entry["name"]: entry["shape"] for entry in subject.model["outputs"] if entry.get("shape")}


def _frame(subject: Subject) -> tuple[int, int] | None:
    """Height and width of the only input, if it takes frames."""
    entries = subject.model["inputs"]
    if len(entries) != 1 or entries[0]["input_type"] != "image" or len(entries[0]["shape"]) != 4:
        return None
    shape = entries[0]["shape"]
    return (shape[2], shape[3]) if shape[1] in (1, 3) else (shape[1], shape[2])


def looks_uncut(shape: Sequence[int], frame: tuple[int, int] | None) -> int:
    """The classes of an export with a row for each cell of its grids; 0 for other shapes."""
    if frame is None or len(shape) != 3:
        return 0
    # A detector has the strides in a row, and at least one cell of each.
    grids = [(frame[0] // stride) * (frame[1] // stride) for stride in _STRIDES]
    rows = [grids[at : at + count] for count in (2, 3, 4) for at in range(len(grids) + 1 - count)]
    counts = [sum(row) for row in rows if all(row)]
    for anchors, other in ((shape[1], shape[2]), (shape[2], shape[1])):
        for cells in counts:
            if anchors == cells and other > 4:
                return other - 4
            if anchors == 3 * cells and other > 5:
                return other - 5
    return 0


def _none(subject: Subject) -> Iterator[Finding]:
    if subject.heads or _frame(subject) is None:
        return
    yield _warning(
        "there is no head: DetectionNetwork refuses the archive, and no parser decodes the outputs.",
        "Describe the head (nnconvert init), or decode the outputs in your own code.",
        code="head.none",
        where="model.heads",
    )


def _layouts(subject: Subject) -> Iterator[Finding]:
    entries = {entry["name"]: entry for entry in subject.model["outputs"] if entry.get("shape")}
    for where, head, _ in heads_of(subject):
        if head["parser"] not in YOLO_PARSERS:
            continue
        layouts = {
            name: entries[name]["layout"]
            for name in _grids(head)
            if name in entries and len(entries[name]["shape"]) == 4 and entries[name].get("layout")
        }
        if len(set(layouts.values())) > 1:
            told = ", ".join(f"{name!r} is {layout}" for name, layout in layouts.items())
            yield _warning(
                f"the grids of one head have different layouts: {told}.",
                "Write the same one for all, NCHW as models are exported.",
                code="head.layouts",
                where=f"{where}.outputs",
            )


RULES: Final = (
    Rule(find=_names, codes=("head.yolo-names",)),
    Rule(find=_strides, codes=("head.strides",)),
    Rule(find=_uncut, codes=("head.uncut",)),
    Rule(find=_none, codes=("head.none",)),
    Rule(find=_layouts, codes=("head.layouts",)),
)
