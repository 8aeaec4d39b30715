"""Einsum and products of many axes, as matrix products of at most four axes."""

from __future__ import annotations

import math
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import onnx_ir as ir

from converter.graph.rewrite import Builder, Rule, input_of, static_shape, text_attribute
from converter.graph.rules.common import x_of
from converter.graph.rules.forms import reduced, reshaped, transposed

# Compilers multiply tensors of up to four axes.
_MOST_AXES: Final = 4


# ---------------------------------------------------------------- MatMul


def matmul(node: ir.Node, b: Builder) -> Sequence[ir.Value] | None:
    """A product of more than four axes: leading axes that broadcast alike become one.

    Where more than two are left, both sides are expanded to one.
    """
    x, w = x_of(node), input_of(node, 1)
    left, right = static_shape(x), static_shape(w)
    if left is None or right is None or w is None or min(len(left), len(right)) < 1:
        return None
    if max(len(left), len(right)) <= _MOST_AXES:
        return None
    rows = (1, *left) if len(left) == 1 else left
    columns = (*right, 1) if len(right) == 1 else right
    leads = [tuple(shape[:-2]) for shape in (rows, columns)]
    whole = np.broadcast_shapes(*leads)
    leads = [(1,) * (len(whole) - len(lead)) + lead for lead in leads]
    groups = _groups(*leads)
    if len(groups) > _MOST_AXES - 2:
        if leads[0] != whole:
            x = b.op("Expand", reshaped(b, x, [*leads[0], *rows[-2:]]), b.ints(*whole, *rows[-2:]))
        if leads[1] != whole:
            w = b.op(
                "Expand", reshaped(b, w, [*leads[1], *columns[-2:]]), b.ints(*whole, *columns[-2:])
            )
        groups = [(math.prod(whole), math.prod(whole))]
    y = b.op(
        "MatMul",
        reshaped(b, x, [*[one for one, _ in groups], *rows[-2:]]),
        reshaped(b, w, [*[other for _, other in groups], *columns[-2:]]),
    )
    result = [*whole, *rows[-2:-1][: len(left) - 1], *columns[-1:][: len(right) - 1]]
    return [reshaped(b, y, result)]


def _groups(left: Sequence[int], right: Sequence[int]) -> list[tuple[int, int]]:
    """Sizes of axes after neighbours that are both, or on one side only, became one."""
    found: list[tuple[int, int]] = []
    kinds: list[tuple[bool, bool]] = []
    for pair in zip(left, right, strict=True):
        if pair == (1, 1):
            continue
        kind = pair[0] > 1, pair[1] > 1
        if kinds and kinds[-1] == kind:
            found[-1] = found[-1][0] * pair[0], found[-1][1] * pair[1]
        else:
            found.append(pair)
            kinds.append(kind)
    return found or [(1, 1)]


# ---------------------------------------------------------------- Einsum


@dataclass(frozen=True)
class Labelled:
    """A tensor whose axes have labels."""

    value: ir.Value
    labels: str
    sizes: Mapping[str, int]

    @property
    def shape(self) -> list[int]:
        """The sizes in the axes' order."""
        return [self.sizes[label] for label in self.labels]


def einsum(node: ir.Node, b: Builder) -> Sequence[ir.Value] | None:
    """Diagonals by a mask, sums, then two operands after the other as a product of matrices."""
    shapes = [static_shape(value) for value in node.inputs]
    if any(shape is None for shape in shapes):
        return None
    known = [shape for shape in shapes if shape is not None]
    terms, result = _labels(text_attribute(node, "equation", ""), [len(shape) for shape in known])
    operands = []
    for value, term, shape in zip(node.inputs, terms, known, strict=True):
        assert value is not None
        operands.append(_diagonal(b, value, term, shape))
    total = operands[0]
    for index, operand in enumerate(operands[1:], 1):
        wanted = set(result).union(*[item.labels for item in operands[index + 1 :]])
        total = _product(b, total, operand, wanted)
    total = _summed(b, total, set(result))
    return [transposed(b, total.value, [total.labels.index(label) for label in result])]


def _labels(equation: str, ranks: Sequence[int]) -> tuple[list[str], str]:
    """The labels of each operand and of the result, the dots written out."""
    left, arrow, right = equation.replace(" ", "").partition("->")
    terms = left.split(",")
    free = [label for label in string.ascii_letters if label not in equation]
    most = max(
        (rank - len(term.replace("...", "")) for term, rank in zip(terms, ranks, strict=True)
         if "..." in term), default=0,
    )  # fmt: skip
    dots = "".join(free[:most])
    written = []
    for term, rank in zip(terms, ranks, strict=True):
        count = rank - len(term.replace("...", ""))
        written.append(term.replace("...", dots[len(dots) - count :]))
    if arrow:
        return written, right.replace("...", dots)
    letters = "".join(written).translate({ord(label): None for label in dots})
    return written, dots + "".join(sorted(label for label in letters if letters.count(label) == 1))


def _diagonal(b: Builder, value: ir.Value, term: str, shape: Sequence[int]) -> Labelled:
    """A tensor whose labels are all different."""
    labels, sizes = term, list(shape)
    while repeated := [label for label in labels if labels.count(label) > 1]:
        first = labels.index(repeated[0])
        second = labels.index(repeated[0], first + 1)
        mask = np.eye(sizes[first]).reshape(
            [size if axis in (first, second) else 1 for axis, size in enumerate(sizes)]
        )
        masked = b.op("Mul", value, b.constant(mask))
        value = reduced(b, "ReduceSum", masked, [second], keepdims=False)
        labels, sizes = labels[:second] + labels[second + 1 :], sizes[:second] + sizes[second + 1 :]
    return Labelled(value, labels, dict(zip(labels, sizes, strict=True)))


def _summed(b: Builder, x: Labelled, wanted: set[str]) -> Labelled:
    """A tensor without the labels that nobody needs."""
    axes = [axis for axis, label in enumerate(x.labels) if label not in wanted]
    if not axes:
        return x
    value = reduced(b, "ReduceSum", x.value, axes, keepdims=False)
    return Labelled(value, "".join(label for label in x.labels if label in wanted), x.sizes)


def _product(b: Builder, x: Labelled, w: Labelled, wanted: set[str]) -> Labelled:
    """(batch, left, summed)·(batch, summed, right), of which `wanted` labels are kept."""
    x, w = _summed(b, x, wanted | set(w.labels)), _summed(b, w, wanted | set(x.labels))
    sizes = {**x.sizes, **w.sizes}
    for label in set(x.labels) & set(w.labels):
        sizes[label] = max(x.sizes[label], w.sizes[label])
    both = [label for label in x.labels if label in w.labels]
    # A label of one element on one side broadcasts: it is no axis of that side.
    both = [label for label in both if x.sizes[label] == w.sizes[label]]
    summed = [label for label in both if label not in wanted]
    batch = [label for label in both if label in wanted]
    alone = [
        [label for label in one.labels if label not in both
         and (label not in other.labels or one.sizes[label] > 1)]
        for one, other in ((x, w), (w, x))
    ]  # fmt: skip
    left, right = alone
    labels = "".join([*batch, *left, *right])
    sides = [_ordered(b, x, [*batch, *left, *summed]), _ordered(b, w, [*batch, *summed, *right])]

    def size(group: Sequence[str]) -> int:
        return math.prod(sizes[label] for label in group)

    if summed:
        flat = [
            reshaped(b, sides[0], [size(batch), size(left), size(summed)]),
            reshaped(b, sides[1], [size(batch), size(summed), size(right)]),
        ]
        y = b.op("MatMul", *flat)
    elif left or right:
        flat = [
            reshaped(b, sides[0], [size(batch), size(left), 1]),
            reshaped(b, sides[1], [size(batch), 1, size(right)]),
        ]
        y = b.op("Mul", *flat)
    else:
        return _summed(b, Labelled(b.op("Mul", *sides), labels, sizes), wanted)
    y = reshaped(b, y, [sizes[label] for label in labels])
    # Of a label that broadcasts, and that nobody needs, the sum is left.
    return _summed(b, Labelled(y, labels, sizes), wanted)


def _ordered(b: Builder, x: Labelled, labels: Sequence[str]) -> ir.Value:
    """Axes in an order; the others have one element."""
    rest = [label for label in x.labels if label not in labels]
    order = [x.labels.index(label) for label in [*labels, *rest]]
    y = transposed(b, x.value, order)
    return reshaped(b, y, [x.sizes[label] for label in labels]) if rest else y


EINSUM_RULES: Final[Mapping[str, Rule]] = {"Einsum": einsum}
MATMUL_RULES: Final[Mapping[str, Rule]] = {"MatMul": matmul}
