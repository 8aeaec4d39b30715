"""Outputs of whole numbers, in a form that the Myriad compiler can write."""

from __future__ import annotations

from typing import Final

import onnx_ir as ir

from converter.graph.output_types import cast_outputs

_WHOLE: Final = (ir.DataType.INT32, ir.DataType.INT64, ir.DataType.BOOL)


def whole_numbers_as_floats(model: ir.Model) -> None:
    """Make outputs of whole numbers and of booleans float32, under the output's name.

    The compiler has them in float16 there, but requires S32; it converts a tensor that is cast.
    """
    cast_outputs(model, [kind.name for kind in _WHOLE], ir.DataType.FLOAT)
