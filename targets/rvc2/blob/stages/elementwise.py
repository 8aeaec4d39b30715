"""Functions of two or three tensors, element by element, and of a tensor and values by channel."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np

from targets.rvc2.blob.running import Array, Running, common_order
from targets.rvc2.blob.words import NotKnown

Function = Callable[[Array, Array], Array]
_RELU, _LEAKY_RELU, _CLAMP, _NONE = 6, 44, 57, -1


def _elementwise(run: Running, function: Callable[..., Array], inputs: int) -> None:
    """Apply a function, then an activation.

    Parameters: f (i for whole numbers) first and second coefficient, of the sum; i type of the
    activation's stage (−1 none, 6, 44, 57); f slope, f low, f high.
    Buffers: first input, out, second input, third input; those that are not used lie nowhere.
    """
    buffers = run.buffers(4)
    first, target = buffers[:2]
    is_float = first.dtype == "float16"
    *coefficients, activation, slope, low, high = run.parameters("2fi3f" if is_float else "6i")
    order = common_order(*buffers)
    used = (first, buffers[2], buffers[3])[:inputs]
    if not order and any(buffer.is_there and not buffer.is_planar for buffer in (target, *used)):
        raise NotKnown("tensors of other ranks, one of them interleaved")
    values = [run.read(buffer, order) for buffer in used]
    if run.stage.type == _SUM:
        kind = np.float32 if is_float else np.int32
        result = function(*values, *(kind(factor) for factor in coefficients))
    else:
        result = function(*values)
    if result.dtype == bool:
        result = result.astype(np.float32)
    if activation in (_RELU, _LEAKY_RELU):
        below = result * np.float32(slope) if slope else np.zeros_like(result)
        result = np.where((result > 0) | (result != result), result, below)
    elif activation == _CLAMP:
        result = np.clip(result, np.float32(low), np.float32(high))
    elif activation != _NONE:
        raise NotKnown(f"an activation of type {activation}")
    shape = run.size(target, order)
    run.write(target, np.broadcast_to(result, shape) if result.size < _count(shape) else result, order)


def _count(shape: tuple[int, ...]) -> int:
    return int(np.prod(shape, dtype=np.int64))


def _binary(function: Function) -> Callable[[Running], None]:
    def stage(run: Running) -> None:
        _elementwise(run, function, 2)

    return stage


def _unary(function: Callable[[Array], Array]) -> Callable[[Running], None]:
    def stage(run: Running) -> None:
        _elementwise(run, function, 1)

    return stage


def _sum(run: Running) -> None:
    """Coefficient · first + coefficient · second."""
    _elementwise(run, lambda a, b, c, d: c * a + d * b, 2)


def _select(run: Running) -> None:
    """The second where the first is not 0, else the third."""
    _elementwise(run, lambda a, b, c: np.asarray(np.where(a != 0, b, c)), 3)


def _divide(a: Array, b: Array) -> Array:
    if a.dtype.kind == "f":
        return a / b
    whole = np.trunc(a.astype(np.float64) / np.where(b == 0, 1, b))
    return np.where(b == 0, 0, whole).astype(a.dtype)


def bias(run: Running) -> None:
    """Add a value to each channel. No parameters. Buffers: in, out, a value a channel."""
    run.parameters("")
    source, target, values = run.buffers(3)
    order = common_order(source, target)
    run.write(target, run.floats(source, order) + run.channels(values, order), order)


def scale(run: Running) -> None:
    """Multiply each channel by a value. No parameters. Buffers: in, out, a value a channel."""
    run.parameters("")
    source, target, values = run.buffers(3)
    order = common_order(source, target)
    run.write(target, run.floats(source, order) * run.channels(values, order), order)


def scale_shift(run: Running) -> None:
    """Multiply each channel by a value and add another.

    No parameters. Buffers: in, out, scales, shifts.
    """
    run.parameters("")
    source, target, factors, shifts = run.buffers(4)
    order = common_order(source, target)
    result = run.floats(source, order) * run.channels(factors, order)
    run.write(target, result + run.channels(shifts, order), order)


_SUM: Final = 12
STAGES: Final = {
    _SUM: ("Sum", _sum),
    13: ("Prod", _binary(np.multiply)),
    14: ("Max", _binary(np.maximum)),
    75: ("Div", _binary(_divide)),
    76: ("Min", _binary(np.minimum)),
    77: ("Squared_diff", _binary(lambda a, b: (a - b) ** 2)),
    78: ("Equal", _binary(np.equal)),
    79: ("Not_equal", _binary(np.not_equal)),
    80: ("Greater", _binary(np.greater)),
    81: ("Greater_equal", _binary(np.greater_equal)),
    82: ("Less", _binary(np.less)),
    83: ("Less_equal", _binary(np.less_equal)),
    84: ("Logical_NOT", _unary(lambda a: a == 0)),
    85: ("Logical_AND", _binary(np.logical_and)),
    86: ("Logical_OR", _binary(np.logical_or)),
    87: ("Logical_XOR", _binary(np.logical_xor)),
    88: ("Pow", _binary(np.power)),
    89: ("Floor_mod", _binary(lambda a, b: a - np.floor(a / b) * b)),
    90: ("Select", _select),
    142: ("Abs", _unary(np.abs)),
    9: ("Bias", bias),
    15: ("Scale", scale),
    47: ("ScaleShift", scale_shift),
}
