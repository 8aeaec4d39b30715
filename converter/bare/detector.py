"""A bare detector made ready for a camera: found, cut, and given the head that its parser reads."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from converter.bare.exported import BGR_AS_IS, RGB_TO_ONE, Exported, Frames
from converter.bare.heads import THRESHOLDS, HeadHints
from converter.errors import UsageError, from_findings
from converter.findings import Finding, Severity
from converter.graph.facts import GraphFacts

if TYPE_CHECKING:
    import onnx_ir as ir

    from converter.sources.cut import Cut
    from converter.yolo.detector import Detector

# Beside it a frame's stem takes every second pixel, as YOLOX's and YOLOv5's first layer do.
_FOCUS_SLICES: Final = 4


@dataclass(frozen=True, kw_only=True)
class Recognized:
    """A detector in a bare model.

    Attributes:
        cut: The cut model; None if it is left whole.
        head: The head as raw JSON; None if it has none.
        frames: How such detectors take frames; None if that is not known.
        told: What was found and decided, and what may be wrong.
    """

    cut: Cut | None = None
    head: dict[str, Any] | None = None
    frames: Frames | None = None
    told: tuple[Finding, ...] = ()


def recognize(
    model: Path,
    facts: GraphFacts,
    shape: tuple[int, ...],
    exported: Exported | None,
    hints: HeadHints,
    *,
    work: Path | None,
) -> Recognized:
    """Look for a detection head, and cut the model in front of its decoding.

    Args:
        model: The model's file.
        facts: Its signature.
        shape: The input's shape, NCHW.
        exported: What the file says about itself.
        hints: What the user knows of the head.
        work: Below which folder to write the cut model.

    Raises:
        UsageError: The user's classes or anchors contradict the model.
    """
    from converter.yolo.find import find, may_detect

    if not may_detect(facts):
        return Recognized()
    task = exported.task if exported else ""
    known = exported.classes if exported else None
    n_classes = len(known) if known else None
    found = find(model, shape, n_classes, rotated=task == "obb", anchors=hints.anchors)
    if found.detector is None:
        return Recognized(told=_whole(found.reason, found.remedy))
    detector = found.detector
    head, told = _head(detector, exported, hints)
    names = {facts.inputs[0].name: shape}

    def edit(whole: ir.Model) -> ir.Model:
        from converter.graph.freeze import FreezeShapes
        from converter.graph.simplify import infer_shapes
        from converter.yolo.write import write

        return write(infer_shapes(FreezeShapes(names)(whole).model), detector)

    from converter.sources.cut import cut_by

    try:
        cut = cut_by(model, facts.external, _described(detector), edit, work=work)
    except KeyError as missing:
        reason = f"its tensor {missing} is found only in a simplified copy"
        return Recognized(told=_whole(reason))
    return Recognized(
        cut=cut,
        head=head,
        frames=_frames(detector, facts),
        told=(_cut_told(detector, exported), *told),
    )


def _whole(reason: str, remedy: str = "") -> tuple[Finding, ...]:
    if not reason:
        return ()
    return (
        Finding(
            code="init.uncut",
            severity=Severity.WARNING,
            where="model.outputs",
            message=f"the detector is left whole: {reason}.",
            remedy=remedy or "No parser of a camera decodes its outputs; decode them in your own code.",
        ),
    )


def _described(detector: Detector) -> dict[str, Any]:
    """The cut for the plan and the build record."""
    from converter.yolo.families import names_of

    return {
        "detector": detector.form.value,
        "outputs": list(names_of(detector).all),
        "grids": [
            {"stride": grid.stride, "tensors": [part.name for part in grid.parts]}
            for grid in detector.grids
        ],
    }


def _cut_told(detector: Detector, exported: Exported | None) -> Finding:
    from converter.yolo.families import FAMILIES, names_of

    family = FAMILIES[detector.form]
    strides = ", ".join(map(str, detector.strides))
    apart = f"; {family.read_apart}" if family.read_apart else ""
    by = f" by {exported.by}" if exported else ""
    return Finding(
        code="init.cut",
        severity=Severity.INFO,
        where="model.outputs",
        message=f"a detector{by} of {detector.n_classes} classes at the strides {strides}, cut in "
        f"front of its decoding: {', '.join(names_of(detector).all)}, subtype {family.subtype}{apart}.",
        remedy="--no-cut keeps the graph as it is.",
    )


# -------------------------------------------------------------------- head


def _head(
    detector: Detector, exported: Exported | None, hints: HeadHints
) -> tuple[dict[str, Any], list[Finding]]:
    from converter.yolo.families import FAMILIES, NO_SUPPRESSION, metadata_of, names_of, parser_of

    metadata, findings = metadata_of(detector), []
    classes, told = _classes(detector, exported, hints)
    findings += told
    defaults = dict(THRESHOLDS)
    if detector.end_to_end:
        defaults["iou_threshold"] = NO_SUPPRESSION
    values: dict[str, Any] = {}
    for key, default in defaults.items():
        given = getattr(hints, key)
        values[key] = default if given is None else given
    metadata = {**classes, **values, **metadata}
    if hints.subtype is not None:
        metadata["subtype"] = hints.subtype.lower()
    if hints.anchors is not None and detector.anchors:
        metadata["anchors"] = [[list(pair) for pair in layer] for layer in hints.anchors]
    metadata |= hints.metadata
    if FAMILIES[detector.form].subtype != metadata["subtype"]:
        findings.append(
            Finding(
                code="init.head",
                severity=Severity.INFO,
                where="subtype",
                message=f"{metadata['subtype']}, as you say; every reader decodes these outputs as "
                f"{FAMILIES[detector.form].subtype}.",
            )
        )
    head = {
        "parser": parser_of(detector),
        "metadata": metadata,
        "outputs": list(names_of(detector).all),
    }
    return head, findings


def _classes(
    detector: Detector, exported: Exported | None, hints: HeadHints
) -> tuple[dict[str, Any], list[Finding]]:
    count = detector.n_classes
    told: list[Finding] = []
    if hints.classes is not None or hints.n_classes is not None:
        given = hints.classes or tuple(map(str, range(hints.n_classes or 0)))
        if len(given) != count or hints.n_classes not in (None, count):
            wrong = len(given) if len(given) != count else hints.n_classes
            raise from_findings(
                UsageError,
                "The head",
                [
                    Finding(
                        code="init.head",
                        where="n_classes",
                        message=f"{wrong} classes are given, the model tells {count} apart.",
                        remedy="Give the classes that the model was trained on.",
                    )
                ],
            )
        names = given
    elif exported is not None and exported.classes is not None:
        names = exported.classes
    else:
        names = tuple(map(str, range(count)))
        told = [
            Finding(
                code="init.head",
                severity=Severity.WARNING,
                where="classes",
                message=f"the file names no classes: the {count} are called by their numbers.",
                remedy="Name them with nnconvert init --classes.",
            )
        ]
    return {"classes": list(names), "n_classes": count}, told


def _frames(detector: Detector, facts: GraphFacts) -> Frames | None:
    """How detectors of this form take frames: YOLOX as they are, all others from 0 to 1."""
    from converter.yolo.detector import Form

    if detector.form is not Form.ANCHOR_FREE:
        return RGB_TO_ONE
    if not detector.decoded or facts.operators["Slice"] >= _FOCUS_SLICES:
        return BGR_AS_IS
    return None


def head_of_exported(
    exported: Exported, facts: GraphFacts, hints: HeadHints
) -> tuple[dict[str, Any] | None, tuple[Finding, ...]]:
    """The head of a model whose file says what it is, and that no cut is for."""
    if len(facts.outputs) != 1 or exported.classes is None:
        return None, ()
    output, count = facts.outputs[0], len(exported.classes)
    last = (output.shape or (None,))[-1]
    if exported.task not in ("classify", "characters") or last not in (count, None):
        return None, ()
    classes = list(hints.classes or exported.classes)
    metadata: dict[str, Any] = {
        "classes": classes,
        "n_classes": len(classes),
        "is_softmax": True if hints.is_softmax is None else hints.is_softmax,
    }
    parser = "ClassificationParser"
    if exported.task == "characters":
        parser = "ClassificationSequenceParser"
        metadata |= {"ignored_indexes": [0], "remove_duplicates": True, "concatenate_classes": True}
    metadata |= hints.metadata
    told = Finding(
        code="init.cut",
        severity=Severity.INFO,
        where="model.heads",
        message=f"a model by {exported.by}: {len(classes)} classes for the {parser}.",
        remedy="Give another head with nnconvert init.",
    )
    return {"parser": parser, "metadata": metadata, "outputs": [output.name]}, (told,)
