"""Operators kept apart that the HTP would fuse into something less exact."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import onnx_ir as ir

from converter.graph.moves import MOVES
from converter.graph.rewrite import Builder, array_of
from targets.rvc4.htp_rules.activations import log_softmax

# Beyond it float16 has only 0 and 1 for a sigmoid (to 1.2e-7), -1 and 1 for a hyperbolic tangent.
_FLAT: Final = 16.0
_PRODUCTS: Final = ("Conv", "ConvTranspose", "Gemm", "MatMul")
_WITH_NUMBERS: Final = ("Add", "Div", "Mul", "Sub")


def curve(node: ir.Node, b: Builder) -> Sequence[ir.Value] | None:
    """F(min(max(x, -16), 16)) for f(x), a Sigmoid or Tanh, where a product of matrices makes x.

    At most 1.2e-7 off. Of a product and the curve behind it the HTP makes one operator in float16,
    whose curve consists of straight lines: a sigmoid is off by up to 0.0039 and 0 below -6, a tangent
    by up to 0.0073 (QAIRT 2.51.0, its emulator; by themselves 0.001 and 0.0005). Seventeen of them in
    a row cost RexNet 5 % of its output. The limits are fused with the product instead, which is exact.
    """
    x = node.inputs[0]
    if x is None or not is_product(x):
        return None
    return [b.op(node.op_type, b.op("Clip", x, b.constant(-_FLAT), b.constant(_FLAT)))]


def log_softmax_of_frames(node: ir.Node, b: Builder) -> Sequence[ir.Value] | None:
    """A LogSoftmax that no product of matrices feeds, written out (`activations.log_softmax`).

    In integers the HTP misreads one that reads a scaled frame (relative RMSE 0.66 to 0.95, QAIRT
    2.51.0, its emulator); behind a convolution it is right.
    """
    x = node.inputs[0]
    return None if x is None or is_product(x) else log_softmax(node, b)


def is_product(value: ir.Value) -> bool:
    """Whether a product of matrices makes a value; moves and numbers behind it do not matter."""
    made = value.producer()
    while made is not None and made.op_type not in _PRODUCTS:
        computed = [item for item in made.inputs if item is not None and array_of(item) is None]
        with_number = made.op_type in _WITH_NUMBERS and len(computed) == 1
        if not with_number and made.op_type not in MOVES:
            return False
        made = computed[0].producer() if computed else None
    return made is not None
