"""Which of the rules for all targets QNN wants."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import onnx_ir as ir

from converter.graph.rewrite import Builder, Rule, input_of, static_shape, text_attribute
from converter.graph.rules import (
    activations,
    attention,
    blocks,
    copying,
    einsum,
    logic,
    lookups,
    lp_norms,
    normalization,
    padding,
    pooling,
    ranking,
    recurrent,
    sampling,
    scattering,
    sums,
    trigonometry,
)

dilated_max_pool: Final = pooling.max_pool


def lstm(node: ir.Node, b: Builder) -> Sequence[ir.Value] | None:
    """Unrolled, but for the plain one, of which QNN has an operator with the time first."""
    layer = recurrent.layer_of(node)
    if layer is None or (recurrent.is_plain(layer) and input_of(node, 4) is None):
        return recurrent.time_first(node, b)
    return recurrent.unrolled(node, b)


def grid_sample(node: ir.Node, b: Builder) -> Sequence[ir.Value] | None:
    """Written out where QNN has no such mode, or the frame is a volume."""
    shape = static_shape(node.inputs[0])
    cubic = text_attribute(node, "mode", "linear") in ("bicubic", "cubic")
    return sampling.grid_sample(node, b) if cubic or (shape is not None and len(shape) > 4) else None


RECURRENT: Final[Mapping[str, Rule]] = {**recurrent.RULES, "LSTM": lstm}
MATRICES: Final = einsum.MATMUL_RULES
# What QNN's execution provider has nothing for, or computes wrongly: CumSum in INT8.
MISSING: Final[Mapping[str, Rule]] = {
    **attention.RULES,
    **blocks.RULES,
    **lookups.BATCHES,
    **lookups.ONE_HOT,
    **lp_norms.RULES,
    "ArgMax": ranking.RULES["ArgMax"],
    "ArgMin": ranking.RULES["ArgMin"],
    "CastLike": copying.cast_like,
    "Celu": activations.celu,
    "CenterCropPad": padding.center_crop_pad,
    "CumSum": sums.cumulative_sum,
    **einsum.EINSUM_RULES,
    "GroupNormalization": normalization.group_normalization,
    "GridSample": grid_sample,
    "Hardmax": ranking.RULES["Hardmax"],
    "IsInf": logic.is_inf,
    "IsNaN": logic.is_nan,
    "MeanVarianceNormalization": normalization.mean_variance_normalization,
    "Mish": activations.mish,
    "Mod": logic.mod,
    "ReverseSequence": ranking.RULES["ReverseSequence"],
    "RMSNormalization": normalization.rms_normalization,
    **scattering.RULES,
    "Selu": activations.selu,
    "Shape": copying.shape_of,
    "Size": copying.size_of,
    "Shrink": activations.shrink,
    "Softsign": activations.softsign,
    "Swish": activations.swish,
    "ThresholdedRelu": activations.thresholded_relu,
    "Xor": logic.logical_xor,
    **{
        operator: sums.RULES[operator]
        for operator in (
            *("ReduceL1", "ReduceLogSum", "ReduceLogSumExp", "ReduceProd", "ReduceSumSquare"),
            "Trilu",
        )
    },
    **{
        operator: trigonometry.RULES[operator]
        for operator in ("Acos", "Acosh", "Asin", "Asinh", "Atanh", "Cosh", "Sinh", "Tan")
    },
}
