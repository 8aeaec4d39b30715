"""Pooling in the forms that compilers take."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import onnx_ir as ir

from converter.graph.rewrite import Builder, Rule, ints_attribute, static_shape
from converter.graph.rules.common import LOWEST, more_than_one_output, x_of
from converter.graph.rules.forms import sliced
from converter.graph.rules.windows import windows_of


def max_pool(node: ir.Node, b: Builder) -> Sequence[ir.Value] | None:
    """Dilated pooling: axis after axis the largest of shifted slices, of a frame of -65504.

    Compilers take an undilated MaxPool only.
    """
    shape, dilations = static_shape(x_of(node)), ints_attribute(node, "dilations")
    if shape is None or dilations is None or set(dilations) == {1} or more_than_one_output(node):
        return None
    windows = windows_of(node, shape)
    if windows is None:
        return None
    begin, end = [item.begin for item in windows], [max(item.end, 0) for item in windows]
    frame = b.ints(0, 0, *begin, 0, 0, *end)
    y = b.op("Pad", x_of(node), frame, b.constant(LOWEST)) if any(begin + end) else x_of(node)
    for axis, item in enumerate(windows, 2):
        last = (item.count - 1) * item.stride
        shifted = [
            sliced(b, y, axis, start, start + last + 1, item.stride)
            for start in range(0, item.kernel * item.dilation, item.dilation)
        ]
        y = b.op("Max", *shifted) if len(shifted) > 1 else shifted[0]
    return [y]


RULES: Final[Mapping[str, Rule]] = {
    "MaxPool": max_pool,
}
