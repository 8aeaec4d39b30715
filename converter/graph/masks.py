"""Masks of very negative numbers in front of a Softmax, as numbers that every format can hold.

An attention mask is -inf, the lowest float32, or -1e4 where a score is not to count. None of them has
to be that low: what is much lower than the largest score of its row gives the Softmax zero. For every
tensor the bounds are found beyond which its values may be clipped without changing what the graph
computes, from the operators that read it, backwards. The bounds of an input of

    a + b        are those of the sum, less the other's range
    a - b        likewise; of b mirrored
    a · k        those of the product, divided by k
    Where, Max, moves    those of the output

and Softmax, Exp, Sigmoid, Relu and maxima are where bounds begin.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import onnx_ir as ir

from converter.graph.moves import MOVES
from converter.graph.rewrite import array_of

# What a mask becomes in floating point: float16 can still add scores and a second mask to it.
DEEP: Final = -3e4
# What is lower is there to hide scores, not to shift them (Swin's masks have -100).
_HIDES: Final = -50.0
_HIDES_AS_INPUT: Final = -9e3  # an input may as well be the scores, or anything, themselves
# Beyond this distance e^x is below the steps of 8 bits (and nearly of float32) in sums of thousands.
MARGIN: Final = 20.0
_MOVES: Final = (*MOVES, "Clip", "Concat", "Min", "Pad", "ScatterElements", "ScatterND", "Where")
_MAXIMA: Final = ("GlobalMaxPool", "MaxPool", "ReduceMax")
_WHOLE: Final = (-math.inf, math.inf)


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What is known of the values on real frames; nothing of floating point conversions.

    Attributes:
        ranges: The lowest and highest value of a tensor.
        peaks: The lowest of the rows' largest values, of the inputs of Softmax and the outputs of
            ReduceMax; rows that are masked altogether left out.
    """

    ranges: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    peaks: Mapping[str, float] = field(default_factory=dict)


Bounds = tuple[float, float]


def clip_bounds(graph: ir.Graph, seen: Seen) -> dict[str, Bounds]:
    """For each float tensor and constant, the bounds beyond which it may be clipped.

    Args:
        graph: In topological order, with inferred types.
        seen: Measured values; without any, the bounds are DEEP wherever a mask may be clipped.

    Returns:
        By tensor name (low, high); tensors without any bound are left out.
    """
    analysis = _Analysis(seen)
    for node in reversed(graph):
        for output in node.outputs:
            analysis.close(output)
    for value in (*graph.inputs, *graph.initializers.values()):
        analysis.close(value)
    return {name: bounds for name, bounds in analysis.bounds.items() if bounds != _WHOLE}


def masked(
    graph: ir.Graph, bounds: Mapping[str, Bounds], ranges: Mapping[str, tuple[float, float]]
) -> frozenset[str]:
    """The tensors of masks: very low (or high) numbers that may be clipped, and what they flow into."""
    found: set[str] = set()
    for value in (*graph.inputs, *graph.initializers.values()):
        if value.name in bounds:
            low, high = _values(value, ranges)
            least = _HIDES if value.is_initializer() else _HIDES_AS_INPUT
            if low < least or high > -least:
                found.add(str(value.name))
    for node in graph:
        if any(value is not None and value.name in found for value in node.inputs):
            found |= {str(out.name) for out in node.outputs if out.name in bounds}
    return frozenset(found)


def _values(value: ir.Value, ranges: Mapping[str, tuple[float, float]]) -> tuple[float, float]:
    array = array_of(value)
    if array is None or array.dtype.kind != "f" or not array.size:
        return ranges.get(str(value.name), (0.0, 0.0))
    return float(array.min()), float(array.max())


class ClampMasks(ir.passes.InPlacePass):
    """Make the constants of masks no lower than DEEP (and no higher than -DEEP)."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Change constants in place, those alone that may be clipped."""
        modified = False
        for name, (low, high) in clip_bounds(model.graph, Seen()).items():
            value = model.graph.initializers.get(name)
            array = array_of(value)
            if value is None or array is None or array.dtype.kind != "f":
                continue
            clamped = np.clip(array, _deep(low), -_deep(-high)).astype(array.dtype)
            if not np.array_equal(clamped, array):
                value.const_value = ir.Tensor(clamped, name=value.name)
                modified = True
        return ir.passes.PassResult(model, modified)


def _deep(low: float) -> float:
    """DEEP, unless the graph goes on to make the number a hundred times smaller, or it must stay."""
    return DEEP if low >= 100 * DEEP else low


class _Analysis:
    def __init__(self, seen: Seen) -> None:
        self.bounds: dict[str, Bounds] = {}
        self._seen = seen
        self._measured = bool(seen.ranges)

    def close(self, value: ir.Value) -> None:
        """Settle a tensor's bounds, all of whose readers are settled."""
        uses = list(value.uses())
        if value.is_graph_output() or not uses or not value.name:
            found = _WHOLE
        else:
            each = [self._of_use(node, index) for node, index in uses]
            found = min(low for low, _ in each), max(high for _, high in each)
        self.bounds[str(value.name)] = found

    def _of_use(self, node: ir.Node, index: int) -> Bounds:
        """The bounds that one reader leaves to its input."""
        op = node.op_type if node.domain in ("", "ai.onnx") else ""
        value = node.inputs[index]
        if value is None or value.dtype not in (ir.DataType.FLOAT, ir.DataType.FLOAT16):
            return _WHOLE
        if op in ("Softmax", "Exp", "Sigmoid", "Relu", *_MAXIMA):
            return self._of_source(op, node, value)
        outs = [self.bounds.get(str(output.name), _WHOLE) for output in node.outputs]
        low, high = min(out[0] for out in outs), max(out[1] for out in outs)
        if op == "Max":  # what is below all results never is the largest
            return max(low, self._range(node.outputs[0])[0] if self._measured else DEEP), high
        if op in _MOVES or (op == "Cast" and node.outputs[0].dtype == value.dtype):
            return low, high
        if op == "Neg":
            return -high, -low
        if op in ("Add", "Sub"):
            return self._of_sum(node, index, low, high)
        if op in ("Mul", "Div"):
            return self._of_product(node, index, low, high)
        return _WHOLE

    def _of_source(self, op: str, node: ir.Node, value: ir.Value) -> Bounds:
        if not self._measured:
            return (0.0 if op == "Relu" else DEEP), math.inf
        if op == "Softmax":
            peak = self._seen.peaks.get(str(value.name))
            return (-math.inf if peak is None else peak - MARGIN), math.inf
        if op in _MAXIMA:
            return self._range(node.outputs[0])[0], math.inf
        if op == "Exp":
            largest = self._range(node.outputs[0])[1]
            return (math.log(largest) if 0 < largest < math.inf else 0.0) - MARGIN, math.inf
        return (-MARGIN if op == "Sigmoid" else 0.0), math.inf

    def _of_sum(self, node: ir.Node, index: int, low: float, high: float) -> Bounds:
        least, most = self._range(node.inputs[1 - index])
        if node.op_type == "Add":
            return low - most, high - least
        return (low + least, high + most) if index == 0 else (least - high, most - low)

    def _of_product(self, node: ir.Node, index: int, low: float, high: float) -> Bounds:
        """Of a factor; of an activation if the other is constant, else of the constant alone.

        A mask's constant is multiplied by zeros and ones (or minus ones): it may be clipped as its
        product may.
        """
        other, is_division = node.inputs[1 - index], node.op_type == "Div"
        array = array_of(other)
        if is_division and index == 1:
            return _WHOLE
        if array is not None:
            numbers = np.unique(array[array != 0]) if array.size else np.array([])
            if not numbers.size or not np.isfinite(numbers).all():
                return _WHOLE
            factors = 1 / numbers if is_division else numbers
            edges = [edge / factor for edge in (low, high) for factor in (factors[0], factors[-1])]
            if factors[0] > 0:
                return min(low / f for f in factors), max(high / f for f in factors)
            if factors[-1] < 0:
                return min(high / f for f in factors), max(low / f for f in factors)
            return (min(edges), max(edges)) if np.isfinite(edges).all() else _WHOLE
        if array_of(node.inputs[index]) is None:
            return _WHOLE
        if not self._measured:  # of either sign, and so is what the constant may be
            deep = max((abs(edge) for edge in (low, high) if math.isfinite(edge)), default=math.inf)
            return -deep, deep
        least, most = self._range(other)
        if least < -1 or most > 1:
            return _WHOLE
        edges = [(low, high)] * (most > 0) + [(-high, -low)] * (least < 0)
        return min((one for one, _ in edges), default=0.0), max((one for _, one in edges), default=0.0)

    def _range(self, value: ir.Value | None) -> Bounds:
        """The values that a tensor has on real frames; (0, 0) where nothing is known."""
        array: Any = array_of(value)
        if array is not None:
            finite = array[np.isfinite(array)]
            return (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
        name = str(value.name) if value is not None else ""
        if not self._measured:
            return 0.0, 0.0
        low, high = self._seen.ranges.get(name, _WHOLE)
        made = value.producer() if value is not None else None
        if made is not None and made.op_type == "ReduceMax":  # without the rows that are masked
            low = self._seen.peaks.get(name, low)
        return low, high
