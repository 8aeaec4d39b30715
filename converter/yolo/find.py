"""Finding the detection head in an ONNX file."""

from __future__ import annotations

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
    """

    detector: Detector | None = None
    reason: str = ""


def may_detect(facts: GraphFacts) -> bool:
    """Whether a signature may be that of an uncut detector; cheap, no graph is read."""
    ranks = [len(tensor.shape or ()) for tensor in facts.outputs]
    return (
        facts.format == "ONNX"
        and len(facts.inputs) == 1
        and all(name in facts.operators for name in _OPERATORS)
        and (3 in ranks or None in [tensor.shape for tensor in facts.outputs])
    )


def find(
    path: Path, shape: tuple[int, ...], n_classes: int | None, *, rotated: bool = False
) -> Finding:
    """The detection head of an export.

    Args:
        path: The ONNX file.
        shape: The input's shape, NCHW.
        n_classes: How many classes there are; None if it is not known.
        rotated: Whether the export says that its boxes are rotated.
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
            found = _find(model, (shape[2], shape[3]), n_classes, rotated=rotated)
            if found != Finding():
                return found
    except ConvertError as error:
        return Finding(reason=error.message)
    return Finding()


def _find(model: ir.Model, frame: tuple[int, int], n_classes: int | None, *, rotated: bool) -> Finding:
    from converter.graph.rewrite import static_shape
    from converter.yolo.grids import grids_behind
    from converter.yolo.match import is_rotated, match
    from converter.yolo.probe import probe

    outputs = {value.name or "": value for value in model.graph.outputs}
    protos = {
        name: shape for name, value in outputs.items() if len(shape := static_shape(value) or ()) == 4
    }
    for name, value in outputs.items():
        if name in protos:
            continue
        grids = grids_behind([value], frame)
        if not grids:
            continue
        probed = probe(model, value, grids)
        if probed is None:
            continue
        found = match(grids, probed, frame, n_classes, [shape[1] for shape in protos.values()])
        if found is None:
            if rotated or is_rotated(grids, probed, n_classes):
                return Finding(
                    reason="its boxes are rotated: they turn about a centre that depends on the angle, "
                    "and no parser reads an angle, so a cut would change the boxes"
                )
            continue
        if found.n_masks:
            fitting = [proto for proto, shape in protos.items() if shape[1] == found.n_masks]
            if len(fitting) != 1:
                return Finding(reason="it has coefficients of masks, but no output with prototypes")
            found = replace(found, protos=fitting[0])
        return Finding(detector=found)
    return Finding()
