"""LSTM in the forms that the Myriad compiler's stage computes; the rest is unrolled.

The stage drops clip, activations, lengths and peepholes without a word, gives the cell's state for Y_h,
takes the sequence for the batch where both are longer than one, and fails where Y has no reader.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import onnx_ir as ir

from converter.graph.rewrite import Builder, Rule, array_of, input_of
from converter.graph.rules.forms import joined, reshaped, sliced, split, transposed
from converter.graph.rules.recurrent import Layer, is_plain, layer_of, unrolled

# With more sequences, one stage each is more than a few stages a step.
_MOST_ROWS: Final = 16


def lstm(node: ir.Node, b: Builder) -> Sequence[ir.Value] | None:
    """One LSTM a sequence, its last hidden state taken out of Y; unrolled where the stage is wrong."""
    layer = layer_of(node)
    if layer is None:
        return None
    y, hidden, cell = (_is_read(node, index) for index in range(3))
    computed = isinstance(layer.lengths, ir.Value)
    if not is_plain(layer) or computed or (cell and not y and not hidden):
        return unrolled(node, b)
    rows = 1 if layer.length == 1 else layer.batch
    if rows > _MOST_ROWS and (made := unrolled(node, b)) is not None:
        return made
    whole = _lengths(layer) == [layer.length] * layer.batch
    if rows == 1 and whole and not layer.batch_first and not hidden:
        return _without_lengths(node, b)
    return _by_rows(node, b, layer, rows)


def _is_read(node: ir.Node, index: int) -> bool:
    if index >= len(node.outputs):
        return False
    value = node.outputs[index]
    return bool(value.uses()) or value.is_graph_output()


def _without_lengths(node: ir.Node, b: Builder) -> Sequence[ir.Value] | None:
    """The same node; the lengths are those of the tensor."""
    if input_of(node, 4) is None:
        return None
    inputs = list(node.inputs[:7])
    inputs[4] = None
    return b.again(node, *inputs)


def _by_rows(node: ir.Node, b: Builder, layer: Layer, rows: int) -> Sequence[ir.Value]:
    """Y (T, D, B, H), Y_h and Y_c (D, B, H), or with the batch first, from an LSTM for each row."""
    x = node.inputs[0]
    assert x is not None
    width, count = layer.batch // rows, len(layer.directions)
    first = layer.batch_first
    x = transposed(b, x, [1, 0, 2]) if first else x
    states = [_rows_of(b, value, rows, width, first) for value in layer.initial]
    outputs, hiddens, cells = [], [], []
    for row, piece in enumerate(split(b, x, 1, [width] * rows)):
        length = _lengths(layer)[row] if rows > 1 or width == 1 else layer.length
        short = piece if length == layer.length else sliced(b, piece, 0, 0, length)
        attributes = {
            name: attribute.value
            for name, attribute in node.attributes.items()
            if name in ("direction", "hidden_size")
        }
        y, _, c = b.ops(
            "LSTM",
            3,
            short,
            *[input_of(node, index) for index in (1, 2, 3)],
            None,
            *[None if state is None else state[row] for state in states],
            **attributes,
        )
        hiddens.append(_last(b, layer, y, length, width))
        if length < layer.length:
            rest = np.zeros((layer.length - length, count, width, layer.size))
            y = b.op("Concat", y, b.constant(rest), axis=0)
        outputs.append(y)
        cells.append(c)
    y = joined(b, outputs, 2)
    made = [joined(b, pieces, 1) for pieces in (hiddens, cells)]
    if first:
        y = transposed(b, y, [2, 0, 1, 3])
        made = [transposed(b, state, [1, 0, 2]) for state in made]
    return [y, *made][: len(node.outputs)]


def _lengths(layer: Layer) -> Sequence[int]:
    """The lengths, which are constant."""
    assert not isinstance(layer.lengths, ir.Value)
    return layer.lengths


def _rows_of(
    b: Builder, state: ir.Value | None, rows: int, width: int, first: bool
) -> Sequence[ir.Value] | None:
    """Initial states (D, B, H), or with the batch first, row by row."""
    if state is None:
        return None
    known = array_of(state)
    if known is not None:
        known = known.transpose(1, 0, 2) if first else known
        return [b.constant(part) for part in np.split(known, rows, axis=1)]
    return split(b, transposed(b, state, [1, 0, 2]) if first else state, 1, [width] * rows)


def _last(b: Builder, layer: Layer, y: ir.Value, length: int, width: int) -> ir.Value:
    """The hidden state (D, B, H) where each direction ends, out of Y (T, D, B, H)."""
    pieces = []
    for index, backwards in enumerate(layer.backwards):
        step = 0 if backwards else length - 1
        one = sliced(b, y, 0, step, step + 1) if length > 1 else y
        one = sliced(b, one, 1, index, index + 1) if len(layer.backwards) > 1 else one
        pieces.append(reshaped(b, one, [1, width, layer.size]))
    return joined(b, pieces, 0)


RULES: Final[Mapping[str, Rule]] = {"LSTM": lstm}
