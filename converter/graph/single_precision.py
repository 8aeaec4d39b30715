"""Every floating point number as float32."""

from __future__ import annotations

from typing import Final

import numpy as np
import onnx_ir as ir

_OTHER_FLOATS: Final = (ir.DataType.BFLOAT16, ir.DataType.DOUBLE, ir.DataType.FLOAT16)


class SinglePrecision(ir.passes.InPlacePass):
    """Make float64, float16 and bfloat16 float32, the one type in which every rule and compiler agrees.

    Hardware that computes in float16 rounds by itself; float64 it refuses. A Cast between them copies
    then, which QNN does to codes without their scale: `settle_copies` comes next.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Change the types of values, constants and attributes in place."""
        graph = model.graph
        values = dict.fromkeys([*graph.inputs, *graph.initializers.values()])
        modified = [_as_single(value) for value in values]
        for node in graph:
            modified += [_as_single(output) for output in node.outputs]
            for name, attribute in list(node.attributes.items()):
                if name in ("to", "dtype") and attribute.value in [int(kind) for kind in _OTHER_FLOATS]:
                    node.attributes[name] = ir.AttrInt64(name, int(ir.DataType.FLOAT))
                elif attribute.type == ir.AttributeType.TENSOR:
                    tensor = attribute.as_tensor()
                    if tensor.dtype in _OTHER_FLOATS:
                        single = ir.Tensor(tensor.numpy().astype(np.float32), name=tensor.name)
                        node.attributes[name] = ir.AttrTensor(name, single)
        return ir.passes.PassResult(model, any(modified))


def _as_single(value: ir.Value) -> bool:
    if value.dtype not in _OTHER_FLOATS:
        return False
    value.dtype = ir.DataType.FLOAT
    if value.const_value is not None:
        array = value.const_value.numpy().astype(np.float32)
        value.const_value = ir.Tensor(array, name=value.name)
    return True
