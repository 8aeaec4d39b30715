"""Functions of one element, with parameters or values by channel. Arithmetic in float32.

Buffers of all: in, out, and what a function says further.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np

from targets.rvc2.blob.running import Array, Floats, Running, common_order
from targets.rvc2.blob.words import NotKnown

Function = Callable[[Floats], Array]
_PLAIN: Final = ""


def _apply(run: Running, function: Function) -> None:
    source, target = run.buffers(2)
    order = common_order(source, target)
    run.write(target, function(run.floats(source, order)), order)


def sigmoid(x: Floats) -> Floats:
    """1 / (1 + e^−x)."""
    return np.asarray(1 / (1 + np.exp(-x)), np.float32)


def erf(x: Floats) -> Floats:
    """The error function; Abramowitz and Stegun 7.1.26, off by 1.5e-7: far below float16."""
    t = 1 / (1 + np.float32(0.3275911) * np.abs(x))
    polynomial = np.zeros_like(t)
    for factor in (1.061405429, -1.453152027, 1.421413741, -0.284496736, 0.254829592):
        polynomial = (polynomial + np.float32(factor)) * t
    result: Floats = np.sign(x) * (1 - polynomial * np.exp(-x * x))
    return result


def softplus(x: Floats) -> Floats:
    """log(1 + e^x)."""
    return np.logaddexp(np.float32(0), x)


def _plain(function: Function) -> Callable[[Running], None]:
    """A stage without parameters that applies a function."""

    def stage(run: Running) -> None:
        run.parameters(_PLAIN)
        _apply(run, function)

    return stage


def rectifier(run: Running) -> None:
    """Multiply by a slope what is below 0, of the input or of the input and a bias.

    Parameters: i whether there is a bias, f slope. Buffers: in, out, [a value a channel].
    """
    biased, slope = run.parameters("if")
    buffers = run.buffers(3 if biased else 2)
    source, target = buffers[:2]
    order = common_order(source, target)
    x = run.floats(source, order)
    if biased:
        x = x + run.channels(buffers[2], order)
    below = x * np.float32(slope) if slope else np.zeros_like(x)
    run.write(target, np.where(np.isnan(x) | (x > 0), x, below), order)


def channel_rectifier(run: Running) -> None:
    """Multiply by a channel's slope what is below 0. No parameters. Buffers: in, out, slopes."""
    run.parameters(_PLAIN)
    source, target, slopes = run.buffers(3)
    order = common_order(source, target)
    x = run.floats(source, order)
    run.write(target, np.where(x > 0, x, x * run.channels(slopes, order)), order)


def clamp(run: Running) -> None:
    """Limit values. Parameters: f low, high."""
    low, high = run.parameters("2f")
    _apply(run, lambda x: np.clip(x, np.float32(low), np.float32(high)))


def power(run: Running) -> None:
    """(shift + scale · x) ^ power. Parameters: f shift, scale, power."""
    shift, scale, exponent = (np.float32(value) for value in run.parameters("3f"))
    _apply(run, lambda x: shift + scale * x if exponent == 1 else (shift + scale * x) ** exponent)


def swish(run: Running) -> None:
    """Multiply by sigmoid(beta · x). Parameters: f beta."""
    (beta,) = run.parameters("f")
    _apply(run, lambda x: x * sigmoid(np.float32(beta) * x))


def elu(run: Running) -> None:
    """Put alpha · (e^x − 1) for what is below 0. Parameters: f alpha."""
    (alpha,) = run.parameters("f")
    _apply(run, lambda x: np.where(x > 0, x, np.float32(alpha) * np.expm1(x)))


def rounding(run: Running) -> None:
    """To the nearest whole number. Parameters: i 0 halves to even, 1 halves away from zero."""
    (mode,) = run.parameters("i")
    if mode not in (0, 1):
        raise NotKnown(f"rounding of kind {mode}")
    _apply(run, lambda x: np.trunc(x + np.copysign(np.float32(0.5), x)) if mode else np.rint(x))


STAGES: Final = {
    6: ("Relu", rectifier),
    44: ("LeakyRelu", rectifier),
    45: ("BiasRelu", rectifier),
    46: ("BiasLeakyRelu", rectifier),
    10: ("PRelu", channel_rectifier),
    109: ("SCRelu", channel_rectifier),
    57: ("Clamp", clamp),
    26: ("Power", power),
    135: ("Swish", swish),
    23: ("Elu", elu),
    140: ("Round", rounding),
    20: ("Sigmoid", _plain(sigmoid)),
    21: ("Tanh", _plain(np.tanh)),
    101: ("Exp", _plain(np.exp)),
    92: ("Log", _plain(np.log)),
    102: ("Floor", _plain(np.floor)),
    138: ("Ceiling", _plain(np.ceil)),
    110: ("Erf", _plain(erf)),
    131: ("Mish", _plain(lambda x: x * np.tanh(softplus(x)))),
    132: ("Gelu", _plain(lambda x: x * (1 + erf(x * np.float32(0.5**0.5))) / 2)),
    134: ("SoftPlus", _plain(softplus)),
    137: ("HSwish", _plain(lambda x: x * np.clip(x + 3, 0, 6) / 6)),
}
