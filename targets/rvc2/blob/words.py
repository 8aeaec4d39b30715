"""The 32-bit words of a stage's parameters, read one after the other."""

from __future__ import annotations

import struct
from typing import Any


class NotKnown(Exception):  # noqa: N818 - what is so, not what went wrong
    """What a stage computes is not known; the text says why. It is never guessed."""


class Words:
    """Little-endian words; a text of too few is `NotKnown`.

    Attributes:
        at: How many bytes have been read.
    """

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.at = 0

    @property
    def is_read(self) -> bool:
        """Whether nothing is left."""
        return self.at == len(self._data)

    def unsigned(self) -> int:
        """The next word as u32."""
        return int(self._next("<I"))

    def signed(self) -> int:
        """The next word as i32."""
        return int(self._next("<i"))

    def real(self) -> float:
        """The next word as float32."""
        return float(self._next("<f"))

    def _next(self, form: str) -> Any:
        try:
            (value,) = struct.unpack_from(form, self._data, self.at)
        except struct.error:
            raise NotKnown("its parameters end early") from None
        self.at += 4
        return value


def exactly(form: str, data: bytes) -> tuple[Any, ...]:
    """All parameters at once.

    Args:
        form: A letter of `struct` a parameter: i (i32), I (u32), f (float32), e (float16).

    Raises:
        NotKnown: They are more or fewer, so another compiler's stage of this type.
    """
    form = f"<{form}"
    if struct.calcsize(form) != len(data):
        raise NotKnown(f"{len(data)} bytes of parameters instead of {struct.calcsize(form)}")
    return struct.unpack(form, data)
