"""Pooling in the forms that the HTP takes."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from converter.graph.rewrite import (
    Builder,
    int_attribute,
    ints_attribute,
    static_shape,
    text_attribute,
)


def max_pool_of_volumes(node: ir.Node, b: Builder) -> Sequence[ir.Value] | None:
    """Pooling of volumes as that of planes and then of lines, which the HTP has."""
    shape, made = static_shape(node.inputs[0]), static_shape(node.outputs[0])
    kernel = ints_attribute(node, "kernel_shape") or ()
    plain = text_attribute(node, "auto_pad", "NOTSET") == "NOTSET" and len(node.outputs) == 1
    dilated = set(ints_attribute(node, "dilations") or (1,)) != {1}
    if len(kernel) != 3 or shape is None or made is None or not plain or dilated:
        return None
    strides = ints_attribute(node, "strides") or (1, 1, 1)
    pads = ints_attribute(node, "pads") or (0,) * 6
    ceil = int_attribute(node, "ceil_mode", 0)
    planes = b.op("Reshape", node.inputs[0], b.ints(shape[0], shape[1] * shape[2], *shape[3:]))
    planes = b.op(
        "MaxPool", planes, kernel_shape=kernel[1:], strides=strides[1:],
        pads=[*pads[1:3], *pads[4:6]], ceil_mode=ceil,
    )  # fmt: skip
    lines = b.op("Reshape", planes, b.ints(*shape[:3], made[3] * made[4]))
    lines = b.op(
        "MaxPool", lines, kernel_shape=[kernel[0], 1], strides=[strides[0], 1],
        pads=[pads[0], 0, pads[3], 0], ceil_mode=ceil,
    )  # fmt: skip
    return [b.op("Reshape", lines, b.ints(*made))]
