"""Convolutions in the forms that compilers take."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import onnx_ir as ir

from converter.graph.rewrite import Builder, Rule, array_of, input_of, int_attribute
from converter.graph.rules.common import x_of
from converter.graph.rules.forms import split


def conv(node: ir.Node, b: Builder) -> Sequence[ir.Value] | None:
    """Three-dimensional convolutions as the compiler has them: one group, and a bias.

    It drops a bias of zeros, and then takes a one-element bias for the missing one and fails: so the
    bias is float16's smallest number, 6e-8.
    """
    weights, given = array_of(input_of(node, 1)), input_of(node, 2)
    groups = int_attribute(node, "group", 1)
    if weights is None or weights.ndim != 5 or (groups == 1 and given is not None):
        return None
    missing = np.full(len(weights), 2.0**-24, weights.dtype)
    bias = missing if given is None else array_of(given)
    if bias is None:
        return None
    attributes = {name: value.value for name, value in node.attributes.items() if name != "group"}
    parts = split(b, x_of(node), 1, [weights.shape[1]] * groups)
    kernels, biases = np.split(weights, groups), np.split(bias, groups)
    made = [
        b.op("Conv", part, b.constant(w, w.dtype), b.constant(c, c.dtype), **attributes)
        for part, w, c in zip(parts, kernels, biases, strict=True)
    ]
    return [b.op("Concat", *made, axis=1) if groups > 1 else made[0]]


RULES: Final[Mapping[str, Rule]] = {
    "Conv": conv,
}
