"""All rules by operator, in the order in which they are applied."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from converter.graph.rewrite import Rule
from converter.graph.rules import (
    activations,
    convolution,
    copying,
    normalization,
    pooling,
    products,
    recurrent,
    resize,
    transposed_convolution,
)

# What a rule makes is seen by the groups behind it.
FIRST: Final[Sequence[Mapping[str, Rule]]] = (
    recurrent.RULES,
    {**resize.RULES, **transposed_convolution.RULES},
)
DECOMPOSITIONS: Final[Mapping[str, Rule]] = {
    **activations.RULES,
    **convolution.RULES,
    **copying.RULES,
    **normalization.RULES,
    **pooling.RULES,
    **products.RULES,
}
