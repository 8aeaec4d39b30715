"""One step of an LSTM, a GRU and a plain RNN, as the ONNX operators of those names define it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import onnx_ir as ir
from numpy.typing import NDArray

from converter.graph.rewrite import Builder, array_of
from converter.graph.rules.common import clip
from converter.graph.rules.forms import split

State = tuple[ir.Value, ...]
_ALL: Final = slice(0, None)


@dataclass(frozen=True)
class Activation:
    """A function of a gate, with the parameters that it takes."""

    name: str
    alpha: float = 0.0
    beta: float = 0.0


# Of each activation the defaults of alpha and beta, where it takes them; NaN where there is none.
_PARAMETERS: Final[Mapping[str, tuple[float | None, float | None]]] = {
    "affine": (math.nan, math.nan),
    "elu": (1.0, None),
    "hardsigmoid": (0.2, 0.5),
    "leakyrelu": (0.01, None),
    "relu": (None, None),
    "scaledtanh": (math.nan, math.nan),
    "sigmoid": (None, None),
    "softplus": (None, None),
    "softsign": (None, None),
    "tanh": (None, None),
    "thresholdedrelu": (1.0, None),
}
_PLAIN: Final = {
    "relu": "Relu",
    "sigmoid": "Sigmoid",
    "softplus": "Softplus",
    "softsign": "Softsign",
    "tanh": "Tanh",
}


def activations_of(
    names: Sequence[str], alphas: Sequence[float], betas: Sequence[float]
) -> list[Activation] | None:
    """The activations in their order; None if one is unknown, or lacks a parameter.

    The values of `activation_alpha` and `activation_beta` go to those that take one, in order.
    """
    lowered = [name.lower() for name in names]
    if not set(lowered) <= set(_PARAMETERS):
        return None
    alpha, beta = iter(alphas), iter(betas)

    def next_of(given: Iterator[float], default: float | None) -> float:
        return 0.0 if default is None else next(given, default)

    found = [
        Activation(name, next_of(alpha, _PARAMETERS[name][0]), next_of(beta, _PARAMETERS[name][1]))
        for name in lowered
    ]
    return None if any(math.isnan(f.alpha) or math.isnan(f.beta) for f in found) else found


def activated(b: Builder, x: ir.Value, f: Activation) -> ir.Value:
    """f(x)."""
    match f.name:
        case "affine":
            return b.op("Add", b.op("Mul", x, b.constant(f.alpha)), b.constant(f.beta))
        case "elu":
            return b.op("Elu", x, alpha=f.alpha)
        case "hardsigmoid":
            return b.op("HardSigmoid", x, alpha=f.alpha, beta=f.beta)
        case "leakyrelu":
            return b.op("LeakyRelu", x, alpha=f.alpha)
        case "scaledtanh":
            scaled = b.op("Tanh", b.op("Mul", x, b.constant(f.beta)))
            return b.op("Mul", scaled, b.constant(f.alpha))
        case "thresholdedrelu":
            return b.op("ThresholdedRelu", x, alpha=f.alpha)
        case _:
            return b.op(_PLAIN[f.name], x)


@dataclass(frozen=True, kw_only=True)
class Direction:
    """What one direction of a layer computes with; G gates of H cells.

    Attributes:
        recurrence: (G · H, H).
        bias: (G · H), what of Rb is not in the projected input already.
        peepholes: Of an LSTM's gates i, o, f, (3, H).
        clip: The bound of what goes into an activation; 0 for none.
        linear_before_reset: Of a GRU.
        input_forget: Of an LSTM.
    """

    recurrence: NDArray[Any]
    bias: NDArray[Any]
    peepholes: NDArray[Any] | None
    activations: Sequence[Activation]
    clip: float
    linear_before_reset: bool
    input_forget: bool
    _constants: dict[str, ir.Value] = field(default_factory=dict)

    def constant(self, b: Builder, key: str, values: NDArray[Any]) -> ir.Value:
        """One constant for all steps."""
        if key not in self._constants:
            self._constants[key] = b.constant(values)
        return self._constants[key]

    def with_hidden(self, b: Builder, x: ir.Value, h: ir.Value, rows: slice) -> ir.Value:
        """X + h·Rᵀ + Rb of some gates."""
        known = array_of(h)  # the state that the first step begins with
        if known is not None:
            hidden = known @ self.recurrence[rows].T + self.bias[rows]
            return b.op("Add", x, b.constant(hidden)) if hidden.any() else x
        key = f"{rows.start}:{rows.stop}"
        weights = self.constant(b, f"R {key}", self.recurrence[rows].T)
        total = b.op("Add", x, b.op("MatMul", h, weights))
        if not self.bias[rows].any():
            return total
        return b.op("Add", total, self.constant(b, f"Rb {key}", self.bias[rows].reshape(1, -1)))

    def apply(self, b: Builder, index: int, x: ir.Value) -> ir.Value:
        """An activation of what is clipped."""
        bounded = clip(b, x, -self.clip, self.clip) if self.clip else x
        return activated(b, bounded, self.activations[index])


# Of the projected input (see `GRU_PARTS`) and the state of the last step the state of this one.
Cell = Callable[[Builder, Sequence[ir.Value], State, Direction], State]
# A GRU gets its projected input in two parts: the gates z and r (B, 2 · H), and the rest (B, H).
GRU_PARTS: Final = (2, 1)


def rnn(b: Builder, x: Sequence[ir.Value], state: State, d: Direction) -> State:
    """Ht = f(Xt·Wᵀ + Ht-1·Rᵀ + Wb + Rb)."""
    return (d.apply(b, 0, d.with_hidden(b, x[0], state[0], _ALL)),)


def gru(b: Builder, x: Sequence[ir.Value], state: State, d: Direction) -> State:
    """Ht = (1 - z) ⊙ g(...) + z ⊙ Ht-1; the reset gate acts on Ht-1 or on Ht-1·Rhᵀ + Rbh."""
    (h,), size = state, d.recurrence.shape[1]
    first, last = slice(0, 2 * size), slice(2 * size, None)
    gates = d.apply(b, 0, d.with_hidden(b, x[0], h, first))
    z, r = split(b, gates, 1, [size, size])
    if d.linear_before_reset:
        hidden = b.op("MatMul", h, d.constant(b, "R new", d.recurrence[last].T))
        if d.bias[last].any():
            hidden = b.op("Add", hidden, d.constant(b, "Rb new", d.bias[last].reshape(1, -1)))
        new = b.op("Add", x[1], b.op("Mul", r, hidden))
    else:
        new = d.with_hidden(b, x[1], b.op("Mul", r, h), last)
    new = d.apply(b, 1, new)
    return (b.op("Add", new, b.op("Mul", z, b.op("Sub", h, new))),)


def lstm(b: Builder, x: Sequence[ir.Value], state: State, d: Direction) -> State:
    """Ct = f ⊙ Ct-1 + i ⊙ g(...); Ht = o ⊙ h(Ct), with peepholes from C into the gates."""
    (h, c), size = state, d.recurrence.shape[1]
    total = d.with_hidden(b, x[0], h, _ALL)
    if d.peepholes is None:
        gates, new = split(b, total, 1, [3 * size, size])
        i, o, f = split(b, d.apply(b, 0, gates), 1, [size] * 3)
    else:
        i, o, f, new = split(b, total, 1, [size] * 4)
        i, f = (d.apply(b, 0, _peeping(b, d, *pair, c)) for pair in ((0, i), (2, f)))
    if d.input_forget:
        f = b.op("Sub", b.constant(1.0), i)
    c = b.op("Add", b.op("Mul", f, c), b.op("Mul", i, d.apply(b, 1, new)))
    if d.peepholes is not None:
        o = d.apply(b, 0, _peeping(b, d, 1, o, c))
    return b.op("Mul", o, activated(b, c, d.activations[2])), c


def _peeping(b: Builder, d: Direction, gate: int, x: ir.Value, cell: ir.Value) -> ir.Value:
    """X + P ⊙ C."""
    assert d.peepholes is not None
    weights = d.constant(b, f"P {gate}", d.peepholes[gate].reshape(1, -1))
    return b.op("Add", x, b.op("Mul", cell, weights))
