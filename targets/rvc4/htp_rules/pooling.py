"""Pooling in the forms that the HTP takes."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence

import numpy as np
import onnx_ir as ir

from converter.graph.rewrite import (
    Builder,
    int_attribute,
    ints_attribute,
    static_shape,
    text_attribute,
)
from converter.graph.rules.common import more_than_one_output, x_of
from converter.graph.rules.windows import framed, product, windows_of


def max_pool(node: ir.Node, b: Builder) -> Sequence[ir.Value] | None:
    """Pooling with the pads that its windows have: QNN adds windows that begin behind the frame."""
    windows = windows_of(node)
    is_dilated = set(ints_attribute(node, "dilations") or (1,)) != {1}
    if windows is None or is_dilated or more_than_one_output(node):
        return None
    if not int_attribute(node, "ceil_mode", 0):
        return None
    return [
        b.op(
            "MaxPool",
            node.inputs[0],
            kernel_shape=[item.kernel for item in windows],
            strides=[item.stride for item in windows],
            pads=[item.begin for item in windows] + [item.end + item.beyond for item in windows],
        )
    ]


def forget_wrong_shapes(model: ir.Model, known: Collection[str]) -> str | None:
    """Take the shapes from behind the first pool whose windows ONNX's inference counts wrongly.

    Before opset 22 it counts windows with `ceil_mode` that begin behind the frame; ONNX Runtime,
    PyTorch and the pads that the rules above give do not.

    Args:
        known: Nodes that were found before.

    Returns:
        The node's name; None if there is no more such pool.
    """
    for node in model.graph:
        windows = windows_of(node) if node.op_type in ("AveragePool", "MaxPool") else None
        shape = static_shape(node.outputs[0])
        if windows is None or shape is None or node.name in known:
            continue
        if shape[2:] == tuple(item.new for item in windows):
            continue
        behind = [node]
        for one in behind:
            for output in one.outputs:
                output.shape = None
                behind += [user for user, _ in output.uses() if user not in behind]
        return str(node.name)
    return None


def average_pool(node: ir.Node, b: Builder) -> Sequence[ir.Value] | None:
    """Sums of 1 / kernel as a depthwise convolution, times what the windows at the border lack.

    The HTP divides by other counts with `ceil_mode` and with pads that differ in front and behind, and
    has no dilations.
    """
    shape = static_shape(node.inputs[0])
    windows = windows_of(node)
    if shape is None or windows is None or len(windows) > 2:
        return None
    is_dilated = any(item.dilation != 1 for item in windows)
    is_lopsided = any(item.begin != item.end + item.beyond for item in windows)
    if not (is_dilated or is_lopsided or int_attribute(node, "ceil_mode", 0)):
        return None
    kernel = [item.kernel for item in windows]
    share = np.full((shape[1], 1, *kernel), 1 / math.prod(kernel))
    x, begin, end = framed(b, x_of(node), windows)
    y = b.op(
        "Conv",
        x,
        b.constant(share),
        group=shape[1],
        kernel_shape=kernel,
        strides=[item.stride for item in windows],
        dilations=[item.dilation for item in windows],
        pads=[*begin, *end],
    )
    counts = product(
        [item.counts(pads=bool(int_attribute(node, "count_include_pad", 0))) for item in windows]
    )
    whole = math.prod(kernel)
    return [y if (counts == whole).all() else b.op("Mul", y, b.constant(whole / counts))]


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
