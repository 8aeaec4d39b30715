"""Raising graphs of old opsets to the one that every rule expects."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import onnx_ir as ir

from converter.graph.heavy import through_proto
from converter.graph.rewrite import (
    Builder,
    Rewrite,
    array_of,
    input_of,
    replace,
    text_attribute,
)
from converter.graph.rules.ranking import HARDMAX_ALONG_AN_AXIS, hardmax
from converter.graph.simplify import infer_shapes

if TYPE_CHECKING:
    import onnx

_TARGET_OPSET: Final = 13
# From this opset on, Clip, Pad and others take inputs, as every rule expects.
_OLDEST_OPSET: Final = 11
_RESIZE_WITH_COORDINATES: Final = 11


def raise_opset(model: ir.Model, oldest: int = _OLDEST_OPSET, target: int = _TARGET_OPSET) -> ir.Model:
    """Bring a graph older than `oldest` to `target` by ONNX's converter, or leave it if that fails."""
    import onnx

    version = model.graph.opset_imports.get("", 0)
    if version >= oldest:
        return model
    if version < HARDMAX_ALONG_AN_AXIS <= target and any(n.op_type == "Hardmax" for n in model.graph):
        # onnx's converter leaves the node as it is, which takes rows of all axes before.
        model = Rewrite({"Hardmax": hardmax})(infer_shapes(model)).model
    if version < 7:
        model = infer_shapes(model)
        for node in model.graph:
            _align_slope(node)

    def convert(proto: onnx.ModelProto) -> onnx.ModelProto:
        return onnx.version_converter.convert_version(proto, target)

    try:
        raised = through_proto(model, convert) or model
    except (RuntimeError, ValueError, onnx.version_converter.ConvertError):
        return model  # the compiler reads most of the old operators as they are
    if version < _RESIZE_WITH_COORDINATES <= target:
        for node in list(raised.graph):
            _resize_as_before(raised.graph, node)
    return raised


def _resize_as_before(graph: ir.Graph, node: ir.Node) -> None:
    """Give a Resize of before opset 11 its coordinates, which onnx's converter leaves out.

    Upsample and Resize divide places by the scale (`asymmetric`), and `nearest` rounds up along an axis
    that shrinks and down along others, as ONNX Runtime has it. Where both are asked for, it is two.
    """
    if node.op_type != "Resize":
        return
    scales = array_of(input_of(node, 2))
    node.attributes["coordinate_transformation_mode"] = ir.AttrString(
        "coordinate_transformation_mode", "asymmetric"
    )
    shrinks = scales is not None and bool((scales < 1).any())
    node.attributes["nearest_mode"] = ir.AttrString("nearest_mode", "ceil" if shrinks else "floor")
    if text_attribute(node, "mode", "nearest") != "nearest" or scales is None:
        return
    if not (shrinks and (scales > 1).any()):
        return
    b = Builder(graph, node.name or node.op_type)
    roi = input_of(node, 1)
    (smaller,) = b.again(node, node.inputs[0], roi, b.constant(np.minimum(scales, 1)))
    (larger,) = b.again(node, smaller, roi, b.constant(np.maximum(scales, 1)))
    b.nodes[-1].attributes["nearest_mode"] = ir.AttrString("nearest_mode", "floor")
    replace(graph, node, b, [larger])


def _align_slope(node: ir.Node) -> None:
    """Give PRelu's slopes (one per channel before opset 7) a shape that broadcasts; onnx does not."""
    if node.op_type != "PRelu":
        return
    slope, shape = node.inputs[1], node.inputs[0].shape if node.inputs[0] else None
    values = array_of(slope)
    if slope is None or values is None or shape is None or values.ndim != 1 or values.size == 1:
        return
    values = values.reshape(-1, *[1] * (len(shape) - 2))
    slope.shape, slope.const_value = ir.Shape(values.shape), ir.Tensor(values, name=slope.name)
