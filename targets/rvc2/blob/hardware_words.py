"""What a stage of the convolution unit is told: parameters of its operations.

Format: blob 6.0, measured. They are high-level (kernel, stride, channels), no register descriptions;
the firmware makes these itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from targets.rvc2.blob.words import NotKnown, Words

HARDWARE: Final = 38
_MAX_OPERATIONS: Final = 10_000


class Unit(IntEnum):
    """What an operation of the unit computes."""

    CONVOLUTION = 0
    CONVOLUTION_POOL = 1
    FULLY_CONNECTED = 2
    POOL = 4


@dataclass(frozen=True, kw_only=True)
class Rectifier:
    """x below `threshold` is multiplied by `below`, else by `above`."""

    threshold: int
    below: int
    above: int


@dataclass(frozen=True, kw_only=True)
class HardwareOperation:
    """One operation: a range of output channels.

    Attributes:
        average: Whether a pool averages.
        padded: Whether the window leads over the borders.
        pad_sides: Bits of the padded sides: 8 left, 4 top, 1 right, 2 bottom.
        source, target, weights, bias, scale: Numbers of buffers, -1 for none.
        first_channel: The first output channel.
        channels: How many.
        kernel: Width and height; likewise `pool_kernel`, of the pool behind a convolution.
        rectifier: The activation; None for none.
        upper: The value that clamps the result between 0 and itself; None for none.
    """

    unit: Unit
    average: bool
    padded: bool
    pad_sides: int
    source: int
    target: int
    weights: int
    bias: int
    scale: int
    first_channel: int
    channels: int
    kernel: tuple[int, int]
    stride: int
    pool_kernel: tuple[int, int]
    rectifier: Rectifier | None
    upper: float | None

    def check(self, buffers: int) -> None:
        """See that every number of a buffer is one.

        Raises:
            ValueError: One is none.
        """
        needed = [self.source, self.target]
        if self.unit is not Unit.POOL:
            needed.append(self.weights)
        if min(needed) < 0 or max(*needed, self.bias, self.scale) >= buffers:
            raise ValueError("the convolution unit has no such buffer")


def read_operations(words: Words) -> tuple[HardwareOperation, ...]:
    """Read u32 n and then n operations.

    Raises:
        NotKnown: An operation of another kind.
    """
    count = words.unsigned()
    if not 0 < count <= _MAX_OPERATIONS:
        raise NotKnown(f"{count} operations of the convolution unit")
    return tuple(_read_operation(words) for _ in range(count))


def _read_operation(words: Words) -> HardwareOperation:
    u, i = words.unsigned, words.signed
    kind = u()
    if kind not in (Unit.CONVOLUTION, Unit.CONVOLUTION_POOL, Unit.POOL):
        # 2, a fully connected layer, was in none of 919 blobs.
        raise NotKnown(f"an operation {kind} of the convolution unit")
    unit = Unit(kind)
    pool = u() if unit is Unit.POOL else 0
    _mode, padded = u(), u()
    pad_sides = u() if padded else 0
    source, target, weights, bias, scale = i(), i(), i(), i(), i()
    first_channel, channels, width, height, stride = u(), u(), u(), u(), u()
    pool_kernel = (u(), u()) if unit is Unit.CONVOLUTION_POOL else (1, 1)
    rectifier = Rectifier(threshold=u(), below=u(), above=u()) if u() else None
    upper = words.real() if u() else None
    _reuse_data, _reuse_weights = u(), u()
    if pool > 1 or padded > 1:
        raise NotKnown(f"a pool of kind {pool}, pads of kind {padded}")
    return HardwareOperation(
        unit=unit,
        average=pool == 1,
        padded=bool(padded),
        pad_sides=pad_sides,
        source=source,
        target=target,
        weights=weights,
        bias=bias,
        scale=scale,
        first_channel=first_channel,
        channels=channels,
        kernel=(width, height),
        stride=stride,
        pool_kernel=pool_kernel,
        rectifier=rectifier,
        upper=upper,
    )
