"""Quantized tensors as real numbers: the grid that codes lie on, and arithmetic between the two.

A code c stands for the real number (c - zero point) * scale (ONNX QuantizeLinear). Where a graph
computes with codes, the passes compute with the reals instead; what a code cannot hold is cut off in
both.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from converter.graph.bounds import bounds
from converter.graph.rewrite import Builder


@dataclass(frozen=True, eq=False, kw_only=True)
class SourceRange:
    """The grid on which a quantized source has a tensor.

    Attributes:
        scale: What a step of one is, of shape () or (channels,).
        zero_point: The code of 0.0, int64 of the same shape.
        dtype: The codes' type by its NumPy name: uint8, int8, uint16, int16, int32, int4 or uint4.
        axis: The channels' axis; None where one grid holds for the whole tensor.
    """

    scale: NDArray[Any]
    zero_point: NDArray[Any]
    dtype: str
    axis: int | None = None

    @property
    def limits(self) -> tuple[int, int]:
        """The lowest and the highest code."""
        bits = int("".join(filter(str.isdigit, self.dtype)))
        low = 0 if self.dtype.startswith("u") else -(1 << (bits - 1))
        return low, low + (1 << bits) - 1

    @property
    def reals(self) -> tuple[NDArray[Any], NDArray[Any]]:
        """The lowest and the highest number, each of the scale's shape."""
        low, high = self.limits
        return (low - self.zero_point) * self.scale, (high - self.zero_point) * self.scale

    def is_same(self, other: SourceRange) -> bool:
        """Whether the same codes stand for the same numbers."""
        return (
            self.axis == other.axis
            and np.array_equal(self.scale, other.scale)
            and np.array_equal(self.zero_point, other.zero_point)
        )


# Whole numbers that stand for themselves.
UNIT: Final = SourceRange(
    scale=np.ones((), np.float32), zero_point=np.zeros((), np.int64), dtype="int32"
)


@dataclass(frozen=True, eq=False, kw_only=True)
class Codes:
    """A quantized tensor: the reals that it stands for, and its grid.

    `is_dynamic` where the source measures the grid on each frame; the grid here is then `UNIT`.
    """

    real: ir.Value
    grid: SourceRange
    is_dynamic: bool = False


def spread(array: NDArray[Any], axis: int | None, x: ir.Value) -> NDArray[Any] | None:
    """Numbers for each channel, of shape (channels, 1, ...) so that they broadcast along `x`.

    None where that needs the tensor's rank and it is unknown.
    """
    if axis is None or array.size == 1:
        return array.reshape(())
    if axis < 0:
        return array.reshape(-1, *[1] * (-axis - 1))
    if x.shape is None:
        return None
    return array.reshape(-1, *[1] * (len(x.shape) - axis - 1))


def numbers(codes: NDArray[Any], grid: SourceRange, block: int = 0) -> NDArray[Any]:
    """The reals that constant codes stand for, of the codes' shape and the scale's dtype.

    Args:
        block: How many neighbours along the axis share a scale (opset 21); 0 for all.
    """
    scale, zero = grid.scale, grid.zero_point
    if block and grid.axis is not None:
        length = codes.shape[grid.axis]
        scale, zero = (
            np.take(np.repeat(each, block, grid.axis), range(length), grid.axis)
            for each in (scale, zero)
        )
    elif grid.axis is not None and scale.size > 1:
        shape = [1] * codes.ndim
        shape[grid.axis] = -1
        scale, zero = scale.reshape(shape), zero.reshape(shape)
    else:
        scale, zero = scale.reshape(()), zero.reshape(())
    # Whole numbers of 32 bits are exact in float64 only.
    reals = (codes.astype(np.float64) - zero) * scale.astype(np.float64)
    return np.asarray(reals.astype(scale.dtype))


def rounded(reals: NDArray[Any], grid: SourceRange) -> NDArray[Any]:
    """Constant reals as the codes next to them, by ONNX's rule: halves to the even one."""
    scale, zero = grid.scale, grid.zero_point
    if grid.axis is not None and scale.size > 1:
        shape = [1] * reals.ndim
        shape[grid.axis] = -1
        scale, zero = scale.reshape(shape), zero.reshape(shape)
    else:
        scale, zero = scale.reshape(()), zero.reshape(())
    with np.errstate(divide="ignore", invalid="ignore"):
        codes = np.nan_to_num(np.rint(reals / scale)) + zero
    return np.asarray(np.clip(codes, *grid.limits).astype(np.int64))


def from_the_front(grid: SourceRange, rank: int) -> SourceRange:
    """The grid of a tensor of some rank, with its axis counted from the front."""
    if grid.axis is None or grid.axis >= 0:
        return grid
    return dataclasses.replace(grid, axis=grid.axis + rank)


# ---------------------------------------------------------------- in the graph


def saturate(b: Builder, x: ir.Value, grid: SourceRange) -> ir.Value | None:
    """A tensor without what its codes cannot hold; the tensor itself where that is nothing.

    Quantizers leave a Relu or a Clip out where the codes end at the same numbers, so this is part of
    what the source computes. None where a channel's axis needs a rank that is unknown.
    """
    if grid.dtype.endswith("32"):
        return x
    low, high = grid.reals
    found = bounds(x)
    step = float(grid.scale.min(initial=np.inf)) / 2
    if found[0] >= float(low.max(initial=-np.inf)) - step and (
        found[1] <= float(high.min(initial=np.inf)) + step
    ):
        return x
    dtype = grid.scale.dtype
    if grid.axis is None:
        return clip(b, x, float(low.reshape(())), float(high.reshape(())), dtype)
    ends = [spread(each, grid.axis, x) for each in (low, high)]
    if ends[0] is None or ends[1] is None:
        return None
    return b.op("Min", b.op("Max", x, b.constant(ends[0], dtype)), b.constant(ends[1], dtype))


def clip(b: Builder, x: ir.Value, low: float, high: float, dtype: Any) -> ir.Value:
    """Clip, as the graph's opset writes it."""
    if b.graph.opset_imports.get("", 13) < 11:
        return b.op("Clip", x, min=low, max=high)
    return b.op("Clip", x, b.constant(low, dtype), b.constant(high, dtype))


def regrid(b: Builder, codes: Codes, grid: SourceRange) -> ir.Value | None:
    """The reals that codes stand for if they are read on another grid than they were written on.

    (r / s + z - z') * s'. None where a channel's axis needs a rank that is unknown.
    """
    if codes.is_dynamic or codes.grid.is_same(grid):
        return codes.real
    real, old, dtype = codes.real, codes.grid, grid.scale.dtype
    ratio = _together(real, (grid.scale, grid.axis), (1 / old.scale, old.axis), np.multiply)
    shift = _together(real, (old.zero_point, old.axis), (-grid.zero_point, grid.axis), np.add)
    step = spread(grid.scale, grid.axis, real)
    if ratio is None or shift is None or step is None:
        return None
    if np.any(ratio != 1):
        real = b.op("Mul", real, b.constant(ratio, dtype))
    if np.any(shift):
        real = b.op("Add", real, b.constant(shift * step, dtype))
    return real


def _together(
    x: ir.Value,
    first: tuple[NDArray[Any], int | None],
    second: tuple[NDArray[Any], int | None],
    function: Any,
) -> NDArray[Any] | None:
    one, other = spread(*first, x), spread(*second, x)
    return None if one is None or other is None else np.asarray(function(one, other))


def as_integers(b: Builder, codes: Codes) -> ir.Value | None:
    """The codes themselves: round(r / s) + z, of the grid's type. None as in `regrid`."""
    grid, dtype = codes.grid, codes.grid.scale.dtype
    scale, zero = (spread(each, grid.axis, codes.real) for each in (grid.scale, grid.zero_point))
    if scale is None or zero is None:
        return None
    found = codes.real
    if np.any(scale != 1):
        found = b.op("Div", found, b.constant(scale, dtype))
    found = b.op("Round", found)
    if np.any(zero):
        found = b.op("Add", found, b.constant(zero, dtype))
    low, high = grid.limits
    if high < 1 << 24:
        found = clip(b, found, low, high, dtype)
    return b.op("Cast", found, to=int(ir.DataType[grid.dtype.upper()]))


def from_integers(b: Builder, x: ir.Value, grid: SourceRange) -> ir.Value | None:
    """The reals of a tensor of codes that is not computed from reals, an input say. None as above."""
    dtype = grid.scale.dtype
    scale, zero = (spread(each, grid.axis, x) for each in (grid.scale, grid.zero_point))
    if scale is None or zero is None:
        return None
    found = b.op("Cast", x, to=int(ir.DataType.from_numpy(dtype)))
    if np.any(zero):
        found = b.op("Sub", found, b.constant(zero, dtype))
    return b.op("Mul", found, b.constant(scale, dtype))
