"""Constants as the quantizer wants them."""

from __future__ import annotations

import onnx_ir as ir


class UnshareWeights(ir.passes.InPlacePass):
    """Give every node separate weights: the quantizer treats a shared one as a standalone node."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Copy initializers of floats that several nodes read; the content stays one in memory."""
        graph, modified = model.graph, False
        for value in list(graph.initializers.values()):
            if value.dtype != ir.DataType.FLOAT or value.const_value is None:
                continue
            for index, (node, place) in enumerate(list(value.uses())[1:], 1):
                copy = ir.Value(
                    name=f"{value.name}/use.{index}",
                    shape=value.shape,
                    type=value.type,
                    const_value=value.const_value,
                )
                graph.register_initializer(copy)
                node.replace_input_with(place, copy)
                modified = True
        return ir.passes.PassResult(model, modified)
