"""Operators whose results a compiled network cannot have, and those whose results are always known."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

NO_LENGTH: Final = "its output has no fixed length"
RANDOM: Final = "it draws random numbers"
REASONS: Final[Mapping[str, str]] = {
    **dict.fromkeys(("Compress", "NonMaxSuppression", "NonZero", "Unique"), NO_LENGTH),
    **dict.fromkeys(
        (
            *("Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike"),
            *("RandomUniform", "RandomUniformLike"),
        ),
        RANDOM,
    ),
}
# Of these the result is known whatever the numbers are that they take.
OF_SHAPES: Final = ("Shape", "Size")
