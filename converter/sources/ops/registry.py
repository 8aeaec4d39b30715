"""The table of rules, by the name of the operator's type."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from converter.sources.ops import convolution as rules_nn
from converter.sources.ops import elementwise as rules_elementwise
from converter.sources.ops import indexing as rules_index
from converter.sources.ops import pooling as rules_pool
from converter.sources.ops import recurrent as rules_recurrent
from converter.sources.ops import resize as rules_resize
from converter.sources.ops import shape as rules_shape
from converter.sources.ops import vision as rules_vision
from converter.sources.ops.elementwise import Rule

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
