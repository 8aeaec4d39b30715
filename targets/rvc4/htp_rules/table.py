"""Which rules a mode applies, in their order."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Final

import onnx_ir as ir

from converter.graph.rewrite import Builder, Rule, input_of
from converter.graph.rules import lookups, sums
from targets.rvc4.htp_rules import (
    activations,
    convolution,
    layer_norm,
    limits,
    moves,
    normalization,
    padding,
    pooling,
    products,
    ranks,
    resize,
    shared,
    volumes,
)

Group = Mapping[str, Rule]


def _first_of(*rules: Rule) -> Rule:
    """The first rule that has something for a node."""

    def apply(node: ir.Node, b: Builder) -> Sequence[ir.Value] | None:
        found = (rule(node, b) for rule in rules)
        return next((values for values in found if values is not None), None)

    return apply


POOLS: Final[Group] = {
    "AveragePool": pooling.average_pool,
    "MaxPool": _first_of(shared.dilated_max_pool, pooling.max_pool),
}
# They are applied in this order: the second handles patterns that the first leaves.
_SHARED: Final[Sequence[Group]] = (
    shared.MISSING,
    {
        "BatchNormalization": normalization.batch_normalization,
        "Clip": limits.clip,
        "Conv": convolution.dense_volume,
        "Div": layer_norm.written_out,
        "Gemm": products.biased_gemm,
        "LayerNormalization": normalization.layer_normalization,
        "ConvTranspose": convolution.whole_kernel,
        "Mean": products.mean_of_several,
        "MaxPool": pooling.max_pool_of_volumes,
        "Mul": _first_of(activations.product, layer_norm.written_out),
        "Pad": _first_of(padding.mirrored, padding.of_all_axes),
        "Resize": resize.resize,
        "Split": moves.split_of_five_axes,
        "Sum": products.sum_of_several,
    },
    {
        "ArgMax": volumes.place_of_extreme,
        "ArgMin": volumes.place_of_extreme,
        "ConvTranspose": convolution.grouped_volume_transpose,
        "Erf": activations.erf,
        "GlobalMaxPool": volumes.global_max_pool,
        "HardSigmoid": activations.gating_hard_sigmoid,
        "InstanceNormalization": volumes.instance_normalization,
        "LogSoftmax": volumes.log_softmax,
        "TopK": volumes.largest_of_axis,
        **shared.MATRICES,
        **POOLS,
    },
    {"Max": limits.beyond, "Min": limits.beyond},
)
_INTEGER: Final[Sequence[Group]] = (
    {
        "Pad": padding.beyond_the_range,
        "Reciprocal": activations.reciprocal,
        "ReduceL2": sums.RULES["ReduceL2"],  # else it is computed in float16
    },
)
_FLOAT: Final[Sequence[Group]] = (
    {
        "Cast": lookups.cast,
        "Div": layer_norm.root_mean_square,
        "LogSoftmax": activations.log_softmax,
        "Mul": layer_norm.root_mean_square,
        "ReduceL2": sums.euclidean_norm,
        "Sigmoid": activations.output_sigmoid,
        "Softplus": activations.soft_plus,
    },
    {"Exp": activations.exponential},
)
_WIDE: Final[Sequence[Group]] = (
    {
        "Mul": activations.silu,
        "PRelu": activations.p_relu,
        "Softplus": activations.soft_plus_by_sigmoid,
    },
)
_WIDE_WEIGHTS: Final[Group] = {"InstanceNormalization": volumes.instance_by_layer}


def groups(
    weight_bits: int, activation_bits: int, *, per_channel: bool, encoded: Collection[str] = ()
) -> Sequence[Group]:
    """The groups of rules for a mode; each group sees what the ones before it made.

    Args:
        weight_bits: Of integers; 0 for float16.
        activation_bits: Of integers.
        per_channel: Whether convolutions have a scale for each output channel.
        encoded: Weights whose encodings are given, and which therefore stay as they are.
    """
    if not weight_bits:
        return [*_SHARED, *_FLOAT, ranks.FLOAT_RULES, ranks.JOINED]
    found = [*_SHARED, *_INTEGER, *(_WIDE if activation_bits == 16 else ())]
    if weight_bits == 16:
        found.append(_WIDE_WEIGHTS)
    if per_channel:
        found.append({"ConvTranspose": _unless_encoded(convolution.grouped_transpose, encoded)})
    return [*found, ranks.RULES, ranks.JOINED]


def _unless_encoded(rule: Rule, encoded: Collection[str]) -> Rule:
    """A rule that makes other weights, for nodes whose weights have no given encoding."""

    def apply(node: ir.Node, b: Builder) -> Sequence[ir.Value] | None:
        weights = input_of(node, 1)
        return None if weights is not None and weights.name in encoded else rule(node, b)

    return apply
