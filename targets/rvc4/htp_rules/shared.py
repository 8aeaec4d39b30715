"""Which of the rules for all targets QNN wants."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import onnx_ir as ir

from converter.graph.rewrite import Builder, Rule, int_attribute
from converter.graph.rules import (
    activations,
    attention,
    copying,
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


def turned_sum(node: ir.Node, b: Builder) -> Sequence[ir.Value] | None:
    """A CumSum that is exclusive or goes backwards; QNN has the plain one only."""
    turned = int_attribute(node, "exclusive", 0) or int_attribute(node, "reverse", 0)
    return sums.cumulative_sum(node, b) if turned else None


# What QNN's execution provider has nothing for.
MISSING: Final[Mapping[str, Rule]] = {
    **attention.RULES,
    **lp_norms.RULES,
    "ArgMax": ranking.RULES["ArgMax"],
    "ArgMin": ranking.RULES["ArgMin"],
    "CastLike": copying.cast_like,
    "Celu": activations.celu,
    "CenterCropPad": padding.center_crop_pad,
    "CumSum": turned_sum,
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
