"""Recurrent layers unrolled over a sequence of fixed length (ONNX operators LSTM, GRU and RNN)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from converter.graph.rewrite import (
    Builder,
    Rule,
    array_of,
    float_attribute,
    input_of,
    int_attribute,
    static_shape,
    text_attribute,
)
from converter.graph.rules import cells
from converter.graph.rules.common import clip
from converter.graph.rules.forms import as_float, joined, reshaped, sliced, split, transposed

# Steps times directions. A cell has about 12 nodes; a compiler needs more than a minute for more steps.
MOST_STEPS: Final = 400
_LSTM_DEFAULTS: Final = tuple(map(cells.Activation, ("sigmoid", "tanh", "tanh")))


@dataclass(frozen=True, kw_only=True)
class Layer:
    """What a recurrent node computes: T steps of B sequences of F features; G gates of H cells.

    Attributes:
        weights: (D, G · H, F).
        input_bias: Wb with what of Rb is just added, (D, G · H).
        initial: The initial states, (D, B, H) or (B, D, H); None for zeros.
        lengths: Of each sequence, in steps; where they are computed, the tensor (B) of them.
        batch_first: Whether X is (B, T, F) (`layout` 1).
        backwards: For each direction whether it runs from the end.
    """

    length: int
    batch: int
    features: int
    weights: NDArray[Any]
    input_bias: NDArray[Any]
    directions: Sequence[cells.Direction]
    initial: Sequence[ir.Value | None]
    lengths: Sequence[int] | ir.Value
    batch_first: bool
    backwards: Sequence[bool]

    @property
    def size(self) -> int:
        """H."""
        return int(self.directions[0].recurrence.shape[1])


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A kind of layer: its cell, number of gates and of states, and default activations.

    `parts` are the gates in each part of the projected input.
    """

    cell: cells.Cell
    gates: int
    parts: Sequence[int]
    states: int
    activations: Sequence[str]


_KINDS: Final[Mapping[str, Kind]] = {
    "GRU": Kind(
        cell=cells.gru, gates=3, parts=cells.GRU_PARTS, states=1, activations=("Sigmoid", "Tanh")
    ),
    "LSTM": Kind(
        cell=cells.lstm, gates=4, parts=(4,), states=2, activations=("Sigmoid", "Tanh", "Tanh")
    ),
    "RNN": Kind(cell=cells.rnn, gates=1, parts=(1,), states=1, activations=("Tanh",)),
}


def layer_of(node: ir.Node) -> Layer | None:
    """A node's layer; None if its weights or shapes are computed, or an activation is unknown."""
    kind = _KINDS[node.op_type]
    shape = static_shape(node.inputs[0])
    weights, recurrence = array_of(input_of(node, 1)), array_of(input_of(node, 2))
    if shape is None or weights is None or recurrence is None:
        return None
    batch_first = bool(int_attribute(node, "layout", 0))
    length, batch = shape[:2][::-1] if batch_first else shape[:2]
    count, size = weights.shape[0], recurrence.shape[2]
    wide = kind.gates * size
    bias, peepholes = _given(node, 3, (count, 2 * wide)), _given(node, 7, (count, 3 * size))
    activations = _activations(node, kind.activations, count)
    if bias is None or peepholes is None or activations is None:
        return None
    linear_before_reset = bool(int_attribute(node, "linear_before_reset", 0))
    # A linear_before_reset multiplies the bias of the new state by a gate; the rest is just added.
    added = 2 * size if linear_before_reset else wide
    input_bias, rest = bias[:, :wide].copy(), bias[:, wide:].copy()
    input_bias[:, :added] += rest[:, :added]
    rest[:, :added] = 0
    directions = [
        cells.Direction(
            recurrence=recurrence[index],
            bias=rest[index],
            peepholes=peepholes[index].reshape(3, size) if input_of(node, 7) else None,
            activations=activations[index * len(kind.activations) :],
            clip=float_attribute(node, "clip", 0.0),
            linear_before_reset=linear_before_reset,
            input_forget=bool(int_attribute(node, "input_forget", 0)),
        )
        for index in range(count)
    ]
    reverse = text_attribute(node, "direction", "forward") == "reverse"
    return Layer(
        length=length,
        batch=batch,
        features=shape[2],
        weights=weights,
        input_bias=input_bias,
        directions=directions,
        initial=[input_of(node, 5 + index) for index in range(kind.states)],
        lengths=_lengths(input_of(node, 4), length, batch),
        batch_first=batch_first,
        backwards=[reverse or index == 1 for index in range(count)],
    )


def _given(node: ir.Node, index: int, shape: tuple[int, ...]) -> NDArray[Any] | None:
    """A constant input, zeros where it is left out, None where it is computed."""
    value = input_of(node, index)
    return np.zeros(shape, np.float32) if value is None else array_of(value)


def _lengths(given: ir.Value | None, length: int, batch: int) -> Sequence[int] | ir.Value:
    if given is None:
        return [length] * batch
    known = array_of(given)
    return given if known is None else [int(value) for value in known]


def _activations(
    node: ir.Node, defaults: Sequence[str], directions: int
) -> list[cells.Activation] | None:
    names, alphas, betas = (
        node.attributes.get(name) for name in ("activations", "activation_alpha", "activation_beta")
    )
    chosen = list(names.as_strings()) if names is not None else []
    return cells.activations_of(
        chosen or [*defaults] * directions,
        alphas.as_floats() if alphas is not None else (),
        betas.as_floats() if betas is not None else (),
    )


def is_plain(layer: Layer) -> bool:
    """Whether an LSTM has none of what compilers' own LSTMs leave out: clip, peepholes, other cells."""
    return all(
        direction.clip == 0.0
        and not direction.input_forget
        and (direction.peepholes is None or not direction.peepholes.any())
        and tuple(direction.activations[:3]) == _LSTM_DEFAULTS
        for direction in layer.directions
    )


def unrolled(node: ir.Node, b: Builder) -> Sequence[ir.Value] | None:
    """Y, Y_h and, of an LSTM, Y_c from one cell a step; None for what `layer_of` does not read.

    Every direction and `layout`, lengths, clip, peepholes, `input_forget`, `linear_before_reset`, and
    all activations of the specification.
    """
    layer, kind = layer_of(node), _KINDS[node.op_type]
    if layer is None or layer.length * len(layer.directions) > MOST_STEPS:
        return None
    x = node.inputs[0]
    assert x is not None
    if layer.batch_first:
        x = transposed(b, x, [1, 0, 2])
    flat = reshaped(b, x, [layer.length * layer.batch, layer.features])
    sequences: list[list[ir.Value]] = []
    last: list[cells.State] = []
    for index in range(len(layer.directions)):
        steps, state = _run(b, layer, index, flat, kind)
        sequences.append(steps)
        last.append(state)
    shape = (layer.length, len(sequences), layer.batch, layer.size)
    y = _stack(b, sequences, shape)
    states = [
        _stack(b, [[state[number]] for state in last], shape[1:]) for number in range(kind.states)
    ]
    if layer.batch_first:
        y = transposed(b, y, [2, 0, 1, 3])
        states = [transposed(b, state, [1, 0, 2]) for state in states]
    return [y, *states][: len(node.outputs)]


def time_first(node: ir.Node, b: Builder) -> Sequence[ir.Value] | None:
    """The same layer in layout 0, (T, B, F), between transposes; ONNX Runtime has no other."""
    if not int_attribute(node, "layout", 0):
        return None
    inputs = list(node.inputs)
    for index in (0, 5, 6):
        value = input_of(node, index)
        if value is not None:
            inputs[index] = transposed(b, value, [1, 0, 2])
    made = b.again(node, *inputs)
    del b.nodes[-1].attributes["layout"]
    back = ([2, 0, 1, 3], [1, 0, 2], [1, 0, 2])
    return [transposed(b, y, perm) for y, perm in zip(made, back, strict=False)]


def _run(
    b: Builder, layer: Layer, index: int, flat: ir.Value, kind: Kind
) -> tuple[list[ir.Value], cells.State]:
    """The hidden states (B, H) of one direction, zeros behind a sequence's end, and its last state."""
    direction, shape = layer.directions[index], (layer.batch, layer.size)
    product = b.op("MatMul", flat, b.constant(layer.weights[index].T))
    projected = b.op("Add", product, b.constant(layer.input_bias[index].reshape(1, -1)))
    # A Split, for the Myriad compiler fails on a Slice a step ("_producerEdge == nullptr").
    parts = split(b, projected, 1, [count * layer.size for count in kind.parts])
    inputs = [split(b, part, 0, [layer.batch] * layer.length) for part in parts]
    state = tuple(_initial(b, layer, value, index, shape) for value in layer.initial)
    steps = list(range(layer.length))
    made: dict[int, ir.Value] = {}
    for step in reversed(steps) if layer.backwards[index] else steps:
        masks = _masks(b, layer, step)
        if masks is False:
            made[step] = b.constant(np.zeros(shape))
            continue
        new = kind.cell(b, [part[step] for part in inputs], state, direction)
        if masks is True:
            state, made[step] = new, new[0]
            continue
        # A sequence that is over keeps its state.
        runs, over = masks
        masked = [b.op("Mul", value, runs) for value in new]
        kept = [b.op("Mul", value, over) for value in state]
        state = tuple(b.op("Add", *pair) for pair in zip(masked, kept, strict=True))
        made[step] = masked[0]
    return [made[step] for step in steps], _of_sequences_with_steps(b, layer, state)


def _of_sequences_with_steps(b: Builder, layer: Layer, state: cells.State) -> cells.State:
    """The last states; of a sequence of length 0 they are zeros, as ONNX Runtime has them."""
    masks = _masks(b, layer, 0) if any(value is not None for value in layer.initial) else True
    if masks is True:
        return state
    if masks is False:
        return tuple(b.constant(np.zeros((layer.batch, layer.size))) for _ in state)
    return tuple(b.op("Mul", value, masks[0]) for value in state)


def _masks(b: Builder, layer: Layer, step: int) -> bool | tuple[ir.Value, ir.Value]:
    """Whether all sequences run at a step, or none; else (B, 1) of 1 where they run, and where not."""
    if isinstance(layer.lengths, ir.Value):
        length = reshaped(b, as_float(b, layer.lengths), [layer.batch, 1])
        # min(max(length - step, 0), 1) of whole numbers: no comparison, which has no integer kernel.
        runs = clip(b, b.op("Sub", length, b.constant(float(step))), 0.0, 1.0)
        return runs, b.op("Sub", b.constant(1.0), runs)
    inside = np.array([[step < length] for length in layer.lengths])
    if inside.all() or not inside.any():
        return bool(inside.all())
    return b.constant(inside), b.constant(~inside)


def _initial(
    b: Builder, layer: Layer, initial: ir.Value | None, direction: int, shape: tuple[int, int]
) -> ir.Value:
    if initial is None:
        return b.constant(np.zeros(shape))
    known = array_of(initial)
    axis = int(layer.batch_first)
    if known is not None:
        return b.constant(known.take(direction, axis))
    one = initial
    if len(layer.directions) > 1:
        one = sliced(b, initial, axis, direction, direction + 1)
    return reshaped(b, one, shape)


def _stack(b: Builder, sequences: Sequence[Sequence[ir.Value]], shape: Sequence[int]) -> ir.Value:
    """Put (B, H) pieces together, step after step and within it direction after direction."""
    pieces = [piece for step in zip(*sequences, strict=True) for piece in step]
    return reshaped(b, joined(b, pieces, 0), shape)


RULES: Final[Mapping[str, Rule]] = {"GRU": unrolled, "RNN": unrolled}
TIME_FIRST: Final[Mapping[str, Rule]] = dict.fromkeys(_KINDS, time_first)
LSTM_RULES: Final[Mapping[str, Rule]] = {"LSTM": unrolled}
