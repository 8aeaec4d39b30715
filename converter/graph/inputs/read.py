"""The values of a graph's inputs: indices, masks, the arguments of roots.

The consumers of an input say it: what a Gather takes as indices counts the rows of its table, what a
Softmax gets added to it is a mask of zeros and large negative numbers. An input is followed through
operators that hand its values on, and through sums with whole constants.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from converter.graph.inputs.rules import facts_of
from converter.graph.inputs.uses import Use, is_float, shape_of, uses_of
from converter.graph.inputs.values import Kind, Values

if TYPE_CHECKING:
    import onnx_ir as ir


def read_values(path: Path) -> dict[str, Values]:
    """The values of a model's inputs, by name; inputs of which nothing is known are left out.

    Only ONNX files tell; of another format nothing is known.
    """
    import onnx_ir as ir

    if path.suffix.lower() != ".onnx":
        return {}
    from converter.graph.simplify import infer_shapes

    return values_of(infer_shapes(ir.load(path)))


def values_of(model: ir.Model) -> dict[str, Values]:
    """The values of a model's inputs, by name; inputs of which nothing is known are left out."""
    found = {}
    for value in model.graph.inputs:
        name = value.name or ""
        uses = list(uses_of(value))
        facts = [_moved(fact, use.offset) for use in uses for fact in facts_of(use)]
        known = _together(facts) if facts else None
        if (known is None or known.kind is Kind.MASK) and is_float(value):
            # A network may compare any feature with 0, and multiply any two.
            known = Values(kind=Kind.MASK) if _is_float_mask(name, uses) else None
        elif known is None and "mask" in name.lower():
            known = Values(kind=Kind.MASK)
        if known is not None:
            found[name] = known
    return found


def _together(facts: Sequence[Values]) -> Values:
    first, *others = facts
    for other in others:
        first = first.meet(other)
    return first


def _is_float_mask(name: str, uses: Sequence[Use]) -> bool:
    """Whether floats are zeros and ones: by their name, or because they only choose and gate."""
    if "mask" in name.lower():
        return True
    return bool(uses) and all(
        any(fact.kind is Kind.MASK for fact in facts_of(use)) or _gates_rows(use) for use in uses
    )


def _gates_rows(use: Use) -> bool:
    """Whether (N, L, 1) is multiplied with features (N, L, D): what pooling does with a mask."""
    if use.node.op_type != "Mul":
        return False
    own, other = use.value.shape, shape_of(use.node.inputs[1 - use.index])
    return own is not None and len(own) == 3 == len(other) and own[2] == 1 and other[2] not in (1, None)


def _moved(fact: Values, offset: float) -> Values:
    if not offset or fact.kind not in (Kind.WHOLE, Kind.REAL):
        return fact
    return replace(
        fact,
        low=None if fact.low is None else fact.low - offset,
        high=None if fact.high is None else fact.high - offset,
    )
