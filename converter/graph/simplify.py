"""Constant folding and dead code, by onnxslim; shapes inferred afterwards."""

from __future__ import annotations

import contextlib
import io
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx
    import onnx_ir as ir


def simplify(model: ir.Model) -> tuple[ir.Model, str | None]:
    """Simplify a graph; its inputs and outputs keep their names, order and types.

    Returns:
        The simplified model, or the given one with the reason why it could not be simplified.
    """
    from onnxslim.cli._main import slim

    from converter.graph.heavy import through_proto

    def slimmed(proto: onnx.ModelProto) -> onnx.ModelProto | None:
        before = _signature(proto)
        found: onnx.ModelProto | None = slim(proto)
        return found if found is not None and _signature(found) == before else None

    # onnxslim prints, and raises whatever its passes raise: the model is then used as it is.
    with contextlib.redirect_stdout(io.StringIO()):
        try:
            simplified = through_proto(model, slimmed)
        except Exception as error:  # noqa: BLE001
            return model, f"onnxslim could not simplify the model ({error})"
    if simplified is None:
        return model, "onnxslim changed the model's inputs or outputs; its result is not used"
    return simplified, None


def infer_shapes(model: ir.Model) -> ir.Model:
    """Fill in the shapes of all values that ONNX's inference knows, weights apart."""
    return shape_inference()(model).model


def shape_inference() -> ir.passes.PassBase:
    """The pass behind `infer_shapes`, to stand between others."""
    from onnx_ir.passes.common import ShapeInferencePass

    return ShapeInferencePass(check_type=False, strict_mode=False, data_prop=True)


def _signature(proto: onnx.ModelProto) -> list[tuple[str, int]]:
    weights = {tensor.name for tensor in proto.graph.initializer}
    values = [value for value in proto.graph.input if value.name not in weights]
    return [(value.name, value.type.tensor_type.elem_type) for value in [*values, *proto.graph.output]]
