"""Recurrent layers unrolled over a sequence of fixed length (ONNX operators GRU and RNN)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from converter.graph.rewrite import (
    Builder,
    Rule,
    array_of,
    input_of,
    int_attribute,
    static_shape,
    text_attribute,
)

_ACTIVATIONS: Final = {"sigmoid": "Sigmoid", "tanh": "Tanh", "relu": "Relu"}


def gru(node: ir.Node, b: Builder) -> Sequence[ir.Value] | None:
    """GRU, both forms of the reset gate (`linear_before_reset`), every direction."""
    return _unroll(node, b, gates=3, defaults=("Sigmoid", "Tanh"), cell=_gru_cell)


def rnn(node: ir.Node, b: Builder) -> Sequence[ir.Value] | None:
    """The plain RNN: f(Xt·Wᵀ + Ht-1·Rᵀ + Wb + Rb)."""
    return _unroll(node, b, gates=1, defaults=("Tanh",), cell=_rnn_cell)


def _gru_cell(
    b: Builder,
    x: Sequence[ir.Value],
    h: ir.Value,
    recurrence: NDArray[Any],
    bias: NDArray[Any],
    activations: Sequence[str],
    linear_before_reset: bool,
) -> ir.Value:
    """One step. `x` is Xt·Wᵀ + Wb for the gates z, r, h, (B, H) each; `bias` is Rb."""
    gate, candidate = activations
    size = recurrence.shape[1]
    weights = [recurrence[i * size : (i + 1) * size].T for i in range(3)]
    rest = [bias[i * size : (i + 1) * size] for i in range(3)]

    def hidden(value: ir.Value, index: int) -> ir.Value:
        product = b.op("MatMul", value, b.constant(weights[index]))
        return b.op("Add", product, b.constant(rest[index].reshape(1, -1)))

    z = b.op(gate, b.op("Add", x[0], hidden(h, 0)))
    r = b.op(gate, b.op("Add", x[1], hidden(h, 1)))
    inner = b.op("Mul", r, hidden(h, 2)) if linear_before_reset else hidden(b.op("Mul", r, h), 2)
    new = b.op(candidate, b.op("Add", x[2], inner))
    # (1 - z) * new + z * h
    return b.op("Add", new, b.op("Mul", z, b.op("Sub", h, new)))


def _rnn_cell(
    b: Builder,
    x: Sequence[ir.Value],
    h: ir.Value,
    recurrence: NDArray[Any],
    bias: NDArray[Any],
    activations: Sequence[str],
    _linear_before_reset: bool,
) -> ir.Value:
    product = b.op("MatMul", h, b.constant(recurrence.T))
    with_bias = b.op("Add", product, b.constant(bias.reshape(1, -1)))
    return b.op(activations[0], b.op("Add", x[0], with_bias))


def _unroll(
    node: ir.Node, b: Builder, *, gates: int, defaults: Sequence[str], cell: Any
) -> Sequence[ir.Value] | None:
    """Y (T, D, B, H) and Y_h (D, B, H); None for what cannot be unrolled faithfully."""
    x = node.inputs[0]
    shape = static_shape(x)
    weights, recurrence = array_of(input_of(node, 1)), array_of(input_of(node, 2))
    if shape is None or weights is None or recurrence is None or node.attributes.get("clip"):
        return None
    if int_attribute(node, "layout", 0) or input_of(node, 4) is not None:
        return None
    directions, size = weights.shape[0], int_attribute(node, "hidden_size", recurrence.shape[2])
    names = node.attributes.get("activations")
    chosen = [name.lower() for name in names.as_strings()] if names is not None else []
    chosen = chosen or [name.lower() for name in defaults] * directions
    if not set(chosen) <= set(_ACTIVATIONS):
        return None
    length, batch, features = shape
    bias = array_of(input_of(node, 3))
    if bias is None:
        bias = np.zeros((directions, 2 * gates * size), weights.dtype)
    reverse_only = text_attribute(node, "direction", "forward") == "reverse"
    flat = b.op("Reshape", x, b.ints(length * batch, features))
    sequences: list[list[ir.Value]] = []
    for index in range(directions):
        projected = [
            _project(
                b,
                flat,
                weights[index, gate * size : (gate + 1) * size],
                bias[index, gate * size : (gate + 1) * size],
                length,
            )
            for gate in range(gates)
        ]
        h = _initial(b, input_of(node, 5), index, batch, size)
        activations = [_ACTIVATIONS[name] for name in chosen[index * len(defaults) :][: len(defaults)]]
        backwards = reverse_only or index == 1
        steps: dict[int, ir.Value] = {}
        for step in reversed(range(length)) if backwards else range(length):
            h = cell(
                b,
                [gate[step] for gate in projected],
                h,
                recurrence[index],
                bias[index, gates * size :],
                activations,
                bool(int_attribute(node, "linear_before_reset", 0)),
            )
            steps[step] = h
        order = [steps[step] for step in range(length)]
        sequences.append([*order, h])
    return [
        _stack(b, [seq[:-1] for seq in sequences], (length, directions, batch, size)),
        _stack(b, [[seq[-1]] for seq in sequences], (directions, batch, size)),
    ][: len(node.outputs)]


def _project(
    b: Builder, flat: ir.Value, weights: NDArray[Any], bias: NDArray[Any], length: int
) -> Sequence[ir.Value]:
    """Xt·Wᵀ + Wb of one gate for all steps at once, (B, H) per step.

    It is a Split, for the Myriad compiler fails on a Slice per step ("_producerEdge == nullptr").
    """
    product = b.op("MatMul", flat, b.constant(weights.T))
    y = b.op("Add", product, b.constant(bias.reshape(1, -1)))
    counted = {"num_outputs": length} if b.graph.opset_imports.get("", 0) >= 18 else {}
    return b.ops("Split", length, y, axis=0, **counted) if length > 1 else [y]


def _initial(b: Builder, initial: ir.Value | None, direction: int, batch: int, size: int) -> ir.Value:
    if initial is None:
        return b.constant(np.zeros((batch, size)))
    one = b.op("Slice", initial, b.ints(direction), b.ints(direction + 1), b.ints(0))
    return b.op("Reshape", one, b.ints(batch, size))


def _stack(b: Builder, sequences: Sequence[Sequence[ir.Value]], shape: tuple[int, ...]) -> ir.Value:
    """Put (B, H) pieces together, step after step and within it direction after direction."""
    pieces = [piece for step in zip(*sequences, strict=True) for piece in step]
    joined = b.op("Concat", *pieces, axis=0) if len(pieces) > 1 else pieces[0]
    return b.op("Reshape", joined, b.ints(*shape))


RULES: Final[Mapping[str, Rule]] = {"GRU": gru, "RNN": rnn}
