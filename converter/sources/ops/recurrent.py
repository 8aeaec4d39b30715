"""Recurrent operators: whole sequences, and cells as sequences of one step.

OpenVINO's gates of an LSTM are forget, input, cell, output; ONNX's input, output, forget, cell. A GRU's
and an RNN's are the same. OpenVINO adds the two biases of ONNX into one.
Formulas: OpenVINO's operation specifications (opset1 to opset5).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from converter.sources.ops.elementwise import Rule
from converter.sources.ops.emitter import Emitter, Inexpressible

# The indices of ONNX's gates among OpenVINO's.
_GATES: Final[Mapping[str, Sequence[int]]] = {"LSTM": (1, 3, 0, 2), "GRU": (0, 1, 2), "RNN": (0,)}
_ACTIVATIONS: Final = {"relu": "Relu", "sigmoid": "Sigmoid", "tanh": "Tanh"}


def sequence(op: str) -> Rule:
    """LSTMSequence-5, GRUSequence-5, RNNSequence-5: (batch, time, …), states (batch, direction, …)."""
    states = 2 if op == "LSTM" else 1

    def rule(e: Emitter) -> Sequence[ir.Value]:
        if e.version == "opset1":
            raise Inexpressible(" of opset 1")
        x = e.transpose(e.x(), [1, 0, 2])
        first = [e.transpose(e.x(1 + state), [1, 0, 2]) for state in range(states)]
        weights = [e.array(states + 2 + index) for index in range(3)]
        lengths = e.known(states + 1)
        whole = lengths is not None and (lengths == (e.sizes()[1] or -1)).all()
        steps = None if whole else e.cast(e.x(states + 1), ir.DataType.INT32, e.dtype(states + 1))
        y, *last = _unrolled(e, op, x, weights, steps, first, str(e.attributes["direction"]))
        return [
            e.transpose(y, [2, 1, 0, 3]),
            *(e.transpose(state, [1, 0, 2]) for state in last),
        ]

    return rule


def cell(op: str) -> Rule:
    """LSTMCell-1 and LSTMCell-4, GRUCell-3, RNNCell-1: one step, without an axis of time."""
    states = 2 if op == "LSTM" else 1

    def rule(e: Emitter) -> Sequence[ir.Value]:
        if op == "LSTM" and str(e.attributes.get("weights_format", "fico")).lower() != "fico":
            raise Inexpressible(" whose gates are in another order")
        if e.has(states + 4) and ((peepholes := e.known(states + 4)) is None or peepholes.any()):
            raise Inexpressible(" with peepholes")
        x = e.unsqueeze(e.x(), 0)
        first = [e.unsqueeze(e.x(1 + state), 0) for state in range(states)]
        weights = [e.array(states + 1 + index)[None] for index in range(3)]
        _, *last = _unrolled(e, op, x, weights, None, first, "forward")
        return [e.squeeze(state, 0) for state in last]

    return rule


def _unrolled(
    e: Emitter,
    op: str,
    x: ir.Value,
    weights: Sequence[NDArray[Any]],
    lengths: ir.Value | None,
    first: Sequence[ir.Value],
    direction: str,
) -> Sequence[ir.Value]:
    """The ONNX operator; weights have an axis of directions in front."""
    a = e.attributes
    hidden = int(a["hidden_size"])
    if list(a.get("activations_alpha") or []) or list(a.get("activations_beta") or []):
        raise Inexpressible(" with parameters of its activations")
    names = [str(name).lower() for name in a["activations"]]
    if set(names) - _ACTIVATIONS.keys():
        raise Inexpressible(f" with the activations {names}")
    direction = direction.lower()
    activations = [_ACTIVATIONS[name] for name in names] * (2 if direction == "bidirectional" else 1)
    more: dict[str, Any] = {"hidden_size": hidden, "direction": direction, "activations": activations}
    if float(a["clip"]):
        more["clip"] = float(a["clip"])
    w, r, bias = weights
    biases = _blocks(op, bias, hidden)
    if op == "GRU" and a["linear_before_reset"]:
        more["linear_before_reset"] = 1
        inner = np.concatenate([0 * biases[:, : 2 * hidden], bias[:, 3 * hidden :]], axis=1)
    else:
        inner = 0 * biases
    given = [_blocks(op, w, hidden), _blocks(op, r, hidden), np.concatenate([biases, inner], axis=1)]
    constants = [e.like(values) for values in given]
    return e.ops(op, 1 + len(first), x, *constants, lengths, *first, **more)


def _blocks(op: str, values: NDArray[Any], hidden: int) -> NDArray[Any]:
    """The gates in ONNX's order; they are the blocks of the second axis."""
    parts = [values[:, gate * hidden : (gate + 1) * hidden] for gate in _GATES[op]]
    return np.concatenate(parts, axis=1)


RULES: Final[Mapping[str, Rule]] = {
    "GRUCell": cell("GRU"),
    "GRUSequence": sequence("GRU"),
    "LSTMCell": cell("LSTM"),
    "LSTMSequence": sequence("LSTM"),
    "RNNCell": cell("RNN"),
    "RNNSequence": sequence("RNN"),
}
