"""The table of rules, by the name of the operator's type."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from converter.sources import (
    rules_elementwise,
    rules_index,
    rules_nn,
    rules_pool,
    rules_recurrent,
    rules_resize,
    rules_shape,
    rules_vision,
)
from converter.sources.rules_elementwise import Rule

# Operators with graphs inside.
CONTROL_FLOW: Final = frozenset({"If", "Loop", "TensorIterator"})

RULES: Final[Mapping[str, Rule]] = {
    **rules_elementwise.RULES,
    **rules_index.RULES,
    **rules_nn.RULES,
    **rules_pool.RULES,
    **rules_recurrent.RULES,
    **rules_resize.RULES,
    **rules_shape.RULES,
    **rules_vision.RULES,
}
