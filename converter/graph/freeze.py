"""Fixed shapes for a graph's inputs, and the shapes that follow from them."""

from __future__ import annotations

from collections.abc import Mapping

import onnx_ir as ir


class FreezeShapes(ir.passes.InPlacePass):
    """Give every input its shape.

    Args:
        shapes: The shape of each input, by name.
    """

    def __init__(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        super().__init__()
        self._shapes = shapes

    def requires(self, model: ir.Model) -> None:
        """Every input has a shape to take."""
        missing = [v.name for v in real_inputs(model.graph) if v.name not in self._shapes]
        if missing:
            raise ir.passes.PreconditionError(f"no shape for the inputs {missing}")

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Set the shapes; those of inner values are cleared, for they were inferred without them."""
        modified = False
        for value in real_inputs(model.graph):
            shape = ir.Shape(self._shapes[value.name or ""])
            modified |= value.shape != shape
            value.shape = shape
        if modified:
            for node in model.graph:
                for output in node.outputs:
                    output.shape = None
        return ir.passes.PassResult(model, modified)

    def ensures(self, model: ir.Model) -> None:
        """No input is dynamic any more."""
        for value in real_inputs(model.graph):
            if value.shape is None or value.shape.is_dynamic():
                raise ir.passes.PostconditionError(f"{value.name} is still dynamic")


def real_inputs(graph: ir.Graph) -> list[ir.Value]:
    """The inputs that a caller feeds; old exporters list the weights among them."""
    return [value for value in graph.inputs if value.name not in graph.initializers]
