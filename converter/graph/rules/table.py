"""All rules by operator, in the order in which they are applied."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from converter.graph.rewrite import Rule
from converter.graph.rules import (
    activations,
    attention,
    blocks,
    convolution,
    copying,
    einsum,
    logic,
    lookups,
    lp_norms,
    normalization,
    padding,
    pooling,
    products,
    ranking,
    recurrent,
    resize,
    sampling,
    scattering,
    sums,
    transposed_convolution,
    trigonometry,
)

# What a rule makes is seen by the groups behind it.
FIRST: Final[Sequence[Mapping[str, Rule]]] = (
    {**recurrent.RULES, **blocks.RULES},
    {
        **attention.RULES,
        **einsum.EINSUM_RULES,
        **pooling.RULES,
        **resize.RULES,
        **transposed_convolution.RULES,
        **trigonometry.RULES,
    },
    {**einsum.MATMUL_RULES, **lp_norms.RULES, **ranking.RULES, **sampling.RULES, **sums.RULES},
)
DECOMPOSITIONS: Final[Mapping[str, Rule]] = {
    **activations.RULES,
    **convolution.RULES,
    **copying.RULES,
    **lookups.RULES,
    **logic.RULES,
    **normalization.RULES,
    **padding.RULES,
    **products.RULES,
    **scattering.RULES,
}
