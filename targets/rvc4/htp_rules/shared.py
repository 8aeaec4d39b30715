"""Which of the rules for all targets QNN wants."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from converter.graph.rewrite import Rule
from converter.graph.rules import (
    activations,
    attention,
    copying,
    einsum,
    logic,
    lp_norms,
    normalization,
    padding,
    pooling,
    ranking,
    scattering,
    sums,
    trigonometry,
)

dilated_max_pool: Final = pooling.max_pool
SCATTERING: Final = scattering.RULES
# What QNN's execution provider has nothing for, or computes wrongly: CumSum in INT8.
MISSING: Final[Mapping[str, Rule]] = {
    **attention.RULES,
    **lp_norms.RULES,
    "ArgMax": ranking.RULES["ArgMax"],
    "ArgMin": ranking.RULES["ArgMin"],
    "CastLike": copying.cast_like,
    "Celu": activations.celu,
    "CenterCropPad": padding.center_crop_pad,
    "CumSum": sums.cumulative_sum,
    **einsum.EINSUM_RULES,
    "GroupNormalization": normalization.group_normalization,
    "Hardmax": ranking.RULES["Hardmax"],
    "IsInf": logic.is_inf,
    "IsNaN": logic.is_nan,
    "MeanVarianceNormalization": normalization.mean_variance_normalization,
    "Mish": activations.mish,
    "Mod": logic.mod,
    "RMSNormalization": normalization.rms_normalization,
    "Selu": activations.selu,
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
        for operator in ("Acos", "Acosh", "Asinh", "Atanh", "Cosh", "Sinh", "Tan")
    },
}
