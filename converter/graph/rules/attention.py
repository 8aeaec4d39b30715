"""Attention and rotary embeddings (opset 23), written with products of matrices and a Softmax."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import onnx_ir as ir

from converter.graph.rewrite import (
    Builder,
    Rule,
    array_of,
    float_attribute,
    input_of,
    int_attribute,
    static_shape,
)
from converter.graph.rules.common import more_than_one_output, x_of
from converter.graph.rules.forms import as_float, joined, reshaped, sliced, transposed

# What a mask takes away: its exponential is zero, and a score of float16 stays finite with it.
_MASKED: Final = -30000.0
_HEADS_APART: Final = 4


def attention(node: ir.Node, b: Builder) -> Sequence[ir.Value] | None:
    """softmax(scale · Q·Kᵀ + mask)·V of heads; keys and values of fewer heads are shared.

    Without what was computed before (`past_key`), and with the first output only.
    """
    if more_than_one_output(node) or any(input_of(node, index) is not None for index in (4, 5, 6)):
        return None
    given = [node.inputs[index] for index in range(3)]
    shapes = [static_shape(value) for value in given]
    heads = [int_attribute(node, name, 0) for name in ("q_num_heads", "kv_num_heads", "kv_num_heads")]
    sides = []
    for value, shape, count in zip(given, shapes, heads, strict=True):
        if value is None or shape is None:
            return None
        sides.append(_by_heads(b, value, shape, count))
    (query, q), (key, k), (value_, v) = sides
    if q[1] != k[1]:
        shared = np.repeat(np.arange(k[1]), q[1] // k[1])
        key, value_ = (b.op("Gather", side, b.ints(*shared), axis=1) for side in (key, value_))
    scale = float_attribute(node, "scale", 1 / math.sqrt(q[3]))
    scaled = b.op("Mul", query, b.constant(scale))
    scores = b.op("MatMul", scaled, b.op("Transpose", key, perm=[0, 1, 3, 2]))
    if softcap := float_attribute(node, "softcap", 0.0):
        capped = b.op("Tanh", b.op("Mul", scores, b.constant(1 / softcap)))
        scores = b.op("Mul", capped, b.constant(softcap))
    masked = _masked(node, b, scores, (q[2], k[2]))
    if masked is None:
        return None
    y = b.op("MatMul", b.op("Softmax", masked, axis=-1), value_)
    if len(shapes[0] or ()) == _HEADS_APART:
        return [y]
    return [reshaped(b, transposed(b, y, [0, 2, 1, 3]), [q[0], q[2], q[1] * v[3]])]


def _by_heads(
    b: Builder, x: ir.Value, shape: Sequence[int], heads: int
) -> tuple[ir.Value, Sequence[int]]:
    """(B, heads, S, D), and its shape."""
    if len(shape) == _HEADS_APART:
        return x, shape
    batch, length, width = shape
    apart = reshaped(b, x, [batch, length, heads, width // heads])
    return transposed(b, apart, [0, 2, 1, 3]), (batch, heads, length, width // heads)


def _masked(node: ir.Node, b: Builder, scores: ir.Value, size: tuple[int, int]) -> ir.Value | None:
    """The scores with the mask, and without what comes later (`is_causal`)."""
    mask = input_of(node, 3)
    if mask is not None:
        shape = static_shape(mask)
        if shape is None or shape[-1] != size[1]:
            return None
        known = array_of(mask)
        if known is not None:
            allowed = known.dtype.kind == "b"
            additive = np.where(known, 0, _MASKED) if allowed else np.maximum(known, _MASKED)
            mask = b.constant(additive)
        elif mask.dtype == ir.DataType.BOOL:
            missing = as_float(b, b.op("Not", mask))
            mask = b.op("Mul", missing, b.constant(_MASKED))
        scores = b.op("Add", scores, mask)
    if int_attribute(node, "is_causal", 0):
        later = np.triu(np.full(size, _MASKED), 1)
        scores = b.op("Add", scores, b.constant(later))
    return scores


def rotary_embedding(node: ir.Node, b: Builder) -> Sequence[ir.Value] | None:
    """(x₁ cos - x₂ sin, x₁ sin + x₂ cos) of the halves of each head, or of every other element."""
    x, shape = x_of(node), static_shape(node.inputs[0])
    caches, positions = [input_of(node, 1), input_of(node, 2)], input_of(node, 3)
    heads = int_attribute(node, "num_heads", 0)
    if shape is None or None in caches or (len(shape) != _HEADS_APART and not heads):
        return None
    x, (batch, count, length, width) = _by_heads(b, x, shape, heads)
    turned = int_attribute(node, "rotary_embedding_dim", 0) or width
    half = turned // 2
    if positions is not None:
        caches = [b.op("Gather", cache, positions, axis=0) for cache in caches]
    factors = []
    for cache in caches:
        assert cache is not None
        factors.append(reshaped(b, cache, [batch, 1, length, half]))
    interleaved = bool(int_attribute(node, "interleaved", 0))
    if interleaved:
        parts = [sliced(b, x, 3, start, turned, 2) for start in (0, 1)]
    else:
        parts = [sliced(b, x, 3, start, start + half) for start in (0, half)]
    (one, other), (cosine, sine) = parts, factors
    new = [
        b.op("Sub", b.op("Mul", one, cosine), b.op("Mul", other, sine)),
        b.op("Add", b.op("Mul", one, sine), b.op("Mul", other, cosine)),
    ]
    if interleaved:
        rows = batch * count * length
        pairs = joined(b, [reshaped(b, piece, [rows, half, 1]) for piece in new], 2)
        new = [reshaped(b, pairs, [batch, count, length, turned])]
    rest = [sliced(b, x, 3, turned, width)] if turned < width else []
    y = joined(b, [*new, *rest], 3)
    if len(shape) == _HEADS_APART:
        return [y]
    return [reshaped(b, transposed(b, y, [0, 2, 1, 3]), shape)]


RULES: Final[Mapping[str, Rule]] = {
    "Attention": attention,
    "RotaryEmbedding": rotary_embedding,
}
