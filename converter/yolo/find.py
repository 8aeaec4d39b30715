"""Finding the detection head in an ONNX file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from converter.graph.facts import GraphFacts

if TYPE_CHECKING:
    import onnx_ir as ir

    from converter.yolo.detector import Detector

# Every decoding joins grids, and every detector has convolutions.
_OPERATORS: Final = ("Conv", "Concat")


@dataclass(frozen=True, kw_only=True)
class Finding:
    """The head of an export, or why it is left as it is.

    Attributes:
        reason: Why it is not cut although it looks like a detector; empty if it does not.
        remedy: What would help; empty for the usual one.
    """

    detector: Detector | None = None
    reason: str = ""
    remedy: str = ""


Anchors = Sequence[Sequence[Sequence[float]]]


def may_detect(facts: GraphFacts) -> bool:
    """Whether a signature may be that of an uncut detector; cheap, no graph is read."""
    ranks = [len(tensor.shape or ()) for tensor in facts.outputs]
    suppresses = any(_suppresses(kind) for kind in facts.operators)
    return (
        facts.format == "ONNX"
        and len(facts.inputs) == 1
        and all(name in facts.operators for name in _OPERATORS)
        and (
            3 in ranks
            or ranks.count(5) > 1
            or suppresses
            or None in [tensor.shape for tensor in facts.outputs]
        )
    )


def _suppresses(operator: str) -> bool:
    """Whether it suppresses overlaps: ONNX' own, or a plugin such as EfficientNMS_TRT."""
    return operator == "NonMaxSuppression" or "NMS" in operator


def find(
    path: Path,
    shape: tuple[int, ...],
    n_classes: int | None,
    *,
    rotated: bool = False,
    anchors: Anchors | None = None,
) -> Finding:
    """The detection head of an export.

    Args:
        path: The ONNX file.
        shape: The input's shape, NCHW.
        n_classes: How many classes there are; None if it is not known.
        rotated: Whether the export says that its boxes are rotated.
        anchors: By stride, what the user says of them: an export may leave them out.
    """
    import onnx_ir as ir

    from converter.errors import ConvertError
    from converter.graph.freeze import real_inputs
    from converter.graph.simplify import infer_shapes
    from converter.graph.single_precision import SinglePrecision
    from converter.graph.source import read_source

    if len(shape) != 4 or shape[1] not in (1, 3):
        return Finding()
    try:
        # Folding constants takes most of the time, and only graphs with shapes inside want it.
        for simplified in (False, True):
            names = [value.name or "" for value in real_inputs(ir.load(path).graph)]
            model, *_ = read_source(str(path), dict.fromkeys(names, shape), simplified=simplified)
            model = SinglePrecision()(infer_shapes(model)).model
            frame = (shape[2], shape[3])
            found = _find(model, frame, n_classes, rotated=rotated)
            if found == Finding():
                found = _raw(model, frame, anchors)
            if found != Finding():
                return found
    except ConvertError as error:
        return Finding(reason=error.message)
    return Finding()


def _find(model: ir.Model, frame: tuple[int, int], n_classes: int | None, *, rotated: bool) -> Finding:
    """The head behind an output; if none is proved, behind what a suppression of overlaps takes."""
    from converter.graph.rewrite import static_shape

    outputs = {value.name or "": value for value in model.graph.outputs}
    protos = {
        name: shape for name, value in outputs.items() if len(shape := static_shape(value) or ()) == 4
    }
    ends = [value for name, value in outputs.items() if name not in protos]
    for value in (*ends, *_suppressed(model)):
        found = _behind(model, value, frame, n_classes, protos, rotated=rotated)
        if found != Finding():
            return found
    return Finding()


def _suppressed(model: ir.Model) -> Iterator[ir.Value]:
    """Tensors that may be all boxes in front of a suppression of overlaps, the nearest first."""
    from converter.graph.rewrite import static_shape

    stack = [
        value
        for node in model.graph
        if _suppresses(node.op_type)
        for value in node.inputs
        if value is not None
    ]
    seen: set[int] = set()
    while stack:
        value = stack.pop(0)
        node = value.producer()
        if id(value) in seen or node is None:
            continue
        seen.add(id(value))
        shape = static_shape(value) or ()
        if len(shape) == 3 and min(shape[1:]) > 4:
            yield value
        if len(shape) != 4:  # the grids are there
            stack += [item for item in node.inputs if item is not None]


def _behind(
    model: ir.Model,
    value: ir.Value,
    frame: tuple[int, int],
    n_classes: int | None,
    protos: Mapping[str, tuple[int, ...]],
    *,
    rotated: bool,
) -> Finding:
    """The head whose decoding ends at a tensor."""
    from converter.yolo.grids import grids_behind
    from converter.yolo.match import is_rotated, match
    from converter.yolo.probe import probe

    grids = grids_behind([value], frame)
    probed = probe(model, value, grids) if grids else None
    if probed is None or probed.output.ndim != 2:
        return Finding()
    found = match(grids, probed, frame, n_classes, [shape[1] for shape in protos.values()])
    if found is None:
        if rotated or is_rotated(grids, probed, n_classes):
            return Finding(
                reason="its boxes are rotated: they turn about a centre that depends on the angle, "
                "and no parser reads an angle, so a cut would change the boxes"
            )
        return Finding()
    if found.n_masks:
        fitting = [proto for proto, shape in protos.items() if shape[1] == found.n_masks]
        if len(fitting) != 1:
            return Finding(reason="it has coefficients of masks, but no output with prototypes")
        found = replace(found, protos=fitting[0])
    return Finding(detector=found)


def _raw(model: ir.Model, frame: tuple[int, int], anchors: Anchors | None) -> Finding:
    """The head of an export without a decoding, with the anchors that the user gives."""
    from converter.yolo.levels import levels_of

    levels = levels_of(model, frame)
    if levels is None:
        return Finding()
    count, layers = levels.n_anchors, len(levels.grids)
    if anchors is not None and (detector := levels.detector(anchors)) is not None:
        return Finding(detector=detector)
    if anchors is not None:
        reason = f"it wants {count} anchors for each of {layers} strides, and other ones are given"
    else:
        reason = (
            f"its outputs are the raw numbers of {count} anchors at {layers} strides, as YOLOv5 and "
            "YOLOv7 without --grid write them, and the anchors are not in the file"
        )
    remedy = (
        "Export it with its decoding (YOLOv7: --grid), or give the anchors of its training in pixels: "
        "nnconvert init --anchors '[[[10,13],[16,30],[33,23]], …]', a list for each stride."
    )
    return Finding(reason=reason, remedy=remedy)
