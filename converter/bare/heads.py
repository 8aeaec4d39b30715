"""Heads for a bare model, with the metadata that a camera's parsers need.

Sources of the keys: `luxonis_ml.nn_archive` (its head metadata), DepthAI's DetectionParser and
SegmentationParser, and the parsers of depthai-nodes, which also show what is checked against outputs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from converter.errors import UsageError, from_findings
from converter.findings import Finding, Severity, errors, listed, perhaps
from converter.graph.facts import TensorFacts

KINDS: Final = ("yolo", "classification", "segmentation", "ssd")
_MOST_CLASSES: Final = 100_000
# Those that decode boxes against anchors (DepthAI's families v3AB and v5AB).
WITH_ANCHORS: Final = ("yolov3", "yolov3-tiny", "yolov4", "yolov4-tiny", "yolov5", "yolov7", "yolo-p")
SUBTYPES: Final = (
    *WITH_ANCHORS,
    *("yolov3-u", "yolov3-tinyu", "yolov5-u", "yolov6", "yolov6r1", "yolov6r2", "yolov8", "yolov8n"),
    *("yolov9", "yolov10", "yolov11", "yolov12", "yolo26", "yolov26", "yolo-gold"),
)
# The parsers of one output that has a score for each class.
SCORED: Final = {"classification": "ClassificationParser", "segmentation": "SegmentationParser"}
_OF_NUMBERS: Final = (
    """If it is a map of class numbers, give --head-metadata '{"classes_in_one_layer": true}'."""
)
# depthai-nodes' defaults.
THRESHOLDS: Final = {"iou_threshold": 0.5, "conf_threshold": 0.5, "max_det": 300}


@dataclass(frozen=True, kw_only=True)
class HeadHints:
    """What the user knows of a head; None is inferred where it can be.

    Attributes:
        outputs: The model's outputs that belong to it; None is all of them.
        anchors: By output, from the smallest to the largest, the anchors' width and height in pixels.
        metadata: Further keys, as they are.
    """

    outputs: tuple[str, ...] | None = None
    classes: tuple[str, ...] | None = None
    n_classes: int | None = None
    subtype: str | None = None
    iou_threshold: float | None = None
    conf_threshold: float | None = None
    max_det: int | None = None
    anchors: tuple[tuple[tuple[float, ...], ...], ...] | None = None
    is_softmax: bool | None = None
    n_prototypes: int | None = None
    n_keypoints: int | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Head:
    """A head as raw JSON, and the guesses in it."""

    config: dict[str, Any]
    guesses: tuple[Finding, ...]


def make_head(kind: str, hints: HeadHints, tensors: Sequence[TensorFacts]) -> Head:
    """A head for one of DepthAI's parsers.

    Args:
        kind: One of `KINDS`, or the class of another parser, whose metadata is taken as it is.
        hints: What the user knows.
        tensors: The model's outputs.

    Raises:
        UsageError: Something is missing, or contradicts the model; it names all such problems. `where`
            is the metadata's key.
    """
    names = [tensor.name for tensor in tensors]
    chosen = names if hints.outputs is None else list(hints.outputs)
    written = hints.metadata.get("classes")
    if kind in KINDS and hints.classes is None and isinstance(written, list):
        hints = replace(hints, classes=tuple(map(str, written)))
    findings = [
        Finding(
            code="init.head",
            where="outputs",
            message=f"the model has no output {name!r}; it has {listed(names)}.",
            remedy=perhaps(name, names),
        )
        for name in chosen
        if name not in names
    ]
    own = [tensor for tensor in tensors if tensor.name in chosen]
    known, found = _classes(hints)
    metadata: dict[str, Any] = {}
    if kind not in KINDS:
        parser, found = kind, found if known else []
        metadata = {**known}
    elif kind == "yolo":
        parser, metadata, more = _yolo(hints, own, known)
        found += more
    elif kind == "ssd":
        parser, metadata, more = _ssd(hints, own, known)
        found += more
    else:
        parser, metadata, more = _one_output(kind, hints, own, known)
        found += more
    metadata |= hints.metadata
    findings += [item for item in found if item.where not in hints.metadata]
    if fatal := errors(findings):
        raise from_findings(UsageError, f"A head of {kind}", fatal)
    head = {"parser": parser, "metadata": metadata, "outputs": chosen}
    return Head(config=head, guesses=tuple(findings))


def _missing(key: str, what: str, remedy: str) -> Finding:
    return Finding(code="init.head", where=key, message=f"is missing: {what}.", remedy=remedy)


def _guess(key: str, message: str, remedy: str, severity: Severity = Severity.INFO) -> Finding:
    return Finding(code="init.head", severity=severity, where=key, message=message, remedy=remedy)


def _classes(hints: HeadHints) -> tuple[dict[str, Any], list[Finding]]:
    """`classes` and `n_classes`; readers require that they agree."""
    if hints.classes is not None:
        count = len(hints.classes)
        known = {"classes": list(hints.classes), "n_classes": count}
        if hints.n_classes in (None, count):
            return known, []
        return known, [
            Finding(
                code="init.head",
                where="n_classes",
                message=f"{hints.n_classes} is given, but there are {count} class names.",
                remedy="Leave it out.",
            )
        ]
    if hints.n_classes is not None and hints.n_classes > _MOST_CLASSES:
        return {}, [
            Finding(
                code="init.head",
                where="n_classes",
                message=f"{hints.n_classes:,} classes are more than {_MOST_CLASSES:,}.",
                remedy="Give the number that the model tells apart.",
            )
        ]
    if hints.n_classes is not None and hints.n_classes > 0:
        names = [str(index) for index in range(hints.n_classes)]
        return {"classes": names, "n_classes": hints.n_classes}, [
            _guess("classes", "the classes are called by their numbers.", "Name them with --classes.")
        ]
    remedy = "Give --classes with a file or names, or --n-classes."
    return {}, [_missing("classes", "the names of the classes", remedy)]


def _thresholds(hints: HeadHints) -> tuple[dict[str, Any], list[Finding]]:
    """The thresholds that every detector's parser takes; the parsers' defaults if not given."""
    values: dict[str, Any] = {}
    findings = []
    for key, default in THRESHOLDS.items():
        given = getattr(hints, key)
        flag = f"--{key.replace('_', '-')}"
        values[key] = default if given is None else given
        if given is None:
            findings.append(
                _guess(key, f"is taken as {default}, the parsers' own default.", f"Set {flag}.")
            )
        elif not is_threshold(key, given):
            bounds = "1 or more" if key == "max_det" else "from 0 to 1"
            message = f"{given} is not {bounds}."
            findings.append(
                Finding(code="init.head", where=key, message=message, remedy=f"Correct {flag}.")
            )
    return values, findings


def is_threshold(key: str, value: float) -> bool:
    """Whether a threshold is valid: from 0 to 1, or for `max_det` a whole number of 1 or more."""
    return value >= 1 and value % 1 == 0 if key == "max_det" else 0 <= value <= 1


# ------------------------------------------------------------------- YOLO


def _yolo(
    hints: HeadHints, tensors: Sequence[TensorFacts], known: Mapping[str, Any]
) -> tuple[str, dict[str, Any], list[Finding]]:
    values, findings = _thresholds(hints)
    subtype = (hints.subtype or "").lower()
    if not subtype:
        remedy = f"Give --subtype, one of {', '.join(SUBTYPES)}."
        findings.append(_missing("subtype", "which YOLO it is", remedy))
    elif subtype not in SUBTYPES:
        remedy = perhaps(subtype, SUBTYPES) or f"There are {', '.join(SUBTYPES)}."
        message = f"{subtype!r} is unknown to DepthAI and depthai-nodes."
        findings.append(_guess("subtype", message, remedy, Severity.WARNING))
    if subtype in WITH_ANCHORS and hints.anchors is None:
        findings.append(_missing("anchors", f"{subtype} decodes boxes against them", "Give --anchors."))
    parts = _yolo_outputs(tensors)
    metadata = {**known, **values, "subtype": subtype, "yolo_outputs": parts["yolo_outputs"]}
    if hints.anchors is not None:
        metadata["anchors"] = [[list(pair) for pair in layer] for layer in hints.anchors]
        findings += _check_anchors(hints.anchors, len(parts["yolo_outputs"]))
    extended = True
    if hints.n_prototypes is not None:
        metadata |= {"n_prototypes": hints.n_prototypes, "is_softmax": bool(hints.is_softmax)}
        findings += _take_parts(metadata, parts, "--n-prototypes", "mask_outputs", "protos_outputs")
        if hints.n_keypoints is not None:
            message = "an instance segmentation has prototypes, a pose has keypoints."
            findings.append(
                Finding(
                    code="init.head", where="n_keypoints", message=message,
                    remedy="Leave one of --n-prototypes and --n-keypoints out.",
                )
            )  # fmt: skip
    elif hints.n_keypoints is not None:
        metadata["n_keypoints"] = hints.n_keypoints
        findings += _take_parts(metadata, parts, "--n-keypoints", "keypoints_outputs")
    else:
        extended = False
    grids = [tensor for tensor in tensors if tensor.name in parts["yolo_outputs"]]
    findings += _check_grids(grids, subtype, hints, known.get("n_classes"))
    return "YOLOExtendedParser" if extended else "YOLO", metadata, findings


def _yolo_outputs(tensors: Sequence[TensorFacts]) -> dict[str, list[str]]:
    """Outputs by their kind, found by name as in depthai-nodes; without such names all are grids."""
    names = [tensor.name for tensor in tensors]
    parts = {
        "mask_outputs": [name for name in names if "_masks" in name],
        "protos_outputs": [name for name in names if "protos" in name],
        "keypoints_outputs": [name for name in names if "kpt_output" in name],
    }
    taken = [name for part in parts.values() for name in part]
    grids = [name for name in names if "_yolo" in name or "yolo-" in name]
    return {"yolo_outputs": grids or [name for name in names if name not in taken], **parts}


def _take_parts(
    metadata: dict[str, Any], parts: Mapping[str, list[str]], flag: str, *keys: str
) -> list[Finding]:
    letters = {"mask_outputs": "_masks", "protos_outputs": "protos", "keypoints_outputs": "kpt_output"}
    findings = []
    for key in keys:
        if parts[key]:
            metadata[key] = parts[key][0] if key == "protos_outputs" else parts[key]
        else:
            what = f"no output has {letters[key]!r} in its name, by which depthai-nodes finds it"
            remedy = f"Rename it when you export the model, or leave {flag} out."
            findings.append(_missing(key, what, remedy))
    return findings


def _check_anchors(anchors: Sequence[Sequence[Sequence[float]]], grids: int) -> list[Finding]:
    problem = ""
    if any(len(pair) != 2 for layer in anchors for pair in layer):
        problem = "an anchor is a width and a height."
    elif len(anchors) != grids:
        problem = f"there are anchors for {len(anchors)} outputs, but the head has {grids}."
    remedy = "Give a list for each output: [[[10,13],[16,30],[33,23]], …]."
    return [Finding(code="init.head", where="anchors", message=problem, remedy=remedy)] * bool(problem)


def _check_grids(
    grids: Sequence[TensorFacts], subtype: str, hints: HeadHints, count: int | None
) -> list[Finding]:
    """Check the grids: (N, anchors × (5 + classes), H, W) each; YOLO26's is (N, boxes, 5 + classes)."""
    findings = []
    for index, tensor in enumerate(grids):
        shape = tensor.shape or ()
        axis, rank = (2, 3) if subtype == "yolo26" else (1, 4)
        if len(shape) != rank:
            written = [size or "?" for size in shape]
            expected = (
                "[N, boxes, 5 + classes]" if rank == 3 else "[N, 5 + classes, H, W] for each stride"
            )
            message = (
                f"{tensor.name!r} is {written}; the parsers of {subtype or 'YOLO'} read {expected}."
            )
            remedy = "Export the model with Luxonis' tools, which cut it where they decode."
            findings.append(_guess("outputs", message, remedy, Severity.WARNING))
            continue
        channels = shape[axis]
        if not isinstance(channels, int) or count is None:
            continue
        layer = hints.anchors[index] if hints.anchors and index < len(hints.anchors) else ()
        expected_size = grid_channels(len(layer), count)
        if channels != expected_size:
            findings.append(
                _count_differs(tensor, f"{channels} channels", f"{expected_size} with {count}")
            )
    return findings


def grid_channels(anchors: int, classes: int) -> int:
    """The channels: for each anchor, if any, x, y, width, height, objectness and the class scores."""
    return max(1, anchors) * (5 + classes)


def _count_differs(tensor: TensorFacts, has: str, wanted: str) -> Finding:
    return Finding(
        code="init.head",
        where="n_classes",
        message=f"{tensor.name!r} has {has}; it would have {wanted} classes.",
        remedy="Give the classes that the model was trained on.",
    )


# ------------------------------------------------------------------ others


def _one_output(
    kind: str, hints: HeadHints, tensors: Sequence[TensorFacts], known: Mapping[str, Any]
) -> tuple[str, dict[str, Any], list[Finding]]:
    """Classification and segmentation: one output, a score for each class."""
    parser = SCORED[kind]
    findings = []
    if len(tensors) != 1:
        names = listed([tensor.name for tensor in tensors])
        what = f"{parser} takes one output, the model has {names}"
        findings.append(_missing("outputs", what, "Give --outputs NAME."))
    if hints.is_softmax is None:
        what = "whether the model ends with a softmax"
        findings.append(_missing("is_softmax", what, "Give --softmax or --no-softmax."))
    metadata = {**known, "is_softmax": bool(hints.is_softmax)}
    count = known.get("n_classes")
    # A map of class numbers has one channel, whatever the number of classes.
    if len(tensors) == 1 and count and not hints.metadata.get("classes_in_one_layer"):
        sizes = class_sizes(kind, tensors[0].shape or ())
        if not sizes:
            findings.append(_not_checked(tensors[0].name))
        elif count not in sizes:
            has = " or ".join(map(str, sorted(sizes))) + " scores"
            differs = _count_differs(tensors[0], has, f"{count} with {count}")
            if kind == "segmentation" and (1 in sizes or tensors[0].dtype.startswith("int")):
                differs = replace(differs, remedy=_OF_NUMBERS)
            findings.append(differs)
    return parser, metadata, findings


def class_sizes(kind: str, sizes_of_axes: Sequence[int | str | None]) -> set[int]:
    """The numbers of classes that an output's shape allows; empty if its shape does not say."""
    shape = [size if isinstance(size, int) and size > 0 else None for size in sizes_of_axes]
    if kind == "classification":
        # The parser flattens it; an open batch is one.
        sizes = [size for size in (shape[1:] if len(shape) > 1 else shape) if size is not None]
        return {math.prod(sizes)} if shape and len(sizes) >= len(shape) - 1 else set()
    if len(shape) not in (3, 4):
        return set()
    channels = (shape[-3], shape[-1])
    return {size for size in channels if size is not None} if None not in channels else set()


def _not_checked(name: str) -> Finding:
    return _guess(
        "n_classes",
        f"the shape of {name!r} does not say how many classes there are: not compared.",
        "Look at the model's own documentation.",
        Severity.WARNING,
    )


def _ssd(
    hints: HeadHints, tensors: Sequence[TensorFacts], known: Mapping[str, Any]
) -> tuple[str, dict[str, Any], list[Finding]]:
    values, findings = _thresholds(hints)
    metadata = {**known, **values}
    if len(tensors) > 1:
        boxes = [tensor.name for tensor in tensors if tensor.shape and tensor.shape[-1] == 4]
        scores = [tensor.name for tensor in tensors if tensor.name not in boxes]
        if len(boxes) == len(scores) == 1:
            metadata |= {"boxes_outputs": boxes[0], "scores_outputs": scores[0]}
            findings.append(
                _guess(
                    "boxes_outputs",
                    f"{boxes[0]!r} is taken for the boxes, {scores[0]!r} for the scores.",
                    "Otherwise give boxes_outputs and scores_outputs in --head-metadata.",
                )
            )
        else:
            remedy = "Give --head-metadata with it."
            findings += [
                _missing("boxes_outputs", "which output has the boxes", remedy),
                _missing("scores_outputs", "which output has the scores", remedy),
            ]
    if known:
        findings += [_not_checked(tensor.name) for tensor in tensors[:1]]
    return "SSD", metadata, findings
