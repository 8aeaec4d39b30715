"""The table of rules, by the name of the operator's type."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from converter.sources.ops import (
    convolution,
    elementwise,
    indexing,
    pooling,
    recurrent,
    resize,
    shape,
    vision,
)
from converter.sources.ops.elementwise import Rule

# Operators with graphs inside.
CONTROL_FLOW: Final = frozenset({"If", "Loop", "TensorIterator"})

RULES: Final[Mapping[str, Rule]] = {
    **elementwise.RULES,
    **indexing.RULES,
    **convolution.RULES,
    **pooling.RULES,
    **recurrent.RULES,
    **resize.RULES,
    **shape.RULES,
    **vision.RULES,
}
