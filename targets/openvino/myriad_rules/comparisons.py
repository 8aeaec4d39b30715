"""Comparisons of whole numbers, for which the Myriad compiler has no stage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import onnx_ir as ir

from converter.graph.rewrite import Builder, Rule
from converter.graph.rules.forms import as_float


def of_difference(node: ir.Node, b: Builder) -> Sequence[ir.Value] | None:
    """The sign of a - b, which float16 keeps however large the numbers are."""
    kinds = {value.dtype for value in node.inputs if value is not None}
    if not kinds <= {ir.DataType.INT32, ir.DataType.INT64}:
        return None
    difference = as_float(b, b.op("Sub", *node.inputs))
    return [b.op(node.op_type, difference, b.constant(0.0))]


RULES: Final[Mapping[str, Rule]] = {"Greater": of_difference, "Less": of_difference}
