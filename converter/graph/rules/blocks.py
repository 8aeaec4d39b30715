"""Blocks put together to a frame (Col2Im)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import onnx_ir as ir

from converter.graph.rewrite import Builder, Rule, array_of, input_of, ints_attribute, static_shape
from converter.graph.rules.common import x_of
from converter.graph.rules.forms import reshaped


def col2im(node: ir.Node, b: Builder) -> Sequence[ir.Value] | None:
    """Col2Im as a ConvTranspose: each element of a block is a channel that goes to one place.

    The blocks (N, C · k, L) become (N · C, k, places); the kernel (k, 1, block) is the identity.
    """
    shape = static_shape(x_of(node))
    frame, block = array_of(input_of(node, 1)), array_of(input_of(node, 2))
    if shape is None or frame is None or block is None:
        return None
    rank = len(block)
    strides = ints_attribute(node, "strides") or (1,) * rank
    dilations = ints_attribute(node, "dilations") or (1,) * rank
    pads = ints_attribute(node, "pads") or (0,) * (2 * rank)
    wide = [(int(block[axis]) - 1) * dilations[axis] + 1 for axis in range(rank)]
    room = [int(frame[axis]) + pads[axis] + pads[axis + rank] - wide[axis] for axis in range(rank)]
    places = [size // stride + 1 for size, stride in zip(room, strides, strict=True)]
    taps = math.prod(block.tolist())
    channels = shape[1] // taps
    x = reshaped(b, x_of(node), [shape[0] * channels, taps, *places])
    kernel = np.eye(taps).reshape(taps, 1, *block.tolist())
    y = b.op(
        "ConvTranspose",
        x,
        b.constant(kernel),
        strides=list(strides),
        dilations=list(dilations),
        pads=list(pads),
        output_padding=[size % stride for size, stride in zip(room, strides, strict=True)],
    )
    y.type, y.shape = x_of(node).type, ir.Shape([shape[0] * channels, 1, *frame.tolist()])
    return [reshaped(b, y, [shape[0], channels, *frame.tolist()])]


RULES: Final[Mapping[str, Rule]] = {"Col2Im": col2im}
