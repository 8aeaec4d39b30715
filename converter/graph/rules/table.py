"""All rules by operator, in the order in which they are applied."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from converter.graph.rewrite import Rule
from converter.graph.rules import (
    activations,
    convolution,
    copying,
    einsum,
    logic,
    normalization,
    padding,
    pooling,
    products,
    recurrent,
)

# What a rule makes is seen by the groups behind it.
FIRST: Final[Sequence[Mapping[str, Rule]]] = (
    recurrent.RULES,
    einsum.EINSUM_RULES,
    einsum.MATMUL_RULES,
)
DECOMPOSITIONS: Final[Mapping[str, Rule]] = {
    **activations.RULES,
    **convolution.RULES,
    **copying.RULES,
    **logic.RULES,
    **normalization.RULES,
    **padding.RULES,
    **pooling.RULES,
    **products.RULES,
}
